"""The start that theory takes from one search to the next, and what it costs where theory is wrong."""

from __future__ import annotations

import math
from statistics import mean

import numpy as np
import pytest

from robust_lr.exceptions import DataError, GridError, OptionError, ScheduleError
from robust_lr.search import LearningRateSearch, SearchOptions, SearchStart
from robust_lr.search.transfer import transfer_learning_rate
from robust_lr.theory import transfer_ratio, tuned_bound

LOW, HIGH, TOLERANCE = 1e-4, 1.0, 0.005
N_CURVES = 8


def carried_out(loss, low=LOW, high=HIGH, **options):
    schedule = options.pop("schedule", None)
    search = LearningRateSearch(low, high, tolerance=TOLERANCE, schedule=schedule, options=SearchOptions(**options))
    while not search.done:
        for lr in search.ask():
            search.tell(lr, loss(lr), status="ok" if math.isfinite(loss(lr)) else "diverged")
    return search.result


@pytest.fixture
def constant():
    return carried_out(lambda lr: 0.3 + 0.03 * math.log(lr / 0.02) ** 2, schedule="constant")


def valleys(kind):
    """Valleys that lose 0.005 to 0.1 at a factor of 4 from their minimum, which has room for a factor of 10."""
    rng = np.random.default_rng(0)
    for _ in range(N_CURVES):
        best = math.exp(rng.uniform(math.log(10 * LOW), math.log(HIGH / 10)))
        left, right = np.exp(rng.uniform(math.log(0.0026), math.log(0.052), 2))
        cliff = best * 4 if kind == "cliff" else math.inf
        if kind == "parabola":
            right = left

        def loss(lr, best=best, left=left, right=right, cliff=cliff):
            x = math.log(lr / best)
            return math.inf if lr >= cliff else 0.3 + (left if x < 0 else right) * x * x

        yield best, loss


def test_a_longer_training_keeps_the_learning_rate_with_a_spread_that_grows_with_the_length(constant):
    starts = [transfer_learning_rate(constant, from_total_steps=1000, to_total_steps=n) for n in (1000, 4000, 16000)]
    assert [start.lr for start in starts] == [constant.lr] * 3
    factors = [start.factor for start in starts]
    assert factors == sorted(factors)
    assert factors[0] < 1.25
    assert 1.3 < factors[1] < 1.5
    assert 1.6 < factors[2] < 1.9
    shorter = transfer_learning_rate(constant, from_total_steps=4000, to_total_steps=1000)
    assert shorter == starts[1]


def test_a_convex_problem_follows_theory_in_the_schedule(constant):
    start = transfer_learning_rate(constant, to_schedule="cosine", convex=True)
    assert start.lr / constant.lr == pytest.approx(transfer_ratio("constant", "cosine", total_steps=10_000))


def test_a_longer_training_of_a_convex_problem_wants_a_lower_learning_rate(constant):
    start = transfer_learning_rate(constant, from_total_steps=1000, to_total_steps=4000, convex=True)
    tuned = [tuned_bound("constant", total_steps=n).learning_rate for n in (1000, 4000)]
    assert start.lr / constant.lr == pytest.approx(tuned[1] / tuned[0])
    assert 0.4 < start.lr / constant.lr < 0.5


def test_networks_need_less_than_theory_says_between_schedules_and_the_spread_covers_both(constant):
    theory = transfer_learning_rate(constant, to_schedule="cosine", convex=True)
    start = transfer_learning_rate(constant, to_schedule="cosine")
    assert constant.lr < start.lr < theory.lr
    assert start.factor > theory.factor
    assert start.lr * start.factor > theory.lr
    same = transfer_learning_rate(constant, to_schedule="constant")
    assert same.lr == constant.lr
    assert same.factor < 1.25


@pytest.mark.parametrize("convex", [False, True])
def test_schedule_and_length_may_change_together_and_the_way_back_is_the_inverse(constant, convex):
    options = {"from_total_steps": 1000, "to_total_steps": 4000, "convex": convex}
    there = transfer_learning_rate(constant, to_schedule="linear", **options)
    other = carried_out(lambda lr: abs(math.log(lr / constant.lr)), schedule="linear", start=constant.lr)
    assert other.lr == constant.lr
    options |= {"from_total_steps": 4000, "to_total_steps": 1000}
    back = transfer_learning_rate(other, to_schedule="constant", **options)
    assert there.lr * back.lr == pytest.approx(constant.lr**2, rel=1e-2)
    assert there.factor == pytest.approx(back.factor, rel=1e-2)


def test_the_number_of_steps_hardly_matters_between_two_schedules(constant):
    starts = [transfer_learning_rate(constant, to_schedule="cosine", from_total_steps=n).lr for n in (100, 10**6)]
    assert starts[1] / starts[0] < 2


def test_a_start_is_an_option_of_the_next_search(constant):
    start = transfer_learning_rate(constant, to_schedule="cosine")
    result = carried_out(
        lambda lr: 0.3 + 0.03 * math.log(lr / 0.04) ** 2, start=start.lr, start_factor=start.factor, noise=0.0
    )
    assert result.history[0].lr == pytest.approx(start.lr, rel=1e-3)
    assert result.n_trials <= 4
    with pytest.raises(GridError, match="factor must be a finite number > 1, got 1"):
        SearchStart(lr=0.1, factor=1)


@pytest.mark.parametrize("kind", ["parabola", "lopsided", "cliff"])
def test_a_start_that_is_right_saves_trials_and_one_that_is_wrong_costs_one_at_most_on_average(kind):
    cold = mean(carried_out(loss).n_trials for _, loss in valleys(kind))
    for off, saved, factor in [(1, 1, 1.4), (2, 0.5, 2), (0.5, 0.5, 2), (10, -1, 4), (0.1, -1, 4)]:
        found = [carried_out(loss, start=best * off, start_factor=factor) for best, loss in valleys(kind)]
        assert all(result.loss <= 0.3 + TOLERANCE for result in found)
        assert cold - mean(result.n_trials for result in found) >= saved, f"off by a factor of {off}"


def test_what_cannot_be_transferred_is_refused_in_one_line(constant):
    blank = carried_out(lambda lr: (lr - 0.1) ** 2)
    diverged = carried_out(lambda lr: math.inf, schedule="cosine")
    for given, options, error, words in [
        (0.1, {"to_schedule": "cosine"}, DataError, "result must be the SearchResult of a search, got float"),
        (constant, {}, OptionError, "nothing to transfer to"),
        (constant, {"to_total_steps": 10}, OptionError, "to_total_steps=10 needs from_total_steps"),
        (constant, {"to_schedule": "cosine", "convex": 1}, OptionError, "convex must be True or False, got 1"),
        (constant, {"to_schedule": "cosin"}, ScheduleError, "cosin"),
        (constant, {"to_schedule": "cosine", "from_total_steps": 0}, OptionError, "from_total_steps must be a whole"),
        (blank, {"to_schedule": "cosine"}, ScheduleError, "the previous search had no schedule"),
        (diverged, {"to_schedule": "linear"}, DataError, "there is no learning rate to transfer"),
    ]:
        with pytest.raises(error, match=words) as refused:
            transfer_learning_rate(given, **options)
        assert "\n" not in str(refused.value)
