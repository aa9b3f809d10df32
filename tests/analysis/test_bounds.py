"""Confidence bounds, against the textbook formula written out."""

from __future__ import annotations

import math
import statistics

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import stats

from robust_lr.analysis._bounds import mean_bounds, t_quantile

FLOATS = st.floats(-100, 100)


def slow_interval(values, level):
    """Mean -+ t s / sqrt(K)."""
    k = len(values)
    half = stats.t.ppf(0.5 + level / 2, k - 1) * statistics.stdev(values) / math.sqrt(k)
    return statistics.fmean(values) - half, statistics.fmean(values) + half


@pytest.mark.parametrize(("level", "n", "t"), [(0.95, 5, 2.776), (0.95, 2, 12.706), (0.99, 10, 3.250), (0.9, 3, 2.920)])
def test_the_quantiles_are_those_of_the_tables(level, n, t):
    assert t_quantile(level, n) == pytest.approx(t, abs=5e-4)


def test_one_seed_has_no_interval():
    assert math.isnan(t_quantile(0.95, 1))
    low, high = mean_bounds(np.ones((3, 1)), 0.95)
    assert np.isnan(low).all()
    assert np.isnan(high).all()


@given(arrays(float, st.tuples(st.integers(1, 4), st.integers(2, 6)), elements=FLOATS), st.floats(0.5, 0.999))
def test_an_interval_is_the_t_interval(values, level):
    low, high = mean_bounds(values, level)
    for i, row in enumerate(values):
        expected = slow_interval(row.tolist(), level)
        assert (low[i], high[i]) == pytest.approx(expected, rel=1e-8, abs=1e-8)


def test_a_mean_lies_in_its_interval_as_often_as_is_promised():
    rng = np.random.default_rng(0)
    low, high = mean_bounds(rng.normal(size=(4000, 5)), 0.9)
    assert np.mean((low <= 0) & (high >= 0)) == pytest.approx(0.9, abs=0.02)
