"""The recommended grid: within the tolerance by its band, and a useful answer where there is none."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from robust_lr import SweepResult, degradation_curve, recommend
from robust_lr.exceptions import InsufficientDataError, OptionError

INF, NAN = math.inf, math.nan
VALLEY = [3.0, 1.5, 1.2, 1.05, 1.0, 1.04, 1.3, 2.0, 4.0]


def curve_of(loss, lrs=None):
    loss = np.asarray(loss, float)
    loss = loss[:, None] if loss.ndim == 1 else loss
    lrs = 2.0 ** np.arange(loss.shape[0]) if lrs is None else lrs
    return degradation_curve(SweepResult(("cosine",), lrs, range(loss.shape[1]), loss[None]), "cosine")


def seeds(valley, noise=0.0, n=3):
    """The valley at n seeds, each a constant harder than the one before, and noise on top."""
    rng = np.random.default_rng(0)
    return np.array(valley)[:, None] + np.arange(n) + noise * rng.normal(size=(len(valley), n))


def insufficient(curve, tolerance):
    with pytest.raises(InsufficientDataError) as caught:
        recommend(curve, tolerance=tolerance)
    assert caught.value.needed
    assert "\n" not in str(caught.value)
    return caught.value


@pytest.mark.parametrize(
    ("tolerance", "ratio"), [(0.01, 2), (0.0401, 4), (0.0501, 8), (0.2001, 16), (0.5, 16), (1e6, 16)]
)
def test_without_noise_the_coarsest_ratio_within_the_tolerance_is_taken(tolerance, ratio):
    curve = curve_of(seeds(VALLEY))
    # The worst offsets of strides 2, 3, 4 by hand: the best of every 2nd, 3rd, 4th learning rate is 1.04, 1.05, 1.2.
    assert curve.worst[:4] == pytest.approx([0, 0.04, 0.05, 0.2])
    advice = recommend(curve, tolerance=tolerance)
    assert advice.ratio == ratio
    assert advice.excess_loss <= tolerance
    assert advice.confidence_interval[1] <= tolerance
    assert advice.n_trials == len(advice.learning_rates) == math.ceil(9 / math.log2(ratio))
    assert advice.learning_rates[1:] / advice.learning_rates[:-1] == pytest.approx(ratio)
    assert set(advice.learning_rates) <= set(curve.block.learning_rates)
    assert advice.trials_saved == (9 - advice.n_trials) * 3


def test_the_grid_that_is_recommended_spans_the_range_and_passes_next_to_the_best():
    advice = recommend(curve_of(seeds([3, 1.001, 1.0, 1.001, 1.002, 1.0025, 2])), tolerance=0.01)
    assert (advice.ratio, advice.learning_rates.tolist()) == (4, [1, 4, 16, 64])


def test_of_two_grids_equally_near_to_the_best_the_higher_one_is_recommended():
    narrow = [9, 8, 7, 6, 1.001, 1.0, 1.001, 6, 7, 8, 9]
    advice = recommend(curve_of(seeds(narrow)), tolerance=0.0015)
    assert np.log2(advice.learning_rates).tolist() == [1, 4, 7, 10]


def test_the_time_saved_is_the_recorded_time_of_the_trials_left_out():
    loss = seeds(VALLEY)
    timed = SweepResult(("cosine",), 2.0 ** np.arange(len(loss)), range(loss.shape[1]), loss[None], seconds=60.0)
    advice = recommend(degradation_curve(timed, "cosine"), tolerance=0.0501)
    assert advice.seconds_saved == 60.0 * advice.trials_saved == 60.0 * 18
    assert math.isnan(recommend(curve_of(seeds(VALLEY)), tolerance=0.0501).seconds_saved)


def test_it_prints_on_one_line():
    assert str(recommend(curve_of(seeds(VALLEY)), tolerance=0.0501)) == (
        "cosine: ratio 8, 3 trials, excess loss 0.0500 [0.0500, 0.0500]"
    )


def test_what_limits_it_is_named():
    cheap_above = [4, 3, 2, 1.5, 1.0, 1.001, 1.002, 1.003, 1.004]
    advice = recommend(curve_of(seeds(cheap_above)), tolerance=0.0015)
    assert (advice.ratio, advice.limited_by) == (4, "too low")
    cheap_below = [1.04, 1.03, 1.02, 1.01, 1.0, 1.05, 1.1, 1.2, 1.3]
    advice = recommend(curve_of(seeds(cheap_below)), tolerance=0.015)
    assert (advice.ratio, advice.limited_by) == (4, "too high")
    advice = recommend(curve_of(seeds([1.8, 1.5, 1.2, 1.1, 1.0, 9.0, 9, 9, 9])), tolerance=0.15)
    assert (advice.ratio, advice.limited_by) == (4, "cliff")
    assert "training breaks between 16 and 32" in advice.limit
    advice = recommend(curve_of(seeds([1.8, 1.2, 1.1, 1.0, INF, INF, INF])), tolerance=0.15)
    assert (advice.ratio, advice.limited_by) == (4, "cliff")
    advice = recommend(curve_of(seeds([1.01, 1.0, 1.01])), tolerance=0.1)
    assert (advice.ratio, advice.limited_by) == (2, "grid")
    assert "too narrow to measure ratio 4" in advice.limit
    advice = recommend(curve_of(seeds([1.02, 1.0, 1.01, 1.02, 1.03, 1.04])), tolerance=0.1)
    assert advice.limited_by == "grid"
    assert "1 learning rate below 1" in advice.limit


def test_where_only_the_noise_forbids_a_coarser_grid_the_grid_is_kept_and_what_would_decide_is_said():
    curve = curve_of(seeds(VALLEY, noise=0.02, n=2))
    advice = recommend(curve, tolerance=0.07)
    assert (advice.ratio, advice.n_trials, advice.limited_by) == (2, 9, "noise")
    assert advice.trials_saved == 0
    assert "more seeds, or a tolerance of" in advice.limit
    named = float(advice.limit.rpartition("a tolerance of ")[2].partition(",")[0])
    assert recommend(curve, tolerance=named).ratio >= 4
    assert recommend(curve_of(seeds(VALLEY, noise=0.02, n=12)), tolerance=0.07).ratio >= 4


def test_one_seed_gives_no_recommendation_but_its_estimate():
    error = insufficient(curve_of(VALLEY), 0.0501)
    assert "one seed" in str(error)
    assert error.needed.startswith("a second seed at 8, 16 and 32")
    assert (error.estimate.ratio, error.estimate.n_trials) == (8, 3)


@pytest.mark.parametrize(
    ("valley", "side", "needed"),
    [
        ([5, 4, 3, 2, 1], "the highest in the sweep", "1 learning rate above 16"),
        ([1, 2, 3, 4, 5], "the lowest in the sweep", "1 learning rate below 1"),
        ([INF, INF, 1], "the highest in the sweep", "1 learning rate above 4"),
    ],
)
def test_a_best_on_the_edge_asks_for_learning_rates_beyond_it(valley, side, needed):
    for loss in (valley, seeds(valley)):
        error = insufficient(curve_of(loss), 0.1)
        assert side in str(error)
        assert needed in error.needed


@pytest.mark.parametrize("tolerance", [0, -1, INF, NAN, "some", None, True])
def test_a_tolerance_that_is_none_is_an_error(tolerance):
    with pytest.raises(OptionError, match="tolerance must be a positive number such as"):
        recommend(curve_of(seeds(VALLEY)), tolerance=tolerance)


def test_a_share_is_of_the_lowest_loss_of_the_schedule():
    curve = curve_of(seeds(VALLEY))
    assert recommend(curve, tolerance="2.51%").tolerance == pytest.approx(0.0502)
    assert recommend(curve, tolerance="2.51%").ratio == 8


def test_numpy_numbers_are_tolerances():
    assert recommend(curve_of(seeds(VALLEY)), tolerance=np.float32(0.0501)).ratio == 8
    assert recommend(curve_of(seeds(VALLEY)), tolerance=np.int64(1)).ratio == 16


WHOLE = st.integers(-100, 100).map(float)
LOSSES = arrays(
    float,
    st.tuples(st.integers(3, 9), st.integers(1, 4)),
    elements=st.one_of(WHOLE, WHOLE, WHOLE, WHOLE, st.just(INF)),
)
VALLEYS = st.builds(
    lambda left, right, noise: seeds([*sorted(left)[::-1], 0, *sorted(right)], noise=noise),
    st.lists(st.floats(0, 10), min_size=1, max_size=5),
    st.lists(st.floats(0, 10), min_size=1, max_size=5),
    st.sampled_from([0.0, 0.01, 0.3]),
)


@given(st.one_of(LOSSES, VALLEYS), st.lists(st.floats(1e-3, 1e3), min_size=2, max_size=5))
def test_a_larger_tolerance_never_gives_a_finer_grid(loss, tolerances):
    assume(np.isfinite(loss).all(axis=1).any())
    curve = curve_of(loss)
    ratios, trials = [], []
    for tolerance in sorted(tolerances):
        try:
            advice = recommend(curve, tolerance=tolerance)
        except InsufficientDataError:
            assert not ratios  # a larger tolerance never takes a recommendation away
            continue
        ratios.append(advice.ratio)
        trials.append(advice.n_trials)
    assert ratios == sorted(ratios)
    assert trials == sorted(trials, reverse=True)


@given(st.one_of(LOSSES, VALLEYS), st.floats(1e-3, 1e3))
def test_a_recommendation_keeps_its_promises_whatever_the_data(loss, tolerance):
    assume(np.isfinite(loss).all(axis=1).any())
    curve = curve_of(loss)
    try:
        advice = recommend(curve, tolerance=tolerance)
    except InsufficientDataError as error:
        assert error.needed
        assert "nan" not in str(error)
        assert error.estimate is None or error.estimate.excess_loss <= tolerance
        return
    row = curve.ratio.tolist().index(advice.ratio)
    low, high = advice.confidence_interval
    assert low <= advice.excess_loss <= high <= tolerance
    assert curve.covered[row]
    assert curve.df > 0
    steps = int(curve.stride[row])
    assert curve.block.best - steps >= 0
    assert curve.block.best + steps < len(curve.block.learning_rates)
    assert "nan" not in advice.limit
    assert "inf" not in advice.limit


def test_learning_rates_known_to_diverge_are_not_recommended_again():
    loss = seeds([*VALLEY, INF, INF])
    advice = recommend(curve_of(loss), tolerance=0.0501)
    assert advice.ratio == 8
    assert advice.learning_rates.max() <= 2.0**8
    assert advice.n_trials == len(advice.learning_rates)


def test_a_missing_trial_at_the_best_learning_rate_does_not_hide_it():
    loss = seeds(VALLEY)
    loss[4, 2] = NAN  # at the best learning rate, 16
    advice = recommend(curve_of(loss), tolerance=0.0501)
    assert (advice.best_lr, advice.ratio) == (16, 8)
    assert any("fewer than 3 seeds" in warning for warning in advice.warnings)


def test_on_an_irregular_grid_no_ratio_is_recommended_that_the_sweep_does_not_reach():
    lrs = [1e-4, 1e-3, 1e-2, 0.1, 0.11, 0.12]
    curve = curve_of(seeds([3.0, 2.0, 1.5, 1.0, 1.001, 1.002]), lrs)
    assert curve.covered.tolist() == [True, False, False, False, False]
    advice = recommend(curve, tolerance=10.0)
    assert advice.learning_rates.tolist() == lrs
    assert advice.limit == "the sweep is too narrow to measure ratio 100: add learning rates up to 10"


def test_a_tolerance_that_would_allow_the_next_ratio_is_named():
    advice = recommend(curve_of(seeds(VALLEY)), tolerance=0.0401)
    named = float(advice.limit.rpartition("a tolerance of ")[2].partition(" ")[0])
    assert recommend(curve_of(seeds(VALLEY)), tolerance=named).ratio > advice.ratio


@pytest.mark.parametrize("n_seeds", [2, 3, 5, 8])
def test_a_ratio_that_costs_more_than_the_tolerance_is_hardly_ever_recommended(n_seeds):
    """One good learning rate among equals, where a choice made on the data flatters itself most."""
    rng = np.random.default_rng(n_seeds)
    truth = np.where(np.arange(12) == 5, 0.0, 0.01)[:, None]
    wrong = 0
    for _ in range(300):
        curve = curve_of(truth + 0.01 * (rng.normal(size=(12, n_seeds)) + rng.normal(size=n_seeds)))
        try:
            wrong += recommend(curve, tolerance=0.0099).ratio > 2
        except InsufficientDataError:
            continue
    assert wrong <= 300 * 0.05 + 3 * math.sqrt(300 * 0.05 * 0.95)
