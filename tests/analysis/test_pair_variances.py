"""Variances of differences, pooled by how alike pairs are: against plain loops, and on noise whose kind is known."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from robust_lr.analysis import _pair_variances as module
from robust_lr.analysis._pair_variances import likeness, own_variances, pooled_variances
from robust_lr.analysis._two_way import fit_two_way


class Slow:
    """The definitions, one loop for each sum."""

    def __init__(self, residual, has, trend, most):
        self.r, self.has, self.trend, self.most = residual, has, trend, most
        self.n, self.k = residual.shape
        self.pairs = [(i, j) for i in range(self.n) for j in range(i + 1, self.n)]
        self.like = self.likeness()

    def differences(self, i, j):
        return {k: self.r[j, k] - self.r[i, k] for k in range(self.k) if self.has[i, k] and self.has[j, k]}

    def df(self, i, j):
        return max(len(self.differences(i, j)) - 1, 0)

    def own(self, i, j):
        values = list(self.differences(i, j).values())
        return sum((x - sum(values) / len(values)) ** 2 for x in values) / self.df(i, j) if self.df(i, j) else 0.0

    def pool(self, i, j, value):
        """Sums around a pair, by weight: along the distance, and one end a few steps further or nearer."""
        total = 0.0
        for step in range(-4, 5):
            beside = math.exp(-0.5 * (step / (0.25 * (j - i))) ** 2)
            for a, b in [(i, j + step), (i - step, j)] if step else [(i, j)]:
                if 0 <= a < b < self.n:
                    for shift in range(-6, 7):
                        if a + shift >= 0 and b + shift < self.n:
                            weight = beside * math.exp(-0.5 * (shift / 2) ** 2) / (2 if step else 1)
                            total += weight * value(a + shift, b + shift)
        return total

    def prior(self, i, j):
        scale = self.trend[i] + self.trend[j]
        mass = self.pool(i, j, self.df)
        if not mass:
            return scale
        return (
            scale
            * self.pool(i, j, lambda a, b: self.df(a, b) * self.own(a, b) / (self.trend[a] + self.trend[b]))
            / mass
        )

    def likeness(self):
        """Correlation of differences that lie some places apart, over all pairs at most 16 places wide."""
        unit = {}
        for i, j in self.pairs:
            found = self.differences(i, j)
            mean = sum(found.values()) / max(len(found), 1)
            unit[i, j] = {k: (x - mean) / math.sqrt(self.prior(i, j)) for k, x in found.items()}
        like = [1.0]
        for shift in range(1, min(20, self.n - 2) + 1):
            product = both = 0.0
            for i, j in self.pairs:
                if j + shift < self.n and j - i <= 16:
                    a, b = unit[i, j], unit[i + shift, j + shift]
                    product += sum(a[k] * b[k] for k in a.keys() & b.keys())
                    both += (sum(x**2 for x in a.values()) + sum(x**2 for x in b.values())) / 2
            like.append(min(max(product / both if both else 0.0, 0.0), like[-1]))
        return like + [0.0] * 40

    def result(self, i, j):
        window = [
            (first, first + width, math.exp(-0.5 * (shift / 2) ** 2 - 0.5 * (step / (0.25 * (j - i))) ** 2) / 2)
            for shift in range(-6, 7)
            for step in range(-4, 5)
            if j - i + step >= 1
            for first, width in ((shift, step), (shift - step, step))
        ]
        full = sum(w for *_, w in window)
        count = self.pool(i, j, lambda a, b: 1.0 * (self.df(a, b) > 0))
        alike = lambda a, b: ((self.like[abs(a)] + self.like[abs(b)]) / 2) ** 2  # noqa: E731
        within = sum(v * w * alike(a - c, b - d) for a, b, v in window for c, d, w in window) / full**2
        within = min(within * full / count, 1)
        beside = max(sum(w * alike(a, b) for a, b, w in window) / full, within)
        each, own = self.pool(i, j, self.df) / count, self.df(i, j)
        share = min(each / within, self.most)
        share /= share + own
        inverse = share**2 * within / each
        if own:
            inverse += 2 * share * (1 - share) * beside / each + (1 - share) ** 2 / own
        return share * self.prior(i, j) + (1 - share) * self.own(i, j), 1 / inverse


@given(st.integers(0, 10**6), st.integers(4, 7), st.integers(2, 4), st.sampled_from([0.0, 0.3]))
def test_variances_and_degrees_of_freedom_are_those_of_the_plain_loops(seed, n, k, missing):
    rng = np.random.default_rng(seed)
    residual = np.cumsum(rng.normal(size=(n, k)), axis=0)
    has = rng.random((n, k)) >= missing
    has[:, :2] = True
    residual, trend = np.where(has, residual, 0.0), rng.uniform(0.5, 2, n)
    single, df = pooled_variances(residual, has, trend, 4.0)
    slow = Slow(residual, has, trend, 4.0)
    i, j = slow.pairs[seed % len(slow.pairs)]
    assert (single[i, j], df[i, j]) == pytest.approx(slow.result(i, j), rel=1e-6)
    np.testing.assert_array_equal(single, single.T)
    np.testing.assert_array_equal(df, df.T)


def noise(kind, rng, n=16, k=3):
    if kind == "independent":
        return rng.normal(size=(n, k))
    place = np.arange(n)
    kernel = np.exp(-0.5 * ((place[:, None] - place) / 1.5) ** 2) + 1e-6 * np.eye(n)
    return np.linalg.cholesky(kernel) @ rng.normal(size=(n, k))


def test_smooth_noise_is_seen_to_be_alike_and_leaves_fewer_degrees_of_freedom():
    rng, found = np.random.default_rng(0), {}
    for kind in ("independent", "smooth"):
        fits = [fit_two_way(noise(kind, rng)) for _ in range(60)]
        found[kind] = np.median([fit.df for fit in fits])
    assert found["independent"] > 1.3 * found["smooth"]


def test_the_likeness_is_that_of_the_noise():
    rng = np.random.default_rng(1)
    has, flat = np.ones((16, 60), bool), np.ones((16, 16))
    like = likeness(noise("independent", rng, k=60), has, flat)
    assert like[0] == 1
    assert like[1] < 0.1
    like = likeness(noise("smooth", rng, k=60), has, flat)
    assert 0.5 < like[1] < 0.9
    assert (np.diff(like) <= 0).all()


@pytest.mark.parametrize("kind", ["independent", "smooth"])
@pytest.mark.parametrize("k", [2, 3])
def test_every_difference_lies_in_its_band_as_often_as_is_promised(kind, k):
    rng, hits = np.random.default_rng(k), []
    for _ in range(250):
        fit = fit_two_way(noise(kind, rng, k=k))
        hits.append(np.abs(fit.mean[:, None] - fit.mean) <= fit.half_widths(0.95))
    lags = np.subtract.outer(np.arange(16), np.arange(16))
    for lag in (1, 2, 4, 8):
        assert np.mean(hits, axis=0)[lags == lag].mean() >= 0.92, lag


def test_the_own_variance_is_that_over_the_seeds_that_both_have():
    residual = np.array([[1.0, 2.0, 4.0], [0.0, 5.0, 0.0]])
    has = np.array([[True, True, True], [True, True, False]])
    own, df = own_variances(residual, has)
    assert df.tolist() == [[0, 1], [1, 0]]
    assert own[0, 1] == pytest.approx(np.var([1.0, -3.0], ddof=1))


def test_the_kernel_of_many_learning_rates_is_that_of_few():
    assert module._overlaps()[2][1] == pytest.approx(sum(math.exp(-0.5 * (s / 2) ** 2) for s in range(-6, 7)), rel=1e-3)
