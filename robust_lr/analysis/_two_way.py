"""The two-way model: loss[i, k] = mean[i] + effect[k] + noise[i, k] for learning rate i and seed k, on any cells.

A few seeds say little about the noise at one learning rate, but a sweep has many learning rates. Genomics has the same
problem, few replicates of many genes, and solves it by shrinking each variance toward its neighborhood (G. K. Smyth,
"Linear models and empirical Bayes methods", 2004; ``squeezeVar`` in limma). Here a difference of two means matters, and
neighboring learning rates share part of their noise: same batches, nearly the same path. So the variance of each
*pair* is estimated, from

1. a trend of the noise over the learning rates, smoothed in the logarithm since it spans orders of magnitude;
2. the variogram around it: how much of that variance is left in the difference of two learning rates this far apart,
   averaged over pairs with the same distance nearby;
3. the pair's own differences. Prior and own variance are weighted by their degrees of freedom.

The means are weighted least squares: a missing cell costs its own information and no more. On complete data they are
the plain means over the seeds.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from ._pair_variances import own_variances, pooled_variances

Array = NDArray[np.float64]

BANDWIDTH = 2.0  # in learning rates, of the trend
FLAT = 1.0  # what speaks for a trend without slope; a cell with many replicates beside it counts as many
FAR = 0.15  # mass of all learning rates alike in the trend; that of the neighborhood is about 5
# What pairs nearby count beside a pair's own differences: noise at neighbors hardly ever differs by more than 3 degrees
# of freedom stand for, and no two are so alike that more than 6 should be trusted.
LEAST_PRIOR_DF, MOST_PRIOR_DF = 3.0, 6.0
LEAST_DF = 2.0  # of the bands: no neighborhood is so alike that it holds a single degree of freedom
GIVEN_NOISE_DF = 4.0  # t(4) covers a noise that is wrong by a factor of 1.4
EXPLOSION = 10.0  # times the usual excess loss
_N_ROUNDS = 4
_THIRD = np.array([1.0, -3.0, 3.0, -1.0])
_NEAR_THIRDS, _LEAST_THIRDS = 9, 5  # a single good or bad learning rate changes four
_MEDIAN_OF_NORMAL = 0.6745  # of its absolute value


@dataclass(frozen=True, eq=False)
class TwoWayFit:
    """Means of the learning rates and what is known about their differences.

    Attributes:
        mean: shape (L,), at the average seed.
        effect: of each seed, shape (K,), zero on average.
        variance: of the noise of one trial at each learning rate, shape (L,); NaN if nothing is known about it.
        covariance: of the means, shape (L, L). Only contrasts, whose weights sum to 0, have a meaning.
        pair_variance: of each difference of two means, shape (L, L).
        df: degrees of freedom of these variances, of the typical pair; 0 if there is no replicate.
        pair_df: those of each pair, shape (L, L): of the typical pair that shares as many seeds.
        weight: of each learning rate in the effects, shape (L,), sums to 1.
        exploded: whether a learning rate ends far beyond all that training starts from, shape (L,).
        given_noise: the standard deviation of one trial that was given, None if it was estimated.
    """

    mean: Array
    effect: Array
    variance: Array
    covariance: Array
    pair_variance: Array
    df: float
    pair_df: Array
    weight: Array
    exploded: NDArray[np.bool_]
    given_noise: float | None = None

    def with_effect(self, effect: Array) -> TwoWayFit:
        """Return the same fit with the effects of more seeds, those without a cell at any of its learning rates."""
        return replace(self, effect=effect)

    def t_quantile(self, level: float) -> float:
        """Return the two-sided quantile, NaN without a replicate."""
        from scipy.special import stdtrit

        return float(stdtrit(self.df, 0.5 + level / 2)) if self.df > 0 else math.nan

    def half_widths(self, level: float) -> Array:
        """Return half the width of the two-sided band of each difference of two means, NaN without a replicate."""
        inverse = np.divide(1.0, self.pair_df, out=np.full_like(self.pair_df, math.nan), where=self.pair_df > 0)
        return np.asarray(np.interp(inverse, *_quantiles(level)) * np.sqrt(self.pair_variance))


@lru_cache(maxsize=16)
def _quantiles(level: float) -> tuple[Array, Array]:
    # Two-sided quantiles of t by the inverse of the degrees of freedom, in which they are nearly straight.
    from scipy.special import stdtrit

    inverse = np.linspace(0.0, 1.0, 8193)
    return inverse, stdtrit(1 / np.maximum(inverse, 1e-12), 0.5 + level / 2)


def fit_two_way(loss: Array, *, noise: float | None = None) -> TwoWayFit:
    """Fit the model to losses of shape (L, K), finite or NaN; each row and each column has a result.

    Args:
        loss: learning rates x seeds.
        noise: standard deviation of one trial near the best, where it is known; it replaces trend and variogram as
            the prior. Where a learning rate has a single trial and the curve around it is rougher than that, the
            roughness counts instead: a given noise is never lowered.
    """
    has, (n_rows, n_seeds) = ~np.isnan(loss), loss.shape
    exploded = _exploded(loss)
    if not (has.sum(axis=1) > 1)[~exploded].any():
        exploded[:] = False  # else nothing would show the noise
    n_replicates = float(has.sum() - n_rows - n_seeds + 1)
    weight = np.where(exploded, 1e-12, 1.0)
    mean, effect, residual, inverse = _weighted_means(loss, has, weight)
    if n_rows == 1:
        return _one_row(loss, mean)
    if noise is not None:
        variance = np.maximum(float(noise) ** 2, _roughness(mean, has.sum(axis=1)))
        own, own_df = own_variances(residual, has)
        df = GIVEN_NOISE_DF + own_df
        single = (GIVEN_NOISE_DF * (variance[:, None] + variance) + own_df * own) / df
    elif n_replicates < 1:
        unknown = np.full((n_rows, n_rows), math.nan)
        weight /= weight.sum()
        return TwoWayFit(mean, effect, unknown[0], unknown, unknown, 0.0, np.zeros_like(unknown), weight, exploded)
    else:
        (mean, effect, inverse), weight, variance, single, df = _from_replicates(loss, has, residual, exploded)
    np.fill_diagonal(single, 0.0)
    covariance = _covariance(single, has, weight, inverse)
    pair_variance = single / n_seeds
    if not has.all():
        spread = np.diag(covariance)[:, None] + np.diag(covariance) - 2 * covariance
        # No difference is known better than from every seed.
        pair_variance = np.maximum(spread, pair_variance)
    typical = float(np.median(df[~np.eye(n_rows, dtype=bool)]))
    return TwoWayFit(
        mean, effect, variance, covariance, pair_variance, typical, df, weight / weight.sum(), exploded, noise
    )


def _one_row(loss: Array, mean: Array) -> TwoWayFit:
    # The effects of the seeds cannot be told from the noise.
    df, nothing = loss.shape[1] - 1, np.zeros((1, 1))
    variance = loss.var(axis=1, ddof=1) if df else np.full(1, math.nan)
    return TwoWayFit(
        mean,
        np.zeros(loss.shape[1]),
        variance,
        nothing,
        nothing,
        float(df),
        np.full((1, 1), float(df)),
        np.ones(1),
        np.zeros(1, dtype=bool),
    )


def _from_replicates(
    loss: Array, has: NDArray[np.bool_], residual: Array, exploded: NDArray[np.bool_]
) -> tuple[tuple[Array, Array, Array], Array, Array, Array, Array]:
    # Means and effects weighted by the noise, and that noise: of each learning rate, and of each pair with its degrees
    # of freedom. Both in turn, since each needs the other.
    row_df, weight = has.sum(axis=1) - 1, np.ones(len(loss))
    n_replicates = float(has.sum() - sum(loss.shape) + 1)
    smoother, found = _smoother(row_df[~exploded]), _rough_variances(np.where(has, residual, math.nan))
    for _ in range(_N_ROUNDS):
        _, trend, _ = _squeeze_calm(found, row_df, smoother, exploded)
        most = float(trend[~exploded].max())
        weight = most / np.maximum(trend, 1e-12 * most) if most > 0 else weight
        mean, effect, residual, inverse = _weighted_means(loss, has, weight)
        found = _row_variances(residual, has, weight)
    variance, trend, trend_df = _squeeze_calm(found, row_df, smoother, exploded)
    prior_df = min(max(trend_df, LEAST_PRIOR_DF), MOST_PRIOR_DF)
    single, df = pooled_variances(residual, has, trend, prior_df, exploded)
    if not df.all():
        df = np.where(df > 0, df, np.median(df[df > 0]) if df.any() else n_replicates)
    # The trend is estimated too, from all replicates together.
    df = np.maximum(1 / (1 / df + 1 / n_replicates), min(LEAST_DF, n_replicates))
    return (mean, effect, inverse), weight, variance, single, df


def _rough_variances(residual: Array) -> Array:
    # Of the rows, with the effects of the seeds by medians, which a few wild rows do not move.
    left = residual - np.nanmedian(residual, axis=0)
    n = (~np.isnan(left)).sum(axis=1)
    return np.asarray(np.nanvar(left, axis=1) * n / np.maximum(n - 1, 1))


def _exploded(loss: Array) -> NDArray[np.bool_]:
    # Learning rates at which a run ends far above what too small ones end at, the bulk, and the spread over seeds:
    # training made it worse there, and its noise says nothing about that in the valley.
    excess, highest = np.nanmean(loss, axis=1), np.nanmax(loss, axis=1)
    best, lowest = int(excess.argmin()), float(excess.min())
    excess -= lowest
    spread = float(np.median(highest - np.nanmin(loss, axis=1)))
    usual = max(float(np.median(excess)), float(excess[:best].max(initial=0.0)), spread)
    found = np.asarray((highest - lowest > EXPLOSION * usual) & (usual > 0))
    found[best] = False
    return found


def _roughness(mean: Array, n_cells: NDArray[np.intp]) -> Array:
    # The variance of one trial that the means themselves show, at the learning rates with a single one. Their third
    # differences hold no level, slope or curvature, only noise and kinks. Kinks are few: the median of those nearby.
    n, size = len(mean), min(_NEAR_THIRDS, len(mean) - len(_THIRD) + 1)
    if size < _LEAST_THIRDS:
        return np.zeros(n)
    weight = np.convolve(1 / n_cells, np.square(_THIRD), "valid")
    third = np.abs(np.convolve(mean, _THIRD, "valid")) / np.sqrt(weight)
    median = np.median(np.lib.stride_tricks.sliding_window_view(third, size), axis=1)
    around = median[np.clip(np.arange(n) - (n - len(median)) // 2, 0, len(median) - 1)]
    return np.where(n_cells == 1, (around / _MEDIAN_OF_NORMAL) ** 2, 0.0)


def squeeze_variances(variance: Array, df: NDArray[np.intp], smoother: Array) -> tuple[Array, Array, float]:
    """Shrink variances toward a trend by empirical Bayes: limma's ``fitFDist`` and ``squeezeVar``.

    Args:
        variance: shape (L,).
        df: degrees of freedom of each; one without any takes no part and gets the trend.
        smoother: shape (L, L), rows sum to 1: trend of the log variances. With all entries 1/L it is limma's constant.

    Returns:
        The shrunk variances, the trend, and the degrees of freedom of the trend (inf if it explains the variances).
    """
    from scipy.special import digamma, polygamma

    used = df > 0
    half = np.where(used, df, 1) / 2
    # As in limma: a variance of 0 has no logarithm, and one that is far below all others is luck.
    floor = 1e-5 * float(np.median(variance[used]))
    if floor == 0:
        floor = 1e-5 * float(variance[used].max())
    if floor == 0:
        return np.zeros_like(variance), np.zeros_like(variance), math.inf
    log = np.log(np.maximum(variance, floor)) - digamma(half) + np.log(half)
    fitted = smoother @ np.where(used, log, 0.0)
    n_free = max(float(used.sum() - np.trace(smoother)), 1.0)
    left = float(np.sum((log - fitted)[used] ** 2) / n_free - polygamma(1, half[used]).mean())
    if left <= 0:
        return np.exp(fitted), np.exp(fitted), math.inf
    prior_df = 2 * trigamma_inverse(left)
    trend = np.exp(fitted + digamma(prior_df / 2) - math.log(prior_df / 2))
    return (prior_df * trend + df * variance) / (prior_df + df), trend, prior_df


def _squeeze_calm(
    variance: Array, df: NDArray[np.intp], smoother: Array, exploded: NDArray[np.bool_]
) -> tuple[Array, Array, float]:
    # Learning rates that exploded keep their own variance, and no other learns from it.
    squeezed, trend, calm = variance.copy(), variance.copy(), ~exploded
    squeezed[calm], trend[calm], trend_df = squeeze_variances(variance[calm], df[calm], smoother)
    squeezed[exploded] = trend[exploded] = np.maximum(variance[exploded], trend[calm].max())
    return squeezed, trend, trend_df


def trigamma_inverse(value: float) -> float:
    """Return y with trigamma(y) = value, by Newton's method on 1/trigamma, as in limma."""
    from scipy.special import polygamma

    if value > 1e7:
        return 1 / math.sqrt(value)
    if value < 1e-6:
        return 1 / value
    y = 0.5 + 1 / value
    for _ in range(50):
        trigamma = float(polygamma(1, y))
        step = trigamma * (1 - trigamma / value) / float(polygamma(2, y))
        y += step
        if -step / y < 1e-10:
            break
    return y


