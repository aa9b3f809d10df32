"""Which schedule ends lower with N trials, against plain loops."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from robust_lr import SweepResult, compare_schedules, degradation_curve
from robust_lr.analysis._selection import cross_fit, loss_block
from robust_lr.exceptions import DataError

INF, NAN = math.inf, math.nan
WHOLE = st.integers(-1000, 1000).map(float)


def sweep_of(loss, names=None):
    loss = np.asarray(loss, float)
    names = [f"s{i}" for i in range(len(loss))] if names is None else names
    return SweepResult(names, 2.0 ** np.arange(loss.shape[1]), range(loss.shape[2]), loss)


def comparison_of(sweep):
    return compare_schedules(degradation_curve(sweep, name) for name in sweep.schedules)


@given(arrays(float, st.tuples(st.integers(1, 3), st.integers(3, 8), st.integers(1, 4)), elements=WHOLE))
def test_final_losses_are_those_of_the_finest_grid_with_at_most_so_many_trials(loss):
    sweep = sweep_of(loss)
    comparison = comparison_of(sweep)
    n = loss.shape[1]
    assert list(comparison.n_trials) == sorted({math.ceil(n / k) for k in range(1, n)}, reverse=True)
    for row, trials in enumerate(comparison.n_trials):
        stride = min(k for k in range(1, n) if math.ceil(n / k) <= trials)
        for s, name in enumerate(sweep.schedules):
            fit = cross_fit(loss_block(sweep, name))
            scores = [fit.score(np.arange(o, n, stride)).mean() for o in range(stride)]
            assert comparison.final_loss[row, s] == pytest.approx(np.mean(scores), abs=1e-9)
        lowest = comparison.schedules.index(comparison.lowest[row])
        assert (comparison.difference[row] >= 0).all()
        assert comparison.difference[row, lowest] == 0
        assert comparison.interval[row, lowest].tolist() == [0, 0]
        assert comparison.tied[row, lowest]


def test_a_schedule_may_degrade_more_and_still_end_lower():
    noise = np.random.default_rng(0).normal(size=(1, 1, 4)) * 0.001
    flat, steep = [2.0, 1.9, 1.9, 1.9, 2.0], [2.5, 1.5, 1.0, 1.5, 2.5]
    comparison = comparison_of(sweep_of(np.array([flat, steep])[:, :, None] + noise, ["flat", "steep"]))
    assert comparison.lowest[0] == "steep"
    assert not comparison.tied[0, 0]


def test_schedules_that_differ_by_noise_alone_are_tied_as_often_as_the_level_says():
    rng = np.random.default_rng(1)
    valley = np.array([2.0, 1.2, 1.0, 1.2, 2.0])[None, :, None]
    tied = [comparison_of(sweep_of(valley + 0.05 * rng.normal(size=(2, 5, 4)))).tied[0].all() for _ in range(200)]
    assert sum(tied) >= 180  # 95 % of 200 less three standard errors


def test_the_difference_of_schedules_is_paired_over_the_seeds():
    hard = np.array([0.0, 5.0, -3.0])  # seeds differ far more than schedules do
    valley = np.array([2.0, 1.2, 1.0, 1.2, 2.0])[None, :, None]
    comparison = comparison_of(sweep_of(valley + hard + np.array([0.0, 0.01])[:, None, None]))
    assert comparison.lowest[0] == "s0"
    assert comparison.interval[0, 1] == pytest.approx([0.01, 0.01])


def test_without_a_second_seed_nothing_is_told_apart():
    comparison = comparison_of(sweep_of([[[3.0], [1.0], [2.0]], [[9.0], [8.0], [9.0]]]))
    assert np.isnan(comparison.interval[:, 1]).all()
    assert comparison.tied.all()


def test_a_schedule_whose_coarse_grid_diverged_is_not_tied_with_one_that_trains():
    a = [[3, 3.1], [1, 1.1], [1.2, 1.3], [2, 2.1]]
    b = [[INF, INF], [1, 1.1], [INF, INF], [INF, INF]]
    comparison = comparison_of(sweep_of([a, b]))
    assert comparison.final_loss[1, 1] == INF
    assert comparison.lowest[1] == "s0"
    assert not comparison.tied[1, 1]


def test_what_cannot_be_compared_is_refused():
    sweep = sweep_of([[[3.0], [1.0], [2.0]]])
    curve = degradation_curve(sweep, "s0")
    for wrong in (
        [],
        [curve, curve],
        [curve, degradation_curve(sweep_of(sweep.loss, ["b"]), "b", confidence_level=0.5)],
    ):
        with pytest.raises(DataError, match="different schedules and one confidence level"):
            compare_schedules(wrong)


def test_of_many_equal_schedules_each_is_called_higher_no_more_often_than_the_level_allows():
    rng = np.random.default_rng(2)
    steep = 0.03 * np.abs(np.arange(8) - 3.6)[None, :, None]
    higher = [~comparison_of(sweep_of(steep + 0.001 * rng.normal(size=(7, 8, 5)))).tied[0] for _ in range(150)]
    assert np.mean(higher) <= 0.025 + 3 * math.sqrt(0.025 * 0.975 / (150 * 7))


def test_a_figure_is_marked_where_the_sweep_is_too_narrow_to_tell():
    comparison = comparison_of(sweep_of([[[5.0], [1.0], [2.0], [3.0], [4.0]], [[5.0], [3.0], [1.0], [2.0], [4.0]]]))
    assert comparison.n_trials == (5, 3, 2)
    assert comparison.covered.tolist() == [[True, True], [False, True], [False, False]]


@given(
    arrays(
        float,
        st.tuples(st.integers(2, 3), st.integers(3, 6), st.integers(1, 3)),
        elements=st.one_of(WHOLE, WHOLE, st.just(INF)),
    )
)
def test_diverged_runs_never_make_a_schedule_the_lowest_while_another_trains(loss):
    assume(np.isfinite(loss).all(axis=2).any(axis=1).all())
    comparison = comparison_of(sweep_of(loss))
    for row, name in enumerate(comparison.lowest):
        lowest = comparison.final_loss[row, comparison.schedules.index(name)]
        assert lowest == comparison.final_loss[row].min()
    assert not (comparison.difference < 0).any()
