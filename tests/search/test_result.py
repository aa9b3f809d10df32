"""The words of a search's result: what they promise holds, and what they advise works."""

from __future__ import annotations

import math
import random
import re

import pytest

from robust_lr import LearningRateSearch, SearchOptions


def searched(loss, *, tolerance=0.02, low=1e-3, high=1.0, **options):
    search = LearningRateSearch(low, high, tolerance=tolerance, options=SearchOptions(**options))
    while not search.done:
        for lr in search.ask():
            search.tell(lr, loss(lr))
    return search.result


def noisy(std, number, bend=0.03):
    rng = random.Random(number)
    return lambda lr: 0.02 + bend * math.log(lr / 0.25) ** 2 + rng.gauss(0, std)


def sentence(result, start):
    return next((line for line in str(result).splitlines() if re.match(start, line)), "")


@pytest.mark.parametrize("number", range(6))
def test_a_mean_outside_of_the_interval_does_not_contradict_the_sentence(number):
    result = searched(noisy(0.003, number))
    low, high = result.good_interval
    words = sentence(result, r"From \S+ to \S+ the loss is surely within 0\.02 of the best tried")
    assert f"From {low:.4g} to {high:.4g}" in words
    assert words.endswith("; the noise hides how far this goes.")
    assert all(0.03 * math.log(lr / 0.25) ** 2 <= 0.02 + 0.009 for lr in (low, high))


def test_without_noise_the_sentence_says_that_others_may_be_as_good_too():
    result = searched(noisy(0.0, 0), noise=0.0)
    words = sentence(result, "From ")
    assert "surely within 0.02 of the best tried; others may be, too." in words


def test_before_a_repeat_all_intervals_have_a_condition():
    result = searched(noisy(0.0, 0), max_trials=4)
    assert result.noise is None
    assert sentence(result, "If there is no noise, the true optimum lies between ")
    assert sentence(result, r"If there is no noise, from \S+ to \S+ the loss is surely within ")
    assert not sentence(result, "The true optimum|From ")


def test_one_trial_says_nothing_about_an_interval():
    result = searched(noisy(0.0, 0), max_trials=1)
    assert "within 0.02" not in str(result)


def test_a_search_limited_by_noise_says_how_many_trials_to_allow_and_that_many_do():
    number, result = next(
        (number, found)
        for number in range(20)
        if 0 < ((found := searched(noisy(0.015, number), tolerance=0.015, noise=0.015)).trials_needed or 0) < 60
    )
    more = sentence(result, "For more: ")
    n = result.trials_needed
    assert f"allow about {n} more trials with noise_trials {n}, " in more
    assert f"it would take about {n} more trials" in result.reason
    assert "return the mean over several seeds from each training" in more
    further = searched(noisy(0.015, number), tolerance=0.015, noise=0.015, noise_trials=n)
    assert result.n_trials < further.n_trials <= result.n_trials + 3 * n
    assert further.excess_bound < result.excess_bound


def test_where_over_a_thousand_trials_are_needed_no_number_is_advised():
    result = searched(noisy(1.0, 0), noise=1.0)
    assert result.trials_needed == 1000
    assert "allow about" not in str(result) and "over 1000 more trials" in str(result)
    assert searched(noisy(0.0, 0)).trials_needed is None


@pytest.mark.parametrize("floor", [0.0, 1e-9, 1e-6])
def test_a_share_of_a_loss_near_zero_says_what_it_stands_for(floor):
    result = searched(lambda lr: floor + 0.03 * math.log(lr / 0.0213) ** 2, tolerance="1%")
    assert f"the tolerance of 1% stands for {result.tolerance:.2g} here, so give it as a number" in str(result)
    assert result.n_trials <= 40
    usual = searched(lambda lr: 0.3 + 0.03 * math.log(lr / 0.0213) ** 2, tolerance="1%")
    assert "near 0" not in str(usual)


def test_a_tolerance_below_the_digits_of_the_losses_says_so_and_the_search_ends():
    result = searched(noisy(0.0, 0), tolerance=1e-20)
    assert "is finer than 64-bit losses of 0.02 can show" in str(result)
    assert result.n_trials <= 40
    assert "finer than" not in str(searched(noisy(0.0, 0), tolerance=1e-10))


def test_losses_of_32_bits_show_less():
    np = pytest.importorskip("numpy")
    result = searched(lambda lr: float(np.float32(noisy(0.0, 0)(lr))), tolerance=1e-10)
    assert "is finer than 32-bit losses of 0.02 can show" in str(result)


def test_losses_too_large_for_32_bits_are_no_numbers_of_32_bits():
    result = searched(lambda lr: 1e60 * (1 + math.log(lr / 0.25) ** 2), tolerance="1%")
    assert result.lr == pytest.approx(0.25, rel=0.2)
