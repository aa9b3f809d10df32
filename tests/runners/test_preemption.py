"""SIGTERM: a trial that asks may save its state, and what was preempted counts as not begun, without a retry."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from robust_lr import Constant, TrialSpec, preempted
from robust_lr.exceptions import TrialPreempted
from robust_lr.journal.journal import read_journal
from robust_lr.runners import ProcessPoolRunner, evaluate_trial
from robust_lr.runners.preemption import _on_sigterm, _Request, ending_by_sigterm
from robust_lr.testing import run_trials

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="no SIGTERM")

SPEC = TrialSpec("constant", 0.1, 0)

SWEEP = """
import sys, time
from pathlib import Path
from robust_lr import ProcessPoolRunner, SerialRunner, TrialPreempted, preempted, run_sweep

def train(*, lr, schedule, seed):
    folder = Path(sys.argv[1])
    (folder / f"begun-{lr}-{time.monotonic_ns()}").touch()
    saved = folder / f"saved-{lr}"
    while not saved.exists():
        time.sleep(0.01)
        if "asks" in sys.argv and preempted():
            saved.touch()
            raise TrialPreempted
    return lr

if __name__ == "__main__":
    runner = SerialRunner() if "serial" in sys.argv else ProcessPoolRunner(2)
    run_sweep(train, [0.1, 0.2], ["constant"], 1, runner=runner, journal=sys.argv[1] + "/j.jsonl", label="x",
              max_retries=0)
