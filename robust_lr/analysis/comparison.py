"""Which schedule ends lowest with a given number of trials; one that degrades more may still end lower."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..exceptions import DataError
from ._bounds import NEAR, widening
from .degradation import DegradationCurve, sub_grids

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class ScheduleComparison:
    """Final losses of several schedules when each is tuned with the same number of learning rates.

    Attributes:
        schedules: S names.
        n_trials: N numbers of trials, descending; a schedule's grid has at most that many learning rates.
        final_loss: shape (N, S), held-out loss of the sub-grid's best learning rate, averaged over the offsets.
        covered: shape (N, S), whether the sweep extends far enough on both sides of that schedule's best to tell.
        lowest: name of the schedule that ends lowest at each number of trials.
        difference: shape (N, S), final loss minus that of the lowest.
        interval: shape (N, S, 2), its confidence interval; NaN if nothing shows the noise.
            Each holds at ``1 - (1 - confidence_level) / (S - 1)`` (Bonferroni), so that the schedule that truly ends
            lowest is called higher than any other with a probability of at most ``(1 - confidence_level) / 2``.
        df: shape (N, S), the degrees of freedom behind each interval; 0 if nothing shows the noise, or for the lowest.
        confidence_level: of each row of intervals.
    """

    schedules: tuple[str, ...]
    n_trials: tuple[int, ...]
    final_loss: Array
    covered: NDArray[np.bool_]
    lowest: tuple[str, ...]
    difference: Array
    interval: Array
    df: Array
    confidence_level: float

    @property
    def tied(self) -> NDArray[np.bool_]:
        """Whether each schedule is within the noise of the lowest, shape (N, S); False if it diverged."""
        return ~(self.interval[..., 0] > 0) & np.isfinite(self.final_loss)


def compare_schedules(curves: Iterable[DegradationCurve]) -> ScheduleComparison:
    """Compare schedules at every number of trials that one of their coarser grids has.

    Args:
        curves: degradation curves of one sweep, one per schedule, all at one confidence level.

    Raises:
        DataError: when there is no curve, a schedule appears twice, or the confidence levels differ.

    Example:
        >>> from robust_lr import SweepResult, degradation_curve
        >>> loss = [[[3.0, 3.1], [1.0, 1.1], [2.0, 2.1]], [[3.0, 3.1], [0.5, 0.6], [2.0, 2.1]]]
        >>> sweep = SweepResult(("constant", "cosine"), [0.1, 1.0, 10.0], (0, 1), loss)
        >>> comparison = compare_schedules(degradation_curve(sweep, name) for name in sweep.schedules)
        >>> comparison.n_trials, comparison.lowest
        ((3, 2), ('cosine', 'cosine'))
    """
    found = tuple(curves)
    names, levels = [curve.schedule for curve in found], {curve.confidence_level for curve in found}
    if len(levels) != 1 or len(set(names)) != len(names):
        raise DataError(
            f"expected curves of different schedules and one confidence level, got {names} at {sorted(levels)}"
        )
    (level,) = levels
    corrected = 1 - (1 - level) / max(len(found) - 1, 1)
    trials = sorted({int(n) for curve in found for n in curve.n_trials}, reverse=True)
    rows = np.array([[int(np.flatnonzero(curve.n_trials <= n)[0]) for curve in found] for n in trials])
    final = np.array([[c.final_loss[k] for c, k in zip(found, row, strict=True)] for row in rows])
    lowest = final.argmin(axis=1)
    interval, df = np.zeros((len(trials), len(found), 2)), np.zeros((len(trials), len(found)))
    for n, low in enumerate(lowest):
        for s, curve in enumerate(found):
            if s != low:
                *interval[n, s], df[n, s] = _difference(curve, rows[n, s], found[low], rows[n, low], corrected)
    with np.errstate(invalid="ignore"):
        difference = final - final[np.arange(len(trials)), lowest][:, None]
    return ScheduleComparison(
        schedules=tuple(names),
        n_trials=tuple(trials),
        final_loss=final,
        covered=np.array([[c.covered[k] for c, k in zip(found, row, strict=True)] for row in rows]),
        lowest=tuple(names[i] for i in lowest),
        difference=difference,
        interval=interval,
        df=df,
        confidence_level=level,
    )


def _difference(
    a: DegradationCurve, row_a: int, b: DegradationCurve, row_b: int, level: float
) -> tuple[float, float, float]:
    """Bounds of mean_o min_i mu_a - mean_o min_j mu_b, and their degrees of freedom.

    Three errors add: that of each schedule, and a seed may be luckier under one schedule than under the other at all
    learning rates alike. No pooling helps against the last; its variance has the degrees of freedom of the shared
    seeds. Those of the sum follow (Satterthwaite): many if this part is small, few if it rules. Each minimum is taken
    at the lowest mean. Its luck pulls the difference to one side only, where its error is widened for the number of
    candidates.
    """
    from scipy.special import stdtrit

    shared = [(a.block.seeds.index(seed), b.block.seeds.index(seed)) for seed in a.block.seeds if seed in b.block.seeds]
    common, df = _common_variance(a, b, shared)
    if math.isnan(common):
        return math.nan, math.nan, 0.0
    (weight_a, n_a), (weight_b, n_b) = _chosen(a, row_a), _chosen(b, row_b)
    if not n_a or not n_b:
        return -math.inf, math.inf, df
    columns_a, columns_b = np.array(shared).T
    center = weight_a @ a.block.fit.mean - weight_b @ b.block.fit.mean
    center += a.block.fit.effect[columns_a].mean() - b.block.fit.effect[columns_b].mean()
    variances = np.array([common, _own_variance(a, weight_a), _own_variance(b, weight_b)])
    df = _df_of_sum(variances, np.array([df, a.df, b.df]))
    quantile = float(stdtrit(df, 0.5 + level / 2))
    low = quantile * math.sqrt(variances @ [1, 1, widening(level, n_b) ** 2])
    high = quantile * math.sqrt(variances @ [1, widening(level, n_a) ** 2, 1])
    return float(center - low), float(center + high), df


def _common_variance(a: DegradationCurve, b: DegradationCurve, shared: list[tuple[int, int]]) -> tuple[float, float]:
    n, noise = len(shared), a.block.fit.given_noise
    if n > 1:
        effects = [a.block.fit.effect[i] - b.block.fit.effect[j] for i, j in shared]
        return float(np.var(effects, ddof=1) / n), n - 1
    return (math.nan, 0.0) if n == 0 or noise is None else (2 * noise**2, a.df)


def _own_variance(curve: DegradationCurve, weight: Array) -> float:
    fit = curve.block.fit
    contrast = weight - fit.weight
    return max(float(contrast @ fit.covariance @ contrast), 0.0)


def _df_of_sum(variances: Array, df: Array) -> float:
    # Satterthwaite's. The schedules share their seeds, so the variances of their own errors may be wrong together:
    # these two count as one.
    common, own = float(variances[0]), float(variances[1:].sum())
    parts = common**2 / df[0] + own**2 / df[1:].min()
    return float((common + own) ** 2 / parts if parts > 0 else df.min())


def _chosen(curve: DegradationCurve, row: int) -> tuple[Array, float]:
    """Weights of the best learning rate of each sub-grid, and how many could have been chosen instead, on average."""
    fit, stride, near = curve.block.fit, int(curve.stride[row]), []
    place, found = np.cumsum(curve.block.converged) - 1, np.zeros(len(curve.block.fit.mean))
    for grid in sub_grids(len(curve.block.learning_rates), stride):
        rows = place[grid[curve.block.converged[grid]]]
        if not rows.size:
            return found, 0.0
        best = rows[fit.mean[rows].argmin()]
        half = fit.t_quantile(curve.confidence_level) * np.sqrt(fit.pair_variance[rows, best])
        near.append(int((fit.mean[rows] <= fit.mean[best] + NEAR * half).sum()))
        found[best] += 1 / stride
    return found, float(np.mean(near))
