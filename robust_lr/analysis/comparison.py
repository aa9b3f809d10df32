"""Which schedule ends lowest with a given number of trials; one that degrades more may still end lower."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..exceptions import DataError
from ._bounds import mean_bounds
from ._selection import cross_fit
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
        interval: shape (N, S, 2), its confidence interval over the shared seeds; NaN with fewer than two of them.
            Each holds at ``1 - (1 - confidence_level) / (S - 1)`` (Bonferroni), so that the schedule that truly ends
            lowest is called higher than any other with a probability of at most ``(1 - confidence_level) / 2``.
        confidence_level: of each row of intervals.
    """

    schedules: tuple[str, ...]
    n_trials: tuple[int, ...]
    final_loss: Array
    covered: NDArray[np.bool_]
    lowest: tuple[str, ...]
    difference: Array
    interval: Array
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
    interval = np.zeros((len(trials), len(found), 2))
    for n, low in enumerate(lowest):
        for s, curve in enumerate(found):
            if s != low:
                interval[n, s] = _difference(curve, rows[n, s], found[low], rows[n, low], corrected)
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
        confidence_level=level,
    )


def _difference(a: DegradationCurve, row_a: int, b: DegradationCurve, row_b: int, level: float) -> tuple[float, float]:
    """Bounds of mean_o min_i mu_a - mean_o min_j mu_b, by the intersection-union principle for each pair of offsets.

    Held-out scores have a mean of at least the minimum that they stand for, so each bound takes them on its safe side.
    """
    seeds = sorted(set(a.block.seeds) & set(b.block.seeds))
    if len(seeds) < 2:
        return math.nan, math.nan
    loss_a, scores_a, grids_a = _side(a, row_a, seeds)
    loss_b, scores_b, grids_b = _side(b, row_b, seeds)
    if not (np.isfinite(scores_a).all() and np.isfinite(scores_b).all()):
        return -math.inf, math.inf
    low = mean_bounds(loss_a[:, None, :] - scores_b, level)[0]
    high = mean_bounds(scores_a[:, None, :] - loss_b, level)[1]
    return (
        float(np.mean([low[grid].min(axis=0) for grid in grids_a])),
        float(np.mean([high[:, grid].max(axis=1) for grid in grids_b])),
    )


def _side(curve: DegradationCurve, row: int, seeds: list[int]) -> tuple[Array, Array, list[NDArray[np.intp]]]:
    """Losses of the learning rates that train, held-out scores of each offset, and positions of each sub-grid."""
    block, fit = curve.block, cross_fit(curve.block)
    columns = np.array([block.seeds.index(seed) for seed in seeds])
    grids = sub_grids(len(block.learning_rates), int(curve.stride[row]))
    scores = np.array([fit.score(grid) for grid in grids])[:, columns]
    place = np.cumsum(block.converged) - 1
    converged = [place[grid[block.converged[grid]]] for grid in grids]
    return block.loss[np.ix_(block.converged, columns)], scores, converged
