"""PackedRunner: the results of one after the other, whatever the packs; and why it does not pack, when it does not."""

from __future__ import annotations

import json
import logging
import math
import multiprocessing
import os
import re
import subprocess
import sys
import time
import warnings
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import pytest

from robust_lr import Constant, FunctionSchedule, PackedRunner, RobustLRError
from robust_lr.exceptions import NotVectorizable, OptionError, RobustLRWarning
from robust_lr.journal.journal import read_journal
from robust_lr.runners import Packable, PackPlan, Runner, SerialRunner, TrialList
from robust_lr.testing import SCHEDULES, RunnerContract, run_trials, train_quadratic
from robust_lr.trials import TrialSpec, expand_trials
from tests.runners.packs import N_STEPS, Quadratic

LRS = (0.03125, 0.0625, 0.125, 0.25, 0.5, 1.0, 1e120, 1e200)  # the last two diverge after a few steps
here_and_in_two_processes = pytest.mark.parametrize("n_workers", [1, 2])
TRIALS = expand_trials(SCHEDULES, LRS, (0, 1))


@pytest.mark.filterwarnings("ignore:training sequentially")
class TestPackedRunner(RunnerContract):
    @pytest.fixture(params=[1, 2])
    def runner(self, request):
        return PackedRunner(request.param)


def run(runner, train=Quadratic(), trials=TRIALS, *, max_retries=0):  # noqa: B008
    results = run_trials(runner, train, trials, max_retries=max_retries)
    assert len(results) == len(trials)
    return {r.spec: r for r in results}


def outcomes(results):
    return {spec: (r.status, r.loss) for spec, r in results.items()}


def begun(folder):
    """How often each trial has begun."""
    return {p.name: len(p.read_text().splitlines()) for p in Path(folder).iterdir() if p.name[:6] != "worker"}


def packs(folder):
    """The sizes of the packs of each process, in the order in which the processes began."""
    logs = sorted(Path(folder).glob("worker-*"), key=lambda p: p.stat().st_mtime_ns)
    return [int(line) for log in logs for line in log.read_text().splitlines()]


# Equality


@pytest.mark.parametrize("n_workers, slots", [(1, 1), (1, 3), (1, "auto"), (1, 100), (2, 5)])
def test_packs_of_any_size_give_the_results_of_one_after_the_other(n_workers, slots):
    one_by_one = run(SerialRunner())
    assert Counter(r.status for r in one_by_one.values()) == {"ok": 24, "diverged": 8}
    assert outcomes(run(PackedRunner(n_workers, slots=slots))) == outcomes(one_by_one)


def test_a_replica_that_diverges_makes_room_for_the_next_trial():
    trials = [TrialSpec("constant", lr, 0) for lr in (0.25, 1e120, 0.5, 0.125)]
    results = run(PackedRunner(slots=2), trials=trials)
    start = [results[trial].metrics["begun"] for trial in trials]
    assert start[:2] == [0, 0] and 0 < start[2] < N_STEPS and start[3] == N_STEPS


def test_any_task_will_do_in_this_process(monkeypatch):
    monkeypatch.setattr(sys.modules["__main__"], "__file__", "script.py", raising=False)  # else it is a prompt

    class Local(Quadratic):
        pass

    schedules = {"constant": FunctionSchedule(lambda step, total_steps: 0.0 * step + 1.0)}
    trials = [TrialSpec("constant", 0.25, 0)]
    assert len(list(PackedRunner().run(Local(), TrialList(trials), schedules))) == 1
    with pytest.raises(RobustLRError, match="must be importable by the worker processes"):
        PackedRunner(2).run(Local(), TrialList(trials), schedules)
    with pytest.raises(RobustLRError, match="must be importable by the worker processes"):
        PackedRunner(devices=("0",)).run(Local(), TrialList(trials), {"constant": Constant()})


# Even packs


def test_few_trials_are_shared_by_all_workers(tmp_path):
    trials = expand_trials(["constant"], LRS[:5], (0, 1))
    task = GreedyQuadratic(str(tmp_path), n_workers=2)
    results = run(PackedRunner(2), task, trials)
    assert Counter(Counter(r.metrics["pid"] for r in results.values()).values()) == {5: 2}