def _smoother(df: NDArray[np.intp]) -> Array:
    # Local lines: noise grows by a constant factor a step, also where the learning rates end.
    from scipy.special import polygamma

    place = np.arange(len(df))
    away = np.clip((place - place[:, None]) / BANDWIDTH, -3, 3)
    near = np.exp(-0.5 * ((place[:, None] - place) / BANDWIDTH) ** 2)
    # Far from all replicates their mean counts.
    kernel = (near + FAR / len(df)) * np.where(df > 0, 1 / polygamma(1, np.maximum(df, 1) / 2), 0.0)
    total, first = kernel.sum(axis=1, keepdims=True), (kernel * away).sum(axis=1, keepdims=True)
    second = (kernel * away**2).sum(axis=1, keepdims=True) + FLAT
    return np.asarray(kernel * (second - first * away) / (total * second - first**2))


def _weighted_means(loss: Array, has: NDArray[np.bool_], weight: Array) -> tuple[Array, Array, Array, Array]:
    # Means, effects, residuals, and the inverse of the normal equations of the effects.
    if has.all():
        mean = loss.mean(axis=1)
        effect = weight @ (loss - mean[:, None]) / weight.sum()
        return mean, effect, loss - mean[:, None] - effect, np.zeros((loss.shape[1], loss.shape[1]))
    n, cell = has.sum(axis=1), weight[:, None] * has
    plain = np.where(has, loss / n[:, None], 0.0).sum(axis=1)
    right = np.where(has, weight[:, None] * (loss - plain[:, None]), 0.0).sum(axis=0)
    inverse = np.linalg.pinv(np.diag(cell.sum(axis=0)) - has.T @ (cell / n[:, None]), rcond=1e-10, hermitian=True)
    effect = inverse @ right
    effect -= effect.mean()
    mean = plain - has @ effect / n
    return mean, effect, np.where(has, loss - mean[:, None] - effect, 0.0), inverse


