"""The limit that most further sweeps stay below."""

from __future__ import annotations

import math

import numpy as np
import pytest

from robust_lr.collection import _bound
from robust_lr.collection._bound import conformal_quantile, upper_limit

ONE_EACH = np.arange(40)


def drawn(rng, n_clusters, n_each, spread):
    """Excesses whose scale is shared within a cluster."""
    scale = np.exp(spread * rng.normal(size=n_clusters))
    return rng.gamma(1.0, 1.0, size=(n_clusters, n_each)) * scale[:, None]


@pytest.mark.parametrize("spread", [0.0, 0.5])
@pytest.mark.parametrize(("n_clusters", "n_each"), [(6, 10), (12, 5), (40, 1)])
def test_further_sweeps_of_new_clusters_stay_below_it_as_often_as_promised(n_clusters, n_each, spread):
    rng = np.random.default_rng(1)
    further, cluster = drawn(rng, 4000, n_each, spread), np.repeat(np.arange(n_clusters), n_each)
    above = [
        np.mean(further > upper_limit(drawn(rng, n_clusters, n_each, spread).ravel(), cluster, 0.95))
        for _ in range(100)
    ]
    assert np.mean(above) < 0.065
    assert np.mean(np.array(above) > 0.1) < 0.2


def test_sweeps_that_are_alike_say_less_than_independent_ones():
    rng = np.random.default_rng(0)
    excess = np.repeat(np.exp(0.5 * rng.normal(size=8)), 5) * np.exp(0.05 * rng.normal(size=40))
    assert upper_limit(excess, ONE_EACH // 5, 0.95) > 1.2 * upper_limit(excess, ONE_EACH, 0.95)


def test_it_is_never_below_what_the_sweeps_themselves_show():
    rng = np.random.default_rng(0)
    excess = rng.random(40)
    excess[0] = 100.0
    for share in (0.6, 0.9, 0.95, 0.99):
        assert upper_limit(excess, ONE_EACH, share) >= conformal_quantile(excess, share)


def test_a_few_sweeps_promise_nothing():
    assert upper_limit(np.array([0.1, 0.1, 0.1]), np.arange(3), 0.95) == math.inf
    assert upper_limit(np.full(30, math.inf), np.arange(30), 0.95) == math.inf


def test_divergence_in_a_few_of_many_sweeps_leaves_a_limit_and_in_more_none():
    excess = np.full(100, 0.01)
    excess[:3] = math.inf
    assert math.isfinite(upper_limit(excess, np.arange(100), 0.95))
    excess[:8] = math.inf
    assert upper_limit(excess, np.arange(100), 0.95) == math.inf


def test_equal_sweeps_are_expected_to_be_followed_by_one_more():
    assert upper_limit(np.full(20, 0.01), np.arange(20), 0.95) == pytest.approx(0.01)


def test_one_cluster_counts_its_sweeps():
    excess = np.random.default_rng(0).random(40)
    assert upper_limit(excess, np.zeros(40, dtype=int), 0.95) == upper_limit(excess, ONE_EACH, 0.95)


def test_the_factor_of_many_sweeps_continues_that_of_fewer(monkeypatch):
    exact = _bound._tolerance_factor(0.9, 400.0, 400.0)
    monkeypatch.setattr(_bound, "_MANY", 100.0)
    assert _bound._tolerance_factor(0.9, 400.0, 400.0) == pytest.approx(exact, rel=2e-3)