"""


def run_until_begun(folder, n, *words):
    """Start the sweep, wait until n trials have begun, send SIGTERM; return the exit code and what it wrote."""
    (folder / "sweep.py").write_text(SWEEP)
    command = [sys.executable, folder / "sweep.py", folder, *words]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    sweep = subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 120
    while len(list(folder.glob("begun-*"))) < n and time.monotonic() < deadline:
        time.sleep(0.02)
    time.sleep(0.3)
    sweep.terminate()
    _, said = sweep.communicate(timeout=60)
    return sweep.returncode, said, command, environment


@pytest.mark.parametrize(("words", "n"), [(("serial",), 1), ((), 2)], ids=["serial", "pool"])
def test_trials_that_ask_save_their_state_and_the_same_command_continues(tmp_path, words, n):
    code, said, command, environment = run_until_begun(tmp_path, n, "asks", *words)
    assert (code, said.count("\n")) == (-signal.SIGTERM, 1)
    assert said.startswith("ended by SIGTERM; every finished trial is in the journal")
    assert len(list(tmp_path.glob("saved-*"))) == n
    assert read_journal(tmp_path / "j.jsonl").results == ()
    for lr in (0.1, 0.2):
        (tmp_path / f"saved-{lr}").touch()
    assert subprocess.run(command, env=environment, check=False).returncode == 0
    assert [result.status for result in read_journal(tmp_path / "j.jsonl").results] == ["ok", "ok"]
    assert not list(tmp_path.glob("j.jsonl.*"))


def test_trials_that_do_not_ask_end_at_once(tmp_path):
    began = time.monotonic()
    code, _, _, _ = run_until_begun(tmp_path, 1, "serial")
    assert code == -signal.SIGTERM and not list(tmp_path.glob("saved-*"))
    assert time.monotonic() - began < 60
    assert [file.name for file in tmp_path.glob("j.jsonl*")] == ["j.jsonl"], "its trial is not taken for a crash"


def end_its_process_once(*, lr, schedule, seed):
    flag = Path(os.environ["ROBUST_LR_TESTS_FLAG"])
    if lr == 0.1 and not flag.exists():
        flag.touch()
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(60)
    return lr


def test_a_worker_that_is_asked_to_end_costs_its_trial_no_retry(tmp_path, monkeypatch):
    monkeypatch.setenv("ROBUST_LR_TESTS_FLAG", str(tmp_path / "flag"))
    trials = [TrialSpec("constant", lr, 0) for lr in (0.1, 0.2)]
    results = run_trials(ProcessPoolRunner(1), end_its_process_once, trials, max_retries=0)
    assert sorted(result.loss for result in results) == [0.1, 0.2]


def sees_its_machine_go_once(*, lr, schedule, seed):
    """As a program does that asks its cloud, and gets no signal."""
    flag = Path(os.environ["ROBUST_LR_TESTS_FLAG"])
    if lr == 0.1 and not flag.exists():
        flag.touch()
        raise TrialPreempted
    return lr


def test_a_trial_that_says_itself_that_it_was_preempted_costs_no_retry_either(tmp_path, monkeypatch):
    monkeypatch.setenv("ROBUST_LR_TESTS_FLAG", str(tmp_path / "flag"))
    trials = [TrialSpec("constant", lr, 0) for lr in (0.1, 0.2)]
    results = run_trials(ProcessPoolRunner(1), sees_its_machine_go_once, trials, max_retries=0)
    assert sorted(result.loss for result in results) == [0.1, 0.2]


def evaluate(train):
    with ending_by_sigterm():
        try:
            return evaluate_trial(train, SPEC, Constant())
        finally:
            _Request.is_made = False  # this process goes on


def test_the_end_is_not_called_a_signal_where_there_was_none(tmp_path):
    (tmp_path / "sweep.py").write_text(SWEEP.replace("        time.sleep(0.01)\n", "        raise TrialPreempted\n"))
    command = [sys.executable, tmp_path / "sweep.py", tmp_path, "serial"]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(command, env=environment, stderr=subprocess.PIPE, text=True, timeout=60, check=False)
    assert "ended by a trial that raised TrialPreempted" in done.stderr and "Traceback" not in done.stderr


def test_a_trial_that_returns_in_time_has_its_result():
    def train(*, lr, schedule, seed):
        asked = [preempted()]
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(0.01)
        return 0.5 if [*asked, preempted()] == [False, True] else 0.0

    assert evaluate(train).loss == 0.5


def test_a_trainer_that_ends_early_at_ctrl_c_and_returns_has_no_result():
    def train(*, lr, schedule, seed):
        try:
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(1)
        except KeyboardInterrupt:  # as Lightning's trainer does
            return 0.5  # the loss of half a training

    before = signal.getsignal(signal.SIGTERM)
    signal.signal(signal.SIGTERM, _on_sigterm)  # as inside of ending_by_sigterm, which would end this process
    try:
        with pytest.raises(TrialPreempted):
            evaluate_trial(train, SPEC, Constant())
    finally:
        signal.signal(signal.SIGTERM, before)
        _Request.is_made = False


def test_whatever_a_preempted_trial_raises_it_has_not_failed():
    def train(*, lr, schedule, seed):
        preempted()
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(0.01)
        raise ConnectionError("the file server is gone too")

    before = signal.getsignal(signal.SIGTERM)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # else the context would end this process
    try:
        with pytest.raises(TrialPreempted):
            evaluate(train)
    finally:
        signal.signal(signal.SIGTERM, before)


def test_a_program_with_a_handler_of_its_own_keeps_it():
    seen = list[int]()
    before = signal.signal(signal.SIGTERM, lambda number, frame: seen.append(number))
    try:
        with ending_by_sigterm():
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(0.01)
        assert seen == [signal.SIGTERM]
        evaluate_trial(lambda *, lr, schedule, seed: float(preempted()), SPEC, Constant())
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(0.01)
        assert seen == [signal.SIGTERM] * 2
    finally:
        signal.signal(signal.SIGTERM, before)


def test_outside_of_a_trial_and_in_other_threads_nothing_changes():
    before, found = signal.getsignal(signal.SIGTERM), []
    assert preempted() is False
    thread = threading.Thread(
        target=lambda: found.append(evaluate_trial(lambda **trial: float(preempted()), SPEC, Constant()).loss)
    )
    thread.start()
    thread.join()
    assert found == [0.0] and signal.getsignal(signal.SIGTERM) is before
