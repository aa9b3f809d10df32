"""The difference of two sides, B less A: of two sweeps, paired by seed, or of many, paired by sweep.

Each side is scored where its own mean is lowest. That learning rate owes its low mean partly to luck, and the side with
more noise, or more learning rates that are nearly as good, has more of it. So each bound allows for the luck of one
side.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from ._bounds import ExcessBounds, widening
from ._selection import LossBlock, cross_fit
from ._two_way import fit_two_way
from .comparison import compare_schedules
from .degradation import curve_of
from .noise import variance_of_run
from .profile import find_cliff

Array = NDArray[np.float64]
_MANY = 1000.0  # degrees of freedom; with more, a standard deviation is as good as known
Pair = tuple[LossBlock, LossBlock]


@dataclass(frozen=True, eq=False)
class Gap:
    """A difference B - A with its interval, NaN if nothing shows the noise; the standard deviation of one of n pairs.

    With `n_pairs` 0, the sides share no seed, and the standard deviation is that of one run of A and one of B. It is
    known with `df` degrees of freedom.
    """

    difference: float
    interval: tuple[float, float] = (math.nan, math.nan)
    sd: float = math.nan
    n_pairs: int = 0
    df: float = math.inf


def gap_of_seeds(pair: Pair, level: float) -> Gap:
    """Return the gap between the best learning rates of two sweeps."""
    a, b = pair
    seeds = [seed for seed in a.seeds if seed in b.seeds]
    is_given = a.fit.given_noise is not None
    if min(len(a.learning_rates), len(b.learning_rates)) < 3 or len(seeds) < 2 - is_given:
        return _gap_of_cells(pair, seeds, level)
    curves = [curve_of(replace(block, schedule=name), level) for name, block in zip("AB", pair, strict=True)]
    comparison = compare_schedules(curves)
    row, lower = comparison.interval[0], comparison.lowest[0]
    low, high = row[1] if lower == "A" else -row[0][::-1]
    at_a, at_b = (_effects(block, seeds) for block in pair)
    difference = float(_lowest(b) - _lowest(a) + np.mean(at_b) - np.mean(at_a))
    common = float(np.var(at_b - at_a, ddof=1)) if len(seeds) > 1 else 0.0
    own = sum(float(block.noise[block.best]) ** 2 for block in pair)
    parts = common**2 / max(len(seeds) - 1, 1) + own**2 / min(block.fit.df for block in pair)
    df = (common + own) ** 2 / parts if parts else math.inf
    return Gap(difference, (float(low), float(high)), math.sqrt(common + own), len(seeds), df)


def _gap_of_cells(pair: Pair, seeds: Sequence[int], level: float) -> Gap:
    # A t interval from the runs at the two learning rates: Student's if they share seeds, else Welch's.
    a, b = pair
    ours, theirs = (dict(zip(block.seeds, block.loss[block.best], strict=True)) for block in pair)
    d = np.array([theirs[seed] - ours[seed] for seed in seeds])
    d = d[np.isfinite(d)]
    if len(d) > 1:
        gap = _student(d, level)
        return replace(gap, interval=_around(gap.difference, gap.interval[1] - gap.difference, pair, level))
    difference = _lowest(b) - _lowest(a)
    half, sd, df = _without_pairs(pair, level)
    return Gap(difference, _around(difference, half, pair, level), sd, df=df)


def _without_pairs(pair: Pair, level: float) -> tuple[float, float, float]:
    # Half a band by Welch, the standard deviation of one run of each side, and its degrees of freedom; NaN if a side
    # does not show its noise.
    parts = [_variance(block) for block in pair]
    errors = [v / block.n_seeds[block.best] for (v, _), block in zip(parts, pair, strict=True)]
    spread = sum(e**2 / df for e, (_, df) in zip(errors, parts, strict=True))
    half = _t(sum(errors) ** 2 / spread, level) * math.sqrt(sum(errors)) if spread else 0.0
    of_runs, total = sum(v**2 / df for v, df in parts), sum(v for v, _ in parts)
    return half, math.sqrt(total), total**2 / of_runs if of_runs else math.inf


def _variance(block: LossBlock) -> tuple[float, float]:
    if block.fit.df == 0:
        return math.nan, 1.0
    variance, _, df = variance_of_run(block)
    return variance, df if block.fit.given_noise is None else df / 2  # both sides share one number


def _student(d: Array, level: float) -> Gap:
    n, center = len(d), float(d.mean())
    if n < 2:
        return Gap(center, n_pairs=n)
    sd = float(d.std(ddof=1))
    half = _t(n - 1, level) * sd / math.sqrt(n)
    return Gap(center, (center - half, center + half), sd, n, n - 1)


def _around(center: float, half: float, pair: Pair, level: float) -> tuple[float, float]:
    # The luck of A pulls the difference up, that of B down.
    wide = [float(widening(level, len(ExcessBounds(block, level).possible_bests))) for block in pair]
    return center - wide[0] * half, center + wide[1] * half


def gap_of_sweeps(pairs: Sequence[Pair], level: float) -> Gap:
    """Return the mean gap between the best learning rates over pairs of sweeps.

    The interval is Student's over the pairs, twice: of the lowest losses, which owe something to luck, and of what the
    same learning rates score without that luck, but were chosen by it. The truth lies between the two, so both count.
    """
    lowest = _student(np.array([_lowest(b) - _lowest(a) for a, b in pairs]), level)
    fair = _student(np.array([_without_luck(b) - _without_luck(a) for a, b in pairs]), level)
    ends = [np.array(gap.interval) for gap in (lowest, fair)]
    low, high = min(ends[0][0], ends[1][0]), max(ends[0][1], ends[1][1])
    return replace(lowest, interval=(float(low), float(high)))


def _without_luck(block: LossBlock) -> float:
    """The loss of the best learning rate as other runs tell it: held-out seeds, or else the neighbors in the sweep.

    It is that of the best itself where neighbors are missing, at an edge or a cliff.
    """
    if len(block.seeds) > 1 and block.fit.df > 0:
        return float(cross_fit(block).score(np.arange(len(block.learning_rates))).mean())
    cliff = find_cliff(block)
    rows = np.flatnonzero(block.converged[:cliff])
    place = int(np.searchsorted(rows, block.best))
    if not 0 < place < len(rows) - 1:
        return _lowest(block)
    near = np.delete(rows[max(place - 2, 0) : place + 3], min(place, 2))
    x = np.log(block.learning_rates[near] / block.learning_rates[block.best])
    return float(np.polynomial.polynomial.polyfit(x, block.mean[near], 2 if len(near) > 3 else 1)[0])


def gaps_at_rates(pair: Pair, level: float) -> tuple[Array, Array, Array]:
    """Return the learning rates in common, the difference at each and its interval, each by itself.

    With seeds in common, the noise is that of the differences, pooled over the learning rates by the two-way model.
    """
    lrs, d = _differences(pair)
    difference, interval = np.full(len(lrs), math.nan), np.full((len(lrs), 2), math.nan)
    broken, rows = np.isinf(d).any(axis=1), np.isfinite(d).any(axis=1) & ~np.isinf(d).any(axis=1)
    difference[broken] = [next(value for value in row if math.isinf(value)) for row in d[broken]]
    if not rows.any():
        return lrs, difference, interval
    cells = d[np.ix_(rows, np.isfinite(d[rows]).any(axis=0))]
    fit, n = fit_two_way(cells), cells.shape[1]
    if n == 1:
        half, center = _without_pairs(pair, level)[0], fit.mean
    else:
        common = _t(n - 1, level) * np.std(fit.effect, ddof=1) / math.sqrt(n)
        own = fit.t_quantile(level) * np.sqrt(fit.variance / np.isfinite(cells).sum(axis=1))
        half, center = np.hypot(common, own), fit.mean
    difference[rows], interval[rows] = center, np.stack([center - half, center + half], axis=1)
    return lrs, difference, interval


def _differences(pair: Pair) -> tuple[Array, Array]:
    """The learning rates in common, shape (L,), and B - A there for each shared seed, shape (L, K).

    Without two seeds in common it is the difference of the means, K = 1. It is infinite where one side alone diverged.
    """
    a, b = pair
    lrs = np.intersect1d(a.learning_rates, b.learning_rates)
    seeds = [seed for seed in a.seeds if seed in b.seeds]
    cells = []
    for block in pair:
        rows = np.searchsorted(block.learning_rates, lrs)
        columns = np.array([block.seeds.index(seed) for seed in seeds], dtype=np.intp)
        cells.append(block.loss[np.ix_(rows, columns)] if len(seeds) > 1 else block.mean[rows][:, None])
    with np.errstate(invalid="ignore"):
        return lrs, cells[1] - cells[0]


def gap_at_rates(pairs: Sequence[Pair], level: float) -> Gap:
    """Return the mean difference at equal learning rates: those from the one best to the other, and one beyond each.

    With one pair of sweeps it is paired over seeds, with several over sweeps.
    """
    each = [d for pair in pairs if (d := _near_the_bests(pair)).size]
    if not each:
        return Gap(math.nan)
    d = np.array([part.mean() for part in each]) if len(pairs) > 1 else each[0]
    gap = _student(d, level)
    if len(d) > 1 or len(pairs) > 1:
        return gap
    half = _without_pairs(pairs[0], level)[0]
    return Gap(gap.difference, (gap.difference - half, gap.difference + half))


def _near_the_bests(pair: Pair) -> Array:
    # The mean difference of each seed, over the learning rates at which both sides train.
    lrs, d = _differences(pair)
    bests = [block.learning_rates[block.best] for block in pair]
    first, last = np.searchsorted(lrs, min(bests)) - 1, np.searchsorted(lrs, max(bests), side="right")
    near = d[max(first, 0) : last + 1]
    near = near[~np.isinf(near).any(axis=1) & np.isfinite(near).any(axis=1)]
    means = near[:, np.isfinite(near).all(axis=0)]
    return means.mean(axis=0) if means.size else np.zeros(0)


def enough_pairs(gap: Gap, difference: float, level: float, *, power: float = 0.8) -> int | None:
    """Return how many pairs show a difference of this size with this probability, None if more than a million.

    The standard deviation of a pair is an estimate itself. The probability counts that too: by it, the least ratio of
    the difference to its estimated standard error has a noncentral t distribution.
    """
    from scipy.special import nctdtrit, ndtri, stdtrit

    if not (gap.sd >= 0 and abs(difference) > 0):
        return None
    for n in np.unique(np.geomspace(2, 1e6, 2000).astype(int)):
        t = stdtrit(n - 1, 0.5 + level / 2)
        least = nctdtrit(gap.df, t, power) if gap.df < _MANY else t + ndtri(power)
        if abs(difference) * math.sqrt(n) >= gap.sd * least:
            return int(n)
    return None


def _lowest(block: LossBlock) -> float:
    return float(block.mean[block.best])


def _effects(block: LossBlock, seeds: Sequence[int]) -> Array:
    return np.array([block.fit.effect[block.seeds.index(seed)] for seed in seeds])


def _t(df: float, level: float) -> float:
    from scipy.special import stdtrit

    return float(stdtrit(df, 0.5 + level / 2))