class GreedyQuadratic(Quadratic):
    """Asks for more slots than there are trials."""

    def plan_packs(self, trials, schedules, **options):
        return super().plan_packs([trials[0]] * 64, schedules, **(options | {"slots": 32}))


@here_and_in_two_processes
def test_the_slots_that_end_together_begin_together(tmp_path, n_workers):
    trials = expand_trials(["constant"], LRS[:6], range(4))
    results = run(PackedRunner(n_workers, slots=4), Quadratic(str(tmp_path), n_workers=n_workers), trials)
    starts = Counter((r.metrics["pid"], r.metrics["begun"]) for r in results.values())
    assert {begun % N_STEPS for _, begun in starts} == {0} and len(starts) <= len(trials) / 4 + n_workers


# Accidents


@here_and_in_two_processes
def test_a_failed_replica_is_tried_again(tmp_path, n_workers):
    trials = expand_trials(["constant"], LRS, (0, 1))
    task = Quadratic(str(tmp_path), "fail", accident_at=0.25, n_accidents=1)
    assert outcomes(run(PackedRunner(n_workers), task, trials, max_retries=1)) == outcomes(
        run(SerialRunner(), trials=trials)
    )
    assert {name: n for name, n in begun(tmp_path).items() if n > 1} == {"0.25-0": 2, "0.25-1": 2}


@here_and_in_two_processes
def test_a_replica_that_always_fails_is_given_up_after_its_retries(tmp_path, n_workers):
    trials = expand_trials(["constant"], LRS, [0])
    task = Quadratic(str(tmp_path), "fail", accident_at=0.25, n_accidents=99)
    results = run(PackedRunner(n_workers), task, trials, max_retries=2)
    assert [spec.lr for spec, r in results.items() if r.status == "failed"] == [0.25]
    assert begun(tmp_path)["0.25-0"] == 3


def test_a_worker_killed_in_the_middle_of_a_pack_loses_nothing_and_halves_the_pack(tmp_path, caplog):
    trials = [t for t in expand_trials(["constant"], LRS, range(4)) if t.lr != 0.25 or t.seed == 0]
    task = Quadratic(str(tmp_path), "kill", accident_at=0.25, n_accidents=1)
    results = run(PackedRunner(devices=("0",)), task, trials, max_retries=0)
    assert outcomes(results) == outcomes(run(SerialRunner(), trials=trials))
    said = re.search(
        r"(\d) trials ended together \(worker died .*SIGKILL\)\); they run again, at most (\d)", caplog.text
    )
    assert said, caplog.text
    in_flight, at_most = map(int, said.groups())
    assert 1 < in_flight <= 8 and at_most == in_flight // 2 and packs(tmp_path)[:2] == [8, at_most]


def test_a_replica_that_kills_its_worker_ends_up_alone_and_the_others_in_full_packs(tmp_path):
    trials = [t for t in expand_trials(["constant"], LRS, range(4)) if t.lr != 0.5 or t.seed == 0]
    task = Quadratic(str(tmp_path), "kill", accident_at=0.5, n_accidents=99)
    results = run(PackedRunner(devices=("0",)), task, trials, max_retries=1)
    (failed,) = (r for r in results.values() if r.status == "failed")
    assert failed.spec == TrialSpec("constant", 0.5, 0)
    assert failed.error == "worker died with exit code -9 (SIGKILL)"
    sizes = packs(tmp_path)
    assert sizes[0] == 8 and sizes[-3:] == [1, 8, 8], sizes  # alone, alone in a new worker, then all the others


@here_and_in_two_processes
def test_a_pack_that_does_not_fit_is_split(tmp_path, n_workers, caplog):
    task = Quadratic(str(tmp_path), at_most=3)
    assert outcomes(run(PackedRunner(n_workers), task, max_retries=0)) == outcomes(run(SerialRunner()))
    assert sorted(set(packs(tmp_path))) == [2, 4, 8]
    assert "8 trials ended together (MemoryError: 8 replicas are too many); they run again, at most 4" in (caplog.text)


