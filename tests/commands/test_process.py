"""The processes of a trial end with it: at its time limit, and when whatever waits for it is interrupted or killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from robust_lr import CommandTask, Constant, ProcessPoolRunner, SerialRunner, TrialSpec, run_sweep
from robust_lr.commands import _process
from robust_lr.exceptions import TrialError
from robust_lr.journal.journal import read_journal
from robust_lr.runners import evaluate_trial
from tests.commands.scripts import HANGS, PYTHON, is_alive, pids_in, wait_until, write_script

ROOT = Path(__file__).resolve().parents[2]
SPEC = TrialSpec("constant", 0.1, 0)


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def hanging(folder, **options):
    write_script("hang.py", HANGS)
    return CommandTask(f"{PYTHON} hang.py {folder / 'pids'}", trials_dir="trials", **options)


@pytest.mark.parametrize("runner", [SerialRunner(), ProcessPoolRunner(2, devices=())], ids=["serial", "pool"])
def test_a_hung_trial_is_ended_by_its_time_limit_in_every_runner(folder, runner):
    task = hanging(folder, trial_timeout=1.0)
    with pytest.raises(TrialError, match="CommandError: the command timed out after 1 s: about to hang"):
        run_sweep(task, [0.1], ["constant"], 1, runner=runner, max_retries=0)
    pids = pids_in(folder / "pids")
    assert len(pids) == 2
    wait_until(lambda: not any(map(is_alive, pids)))


def test_a_timeout_is_told_as_one_although_the_script_prints_a_traceback_when_it_is_ended(folder):
    code = """import signal, time
def stop(*_): raise ValueError("stopped")
signal.signal(signal.SIGTERM, stop)
print("epoch 3", flush=True)
time.sleep(600)
"""
    write_script("handles.py", code)
    task = CommandTask(f"{PYTHON} handles.py", trials_dir="trials", trial_timeout=1.0)
    with pytest.raises(TrialError, match=r"timed out after 1 s: epoch 3$"):
        run_sweep(task, [0.1], ["constant"], 1, max_retries=0)
    assert "ValueError: stopped" in (folder / "trials/constant-lr0.1-seed0/log.txt").read_text()


def test_a_silent_command_out_of_time_is_told_how_to_get_more(folder):
    write_script("silent.py", "import time\ntime.sleep(600)\n")
    task = CommandTask(f"{PYTHON} silent.py", trials_dir="trials", trial_timeout=0.3)
    with pytest.raises(TrialError, match=r"printed nothing; if it only needs longer, raise --trial-timeout"):
        run_sweep(task, [0.1], ["constant"], 1, max_retries=0)


def test_a_trial_that_ignores_sigterm_is_killed_and_its_children_too(folder, monkeypatch):
    monkeypatch.setattr(_process, "SECONDS_TO_STOP", 0.5)
    task = hanging(folder, trial_timeout=1.0)
    write_script("hang.py", "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN)\n" + HANGS)
    result = evaluate_trial(task, SPEC, Constant())
    assert result.status == "failed" and result.seconds < 10
    wait_until(lambda: not any(map(is_alive, pids_in(folder / "pids"))))


def test_what_a_finished_command_leaves_running_is_ended(folder):
    write_script("leaves.sh", f"sleep 600 &\necho $! >> {folder}/pids\necho '{{\"loss\": 1}}'\n")
    start = time.monotonic()
    assert CommandTask("sh leaves.sh", trials_dir="trials")(lr=0.1, schedule=Constant(), seed=0) == {"loss": 1.0}
    assert time.monotonic() - start < 20
    (pid,) = pids_in(folder / "pids")
    wait_until(lambda: not is_alive(pid))


def test_a_trial_killed_by_the_machine_runs_again_and_every_cell_has_one_result(folder):
    code = """import os, signal, sys
if not os.path.exists("tried"):
    open("tried", "w").close()
    os.kill(os.getpid(), signal.SIGKILL)
print('{"loss": %s}' % sys.argv[1])
"""
    write_script("killed.py", code)
    task = CommandTask(f"{PYTHON} killed.py {{lr}}", trials_dir="trials")
    assert "was killed by SIGKILL" in evaluate_trial(task, TrialSpec("constant", 5.0, 0), Constant()).error
    sweep = run_sweep(task, [0.1, 1.0], ["constant"], 2, journal="j.jsonl")
    assert sweep.loss.tolist() == [[[0.1, 0.1], [1.0, 1.0]]]
    assert len(read_journal("j.jsonl").results) == 4


DRIVER = """
import sys
from robust_lr import CommandTask, ProcessPoolRunner, run_sweep
if __name__ == "__main__":
    runner = ProcessPoolRunner(2, devices=()) if sys.argv[1] == "pool" else None
    task = CommandTask(sys.argv[2], trials_dir="trials")
    run_sweep(task, [0.1, 1.0], ["constant"], 2, runner=runner, journal="j.jsonl")
"""
# Waits while there is a file "wait", and counts how often it ended.
SLOW = """
import os, sys, time
open(sys.argv[1] + "/pids", "a").write(f"{os.getpid()}\\n")
while os.path.exists(sys.argv[1] + "/wait"):
    time.sleep(0.02)
print('{"loss": 1.5}')
"""


def start_driver(folder, runner):
    write_script("driver.py", DRIVER)
    write_script("slow.py", SLOW)
    command = f"{PYTHON} slow.py {folder} {{lr}}"
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    words = [sys.executable, "driver.py", runner, command]
    return subprocess.Popen(words, cwd=folder, env=environment, stderr=subprocess.DEVNULL, start_new_session=True)


@pytest.mark.parametrize(
    ("runner", "how"), [("serial", signal.SIGKILL), ("pool", signal.SIGKILL), ("serial", signal.SIGINT)]
)
def test_no_process_outlives_a_killed_parent_and_the_next_run_completes_every_cell(folder, runner, how):
    (folder / "wait").touch()
    driver = start_driver(folder, runner)
    n_running = 2 if runner == "pool" else 1
    wait_until(lambda: len(pids_in(folder / "pids")) == n_running)
    os.killpg(driver.pid, how)  # the group, as a terminal or a scheduler does it
    driver.wait(20)
    wait_until(lambda: not any(map(is_alive, pids_in(folder / "pids"))))
    (folder / "wait").unlink()
    assert start_driver(folder, runner).wait(60) == 0
    results = read_journal("j.jsonl").results
    assert len(results) == len({result.spec for result in results}) == 4
    assert len(pids_in(folder / "pids")) == n_running + 4


def test_a_command_whose_parent_dies_before_it_began_never_begins(folder):
    done = subprocess.run(
        ["/bin/sh", "-c", _process._GATE, "sh", "touch", "began"], check=False, stdin=subprocess.DEVNULL
    )
    assert done.returncode != 0 and not (folder / "began").exists()


def test_an_error_of_the_reader_neither_hangs_the_command_nor_gets_lost(folder):
    def see(line):
        raise ValueError(line)

    words = [PYTHON, "-c", "for _ in range(3000): print('x' * 100)"]
    options = {"folder": folder, "environment": os.environ, "log": folder / "log", "timeout": 60}
    with pytest.raises(ValueError, match="xxx"):
        _process.run_logged(words, see=see, **options)
    assert (folder / "log").stat().st_size == 3000 * 101
