"""`robust-lr run --command` and `search --command`: a script is tuned from the command line."""

from __future__ import annotations

import shlex
import subprocess
from pathlib import Path

import pytest

from robust_lr.journal.journal import read_journal
from tests.cli.command_line import said, write
from tests.commands.scripts import GPT, PYTHON

COMMAND = f"{PYTHON} train.py --lr {{lr}} --schedule {{schedule}} --seed {{seed}} --steps {{total_steps}}"
OPTIONS = ("--metric", "val_loss", "--total-steps", 10)
SWEEP = ("--lr-min", 0.1, "--lr-max", 10, "--n-points", 3, "--schedules", "constant,cosine", "--seeds", 2)


@pytest.fixture(autouse=True)
def script(robust_lr):
    write("train.py", GPT)


def test_a_script_is_swept_from_the_command_line_and_the_same_command_continues(robust_lr):
    arguments = ("run", "--command", COMMAND, *OPTIONS, *SWEEP, "--journal", "out.jsonl", "--tolerance", 1)
    answer = robust_lr(*arguments)
    assert "out.jsonl: 12 results" in said(answer)
    assert answer.err.endswith("0 results from out.jsonl, 12 new\n")
    assert "12 results from out.jsonl, 0 new\n" in robust_lr(*arguments).err
    assert len(list(Path("out-trials").iterdir())) == 12


def test_a_script_is_searched_from_the_command_line(robust_lr):
    answer = robust_lr(
        "search", "--command", COMMAND, *OPTIONS, "--lr-min", 0.01, "--lr-max", 10, "--tolerance", 0.3, "--n-jobs", 2
    )
    assert answer.code == 0 and "Best learning rate: " in answer.out
    assert len(read_journal("search.jsonl").results) >= 3


def test_a_dry_run_prints_each_command_and_runs_and_writes_nothing(robust_lr):
    answer = robust_lr("run", "--command", COMMAND, *OPTIONS, *SWEEP, "--dry-run")
    lines = [shlex.split(line) for line in answer.out.splitlines()]
    assert len({tuple(line) for line in lines}) == 12 and answer.code == 0
    assert lines[0][1] == str(Path("train.py").absolute())
    assert " ".join(lines[0][2:]) == "--lr 0.1 --schedule constant --seed 0 --steps 10"
    assert {path.name for path in Path().iterdir()} == {"train.py"}
    search = robust_lr("search", "--command", COMMAND, *OPTIONS, "--lr-min", 0.01, "--lr-max", 1, "--dry-run")
    assert len(search.out.splitlines()) == 1 and "--lr 0.1 " in search.out


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ((), "give one of FUNCTION and --command; see: robust-lr run --help"),
        (("train.py:main", "--command", "true"), "give one of FUNCTION and --command"),
        (("train.py:main", "--cwd", "."), "--cwd is for --command"),
        (("--command", "python train.py --lr {LR}"), "unknown placeholder {LR}; did you mean 'lr'?"),
        (("--command", "python train.py --n {total_steps}"), "give the number of steps, --total-steps"),
        (("--command", "python tran.py"), "names tran.py, but there is no such file; did you mean 'train.py'?"),
        (("--command", "true", "--metric-regex", "loss"), "must have one group around the number"),
    ],
)
def test_a_command_that_cannot_be_run_says_why_in_one_line(one_line, arguments, says):
    assert says in one_line("run", *arguments, *SWEEP)
    assert not Path("sweep.jsonl").exists()


def test_a_script_that_fails_ends_the_run_with_its_own_error(robust_lr):
    answer = robust_lr("run", "--command", f"{PYTHON} train.py --rate {{lr}}", *OPTIONS, *SWEEP, "--max-retries", 0)
    assert answer.code == 1
    assert "exit code 2: train.py: error: unrecognized arguments: --rate 0.1" in answer.err


def test_a_job_array_is_emitted_and_collected(robust_lr):
    script = robust_lr("run", "--command", COMMAND, *OPTIONS, *SWEEP, "--emit", "shell").out.splitlines()
    assert len(script) == 12
    subprocess.run(shlex.split(script[0]), check=True, capture_output=True)
    answer = robust_lr("collect", "sweep-trials")
    assert "1 of 12 results, 1 new in sweep.jsonl; look at them with: robust-lr analyze sweep.jsonl" in said(answer)
    assert "#SBATCH --array=0-11" in robust_lr(*["run", "--command", "true"], *SWEEP, "--emit", "slurm-array").out


@pytest.mark.parametrize(("seeds", "warns"), [(2, True), (1, False)])
def test_a_command_without_its_seed_is_warned_about_if_there_are_several(robust_lr, seeds, warns):
    Path("train.py").write_text("")
    answer = robust_lr(
        "run", "--command", f"{PYTHON} train.py --lr {{lr}}", "--lr-min", 0.1, "--lr-max", 1, "--n-points", 2,
        "--schedules", "cosine", "--seeds", seeds, "--dry-run",
    )  # fmt: skip
    assert ("the command has no {seed}: it must read the environment variable ROBUST_LR_SEED" in answer.err) == warns


@pytest.mark.parametrize(("placeholder", "warns"), [("", True), (" --schedule {schedule}", False)])
def test_a_command_without_a_schedule_is_told_that_its_name_is_only_a_label(robust_lr, placeholder, warns):
    Path("train.py").write_text("")
    answer = robust_lr(
        "search", "--command", f"{PYTHON} train.py --lr {{lr}} --seed {{seed}}{placeholder}", "--lr-min", 0.1,
        "--lr-max", 1, "--dry-run",
    )  # fmt: skip
    assert ("trains under its own one, and cosine is only a label here" in answer.err) == warns
