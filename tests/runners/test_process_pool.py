"""The runners keep the contract; and what only the process pool has to withstand."""

from __future__ import annotations

import functools
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from robust_lr import FunctionSchedule, RobustLRError, TrialSpec
from robust_lr.exceptions import OptionError, TrialError
from robust_lr.runners import ProcessPoolRunner, Runner, SerialRunner, TrialList
from robust_lr.runners.process_pool import visible_devices
from robust_lr.testing import SCHEDULES, RunnerContract, run_trials, train_quadratic

TRIALS = [TrialSpec("constant", lr, 0) for lr in (0.1, 0.2, 0.3, 0.4)]


class TestSerialRunner(RunnerContract):
    @pytest.fixture
    def runner(self):
        return SerialRunner()


class TestProcessPoolRunner(RunnerContract):
    @pytest.fixture
    def runner(self):
        return ProcessPoolRunner(2)


def run(runner, train, trials=TRIALS, **options):
    return {result.spec: result for result in run_trials(runner, train, trials, **options)}


# The process pool: arguments and environment


def test_pool_arguments(monkeypatch):
    assert isinstance(ProcessPoolRunner(), Runner)
    assert ProcessPoolRunner().n_jobs == 2
    assert ProcessPoolRunner(devices=("0", "1", "2")).n_jobs == 3
    assert [ProcessPoolRunner(3, devices=[4, 5]).environment(i)["CUDA_VISIBLE_DEVICES"] for i in range(3)] == list(
        "454"
    )
    for wrong in ({"n_jobs": 0}, {"devices": "0"}, {"threads_per_worker": 0}):
        with pytest.raises(OptionError, match=next(iter(wrong))):
            ProcessPoolRunner(**wrong)
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    assert "OMP_NUM_THREADS" not in ProcessPoolRunner().environment(0)
    assert ProcessPoolRunner(threads_per_worker=3).environment(0)["OMP_NUM_THREADS"] == "3"


@pytest.mark.parametrize(
    "variable, devices", [("", ()), ("-1", ()), ("0", ("0",)), ("2, 3", ("2", "3")), ("GPU-ab", ("GPU-ab",))]
)
def test_auto_devices_are_the_visible_ones(monkeypatch, variable, devices):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", variable)
    assert ProcessPoolRunner(devices="auto").devices == visible_devices() == devices


def test_auto_devices_are_else_counted_by_nvidia_smi(monkeypatch, tmp_path):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert visible_devices() == ()
    script = tmp_path / "nvidia-smi"
    script.write_text("#!/bin/sh\necho 'GPU 0: H100 (UUID: GPU-1)'\necho '  MIG 1g: x'\necho 'GPU 1: H100'\n")
    script.chmod(0o755)
    assert visible_devices() == ("0", "1")


def train_environment(*, lr, schedule, seed):
    device, at_import = int(os.environ["CUDA_VISIBLE_DEVICES"]), int(DEVICE_AT_IMPORT or -1)
    time.sleep(0.3)  # so that no worker takes all the trials
    return {"loss": lr, "device": device, "at_import": at_import, "threads": int(os.environ["OMP_NUM_THREADS"])}


DEVICE_AT_IMPORT = os.environ.get("CUDA_VISIBLE_DEVICES")


def test_workers_are_pinned_before_their_first_import(monkeypatch):
    for name in ("CUDA_VISIBLE_DEVICES", "OMP_NUM_THREADS"):
        monkeypatch.delenv(name, raising=False)
    before = dict(os.environ)
    results = run(ProcessPoolRunner(devices=("5", "6"), threads_per_worker=3), train_environment).values()
    assert {r.metrics["device"] for r in results} == {5, 6} and {r.metrics["threads"] for r in results} == {3}
    assert all(r.metrics["at_import"] == r.metrics["device"] for r in results)
    assert dict(os.environ) == before


# The process pool: deaths


def train_or_die(*, lr, schedule, seed, folder, deaths):
    """Log the call; at lr 0.2, die the first `deaths` times."""
    calls = Path(folder, f"{lr}")
    with calls.open("a") as file:
        file.write("x")
    if lr == 0.2 and len(calls.read_text()) <= deaths:
        os.kill(os.getpid(), signal.SIGKILL)
    return lr


def test_the_trial_of_a_dead_worker_is_tried_again(tmp_path):
    train = functools.partial(train_or_die, folder=str(tmp_path), deaths=2)
    results = run_trials(ProcessPoolRunner(2), train, TRIALS, max_retries=2)
    assert sorted(r.loss for r in results) == [0.1, 0.2, 0.3, 0.4]
    assert {p.name: len(p.read_text()) for p in tmp_path.iterdir()} == {"0.1": 1, "0.2": 3, "0.3": 1, "0.4": 1}


