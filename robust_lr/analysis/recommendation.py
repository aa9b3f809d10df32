"""The coarsest grid whose excess loss is within the tolerance by its upper confidence bound."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .._text import count_of
from .._tolerance import read_tolerance
from ..exceptions import InsufficientDataError
from ._limits import Limit, cheapest_replicates, extension, limit_of, on_the_edge
from .degradation import DegradationCurve, sub_grids


@dataclass(frozen=True, eq=False)
class Recommendation:
    """A grid resolution for new seeds of the same task under one schedule; other tasks need `analyze_collection`.

    Attributes:
        schedule: name of the schedule.
        tolerance: allowed excess loss, in units of the loss.
        ratio: recommended factor between neighboring learning rates.
        learning_rates: a grid of that ratio over the range of the sweep, ascending, without those at which runs
            diverged.
        n_trials: number of learning rates in such a grid.
        final_loss: held-out loss of the best learning rate in such a grid, averaged over the offsets.
        excess_loss: excess loss at the worst offset, with `confidence_interval`; `mean_excess_loss` is the average.
        best_lr: the learning rate with the lowest mean loss in the sweep.
        limited_by: why the grid is not coarser: "too low" or "too high" (the side on which a coarser grid loses more),
            "cliff" (training breaks above the best), "noise" (the estimate is within the tolerance, its band is not),
            "grid" (the sweep is too narrow to tell), "none" (there is no coarser grid).
        limit: the same in a sentence.
        trials_saved: trials of this schedule's sweep, over all seeds, that the coarser grid would not have run.
        seconds_saved: their recorded wall-clock time, NaN where unknown.
        warnings: limits of the recommendation, in words.
    """

    schedule: str
    tolerance: float
    ratio: float
    learning_rates: NDArray[np.float64]
    n_trials: int
    final_loss: float
    excess_loss: float
    confidence_interval: tuple[float, float]
    mean_excess_loss: float
    best_lr: float
    limited_by: Limit
    limit: str
    trials_saved: int
    seconds_saved: float
    warnings: tuple[str, ...]

    def __str__(self) -> str:
        """In one line: ``cosine: ratio 10, 5 trials, excess loss 0.0007 [0.0005, 0.0010]``."""
        low, high = self.confidence_interval
        band = "" if math.isnan(low) else f" [{low:.4f}, {high:.4f}]"
        trials = count_of(self.n_trials, "trial")
        return f"{self.schedule}: ratio {self.ratio:.4g}, {trials}, excess loss {self.excess_loss:.4f}{band}"


def recommend(curve: DegradationCurve, *, tolerance: float | str) -> Recommendation:
    """Return a coarse grid whose worst-offset excess loss is within `tolerance`, by its upper confidence bound.

    Strides are tested from fine to coarse, up to the first that fails or that the sweep is too narrow for; the one
    before it is recommended, perhaps the grid of the sweep itself. The order is fixed, so no multiple-testing
    correction is needed, and a larger tolerance never gives a finer grid.

    Args:
        curve: of one schedule.
        tolerance: excess loss allowed: a positive number in units of the loss, or a text such as "1%" of the lowest
            mean loss of the curve.

    Raises:
        InsufficientDataError: when the data do not suffice: nothing shows the noise, or the best learning rate is on
            the edge of the grid. `estimate` is then the `Recommendation` of the point estimates alone, or None, and
            `needed` says what is missing.
        OptionError: when the tolerance is neither a positive number nor a share.

    Example:
        >>> from robust_lr.analysis import degradation_curve
        >>> from robust_lr import SweepResult
        >>> loss = [[[x + s for s in (0.0, 0.01, 0.02)] for x in (3.0, 1.5, 1.001, 1.0, 1.002, 1.004, 1.1)]]
        >>> sweep = SweepResult(("cosine",), [1, 2, 4, 8, 16, 32, 64], (0, 1, 2), loss)
        >>> print(recommend(degradation_curve(sweep, "cosine"), tolerance=0.01))
        cosine: ratio 8, 3 trials, excess loss 0.0020 [0.0020, 0.0020]
    """
    allowed = read_tolerance(tolerance).of(float(curve.block.mean.min()))
    if not curve.covered[0]:
        raise InsufficientDataError(f"{curve.schedule}: {on_the_edge(curve)}", needed=extension(curve, 1))
    by_estimate = _build(curve, _last_within(curve.worst, curve, allowed), allowed)
    if curve.df == 0:
        raise InsufficientDataError(
            f"{curve.schedule}: one seed does not show the noise",
            estimate=by_estimate,
            needed=cheapest_replicates(curve),
        )
    return _build(curve, _last_within(curve.worst_interval[:, 1], curve, allowed), allowed)


def _last_within(excess: NDArray[np.float64], curve: DegradationCurve, tolerance: float) -> int:
    within = curve.covered & (excess <= tolerance)
    return int(np.argmin(np.append(within, False))) - 1


def _build(curve: DegradationCurve, row: int, tolerance: float) -> Recommendation:
    lrs = curve.block.learning_rates
    grids = [g for g in sub_grids(len(lrs), int(curve.stride[row])) if len(g) == curve.n_trials[row]]
    # Of the sub-grids that span the range, the one that passes closest to the best; of two, the higher.
    grid = min(reversed(grids), key=lambda g: int(np.abs(g - curve.block.best).min()))
    grid = grid[curve.block.converged[grid]]  # the grid loses nothing without them
    saved = 0 if row == 0 else int(np.delete(curve.block.n_seeds, grid).sum())
    limited_by, limit = limit_of(curve, row + 1, tolerance)
    warnings = list(curve.warnings)
    if row == 0 and limited_by != "grid":
        warnings.append("the grid is already as coarse as the tolerance allows; a finer one might end lower")
    return Recommendation(
        schedule=curve.schedule,
        tolerance=float(tolerance),
        ratio=float(curve.ratio[row]),
        learning_rates=lrs[grid],
        n_trials=len(grid),
        final_loss=float(curve.final_loss[row]),
        excess_loss=float(curve.worst[row]),
        confidence_interval=(float(curve.worst_interval[row, 0]), float(curve.worst_interval[row, 1])),
        mean_excess_loss=float(curve.mean[row]),
        best_lr=curve.best_lr,
        limited_by=limited_by,
        limit=limit,
        trials_saved=saved,
        seconds_saved=saved * curve.block.seconds_per_trial,
        warnings=tuple(warnings),
    )
