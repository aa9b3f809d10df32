"""A slot finds the trial that kills its workers, and no other trial counts as failed."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from robust_lr import TrialResult, TrialSpec
from robust_lr.runners import Slot, TrialList, fair_share

TRIALS = [TrialSpec("constant", 0.1 + i, 0) for i in range(8)]


def ok(spec):
    return TrialResult(spec, spec.lr, "ok")


def test_it_takes_no_more_than_it_has_room_for():
    slot = Slot(TrialList(TRIALS), 3)
    assert slot.take(2) == TRIALS[:2] and slot.take(2) == TRIALS[2:3] and slot.take(1) == []
    slot.finish(ok(TRIALS[0]))
    assert slot.take(2) == TRIALS[3:4]


def test_trials_that_were_lost_together_run_again_half_as_many_at_a_time_and_here_only():
    source = TrialList(TRIALS)
    slot, other = Slot(source, 4), Slot(source, 4)
    slot.take(4)
    assert slot.lose("killed") == [] and slot.limit == 2
    assert other.take(4) == TRIALS[4:]
    assert slot.take(4) == TRIALS[:2]
    assert slot.lose("killed") == [] and slot.take(4) == TRIALS[:1]


def test_the_one_that_was_alone_has_failed_and_there_is_room_again():
    slot = Slot(TrialList(TRIALS), 2)
    slot.take(2)
    slot.lose("killed")
    slot.take(2)
    (result,) = slot.lose("Traceback\nMemoryError", status="out_of_memory")
    assert (result.spec, result.status, result.error) == (TRIALS[0], "out_of_memory", "Traceback\nMemoryError")
    assert slot.limit == 2 and slot.take(2) == TRIALS[1:2]


def test_one_that_killed_a_worker_alone_runs_alone_when_it_is_tried_again():
    blamed = {TRIALS[1]}
    source = TrialList(TRIALS)
    slot, other = Slot(source, 3, blamed), Slot(source, 3, blamed)
    assert slot.take(3) == TRIALS[:1] and slot.take(2) == []
    assert other.take(3) == TRIALS[1:2] and other.take(2) == []
    other.finish(ok(TRIALS[1]))
    assert other.take(3) == TRIALS[2:5]


def test_a_worker_that_died_making_room_has_no_trials_to_blame():
    slot = Slot(TrialList(TRIALS), 4)
    assert slot.lose("no memory", n_together=4) == [] and slot.limit == 2 and not slot.has_work
    assert slot.take(4) == TRIALS[:2]


@pytest.mark.parametrize(
    ("limits", "in_flight", "n_waiting", "share"),
    [
        ([8, 8], [0, 0], 10, 5),
        ([8, 8], [4, 0], 2, 3),
        ([2, 8], [0, 0], 10, 8),
        ([1, 1], [1, 1], 0, 1),
        ([4], [0], 0, 1),
    ],
)
def test_trials_are_shared_evenly(limits, in_flight, n_waiting, share):
    slots = [Slot(TrialList(TRIALS), limit) for limit in limits]
    for slot, n in zip(slots, in_flight, strict=True):
        slot.take(n)
    assert fair_share(slots, n_waiting) == share


@given(killers=st.sets(st.integers(0, 7)), capacity=st.integers(1, 8))
def test_whoever_kills_is_found_and_nobody_else_fails(killers, capacity):
    slot = Slot(TrialList(TRIALS), capacity)
    outcome = {}
    while slot.waiting:
        taken = slot.take(capacity)
        assert taken
        if killers & {TRIALS.index(spec) for spec in taken}:
            for result in slot.lose("killed"):
                outcome[result.spec] = result.status
        else:
            for spec in taken:
                slot.finish(ok(spec))
                outcome[spec] = "ok"
    assert outcome == {spec: "failed" if i in killers else "ok" for i, spec in enumerate(TRIALS)}


def test_trials_that_are_given_back_are_the_next_and_have_not_failed():
    source = TrialList(TRIALS)
    slot, other = Slot(source, 3), Slot(source, 3)
    slot.take(3)
    slot.give_back(TRIALS[1:3])
    assert list(slot.in_flight) == TRIALS[:1]
    assert other.take(3) == TRIALS[1:4]
