"""A learning rate in use against the best of a sweep."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from robust_lr import SweepResult
from robust_lr.analysis import check_learning_rate
from robust_lr.exceptions import InsufficientDataError, OptionError

LRS = [0.01, 0.1, 1.0, 10.0]


def sweep(means, *, spread=0.001, lrs=LRS, **more):
    noise = spread * np.array([[1, -1, 0], [-1, 0, 1], [0, 1, -1], [1, 0, -1]])
    return SweepResult(("cosine",), lrs, (0, 1, 2), np.array(means)[None, :, None] + noise[None, : len(lrs)], **more)


def check(means, lr, tolerance=0.1, **more):
    (found,) = check_learning_rate(sweep(means, **more), lr, tolerance=tolerance)
    return found


@pytest.mark.parametrize(
    ("lr", "verdict", "measured"),
    [
        (0.1, "within", (0.1,)),
        (1.0, "within", (1.0,)),
        (0.995, "within", (1.0,)),  # written with fewer digits
        (0.3, "within", (0.1, 1.0)),
        (0.01, "worse", (0.01,)),
        (0.05, "unknown", (0.01, 0.1)),
        (10.0, "worse", (10.0,)),
        (11.0, "unknown", ()),
        (1e-9, "unknown", ()),
    ],
)
def test_a_learning_rate_is_judged_by_those_that_were_trained(lr, verdict, measured):
    found = check([2.0, 1.0, 1.05, 3.0], lr)
    assert (found.verdict, found.measured, found.best_lr) == (verdict, measured, 0.1)
    assert f"{lr:.4g}" in str(found)


def test_the_excess_is_that_of_the_means_with_its_interval():
    found = check([2.0, 1.0, 1.05, 3.0], 1.0)
    low, high = found.interval
    assert found.excess == pytest.approx(0.05) and low < 0.05 < high < 0.06
    assert "0.05" in str(found) and "above the best, 0.1 (loss 1.0000)" in str(found)


def test_it_says_when_the_noise_leaves_the_verdict_open():
    assert check([2.0, 1.0, 1.05, 3.0], 1.0).certain and check([2.0, 1.0, 1.05, 3.0], 0.01).certain
    noisy = check([2.0, 1.0, 1.05, 3.0], 1.0, spread=0.1)
    assert noisy.verdict == "within" and not noisy.certain and "the noise leaves that open" in str(noisy)


def test_where_training_diverged_the_learning_rate_is_worse():
    found = check([2.0, 1.0, 1.05, math.inf], 10.0)
    assert (found.verdict, found.excess) == ("worse", math.inf)
    assert str(found).endswith("training diverged. Use 0.1") and found.to_dict()["excess"] is None
    assert check([2.0, 1.0, 1.05, math.inf], 3.0).verdict == "unknown"


def test_one_seed_gives_a_verdict_without_an_interval():
    one = SweepResult(("cosine",), LRS, (0,), [[[2.0], [1.0], [1.05], [3.0]]])
    (found,) = check_learning_rate(one, 1.0, tolerance=0.1)
    assert found.verdict == "within" and math.isnan(found.interval[0]) and "one seed" in str(found)


def test_a_score_is_shown_as_a_score():
    assert "(score 0.9000)" in str(check([-0.5, -0.9, -0.89, -0.2], 1.0, direction="maximize"))


def test_each_schedule_has_its_own_verdict():
    both = SweepResult(("cosine", "constant"), LRS, (0,), [[[2.0], [1.0], [1.05], [3.0]], [[1.5], [1.1], [2.0], [3.0]]])
    verdicts = {each.schedule: each.verdict for each in check_learning_rate(both, 1.0, tolerance="10%")}
    assert verdicts == {"cosine": "within", "constant": "worse"}


def test_nonsense_is_refused():
    with pytest.raises(OptionError, match="lr must be"):
        check([2.0, 1.0, 1.05, 3.0], -1)
    with pytest.raises(InsufficientDataError, match="diverged"):
        check([math.inf] * 4, 1.0)


@given(st.lists(st.floats(0, 10), min_size=4, max_size=4), st.sampled_from(LRS), st.floats(1e-6, 1))
def test_a_measured_rate_is_within_exactly_if_its_excess_is(means, lr, tolerance):
    found = check(means, lr, tolerance)
    low, high = found.interval
    assert (found.verdict == "within") == (found.excess <= tolerance)
    assert low <= found.excess <= high and low >= 0
