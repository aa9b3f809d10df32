"""Which schedule ends lower with a given number of trials: a schedule may degrade more and still end lower."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .bounds import paired_bounds
from .degradation import DegradationCurve, sub_grids

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class ScheduleComparison:
    """Final losses of several schedules when each is tuned with the same number of learning rates.

    Attributes:
        schedules: S names.
        n_trials: N numbers of trials, descending; a schedule's grid has at most that many learning rates.
        final_loss: shape (N, S), loss of the best of the sub-grid, averaged over the offsets.
        lowest: name of the schedule that ends lowest at each number of trials.
        difference: shape (N, S), final loss less that of the lowest.
        interval: shape (N, S, 2), its confidence interval over the shared seeds; NaN with fewer than two of them.
        confidence_level: of the intervals.
    """

    schedules: tuple[str, ...]
    n_trials: tuple[int, ...]
    final_loss: Array
    lowest: tuple[str, ...]
    difference: Array
    interval: Array
    confidence_level: float

    @property
    def tied(self) -> NDArray[np.bool_]:
        """True where a schedule cannot be told apart from the lowest, shape (N, S)."""
        return ~(self.interval[..., 0] > 0)


def compare_schedules(curves: Mapping[str, DegradationCurve]) -> ScheduleComparison:
    """Compare the schedules of these curves at every number of trials that one of them can be cut down to.

    Args:
        curves: degradation curves by the name of their schedule, of one sweep.
    """
    names = tuple(curves)
    if not names:
        return ScheduleComparison((), (), np.empty((0, 0)), (), np.empty((0, 0)), np.empty((0, 0, 2)), 0.95)
    level = curves[names[0]].confidence_level
    trials = sorted({int(n) for curve in curves.values() for n in curve.n_trials}, reverse=True)
    rows = [[_first_within(curve, n) for curve in curves.values()] for n in trials]
    final = np.array([[c.final_loss[k] for c, k in zip(curves.values(), row, strict=True)] for row in rows])
    lowest = final.argmin(axis=1)
    interval = np.zeros((len(trials), len(names), 2))
    for n, (row, low) in enumerate(zip(rows, lowest, strict=True)):
        for s, name in enumerate(names):
            if s != low:
                interval[n, s] = _difference(curves[name], row[s], curves[names[low]], row[low], level)
    with np.errstate(invalid="ignore"):
        difference = final - final[np.arange(len(trials)), lowest][:, None]
    return ScheduleComparison(
        schedules=names,
        n_trials=tuple(trials),
        final_loss=final,
        lowest=tuple(names[i] for i in lowest),
        difference=difference,
        interval=interval,
        confidence_level=level,
    )


def _first_within(curve: DegradationCurve, n_trials: int) -> int:
    """Position of the finest stride with at most n_trials learning rates (the coarsest, if none has so few)."""
    fits = np.flatnonzero(curve.n_trials <= n_trials)
    return int(fits[0]) if fits.size else len(curve.stride) - 1


def _difference(a: DegradationCurve, row_a: int, b: DegradationCurve, row_b: int, level: float) -> tuple[float, float]:
    """Bounds of mean_o min_i mu_a - mean_o min_j mu_b, by the intersection-union principle for each pair of offsets."""
    shared = sorted(set(a.block.seeds) & set(b.block.seeds))
    if len(shared) < 2:
        return math.nan, math.nan
    sides = []
    for curve, row in ((a, row_a), (b, row_b)):
        columns = np.array([curve.block.seeds.index(seed) for seed in shared])
        alive = np.flatnonzero(curve.block.alive)
        place = {int(i): p for p, i in enumerate(alive)}
        grids = [
            np.array([place[i] for i in grid.tolist() if i in place], dtype=np.intp)
            for grid in sub_grids(len(curve.block.learning_rates), int(curve.stride[row]))
        ]
        sides.append((curve.block.loss[np.ix_(alive, columns)], grids))
    (loss_a, grids_a), (loss_b, grids_b) = sides
    if any(grid.size == 0 for grid in grids_a + grids_b):
        # A sub-grid that diverged everywhere makes its schedule +inf: higher for certain than one that trained.
        return math.inf if all(grid.size for grid in grids_b) else -math.inf, math.inf
    bounds = paired_bounds(loss_a, loss_b, level)
    mean_a, mean_b = loss_a.mean(axis=1), loss_b.mean(axis=1)
    low, high = [], []
    for grid_a in grids_a:
        for grid_b in grids_b:
            low.append(bounds.lower[grid_a, grid_b[mean_b[grid_b].argmin()]].min())
            high.append(bounds.upper[grid_a[mean_a[grid_a].argmin()], grid_b].max())
    return float(np.mean(low)), float(np.mean(high))
