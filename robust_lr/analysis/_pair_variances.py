"""The variance of each difference of two learning rates within a seed, pooled over pairs nearby.

A pair's own differences have few degrees of freedom. So they are averaged with those of pairs nearby, relative to the
trend of the noise: pairs with the same distance a few places further, and with a similar distance if it is large (the
variogram). How much such an average says depends on how independent the pairs are. Smooth noise makes neighbors alike,
and then many of them say no more than one. So the *likeness* of pairs is measured in the same data: the correlation of
their differences over the seeds. With it the degrees of freedom follow as F. E. Satterthwaite has them (Biometrics
Bulletin 1946), for the pooled variance and for its average with the pair's own.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

BANDWIDTH = 2.0  # in learning rates, along pairs with the same distance
LAG_BANDWIDTH = 0.25  # as a share of the distance
_REACH, _LAG_REACH = 6, 4
_N_LAGS = 24  # beyond, pairs are pooled alike
_BLOCK = 32  # rows of pairs at a time; more of them leave the processor's cache
_N_LIKE = 16  # distances over which the likeness is averaged
_FARTHEST = 2 * (_REACH + _LAG_REACH)


def own_variances(residual: Array, has: NDArray[np.bool_]) -> tuple[Array, Array]:
    """Return the variance of each difference over the seeds that both have, and its degrees of freedom."""
    here = has.astype(float)
    shared = here @ here.T
    squares, total = (residual**2) @ here.T, residual @ here.T
    deviation = squares + squares.T - 2 * residual @ residual.T - (total - total.T) ** 2 / np.maximum(shared, 1)
    df = np.maximum(shared - 1, 0)
    np.fill_diagonal(df, 0)
    return np.maximum(deviation, 0) / np.maximum(df, 1), df


def pooled_variances(
    residual: Array, has: NDArray[np.bool_], trend: Array, most_df: float, wild: NDArray[np.bool_] | None = None
) -> tuple[Array, Array]:
    """Return the variance of each difference and its degrees of freedom, both of shape (L, L).

    Args:
        residual: less means and effects, shape (L, K), 0 where missing.
        has: the cells that exist.
        trend: variance of the noise at each learning rate, shape (L,).
        most_df: what the pooled part counts at most beside the pair's own.
        wild: learning rates whose pairs are not pooled with others, shape (L,).
    """
    own, own_df = own_variances(residual, has)
    scale = trend[:, None] + trend
    ratio = np.divide(own, scale, out=np.ones_like(own), where=scale > 0)
    counted = own_df
    if wild is not None and wild.any():
        counted = np.where(wild | wild[:, None], 0.0, own_df)
        has = has & ~wild[:, None]
    count = _pool(np.where(counted > 0, 1.0, 0.0))
    mass = count * own_df.max() if has.all() else _pool(counted)
    known = mass > 0
    ratio *= counted
    prior = scale * np.divide(_pool(ratio), mass, out=np.ones_like(own), where=known)
    within, beside, full = _overlap(likeness(residual, has, prior))
    count = np.where(known, count, 1.0)
    each = np.where(known, mass / count, 1e-9)
    # Toward the ends there are fewer pairs to average.
    within = np.minimum(_by_lag(within * full, len(own)) / count, 1)
    within[~known] = 1.0
    beside = np.maximum(_by_lag(beside, len(own)), within)
    share = np.minimum(each / within, most_df)
    share /= share + own_df
    rest = 1 - share
    # The variance of the average of both, relative to its square.
    beside *= 2 * share
    beside /= each
    beside += rest / np.maximum(own_df, 1)
    beside *= rest
    within *= share**2
    within /= each
    within += beside
    prior *= share
    rest *= own
    prior += rest
    np.fill_diagonal(prior, 0.0)
    return prior, np.divide(1.0, within, out=np.zeros_like(within), where=known)


def _by_lag(values: Array, n: int) -> Array:
    # values[|i - j|] in row i and column j, the last one beyond.
    far = values[np.minimum(np.abs(np.arange(1 - n, n)), len(values) - 1)]
    return np.asarray(np.lib.stride_tricks.sliding_window_view(far, n)[::-1])


def likeness(residual: Array, has: NDArray[np.bool_], prior: Array) -> Array:
    """Return the correlation of the differences of pairs that lie 0, 1, 2, ... places apart, never increasing."""
    n = len(residual)
    first = np.broadcast_to(np.arange(n), (min(n - 1, _N_LIKE), n))
    second = first + np.arange(1, len(first) + 1)[:, None]
    inside, second = second < n, np.minimum(second, n - 1)
    there = has[first] & has[second] & inside[..., None]
    difference = np.where(there, residual[second] - residual[first], 0.0)
    mean = difference.sum(axis=2) / np.maximum(there.sum(axis=2), 1)
    scale = np.sqrt(prior[first, second])
    unit = np.divide(1.0, scale, out=np.zeros_like(scale), where=scale > 0)
    unlike = np.where(there, difference - mean[..., None], 0.0) * unit[..., None]
    square = (unlike**2).sum(axis=2)
    at_first, at_second = square.sum(axis=0), np.bincount(second.ravel(), square.ravel(), minlength=n)
    found = np.ones(min(_FARTHEST, n - 2) + 1)
    for shift in range(1, len(found)):
        product = float(np.einsum("hik,hik->", unlike[:, : n - shift], unlike[:, shift:]))
        both = 0.5 * float(at_first[shift:].sum() + at_second[: n - shift].sum())
        found[shift] = min(max(product / both, 0.0), found[shift - 1]) if both > 0 else 0.0
    return found


def _pool(values: Array) -> Array:
    # Sums over pairs nearby: along the same distance, then over distances, which keep one of the two ends.
    n, size, margin = len(values), min(len(values), _BLOCK), _REACH + _LAG_REACH
    padded, found = np.zeros((n + 2 * margin, 2 * n + 2 * margin + 8)), np.zeros((n, 2 * n))
    padded[margin : n + margin, margin + _LAG_REACH : n + margin + _LAG_REACH] = np.triu(values, 1)
    by_lag, found_by_lag = _shifted_rows(padded), _shifted_rows(found)
    apart = np.subtract.outer(np.arange(size + 2 * margin), np.arange(size + 2 * _LAG_REACH) + _REACH).T
    kernel = np.where(np.abs(apart) <= _REACH, _near(apart), 0.0)
    here = slice(_LAG_REACH, -_LAG_REACH)
    for first in range(0, n, size):
        rows, width = min(size, n - first), n - first
        near = kernel[: rows + 2 * _LAG_REACH, : rows + 2 * margin]
        along = near @ by_lag[first : first + rows + 2 * margin, : width + 2 * _LAG_REACH]
        along[: max(_LAG_REACH - first, 0)] = 0.0
        place = np.arange(len(along))
        along[:, -len(along) :][place[:, None] + place >= len(along)] = 0.0  # there the second end is outside
        total, lag = along[here, here].copy(), np.maximum(np.arange(width), 1)
        for step in range(1, _LAG_REACH + 1):
            wider, narrower = along[:, _LAG_REACH + step :][:, :width], along[:, _LAG_REACH - step :][:, :width]
            beside = wider[here] + narrower[here]
            beside += wider[_LAG_REACH - step :][:rows]
            beside += narrower[_LAG_REACH + step :][:rows]
            beside *= 0.5 * _far(step, lag)
            total += beside
        found_by_lag[first : first + rows, :width] = total
    upper = np.triu(found[:, :n], 1)
    return np.asarray(upper + upper.T)


def _shifted_rows(values: Array) -> Array:
    # Column h of row i is column i + h of values: their diagonals stand upright.
    rows, (n, width) = values.strides, values.shape
    shape = (n, width - n + 1)
    return np.lib.stride_tricks.as_strided(values, shape, (rows[0] + rows[1], rows[1]))


def _near(shift: Array | float) -> Array:
    return np.asarray(np.exp(-0.5 * (np.asarray(shift) / BANDWIDTH) ** 2))


def _far(step: int, lag: Array | float) -> Array:
    return np.asarray(np.exp(-0.5 * (step / (LAG_BANDWIDTH * np.asarray(lag))) ** 2))


def _overlap(like: Array) -> tuple[Array, Array, Array]:
    """Return, for each distance, how alike the pairs are that are averaged, and how alike they are to the one amid.

    The noise of two differences correlates as the mean of the likeness of their ends; variances correlate as the square
    of that. The third is the number of pairs averaged, by weight, away from the ends.
    """
    c = np.zeros(_FARTHEST + 1)
    c[: len(like)] = like[: len(c)]
    within, beside, full = _overlaps()
    return (
        0.5 * (within.sum(axis=2) @ c**2 + (within @ c) @ c),
        0.5 * (beside.sum(axis=2) @ c**2 + (beside @ c) @ c),
        full,
    )


@lru_cache(maxsize=1)
def _overlaps() -> tuple[Array, Array, Array]:
    # How much weight of two of the pairs averaged, or of one and that amid, lies at each displacement of their ends.
    size = _FARTHEST + 1
    within, beside, full = np.zeros((_N_LAGS, size, size)), np.zeros((_N_LAGS, size, size)), np.ones(_N_LAGS)
    for lag in range(1, _N_LAGS):
        ends, weight = _window(lag)
        full[lag], weight = weight.sum(), weight / weight.sum()
        apart = np.abs(ends[:, None] - ends)
        place = (apart[..., 0] * size + apart[..., 1]).ravel()
        within[lag] = np.bincount(place, np.outer(weight, weight).ravel(), size * size).reshape(size, size)
        place = np.abs(ends[:, 0]) * size + np.abs(ends[:, 1])
        beside[lag] = np.bincount(place, weight, size * size).reshape(size, size)
    within = 0.5 * (within + within.transpose(0, 2, 1))
    return within, 0.5 * (beside + beside.transpose(0, 2, 1)), full


def _window(lag: int) -> tuple[NDArray[np.intp], Array]:
    """Return the displacements of both ends of the pairs that are averaged around a pair, and their weights."""
    ends, weight = [], []
    for shift in range(-_REACH, _REACH + 1):
        for step in range(max(-_LAG_REACH, 1 - lag), _LAG_REACH + 1):
            near = float(_near(shift)) * (float(_far(abs(step), lag)) if step else 1.0)
            ends += [(shift, shift + step), (shift - step, shift)]
            weight += [near / 2, near / 2]
    return np.array(ends), np.array(weight)
