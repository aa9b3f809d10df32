"""The two-way model, against limma's published formulas, a dummy regression and plain loops."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import optimize, special, stats

from robust_lr.analysis import _two_way
from robust_lr.analysis._two_way import fit_two_way, squeeze_variances, trigamma_inverse

NAN = math.nan


def limma(variances, dfs):
    """squeezeVar(var, df) without a covariate, as published (Smyth 2004, section 6.2; fitFDist in limma)."""
    e = [math.log(s) - special.digamma(d / 2) + math.log(d / 2) for s, d in zip(variances, dfs, strict=True)]
    center = sum(e) / len(e)
    left = sum((x - center) ** 2 for x in e) / (len(e) - 1) - sum(special.polygamma(1, d / 2) for d in dfs) / len(e)
    if left <= 0:
        return [math.exp(center)] * len(e), math.exp(center), math.inf
    d0 = 2 * optimize.brentq(lambda y: special.polygamma(1, y) - left, 1e-4, 1e6, xtol=1e-13, rtol=1e-13)
    s0 = math.exp(center + special.digamma(d0 / 2) - math.log(d0 / 2))
    return [(d0 * s0 + d * s) / (d0 + d) for s, d in zip(variances, dfs, strict=True)], s0, d0


@given(st.lists(st.tuples(st.floats(0.01, 100), st.integers(1, 20)), min_size=3, max_size=12))
def test_variances_are_shrunk_as_limma_shrinks_them(rows):
    variances, dfs = map(list, zip(*rows, strict=True))
    expected, s0, d0 = limma(variances, dfs)
    assume(d0 < 1e4 or d0 == math.inf)  # beyond, the inverse of trigamma is all rounding
    n = len(rows)
    got, trend, prior_df = squeeze_variances(np.array(variances), np.array(dfs), np.full((n, n), 1 / n))
    assert got == pytest.approx(expected, rel=1e-6)
    assert trend == pytest.approx([s0] * n, rel=1e-6)
    assert prior_df == pytest.approx(d0, rel=1e-6)


def test_equal_variances_are_all_shrunk_to_their_common_value_and_very_different_ones_hardly():
    rng = np.random.default_rng(0)
    flat = np.full((40, 40), 1 / 40)
    alike = rng.chisquare(4, size=40) / 4
    got, _, _ = squeeze_variances(alike, np.full(40, 4), flat)
    assert got.std() < 0.3 * alike.std()
    unlike = np.exp(4 * rng.normal(size=40)) * alike
    got, _, prior_df = squeeze_variances(unlike, np.full(40, 4), flat)
    assert prior_df < 1
    assert got[unlike > 1] == pytest.approx(unlike[unlike > 1], rel=0.2)


@pytest.mark.parametrize("value", [1e-8, 1e-3, 0.5, math.pi**2 / 6, 30.0, 1e6, 1e9])
def test_the_inverse_of_trigamma_is_one(value):
    assert special.polygamma(1, trigamma_inverse(value)) == pytest.approx(value, rel=1e-3)
    assert trigamma_inverse(math.pi**2 / 6) == pytest.approx(1)


COMPLETE = arrays(float, st.tuples(st.integers(2, 9), st.integers(2, 5)), elements=st.floats(-5, 5))


@given(COMPLETE)
def test_complete_losses_have_their_plain_means(loss):
    fit = fit_two_way(loss)
    np.testing.assert_array_equal(fit.mean, loss.mean(axis=1))
    assert fit.effect.mean() == pytest.approx(0, abs=1e-9)


def some_cells(rng, n, k, share=0.3):
    """Losses with missing cells, in one connected piece: the first seed has every learning rate."""
    loss = rng.normal(size=(n, k)) + 3 * rng.normal(size=k)
    gone = rng.random((n, k)) < share
    gone[:, 0] = False
    gone[rng.integers(n, size=k), np.arange(k)] = False
    return np.where(gone, NAN, loss)


def regression(loss, weight):
    """Coefficients of each mean in the losses, by least squares with a dummy for each learning rate and seed."""
    cells = np.argwhere(~np.isnan(loss))
    design = np.zeros((len(cells), sum(loss.shape)))
    design[np.arange(len(cells)), cells[:, 0]] = design[np.arange(len(cells)), loss.shape[0] + cells[:, 1]] = 1
    root = np.sqrt(weight[cells[:, 0]])
    return cells, (np.linalg.pinv(design * root[:, None]) * root)[: loss.shape[0]]


@given(st.integers(0, 10**6), st.integers(3, 8), st.integers(2, 5))
def test_on_any_cells_differences_of_means_are_those_of_a_dummy_regression(seed, n, k):
    loss = some_cells(np.random.default_rng(seed), n, k)
    fit = fit_two_way(loss, noise=1.0)
    cells, coefficients = regression(loss, np.ones(n))
    expected = coefficients @ loss[tuple(cells.T)]
    assert fit.mean - fit.mean[0] == pytest.approx(expected - expected[0], abs=1e-8)


@given(st.integers(0, 10**6), st.integers(3, 8), st.integers(2, 5))
def test_on_any_cells_the_covariance_is_that_of_the_coefficients(seed, n, k):
    rng = np.random.default_rng(seed)
    loss, weight = some_cells(rng, n, k), rng.uniform(0.1, 10, n)
    noise = rng.normal(size=(n, n))
    noise = noise @ noise.T
    single = np.diag(noise)[:, None] + np.diag(noise) - 2 * noise
    has = ~np.isnan(loss)
    *_, inverse = _two_way._weighted_means(loss, has, weight)
    covariance = _two_way._covariance(single, has, weight, inverse)
    cells, coefficients = regression(loss, weight)
    contrast = rng.normal(size=n)
    contrast -= contrast.mean()
    expected = 0.0
    for seed_ in range(k):
        within = np.zeros(n)
        within[cells[cells[:, 1] == seed_, 0]] = contrast @ coefficients[:, cells[:, 1] == seed_]
        expected += within @ noise @ within
    assert contrast @ covariance @ contrast == pytest.approx(expected, rel=1e-6, abs=1e-9)


@given(st.integers(0, 10**6), st.sampled_from([0.25, 8.0]))
def test_the_order_of_the_seeds_their_effects_and_the_unit_change_nothing_else(seed, unit):
    rng = np.random.default_rng(seed)
    loss = some_cells(rng, 7, 4)
    a, b = fit_two_way(loss), fit_two_way(unit * (loss + 10 * rng.normal(size=4))[:, rng.permutation(4)])
    assert b.df == pytest.approx(a.df)
    np.testing.assert_allclose(b.pair_variance, unit**2 * a.pair_variance, rtol=1e-5, atol=1e-12)
    np.testing.assert_allclose(b.mean - b.mean[0], unit * (a.mean - a.mean[0]), rtol=1e-6, atol=1e-7)


def test_a_cell_that_no_other_seed_shares_adds_nothing():
    loss = np.random.default_rng(0).normal(size=(6, 2))
    more = np.hstack([loss, np.full((6, 1), NAN)])
    more[2, 2] = 7.0
    a, b = fit_two_way(loss), fit_two_way(more)
    assert b.mean - b.mean[0] == pytest.approx(a.mean - a.mean[0], abs=1e-9)
    assert b.pair_variance[0, 5] == pytest.approx(a.pair_variance[0, 5], rel=0.02)


def test_neighbors_that_share_their_noise_are_told_apart_more_finely():
    rng = np.random.default_rng(0)
    shared = np.cumsum(rng.normal(size=(16, 5)), axis=0) * 0.1 + rng.normal(size=5)
    fit = fit_two_way(shared)
    assert fit.pair_variance[7, 8] < 0.2 * fit.pair_variance[2, 13]


@pytest.mark.parametrize("share", [0.0, 0.1, 0.33])
@pytest.mark.parametrize("k", [2, 5])
def test_a_difference_lies_in_its_band_as_often_as_is_promised(share, k):
    rng = np.random.default_rng(k)
    hits = []
    for _ in range(300):
        fit = fit_two_way(some_cells(rng, 12, k, share))
        hits.append(abs(fit.mean[5] - fit.mean[6]) <= fit.t_quantile(0.95) * math.sqrt(fit.pair_variance[5, 6]))
    assert np.mean(hits) >= 0.90


def test_a_noise_that_is_given_makes_bands_of_one_seed():
    fit = fit_two_way(np.array([[1.0], [2.0], [4.0]]), noise=0.5)
    assert fit.pair_variance[0, 1] == pytest.approx(0.5)
    assert fit.df == _two_way.GIVEN_NOISE_DF
    assert fit.t_quantile(0.95) == pytest.approx(stats.t.ppf(0.975, 4))
    assert fit.t_quantile(0.95) / 1.96 > 1.4  # so a noise that is 1.4 times too small does no harm


def test_a_given_noise_is_raised_where_the_curve_is_rougher_and_never_lowered():
    rng, place, ratios = np.random.default_rng(0), np.arange(24), []
    for _ in range(40):
        noise = 0.1 * np.exp(0.12 * np.maximum(place - 8, 0))
        loss = 0.01 * (place - 8) ** 2 + noise * rng.normal(size=24)
        fit = fit_two_way(loss[:, None], noise=0.1)
        assert (fit.variance >= 0.1**2).all()
        ratios.append(np.sqrt(fit.variance) / noise)
    typical = np.median(ratios, axis=0)
    assert typical[:8] == pytest.approx(1, abs=0.2)
    assert (typical[8:] > 0.5).all()  # 0.17 at the end if it were not raised


@pytest.mark.parametrize(
    "curve",
    [lambda x: 0.02 * x**2, lambda x: 3 - x, abs, lambda x: 5.0 * (x == 1), lambda x: 9.0 * (x > 2)],
    ids=["valley", "slope", "kink", "one good point", "cliff"],
)
def test_a_curve_that_is_not_noisy_leaves_a_given_noise_as_it_is(curve):
    loss = curve(np.arange(-8.0, 8.0))[:, None]
    assert fit_two_way(loss, noise=0.1).variance == pytest.approx(np.full(16, 0.01))


def test_a_second_trial_shows_the_noise_better_than_the_roughness_of_the_curve():
    loss = np.random.default_rng(0).normal(size=(16, 2))
    assert fit_two_way(loss, noise=0.1).variance == pytest.approx(np.full(16, 0.01))
    loss[:8, 1] = NAN
    variance = fit_two_way(loss, noise=0.1).variance
    assert (variance[:8] > 0.1).all()
    assert variance[8:] == pytest.approx(np.full(8, 0.01))


def test_without_a_replicate_nothing_is_known_about_the_noise():
    for loss in ([[1.0], [2.0]], [[1.0, NAN], [2.0, 3.0]]):
        fit = fit_two_way(np.array(loss))
        assert fit.df == 0
        assert math.isnan(fit.t_quantile(0.95))
        assert np.isnan(fit.pair_variance).all()


def test_losses_without_noise_have_bands_of_width_zero():
    fit = fit_two_way(np.array([[1.0, 2.0], [3.0, 4.0], [8.0, 9.0]]))
    assert not fit.pair_variance.any()
    assert fit.df > 0


def test_a_pair_with_more_seeds_has_more_degrees_of_freedom():
    loss = np.random.default_rng(0).normal(size=(9, 5))
    some = loss.copy()
    some[:3, 2:] = some[6:, 2:] = math.nan
    fit = fit_two_way(some)
    assert fit.pair_df[3, 4] > fit.pair_df[0, 1]
    t = stats.t.ppf(0.975, fit.pair_df[3, 4])
    assert fit.half_widths(0.95)[3, 4] == pytest.approx(t * math.sqrt(fit.pair_variance[3, 4]))


@pytest.mark.parametrize("growth", [-0.4, 0.0, 0.4])
def test_noise_that_grows_by_a_constant_factor_has_that_trend_up_to_the_ends(growth):
    log = growth * np.arange(16)
    fitted = _two_way._smoother(np.full(16, 9)) @ log
    assert fitted[0] == pytest.approx(log[0], abs=0.35)
    assert fitted[8] == pytest.approx(log[8], abs=0.1)
    assert fitted[15] == pytest.approx(log[15], abs=0.35)


def test_the_trend_of_equal_noise_is_flat_whatever_cells_there_are():
    df = np.array([0, 0, 4, 1, 1, 0, 2, 0])
    np.testing.assert_allclose(_two_way._smoother(df).sum(axis=1), 1)


def test_runs_that_exploded_without_reaching_infinity_do_not_rule_the_noise_in_the_valley():
    rng, place = np.random.default_rng(0), np.arange(24)
    for _ in range(20):
        loss = (0.01 * (place - 12) ** 2)[:, None] + 0.02 * rng.normal(size=(24, 3)) + 0.02 * rng.normal(size=3)
        wild = loss.copy()
        wild[18:] = 10.0 ** rng.uniform(3, 12, size=(6, 3))
        wild[17, 0] = 1e6  # one run of three
        calm, fit = fit_two_way(loss[:17]), fit_two_way(wild)
        assert fit.exploded.tolist() == [False] * 17 + [True] * 7
        assert np.sqrt(fit.variance[12] / calm.variance[12]) == pytest.approx(1, rel=0.5)
        assert fit.effect == pytest.approx(calm.effect, abs=0.05)
        assert np.median(fit.pair_variance[8:16, 8:16]) < 4 * np.median(calm.pair_variance[8:16, 8:16])


@given(st.integers(0, 10**6), st.integers(3, 20), st.integers(2, 5), st.floats(0, 30))
def test_noise_alone_is_no_explosion(seed, n, k, effect):
    rng = np.random.default_rng(seed)
    assert not fit_two_way(rng.normal(size=(n, k)) + effect * rng.normal(size=k)).exploded.any()