def test_a_trial_that_always_kills_its_worker_fails(tmp_path):
    train = functools.partial(train_or_die, folder=str(tmp_path), deaths=99)
    results = run_trials(ProcessPoolRunner(2), train, TRIALS, max_retries=1)
    assert [r.status for r in sorted(results, key=lambda r: r.spec.lr)] == ["ok", "failed", "ok", "ok"]
    (failed,) = (r for r in results if r.status == "failed")
    assert failed.error == "worker died with exit code -9 (SIGKILL)" and len((tmp_path / "0.2").read_text()) == 2


def train_exiting(*, lr, schedule, seed):
    sys.exit(3) if lr == 0.1 else os._exit(4) if lr == 0.2 else None
    return lr


def test_an_exit_fails_its_trial_and_a_hard_one_is_a_death():
    results = run(ProcessPoolRunner(1), train_exiting)
    assert [results[t].status for t in TRIALS[:2]] == ["failed", "failed"]
    assert results[TRIALS[0]].error.endswith("\nSystemExit: 3\n")
    assert results[TRIALS[1]].error == "worker died with exit code 4"
    assert [results[t].status for t in TRIALS[2:]] == ["ok", "ok"]


def train_that_breaks_its_process(*, lr, schedule, seed, folder):
    """At lr 0.2 fail once, and leave a process in which every later trial fails, as failed assertions on GPUs do."""
    broken = sys.modules.setdefault("robust_lr_tests_broken", set())
    Path(folder, f"pid-{os.getpid()}").touch()
    if lr == 0.2 and not Path(folder, "broken").exists():
        Path(folder, "broken").touch()
        broken.add(os.getpid())
    if broken:
        raise RuntimeError("CUDA error: device-side assert triggered")
    return lr


def test_a_broken_process_costs_one_trial_one_retry_and_one_process(tmp_path):
    train = functools.partial(train_that_breaks_its_process, folder=str(tmp_path))
    assert sorted(r.loss for r in run(ProcessPoolRunner(1), train, max_retries=1).values()) == [0.1, 0.2, 0.3, 0.4]
    assert len(list(tmp_path.glob("pid-*"))) == 2


def train_without_a_number(*, lr, schedule, seed, folder, returned):
    Path(folder, f"{lr}-{time.monotonic_ns()}").touch()
    return returned


@pytest.mark.parametrize("returned", [None, "0.5", {"loss": 0.5, "run_id": "abc"}])
@pytest.mark.parametrize("runner", [SerialRunner(), ProcessPoolRunner(1)], ids=["serial", "pool"])
def test_a_return_value_that_is_no_number_ends_the_run_after_one_training(tmp_path, runner, returned):
    train = functools.partial(train_without_a_number, folder=str(tmp_path), returned=returned)
    value = "None" if returned is None else "0.5" if returned == "0.5" else "abc"
    with pytest.raises(TrialError, match=rf"^train must return .* as a number, got .*{value}"):
        run(runner, train, max_retries=2)
    assert len(list(tmp_path.iterdir())) == 1


def train_slowly(*, lr, schedule, seed, folder):
    Path(folder, str(os.getpid())).touch()
    time.sleep(60 if lr > 0.1 else 0)
    return lr


