"""A trial that never ends is ended by its time limit, in every runner on this machine; the others go on."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from robust_lr import TrialSpec, run_sweep, search_learning_rate
from robust_lr.exceptions import OptionError, RobustLRWarning
from robust_lr.runners import PackedRunner, ProcessPoolRunner, SerialRunner
from robust_lr.testing import run_trials

HANGS = 0.2
TRIALS = [TrialSpec("constant", lr, 0) for lr in (0.1, HANGS, 0.3)]
RUNNERS = {
    "SerialRunner": SerialRunner(trial_timeout=2),
    "ProcessPoolRunner": ProcessPoolRunner(2, trial_timeout=2),
    "PackedRunner": PackedRunner(1, engine="sequential", trial_timeout=2),
}


def hang(*, lr, schedule, seed):
    while lr == HANGS:
        try:
            time.sleep(60)
        except Exception:  # as training code that retries whatever goes wrong
            continue
    return lr


def hang_with_a_child(*, lr, schedule, seed):
    if lr == HANGS:
        words = [sys.executable, "-c", "import time; time.sleep(300)"]
        children = [subprocess.Popen(words), subprocess.Popen(words, start_new_session=True)]
        Path(os.environ["CHILD"]).write_text(" ".join(str(child.pid) for child in children))
        time.sleep(300)
    return lr


class OwnError(BaseException):
    def __str__(self):
        raise ValueError("no text")


def end_oddly(*, lr, schedule, seed):
    if lr == 0.1:
        raise OwnError
    if lr == 0.2:
        raise GeneratorExit
    return lr


def fork(*, lr, schedule, seed):
    if os.fork():
        time.sleep(0.2)
    return lr


def report_process(*, lr, schedule, seed):
    return {"loss": lr, "process": os.getpid()}


def is_running(process: int) -> bool:
    try:
        stat = Path(f"/proc/{process}/stat").read_text()
    except OSError:
        return False
    return stat.rpartition(")")[2].split()[0] != "Z"


@pytest.mark.parametrize("name", RUNNERS)
def test_a_hung_trial_fails_and_the_others_have_results(name):
    results = {r.spec.lr: r for r in run_trials(RUNNERS[name], hang, TRIALS)}
    assert [results[lr].loss for lr in (0.1, 0.3)] == [0.1, 0.3]
    assert results[HANGS].status == "failed"
    assert "timed out after 2 s" in results[HANGS].error


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="looks at processes in /proc")
def test_what_a_hung_trial_has_started_ends_with_it(tmp_path, monkeypatch):
    monkeypatch.setenv("CHILD", str(tmp_path / "child"))
    runner = ProcessPoolRunner(1, trial_timeout=3)
    results = {r.spec.lr: r for r in run_trials(runner, hang_with_a_child, TRIALS)}
    assert results[HANGS].status == "failed"
    children = list(map(int, (tmp_path / "child").read_text().split()))
    deadline = time.monotonic() + 20
    while any(map(is_running, children)) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not any(map(is_running, children))


def test_a_trial_that_ends_in_time_leaves_no_alarm_behind():
    (result,) = run_trials(SerialRunner(trial_timeout=0.3), report_process, TRIALS[:1])
    assert result.status == "ok"
    time.sleep(0.5)


def test_a_time_limit_in_a_thread_is_refused_with_the_way_out():
    caught = []

    def start():
        try:
            list(run_trials(SerialRunner(trial_timeout=1), hang, TRIALS[:1]))
        except OptionError as error:
            caught.append(str(error))

    thread = threading.Thread(target=start)
    thread.start()
    thread.join()
    assert "use ProcessPoolRunner" in caught[0]


@pytest.mark.parametrize("wrong", [0, -1, float("nan"), float("inf"), "60"])
@pytest.mark.parametrize("kind", [SerialRunner, ProcessPoolRunner, PackedRunner], ids=lambda kind: kind.__name__)
def test_a_wrong_time_limit_is_refused_at_the_door(kind, wrong):
    with pytest.raises(OptionError, match="trial_timeout must be a finite number > 0"):
        kind(trial_timeout=wrong)


@pytest.mark.parametrize("runner", [SerialRunner(), ProcessPoolRunner(2)], ids=lambda runner: type(runner).__name__)
def test_exceptions_that_are_no_exception_end_one_trial_only(runner):
    results = {r.spec.lr: r for r in run_trials(runner, end_oddly, TRIALS)}
    assert [results[lr].status for lr in (0.1, 0.2, 0.3)] == ["failed", "failed", "ok"]
    assert "OwnError" in results[0.1].error
    assert "GeneratorExit" in results[0.2].error


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")  # of Python 3.12, about threads and fork
@pytest.mark.parametrize("runner", [SerialRunner(), ProcessPoolRunner(2)], ids=lambda runner: type(runner).__name__)
def test_a_training_that_forks_has_one_result(runner, tmp_path):
    sweep = run_sweep(fork, [0.1, 0.2], ["constant"], [0], runner=runner, journal=tmp_path / "j.jsonl", progress=False)
    assert sweep.n_trials == 2
    assert (tmp_path / "j.jsonl").read_text().count('"record": "trial"') == 2


def test_a_worker_is_replaced_after_its_share_of_trials():
    trials = [TrialSpec("constant", lr, seed) for lr in (0.1, 0.2) for seed in range(3)]
    processes = [
        r.metrics["process"] for r in run_trials(ProcessPoolRunner(1, trials_per_worker=2), report_process, trials)
    ]
    assert len(processes) == 6
    assert sorted(map(processes.count, set(processes))) == [2, 2, 2]


def test_a_sweep_out_of_time_ends_cleanly_and_the_same_call_continues(tmp_path):
    def slow(*, lr, schedule, seed):
        time.sleep(0.05)
        return lr + seed

    options = {"journal": tmp_path / "j.jsonl", "label": "slow", "progress": False}
    part = run_sweep(slow, [0.1, 0.2, 0.3, 0.4], ["constant"], [0, 1], time_budget=0.12, **options)
    assert 1 <= part.n_trials < 8
    assert any("the time budget of 0.12 s is used up with" in note for note in part.notes)
    whole = run_sweep(slow, [0.1, 0.2, 0.3, 0.4], ["constant"], [0, 1], **options)
    assert whole.n_trials == 8
    assert not whole.notes


def test_a_time_budget_that_suffices_is_not_mentioned():
    sweep = run_sweep(report_process, [0.1, 0.2], ["constant"], [0], time_budget=60, progress=False)
    assert not any("time budget" in note for note in sweep.notes)


def test_a_search_out_of_time_says_so_and_continues(tmp_path):
    def slow(*, lr, schedule, seed):
        time.sleep(0.05)
        return abs(lr - 0.02)

    options = {"tolerance": 0.001, "journal": tmp_path / "j.jsonl", "label": "slow", "progress": False}
    part = search_learning_rate(slow, 1e-3, 1.0, time_budget=0.12, **options)
    assert part.stop is None
    assert "time budget of 0.12 s is used up" in part.notes[-1]
    assert search_learning_rate(slow, 1e-3, 1.0, **options).stop is not None


@pytest.mark.parametrize("wrong", [0, -5, float("nan"), "1h"])
def test_a_wrong_time_budget_is_refused_at_the_door(wrong):
    with pytest.raises(OptionError, match="time_budget must be a finite number > 0"):
        run_sweep(report_process, [0.1], ["constant"], [0], time_budget=wrong)


def test_a_time_limit_with_retries_tries_again():
    with pytest.warns(RobustLRWarning, match="1 of 3 trials failed"):
        sweep = run_sweep(
            hang, [0.1, HANGS, 0.3], ["constant"], [0], runner=SerialRunner(trial_timeout=0.2), max_retries=1,
            progress=False,
        )  # fmt: skip
    assert [failure.spec.lr for failure in sweep.failures] == [HANGS]
