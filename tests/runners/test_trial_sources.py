"""Sources hand out each trial once, and say when there are no more."""

from __future__ import annotations

import pickle
import threading
import time

import pytest

from robust_lr import TrialSpec
from robust_lr.runners import SequentialEvaluator, TrialList, TrialQueue, evaluate_trial
from robust_lr.testing import SCHEDULES, train_eventful, train_quadratic

TRIALS = [TrialSpec("constant", lr, seed) for lr in (0.125, 0.5, 0.75, 1.0) for seed in (0, 1)]


@pytest.mark.parametrize("train", [train_quadratic, train_eventful])
def test_the_sequential_evaluator_gives_what_evaluate_trial_gives_in_order(train):
    evaluator = pickle.loads(pickle.dumps(SequentialEvaluator(train, SCHEDULES)))
    results = list(evaluator.results(TrialList(TRIALS)))
    expected = [evaluate_trial(train, spec, SCHEDULES[spec.schedule]) for spec in TRIALS]
    assert [(r.spec, r.status, str(r.loss)) for r in results] == [(r.spec, r.status, str(r.loss)) for r in expected]


def test_a_list_gives_each_trial_once_and_then_says_that_there_are_no_more():
    source = TrialList(TRIALS)
    taken = [source.take(3, wait=wait) for wait in (True, False, True, True, False)]
    assert taken == [TRIALS[:3], TRIALS[3:6], TRIALS[6:], [], []]
    assert not source.waiting


@pytest.fixture
def queue():
    return TrialQueue(lambda n: None)


def test_a_queue_requests_once_for_what_it_has_room_for():
    asked = []
    queue = TrialQueue(asked.append)
    assert queue.take(3, wait=False) == queue.take(3, wait=False) == []
    assert asked == [3]
    queue.put(TRIALS[:2])
    assert queue.take(4, wait=False) == TRIALS[:2]
    assert asked == [3, 1], "one of the three is still to come, and there is room for one more"


def test_a_queue_gives_what_has_been_sent_and_keeps_the_rest(queue):
    queue.put(TRIALS[:3])
    queue.put(TRIALS[3:])
    assert queue.take(5, wait=True) == TRIALS[:5]
    assert queue.take(5, wait=True) == TRIALS[5:]


def test_a_queue_that_is_empty_does_not_block_unless_asked_to_wait(queue):
    assert queue.take(2, wait=False) == []
    threading.Timer(0.1, queue.put, [TRIALS[:1]]).start()
    start = time.monotonic()
    assert queue.take(2, wait=True) == TRIALS[:1]
    assert time.monotonic() - start >= 0.09


def test_a_queue_gives_all_it_has_before_it_says_that_there_are_no_more(queue):
    queue.put(TRIALS[:2])
    queue.put(None)
    assert [queue.take(1, wait=True) for _ in range(4)] == [TRIALS[:1], TRIALS[1:2], [], []]
