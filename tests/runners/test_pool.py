"""The pool replaces workers that are lost and blames no trial for a node. The workers here are made up."""

from __future__ import annotations

import itertools

import pytest

from robust_lr import RobustLRError, TrialResult, TrialSpec, run_sweep
from robust_lr.runners import TrialList, pool
from robust_lr.runners.outgoing import outbox_of
from robust_lr.runners.pool import Pool, Worker, WorkerLost
from robust_lr.testing import run_trials, train_quadratic

TRIALS = [TrialSpec("constant", 0.1 + i, 0) for i in range(8)]


class MadeUpWorker(Worker):
    """Runs each trial at once, after `loss_of` has had a look at those in flight; `status` is that of its results."""

    status = "ok"

    def __init__(self, capacity, loss_of, dies_early=None):
        self.capacity = capacity
        self._loss_of, self._dies_early, self._trials = loss_of, dies_early, []

    def submit(self, trials):
        self.room -= len(trials)
        self._trials += trials

    def refs(self):
        return []

    def poll(self, ready):
        if not self.is_up:
            if self._dies_early and self._dies_early(self.capacity):
                self.lost = WorkerLost("no memory", "out_of_memory")
                return []
            self.is_up, self.room = True, self.capacity
            return []
        self.lost = self._loss_of(self._trials)
        if self.lost is not None:
            return []
        results = [TrialResult(spec, spec.lr, self.status) for spec in self._trials]
        self.room, self._trials = self.capacity, []
        return results

    def stop(self):
        pass


def pool_of(start, source, *, n_workers=lambda: 2, capacity=1):
    """The results of a pool whose workers `start` makes for a capacity."""
    return Pool(
        lambda number, limit: start(limit),
        source,
        n_workers=n_workers,
        capacity=capacity,
        wait=lambda refs, timeout: set(),
        waiting="a worker",
    ).results()


class MadeUpRunner:
    def __init__(self, loss_of=lambda trials: None, *, capacity=1, n_workers=2, dies_early=None):
        self._args, self._capacity, self._n_workers, self.capacities = (loss_of, dies_early), capacity, n_workers, []

    def run(self, train, source, schedules):
        def start(capacity):
            self.capacities.append(capacity)
            return MadeUpWorker(capacity, *self._args)

        return pool_of(start, source, n_workers=lambda: self._n_workers, capacity=self._capacity)


@pytest.fixture(autouse=True)
def nothing_to_wait_for(monkeypatch):
    monkeypatch.setattr(pool.time, "sleep", lambda seconds: None)


def statuses(runner, trials=TRIALS, **options):
    return {result.spec: result.status for result in run_trials(runner, train_quadratic, trials, **options)}


@pytest.mark.parametrize("capacity", [1, 4])
def test_a_lost_node_is_no_failure_of_its_trials(capacity):
    losses = itertools.count(1)

    def loss_of(trials):
        return WorkerLost("the node died", is_blameless=True) if trials and next(losses) <= 5 else None

    assert set(statuses(MadeUpRunner(loss_of, capacity=capacity)).values()) == {"ok"}


@pytest.mark.parametrize("is_blameless", [False, True])
def test_a_result_that_was_saved_before_its_worker_was_lost_counts_and_the_trial_does_not_run_again(
    tmp_path, is_blameless
):
    begun = []

    class Runner:
        def run(self, train, source, schedules):
            outbox = outbox_of(source)

            def loss_of(trials):
                for spec in trials:
                    begun.append(spec.lr)
                    outbox.put(TrialResult(spec, 2 * spec.lr, "ok"))
                return WorkerLost("the worker was killed", is_blameless=is_blameless) if trials else None

            return pool_of(lambda capacity: MadeUpWorker(capacity, loss_of), source)

    options = {"runner": Runner(), "journal": tmp_path / "j.jsonl", "max_retries": 0}
    sweep = run_sweep(train_quadratic, [0.1, 0.2, 0.3], ["constant"], 1, **options)
    assert sorted(begun) == [0.1, 0.2, 0.3]
    assert sweep.loss.ravel().tolist() == [0.2, 0.4, 0.6]


def test_a_trial_under_which_nodes_die_again_and_again_fails_and_no_other():
    def loss_of(trials):
        return WorkerLost("the node died", is_blameless=True) if TRIALS[0] in trials else None

    assert statuses(MadeUpRunner(loss_of)) == dict.fromkeys(TRIALS, "ok") | {TRIALS[0]: "failed"}