@here_and_in_two_processes
def test_a_replica_that_breaks_every_pack_fails_alone_with_its_traceback(tmp_path, n_workers):
    trials = expand_trials(["constant"], LRS, [0])
    task = Quadratic(str(tmp_path), "raise", accident_at=0.25, n_accidents=99)
    results = run(PackedRunner(n_workers), task, trials)
    (failed,) = (r for r in results.values() if r.status == "out_of_memory")
    assert failed.spec.lr == 0.25 and "Traceback" in failed.error and "MemoryError: too many at once" in failed.error


@here_and_in_two_processes
def test_a_pack_that_cannot_be_set_up_is_split(tmp_path, n_workers, caplog):
    task = Quadratic(str(tmp_path), at_most_slots=3)
    assert outcomes(run(PackedRunner(n_workers), task, max_retries=0)) == outcomes(run(SerialRunner()))
    assert set(packs(tmp_path)) == {2} and set(begun(tmp_path).values()) == {2}  # once for each schedule
    assert "8 trials ended together (MemoryError: 8 slots are too many); they run again, at most 4" in caplog.text


class Unready(Quadratic):
    def plan_packs(self, trials, schedules, **options):
        return PackPlan("packed", 4, math.nan, UnreadyPack, "")


@dataclass(frozen=True)
class UnreadyPack:
    slots: int

    def results(self, source):
        raise ZeroDivisionError("before the first trial")
        yield


def test_an_evaluator_that_takes_no_trial_raises_what_it_raises():
    with pytest.raises(ZeroDivisionError, match="before the first trial"):
        run(PackedRunner(), Unready())
    with pytest.raises(RobustLRError, match="before they were ready: ZeroDivisionError: before the first trial"):
        run(PackedRunner(2), Unready())


@here_and_in_two_processes
def test_closing_in_the_middle_of_a_pack_leaves_no_processes(n_workers):
    results = PackedRunner(n_workers).run(Quadratic(pause=0.05), TrialList(TRIALS), SCHEDULES)
    next(results)
    start = time.monotonic()
    results.close()
    assert time.monotonic() - start < 40 and not multiprocessing.active_children()


SWEEP = """
import sys
from robust_lr import PackedRunner, run_sweep
from tests.runners.packs import Quadratic
if __name__ == "__main__":
    folder, journal, n_workers = sys.argv[1:]
    run_sweep(Quadratic(folder, pause=0.01), [2.0**-i for i in range(12)], ["constant"], 2,
              runner=PackedRunner(int(n_workers), slots=4), journal=journal)
"""


@here_and_in_two_processes
def test_a_pack_that_was_killed_and_is_resumed_repeats_nothing_that_had_finished(tmp_path, n_workers):
    (tmp_path / "sweep.py").write_text(SWEEP)
    folder, journal = tmp_path / "log", tmp_path / "j.jsonl"
    folder.mkdir()
    command = [sys.executable, str(tmp_path / "sweep.py"), str(folder), str(journal), str(n_workers)]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[2])}
    process = subprocess.Popen(command, env=environment)
    while process.poll() is None and not (journal.exists() and journal.read_bytes().count(b"\n") > 6):
        time.sleep(0.01)
    process.kill()
    process.wait()
    kept = {f"{r.spec.lr!r}-{r.spec.seed}" for r in read_journal(journal).results}
    left = [json.loads(file.read_text()) for file in Path(f"{journal}.results").glob("*.json")]
    kept |= {f"{each['lr']!r}-{each['seed']}" for each in left}  # by a worker whose driver was dead
    assert 6 <= len(kept) < 24, "it was to be killed in the middle"
    before = begun(folder)
    assert set(before) >= kept
    assert subprocess.run(command, env=environment, check=False, timeout=250).returncode == 0
    assert len(read_journal(journal).results) == 24
    again = {name for name, n in begun(folder).items() if n > before.get(name, 0)}
    assert again.isdisjoint(kept) and len(again) == 24 - len(kept)


