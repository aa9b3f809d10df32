"""`robust-lr doctor`: a script as it is, or a log."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.command_line import write

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = """
import sys
import torch
model = torch.nn.Linear(3, 1)
optimizer = torch.optim.AdamW(model.parameters(), lr=0.01)
scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=int(sys.argv[1]))
for step in range(100):
    optimizer.zero_grad()
    model(torch.ones(8, 3)).square().mean().backward()
    optimizer.step()
    scheduler.step()
print("trained")
if "fail" in sys.argv:
    raise ValueError("no")
"""
RESUMED = """
import torch
def build():
    optimizer = torch.optim.AdamW([weight], lr=0.01)
    return optimizer, torch.optim.lr_scheduler.LambdaLR(optimizer, lambda k: max(0.0, 1 - k / 100))
def train(optimizer, scheduler, n):
    for _ in range(n):
        weight.grad = torch.ones(1)
        optimizer.step()
        scheduler.step()
weight = torch.nn.Parameter(torch.zeros(1))
optimizer, scheduler = build()
train(optimizer, scheduler, 50)
state = optimizer.state_dict()
optimizer, scheduler = build()
optimizer.load_state_dict(state)
train(optimizer, scheduler, 50)
"""


@pytest.fixture
def doctor(tmp_path, monkeypatch):
    """Run the doctor on a command in a process of its own, whose output the command shares."""
    monkeypatch.chdir(tmp_path)
    path = os.pathsep.join([str(ROOT), str(ROOT / "integrations")])

    def run(command, *options, **environment):
        words = [sys.executable, "-m", "robust_lr", "doctor", "--command", command, *options]
        where = {**os.environ, "PYTHONPATH": path, **environment}
        return subprocess.run(words, env=where, capture_output=True, text=True, check=False)

    return run


def test_a_script_is_examined_without_an_edit(doctor):
    write("train.py", SCRIPT)
    done = doctor(f"{sys.executable} train.py 200", "--json", "found.json")
    assert done.returncode == 1
    assert done.stdout.startswith("trained\nschedule doctor: 100 steps of AdamW under CosineAnnealingLR, 1 finding\n")
    assert "  horizon-longer: CosineAnnealingLR ends after 200 steps, but 100 were taken" in done.stdout
    (run,) = json.loads(Path("found.json").read_text())["runs"]
    assert run["watched"] == "100 steps of AdamW under CosineAnnealingLR"
    assert [(f["code"], f["certain"]) for f in run["findings"]] == [("horizon-longer", True)]


@pytest.mark.slow
def test_a_script_without_a_fault_gives_nothing_and_exit_code_0(doctor):
    write("train.py", SCRIPT)
    done = doctor(f"{sys.executable} train.py 100")
    assert done.returncode == 0, done.stderr
    assert done.stdout == ("trained\nschedule doctor: 100 steps of AdamW under CosineAnnealingLR, nothing found\n")


@pytest.mark.slow
def test_a_script_that_fails_is_not_blamed_for_missing_steps(doctor):
    write("train.py", SCRIPT)
    done = doctor(f"{sys.executable} train.py 200 fail")
    assert done.returncode == 1
    assert "nothing found" in done.stdout
    assert "the command ended with exit code 1" in done.stderr


@pytest.mark.slow
def test_states_loaded_before_the_first_step_are_seen(doctor):
    write("train.py", RESUMED)
    done = doctor(f"{sys.executable} train.py")
    assert "optimizer 1: 50 steps of AdamW under LambdaLR, nothing found" in done.stdout
    assert "jump-on-resume: the optimizer was resumed at a learning rate of 0.005" in done.stdout


@pytest.mark.slow
def test_the_planned_steps_are_those_of_the_option(doctor):
    write("train.py", SCRIPT)
    done = doctor(f"{sys.executable} train.py 200", "--total-steps", "200")
    assert "nothing found" in done.stdout


def test_a_sitecustomize_of_the_user_still_runs(doctor, tmp_path):
    (tmp_path / "own").mkdir()
    write("own/sitecustomize.py", "print('mine')\n")
    write("train.py", "print('hello')\n")
    path = os.pathsep.join([str(ROOT), str(ROOT / "integrations"), str(tmp_path / "own")])
    done = doctor(f"{sys.executable} train.py", PYTHONPATH=path)
    assert done.stdout.endswith("mine\nhello\n")


@pytest.mark.parametrize("command", [pytest.param("echo hello", marks=pytest.mark.slow), f"{sys.executable} -c pass"])
def test_a_command_without_torch_is_said_to_show_nothing(doctor, command):
    done = doctor(command)
    assert done.returncode == 1
    assert "no optimizer of torch took a step in a Python process of this command" in done.stderr


def test_a_log_is_examined(robust_lr):
    write("log.csv", "\n".join(["step,lr", *(f"{k},{0.001 * (1 - k / 1000)}" for k in range(300))]))
    answer = robust_lr("doctor", "log.csv")
    assert answer.code == 1
    assert answer.out.startswith("schedule doctor: log.csv, 300 logged steps, 1 finding\n  horizon-longer (probably): ")


def test_a_log_without_a_fault_gives_exit_code_0(robust_lr):
    write("log.csv", "\n".join(["step,lr", *(f"{k},0.001" for k in range(30))]))
    answer = robust_lr("doctor", "log.csv", "--json", "found.json")
    assert (answer.code, answer.out) == (0, "schedule doctor: log.csv, 30 logged steps, nothing found\n")
    assert json.loads(Path("found.json").read_text()) == {
        "schema": 1,
        "runs": [{"watched": "log.csv, 30 logged steps", "findings": []}],
    }


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ([], "give one of FILE and --command"),
        (["log.csv", "--command", "python train.py"], "give one of FILE and --command"),
        (["log.csv"], "cannot read log.csv: No such file"),
        (["bad.py"], 'bad.py is no log; to watch a script: --command "python bad.py"'),
        (["log.csv", "--total-steps", 5], "--total-steps is for --command"),
        (["--command", "train", "--lr-name", "lr"], "--lr-name is for FILE"),
        (["--command", "pyhton train.py"], "cannot start 'pyhton': No such file or directory; did you mean 'python'?"),
        (["--command", "python 'train.py"], "cannot read the command: no closing quotation"),
        (["--command", " "], "the command is empty"),
    ],
)
def test_what_cannot_work_is_one_line(one_line, words, says):
    assert says in one_line("doctor", *words)
