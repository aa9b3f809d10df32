"""What a training function returns or raises becomes the result of its trial."""

from __future__ import annotations

import math
import pickle
import time

import numpy as np
import pytest

from robust_lr import Constant, TrialDiverged, TrialSpec
from robust_lr.runners import evaluate_trial
from robust_lr.testing import train_eventful

TRIALS = [TrialSpec("constant", lr, 0) for lr in (0.1, 0.2, 0.3, 0.4)]


def evaluate(returned):
    return evaluate_trial(lambda *, lr, schedule, seed: returned, TRIALS[0], Constant())


class Scalar:
    """Like a scalar of torch."""

    def item(self):
        return 0.5


@pytest.mark.parametrize("loss", [0.5, np.float32(0.5), np.array(0.5), np.array([0.5]), Scalar()])
def test_numbers_of_any_kind_are_losses(loss):
    assert evaluate(loss).loss == evaluate({"loss": loss, "x": loss}).loss == 0.5
    assert evaluate({"loss": 1, "x": loss}).metrics == {"x": 0.5}
    assert evaluate(3).status == "ok"


@pytest.mark.parametrize("loss", [math.nan, math.inf, -math.inf, np.float32("nan")])
def test_what_is_not_finite_has_diverged(loss):
    result = evaluate({"loss": loss, "accuracy": math.nan})
    assert (result.status, result.loss, result.error) == ("diverged", math.inf, None)
    assert math.isnan(result.metrics["accuracy"])


@pytest.mark.parametrize(
    "returned, says",
    [
        (None, "its loss as a number, got None"),
        ("0.5", "got an object of type str"),
        (True, "type bool"),
        (1j, "type complex"),
        ((0.5, 0.6), "type tuple"),
        (np.zeros(3), "got ndarray"),
        ({}, "key 'loss'; it returned an empty mapping"),
        ({"loss": 0.5, "history": [1, 2]}, "the metric 'history' as a number, got an object of type list"),
    ],
)
def test_wrong_returns_fail_with_one_line(returned, says):
    result = evaluate(returned)
    assert result.status == "failed" and math.isnan(result.loss) and "\n" not in result.error
    assert says in result.error


def test_evaluate_trial_lets_ctrl_c_through_and_times_failures():
    def interrupted(*, lr, schedule, seed):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        evaluate_trial(interrupted, TRIALS[0], Constant())

    def slow(*, lr, schedule, seed):
        time.sleep(0.02)
        raise TrialDiverged

    result = evaluate_trial(slow, TRIALS[0], Constant())
    assert result.seconds >= 0.02 and (result.status, result.error) == ("diverged", "TrialDiverged")


def test_results_pickle_and_the_call_is_by_keyword():
    result = evaluate_trial(train_eventful, TrialSpec("constant", 1.0, 0), Constant())
    assert pickle.loads(pickle.dumps(result)) == result
    wrong = evaluate_trial(lambda lr: lr, TRIALS[0], Constant())
    assert wrong.status == "failed" and "unexpected keyword argument 'schedule'" in wrong.error
