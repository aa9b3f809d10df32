"""A node that fails trials which other nodes finish gets no more of them; if all nodes fail alike, it is the code."""

from __future__ import annotations

import logging
import math

import pytest

from robust_lr import TrialResult, TrialSpec, run_sweep
from robust_lr.exceptions import TrialError
from robust_lr.runners import pool
from robust_lr.runners.nodes import NodeRecords
from robust_lr.runners.pool import Pool, Worker

TRIALS = [TrialSpec("cosine", lr, 0) for lr in (0.1, 0.2, 0.3, 0.4, 0.5)]
NODES = {"good", "other", "bad"}


def failed(spec):
    return TrialResult(spec, math.nan, "failed", error="FileNotFoundError: /data")


class OnANode(Worker):
    """Fails at once on a bad node; elsewhere a trial takes a few polls."""

    n_on_bad = 0

    def __init__(self, node, bad):
        self.node, self._is_bad, self._trial, self._n_polls = node, node in bad, None, 0

    def submit(self, trials):
        (self._trial,), self.room, self._n_polls = trials, 0, 0

    def refs(self):
        return []

    def poll(self, ready):
        if not self.is_up:
            self.is_up, self.room = True, 1
        elif self._trial is not None:
            self._n_polls += 1
            if self._is_bad or self._n_polls > 3:
                trial, self._trial, self.room = self._trial, None, 1
                OnANode.n_on_bad += self._is_bad
                return [failed(trial) if self._is_bad else TrialResult(trial, trial.lr + trial.seed, "ok")]
        return []

    def stop(self):
        pass


class OnNodes:
    def __init__(self, *, bad):
        self._bad, OnANode.n_on_bad = bad, 0

    def run(self, train, source, schedules):
        return Pool(
            lambda number, limit: OnANode(["good", "other", "bad"][number % 3], self._bad),
            source,
            n_workers=lambda: 6,
            capacity=2,
            wait=lambda refs, timeout: set(),
            waiting="a worker",
        ).results()


@pytest.fixture(autouse=True)
def nothing_to_wait_for(monkeypatch):
    monkeypatch.setattr(pool.time, "sleep", lambda seconds: None)


def sweep_on(runner, **options):
    lrs = [0.01 * (1 + i) for i in range(20)]
    return run_sweep(lambda **axes: 0.0, lrs, ["cosine"], 3, runner=runner, progress=False, **options)


def test_one_bad_node_of_three_costs_no_cell_and_is_named(caplog):
    with caplog.at_level(logging.WARNING, logger="robust_lr"):
        sweep = sweep_on(OnNodes(bad={"bad"}))
    assert sweep.n_trials == 60
    assert not sweep.failures
    assert [record.getMessage() for record in caplog.records if "other nodes finish" in record.getMessage()] == [
        "bad fails trials that other nodes finish (FileNotFoundError: /data): it gets no more, and its trials run "
        "elsewhere"
    ]
    assert OnANode.n_on_bad < 20


def test_a_training_that_fails_on_every_node_stops_after_the_first_few():
    with pytest.raises(TrialError, match="train failed on each of the first 3 trials; the first: FileNotFoundError"):
        sweep_on(OnNodes(bad=NODES))
    assert OnANode.n_on_bad < 20


def test_a_trial_goes_to_a_node_that_has_not_failed_it():
    records = NodeRecords()
    records.note("bad", failed(TRIALS[0]))
    assert not records.takes("bad", TRIALS[0], NODES)
    assert records.takes("good", TRIALS[0], NODES)
    assert records.takes("bad", TRIALS[1], NODES), "one failure blames the trial, not the node"
    assert records.split("bad", TRIALS, NODES) == (TRIALS[1:], TRIALS[:1])


def test_a_trial_that_every_node_has_failed_may_run_anywhere():
    records = NodeRecords()
    for node in NODES:
        records.note(node, failed(TRIALS[0]))
    assert all(records.takes(node, TRIALS[0], NODES) for node in NODES)


def test_the_only_node_takes_everything():
    records = NodeRecords()
    for spec in TRIALS:
        records.note("bad", failed(spec))
        records.note("good", TrialResult(spec, 0.5, "ok"))
    assert not records.takes("bad", TRIALS[4], {"bad", "good"})
    assert records.takes("bad", TRIALS[4], {"bad"})


def test_a_node_that_finishes_a_trial_is_trusted_again():
    records = NodeRecords()
    for spec in TRIALS[:3]:
        records.note("bad", failed(spec))
        records.note("good", TrialResult(spec, 0.5, "ok"))
    records.note("bad", TrialResult(TRIALS[3], 0.5, "ok"))
    assert records.takes("bad", TRIALS[4], NODES)


def test_workers_without_a_node_are_left_alone():
    records = NodeRecords()
    records.note("", failed(TRIALS[0]))
    assert records.takes("", TRIALS[0], {""})
