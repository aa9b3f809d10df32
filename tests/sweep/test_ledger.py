"""The ledger hands out each trial once, again after a failure, and gives up in the end; the journal has outcomes."""

from __future__ import annotations

import logging
import math
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from robust_lr import RobustLRError, TrialResult, TrialSpec
from robust_lr.exceptions import OptionError
from robust_lr.journal import Journal, read_journal
from robust_lr.runners import SerialRunner
from robust_lr.sweep.ledger import TrialLedger
from robust_lr.testing import SCHEDULES

TRIALS = [TrialSpec("constant", lr, 0) for lr in (0.1, 0.2, 0.3, 0.4)]


class Plan:
    """Rounds of trials; the next one when all trials of the last have an outcome."""

    def __init__(self, *rounds):
        self.rounds, self.running, self.outcomes = list(rounds), set(), []

    def next_trials(self):
        if self.running or not self.rounds:
            return []
        trials = self.rounds.pop(0)
        self.running = set(trials)
        return list(trials)

    def add(self, result):
        self.running.discard(result.spec)
        self.outcomes.append(result)


def ok(spec):
    return TrialResult(spec, spec.lr, "ok")


def failed(spec):
    return TrialResult(spec, math.nan, "failed", error="Traceback\nOSError: the disk is away")


def test_trials_are_handed_out_once_and_in_order():
    ledger = TrialLedger(Plan(TRIALS))
    assert list(ledger.waiting) == TRIALS
    assert [ledger.take(3), ledger.take(3), ledger.take(3)] == [TRIALS[:3], TRIALS[3:], []]
    assert ledger.in_flight == tuple(TRIALS)


def test_the_next_round_comes_when_the_last_one_is_complete():
    ledger = TrialLedger(Plan(TRIALS[:2], TRIALS[2:]))
    assert ledger.take(9) == TRIALS[:2]
    ledger.record(ok(TRIALS[1]))
    assert ledger.take(9) == []
    ledger.record(ok(TRIALS[0]))
    assert ledger.take(9) == TRIALS[2:]


def test_a_trial_that_failed_is_the_next_to_be_handed_out_until_it_is_given_up(caplog):
    plan = Plan(TRIALS)
    ledger = TrialLedger(plan, max_retries=2)
    (spec,) = ledger.take()
    with caplog.at_level(logging.INFO, "robust_lr"):
        for attempt in (1, 2):
            assert ledger.record(failed(spec)) is False
            assert f"attempt {attempt} of 3 failed; retrying: OSError: the disk is away" in caplog.messages[-1]
            assert ledger.take() == [spec]
    assert ledger.record(failed(spec)) is True
    assert [result.status for result in plan.outcomes] == ["failed"]
    assert ledger.take() == TRIALS[1:2]


def test_what_did_not_run_goes_back_and_has_not_failed():
    plan = Plan(TRIALS)
    ledger = TrialLedger(plan, max_retries=0)
    taken = ledger.take(2)
    ledger.give_back(taken)
    assert ledger.take(3) == TRIALS[:3] and not plan.outcomes


def test_a_trial_that_runs_elsewhere_is_claimed_and_not_handed_out():
    ledger = TrialLedger(Plan(TRIALS))
    assert list(ledger.waiting) == TRIALS
    ledger.claim(TRIALS[1])
    assert ledger.take(9) == [TRIALS[0], *TRIALS[2:]]
    assert ledger.record(ok(TRIALS[1]))


def test_the_journal_has_each_outcome_and_no_failure_that_was_tried_again(tmp_path):
    with Journal.open(tmp_path / "sweep.jsonl", schedules={"constant": "constant"}) as journal:
        ledger = TrialLedger(Plan(TRIALS[:2]), journal=journal, max_retries=1)
        first, second = ledger.take(2)
        for result in (failed(first), ok(second)):
            ledger.record(result)
        ledger.take()
        ledger.record(failed(first))
    written = read_journal(tmp_path / "sweep.jsonl").results
    assert [(result.spec, result.status) for result in written] == [(second, "ok"), (first, "failed")]


def test_a_result_of_a_trial_that_is_not_in_flight_is_refused():
    ledger = TrialLedger(Plan(TRIALS))
    with pytest.raises(RobustLRError, match="was never handed out"):
        ledger.record(ok(TRIALS[0]))
    ledger.take()
    ledger.record(ok(TRIALS[0]))
    with pytest.raises(RobustLRError, match="got two results"):
        ledger.record(ok(TRIALS[0]))


@pytest.mark.parametrize(("status", "loss"), [("ok", math.nan), ("ok", math.inf), ("fine", 1.0)])
def test_a_runner_that_says_what_no_journal_could_read_back_is_named_before_it_is_written(status, loss, tmp_path):
    class Broken(SerialRunner):
        def run(self, train, source, schedules):
            for spec in source.take(1):
                yield TrialResult(spec, loss, status)

    with Journal.open(tmp_path / "sweep.jsonl", schedules={"constant": "constant"}) as journal:
        ledger = TrialLedger(Plan(TRIALS), journal=journal)
        with pytest.raises(RobustLRError, match=f"Broken.* returned status '{status}' with loss {loss}"):
            list(ledger.run(Broken(), lambda **trial: 1.0, SCHEDULES))
    assert not read_journal(tmp_path / "sweep.jsonl").results


@pytest.mark.parametrize("wrong", [-1, 1.5, True, "2"])
def test_a_wrong_number_of_retries_is_refused(wrong):
    with pytest.raises(OptionError, match="max_retries must be a whole number of at least 0"):
        TrialLedger(Plan(TRIALS), max_retries=wrong)


@given(
    failures=st.lists(st.integers(0, 4), min_size=1, max_size=8),
    max_retries=st.integers(0, 3),
    n_rounds=st.integers(1, 3),
)
def test_every_trial_comes_to_one_outcome_whatever_fails(failures, max_retries, n_rounds):
    trials = [TrialSpec("constant", 0.1 + i, 0) for i in range(len(failures))]
    left, calls = dict(zip([t.lr for t in trials], failures, strict=True)), Counter()

    def train(*, lr, schedule, seed):
        calls[lr] += 1
        left[lr] -= 1
        if left[lr] >= 0:
            raise OSError("again")
        return lr

    plan = Plan(*(trials[i::n_rounds] for i in range(n_rounds) if trials[i::n_rounds]))
    results = list(TrialLedger(plan, max_retries=max_retries).run(SerialRunner(), train, SCHEDULES))
    assert results == plan.outcomes and sorted(r.spec.lr for r in results) == [t.lr for t in trials]
    for trial, n in zip(trials, failures, strict=True):
        (outcome,) = (r for r in results if r.spec == trial)
        assert outcome.status == ("failed" if n > max_retries else "ok")
        assert calls[trial.lr] == min(n, max_retries) + 1