# Planning


def test_the_plan_is_asked_for_with_the_options_of_the_runner_and_its_note_is_logged(caplog):
    runner = PackedRunner(slots=3, engine="compiled", device="cuda:1", memory_limit=10**6)
    with caplog.at_level(logging.INFO, logger="robust_lr"):
        run(runner)
    assert caplog.messages == ["compiled gave packed: 3 slots, 1 workers, device cuda:1, memory 1000000"]


class Stubborn(Quadratic):
    def plan_packs(self, trials, schedules, **options):
        raise NotVectorizable("the loss reads a tensor's value", "train.py:12")


def test_what_cannot_be_packed_runs_one_after_the_other_and_says_why_once():
    with pytest.warns(RobustLRWarning) as caught:
        results = run(PackedRunner(), Stubborn())
    (warning,) = caught
    assert str(warning.message) == "training sequentially: the loss reads a tensor's value (train.py:12)"
    assert warning.filename == __file__
    assert outcomes(results) == outcomes(run(SerialRunner()))


@here_and_in_two_processes
def test_an_ordinary_function_runs_one_after_the_other_and_says_why(n_workers):
    with pytest.warns(RobustLRWarning, match=r"^training sequentially: .* has no plan_packs"):
        results = run(PackedRunner(n_workers), train_quadratic, TRIALS[:6])
    assert outcomes(results) == outcomes(run(SerialRunner(), train_quadratic, TRIALS[:6]))


@pytest.mark.parametrize("train", [Stubborn(), train_quadratic])
def test_a_strict_runner_raises_before_any_training(train):
    with pytest.raises(NotVectorizable):
        PackedRunner(2, strict=True).run(train, TrialList(TRIALS), SCHEDULES)


@pytest.mark.parametrize("train", [Stubborn(), train_quadratic, Quadratic()])
def test_one_after_the_other_can_be_asked_for_without_a_warning(train, caplog):
    with warnings.catch_warnings(), caplog.at_level(logging.INFO, logger="robust_lr"):
        warnings.simplefilter("error")
        results = run(PackedRunner(engine="sequential", strict=True), train, TRIALS[:6])
    assert caplog.messages == ["sequential, as requested"]
    assert outcomes(results) == outcomes(run(SerialRunner(), train, TRIALS[:6]))


def test_a_task_is_packable_and_a_function_is_not():
    assert isinstance(Quadratic(), Packable) and not isinstance(train_quadratic, Packable)
    assert isinstance(PackedRunner(), Runner)


# Arguments


def test_the_arguments_of_a_packed_runner(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert PackedRunner().n_jobs == PackedRunner(devices="auto").n_jobs == 1
    assert PackedRunner(devices=("0", "1", "2")).n_jobs == 3
    assert PackedRunner().threads_per_worker == 1
    assert PackedRunner(2, slots=4) == PackedRunner(2, slots=4)


@pytest.mark.parametrize(
    "wrong",
    [
        {"n_jobs": 0},
        {"slots": 0},
        {"slots": "many"},
        {"engine": "fast"},
        {"strict": "no"},
        {"devices": "0"},
        {"memory_limit": 0},
        {"memory_limit": 1e9},
        {"threads_per_worker": 0},
    ],
    ids=str,
)
def test_a_wrong_argument_is_refused_in_one_line(wrong):
    (name, value), *_ = wrong.items()
    with pytest.raises(OptionError, match=f"^{name} must be") as caught:
        PackedRunner(**wrong)
    assert repr(value) in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize("wrong", [{"engine": "auto"}, {"engine": "fast"}, {"slots": 0}], ids=str)
def test_a_wrong_plan_is_refused(wrong):
    right = {"engine": "packed", "slots": 2, "gain": 3.0, "make_evaluator": UnreadyPack, "note": ""}
    assert PackPlan(**right).slots == 2
    with pytest.raises(OptionError, match=f"^{next(iter(wrong))} must be"):
        PackPlan(**right | wrong)