def test_the_trial_that_kills_its_workers_fails_and_no_other():
    def loss_of(trials):
        return WorkerLost("killed", "out_of_memory") if TRIALS[5] in trials else None

    runner = MadeUpRunner(loss_of, capacity=4)
    assert statuses(runner) == dict.fromkeys(TRIALS, "ok") | {TRIALS[5]: "out_of_memory"}


def test_a_worker_that_is_lost_between_its_trials_is_replaced_however_often():
    class LostAfterEach(MadeUpWorker):
        def poll(self, ready):
            results = super().poll(ready)
            if results:
                self.lost = WorkerLost("its ranks did not end together")
            return results

    class Runner:
        def run(self, train, source, schedules):
            return pool_of(lambda capacity: LostAfterEach(capacity, lambda trials: None), source, n_workers=lambda: 1)

    assert set(statuses(Runner()).values()) == {"ok"}


def test_a_worker_that_dies_making_room_makes_less_of_it():
    runner = MadeUpRunner(capacity=8, n_workers=1, dies_early=lambda capacity: capacity > 2)
    assert set(statuses(runner).values()) == {"ok"}
    assert runner.capacities == [8, 4, 2]


def test_workers_that_never_come_up_end_the_run():
    with pytest.raises(RobustLRError, match="4 workers in a row ended before they were ready: no memory"):
        statuses(MadeUpRunner(dies_early=lambda capacity: True))


def test_a_worker_that_stays_idle_is_stopped_while_another_still_trains(monkeypatch):
    clock, n_polls, stopped = itertools.count(step=5.0), itertools.count(), []
    monkeypatch.setattr(pool.time, "monotonic", lambda: next(clock))

    class Slow(MadeUpWorker):
        def poll(self, ready):
            return [] if TRIALS[0] in self._trials and next(n_polls) < 50 else super().poll(ready)

        def stop(self):
            stopped.append(self)

    class Runner:
        def run(self, train, source, schedules):
            for result in pool_of(lambda capacity: Slow(capacity, lambda trials: None), source):
                yield result
                n_stopped.append(len(stopped))

    n_stopped = []
    assert set(statuses(Runner(), TRIALS[:2]).values()) == {"ok"}
    assert n_stopped == [0, 1]


@pytest.mark.parametrize(("capacity", "n_started"), [(1, 8), (8, 1)])
def test_a_worker_in_which_a_trial_failed_runs_no_other_unless_it_trains_many_together(capacity, n_started):
    class Failing(MadeUpWorker):
        status = "failed"

    class Runner:
        def run(self, train, source, schedules):
            def start(limit):
                started.append(limit)
                return Failing(limit, lambda trials: None)

            return pool_of(start, source, n_workers=lambda: 1, capacity=capacity)

    started = []
    assert set(statuses(Runner(), max_retries=0).values()) == {"failed"}
    assert started == [capacity] * n_started


def test_the_results_that_have_arrived_are_kept_when_another_worker_ends_the_run():
    class Wrong(MadeUpWorker):
        def poll(self, ready):
            results = super().poll(ready)
            if [result.spec for result in results] == TRIALS[:1]:
                self.lost = RobustLRError("train must return a number")
                return []
            return results

    found = []
    with pytest.raises(RobustLRError, match="train must return a number"):
        for result in pool_of(lambda capacity: Wrong(capacity, lambda trials: None), TrialList(TRIALS)):
            found.append(result.spec)
    assert found == TRIALS[1:2]


def test_results_do_not_pile_up_unwritten_when_trials_end_faster_than_they_are_written():
    ended, most_unwritten = [], 0

    class Counting(MadeUpWorker):
        def poll(self, ready):
            results = super().poll(ready)
            ended.extend(results)
            return results

    trials = [TrialSpec("constant", 0.1 + i, 0) for i in range(200)]
    results = pool_of(lambda capacity: Counting(capacity, lambda trials: None), TrialList(trials), n_workers=lambda: 3)
    for n_written, _ in enumerate(results):
        most_unwritten = max(most_unwritten, len(ended) - n_written)
    assert len(ended) == 200
    assert most_unwritten <= 2 * 3 + 1