def _row_variances(residual: Array, has: NDArray[np.bool_], weight: Array) -> Array:
    n, cell = has.sum(axis=1), weight[:, None] * has
    leverage = (cell / cell.sum(axis=0)).sum(axis=1) / n
    return np.asarray((residual**2).sum(axis=1) / (np.maximum(n - 1, 1) * np.maximum(1 - leverage, 0.3)))


def _covariance(single: Array, has: NDArray[np.bool_], weight: Array, inverse: Array) -> Array:
    # Of the means, up to what cancels in contrasts: mean = sum over seeds k of C_k loss[:, k], where the rows of C_k
    # differ by vectors that sum to 0, and -single / 2 is the covariance of the noise within a seed up to such terms.
    n, n_seeds = has.sum(axis=1), has.shape[1]
    # That is taken relative to quiet learning rates, else the huge variances of others would leave only rounding.
    quiet = single.mean(axis=1) <= np.median(single.mean(axis=1))
    row = single[:, quiet].mean(axis=1)
    noise = -0.5 * (single - row[:, None] - row + row[quiet].mean())
    if has.all():
        return np.asarray(noise / n_seeds)
    pull = (has / n[:, None]) @ inverse
    found = np.zeros_like(noise)
    for k in range(n_seeds):
        # C_k = diag(direct) - pull @ share.T
        direct = has[:, k] / n
        share = (weight * has[:, k])[:, None] * (np.eye(n_seeds)[k] - has / n[:, None])
        along = noise @ share
        crossed = (direct[:, None] * along) @ pull.T
        found += direct[:, None] * noise * direct - crossed - crossed.T + pull @ (share.T @ along) @ pull.T
    return np.asarray(found)