def alive(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_closing_ends_the_workers_in_the_middle_of_a_trial(tmp_path):
    train = functools.partial(train_slowly, folder=str(tmp_path))
    results = ProcessPoolRunner(2).run(train, TrialList(TRIALS), SCHEDULES)
    assert next(results).loss == 0.1
    start = time.monotonic()
    results.close()
    assert time.monotonic() - start < 40 and not multiprocessing.active_children()
    assert not any(alive(p.name) for p in tmp_path.iterdir())


def test_the_pool_runs_in_a_thread():
    found = []
    thread = threading.Thread(target=lambda: found.extend(run(ProcessPoolRunner(1), train_quadratic)))
    thread.start()
    thread.join()
    assert set(found) == set(TRIALS)


def train_with_children(*, lr, schedule, seed):
    with multiprocessing.get_context("fork").Pool(1) as pool:
        return float(pool.apply(abs, (-lr,)))


def test_a_training_function_may_have_processes_of_its_own():
    assert [r.loss for r in run(ProcessPoolRunner(1), train_with_children, TRIALS[:1]).values()] == [0.1]


# The process pool: what cannot work is said at the door


def test_what_does_not_pickle_is_refused_before_any_worker_starts(monkeypatch):
    monkeypatch.setattr(sys.modules["__main__"], "__file__", "script.py", raising=False)  # else it is a prompt
    monkeypatch.setattr(multiprocessing.get_context("spawn").Process, "start", None)
    runner = ProcessPoolRunner()
    with pytest.raises(
        RobustLRError, match=r"train must be importable by the worker processes.*module level"
    ) as caught:
        runner.run(lambda *, lr, schedule, seed: lr, TrialList(TRIALS), SCHEDULES)
    assert "\n" not in str(caught.value)
    with pytest.raises(RobustLRError, match="schedule 'mine' must be importable"):
        runner.run(train_quadratic, TrialList(TRIALS), {"mine": FunctionSchedule(lambda step, total_steps: step)})


def script(tmp_path, text, *arguments):
    path = tmp_path / "script.py"
    path.write_text(text)
    return [sys.executable, str(path), *arguments]


UNGUARDED = """
from robust_lr import Constant, TrialSpec
from robust_lr.runners import ProcessPoolRunner, TrialList
def train(*, lr, schedule, seed): return lr
print([r.loss for r in ProcessPoolRunner(2).run(train, TrialList([TrialSpec("c", 0.1, 0)]), {"c": Constant()})])
"""


def test_a_script_without_a_guard_is_told_so(tmp_path):
    done = subprocess.run(script(tmp_path, UNGUARDED), capture_output=True, text=True, timeout=200, check=False)
    last = done.stderr.strip().splitlines()[-1]
    assert (
        done.returncode == 1 and "4 workers in a row ended before they were ready: worker died with exit code 1" in last
    )
    assert "__name__ == '__main__'" in last


def test_a_function_of_a_notebook_or_a_prompt_runs_in_the_workers():
    """As `python -c` does: nothing there can be imported."""
    done = subprocess.run([sys.executable, "-c", UNGUARDED], capture_output=True, text=True, timeout=200, check=False)
    assert done.stdout.strip() == "[0.1]", done.stderr


def test_without_cloudpickle_a_function_of_a_notebook_is_told_where_to_live():
    code = "import sys\nsys.modules['cloudpickle'] = None" + UNGUARDED
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=200, check=False)
    last = done.stderr.strip().splitlines()[-1]
    assert "train is defined in a notebook or at a prompt" in last and "pip install cloudpickle" in last
    assert "workers" not in done.stderr.replace("worker processes", ""), "no worker has started"


INTERRUPTED = """
import os, sys, time
from pathlib import Path
from robust_lr import Constant, TrialSpec
from robust_lr.runners import ProcessPoolRunner, TrialList
def train(*, lr, schedule, seed):
    Path(sys.argv[1], str(os.getpid())).touch()
    time.sleep(60)
if __name__ == "__main__":
    trials = TrialList([TrialSpec("c", lr, 0) for lr in (0.1, 0.2)])
    results = ProcessPoolRunner(2).run(train, trials, {"c": Constant()})
    if sys.argv[2] == "abandon":
        import threading
        kept = [results]
        threading.Thread(target=next, args=(results,), daemon=True).start()
        while len(list(Path(sys.argv[1]).iterdir())) < 2: time.sleep(0.02)
    else:
        next(results)
"""


@pytest.mark.parametrize("how", ["ctrl-c", "kill the parent", "terminate the parent", "abandon"])
def test_no_worker_outlives_its_parent(tmp_path, how):
    folder = tmp_path / "pids"
    folder.mkdir()
    command = script(tmp_path, INTERRUPTED, str(folder), how)
    process = subprocess.Popen(command, start_new_session=True, stderr=subprocess.PIPE, text=True)
    while len(pids := [p.name for p in folder.iterdir()]) < 2 and process.poll() is None:
        time.sleep(0.02)
    if how == "ctrl-c":
        os.killpg(process.pid, signal.SIGINT)  # as a terminal does, to every process of the group
    elif how != "abandon":
        process.send_signal(signal.SIGKILL if how == "kill the parent" else signal.SIGTERM)
    _, errors = process.communicate(timeout=200)
    deadline = time.monotonic() + 60
    while any(map(alive, pids)) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not any(map(alive, pids))
    if how == "ctrl-c":
        assert errors.count("KeyboardInterrupt") == 1, errors


def train_the_lowest_last(*, lr, schedule, seed):
    time.sleep(1.5 if lr == 0.1 else 0.01)
    return lr


def test_results_come_in_order_of_completion():
    losses = [result.loss for result in run_trials(ProcessPoolRunner(2), train_the_lowest_last, TRIALS)]
    assert losses[-1] == 0.1 and sorted(losses) == [0.1, 0.2, 0.3, 0.4]
