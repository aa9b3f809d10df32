"""The coarsest grid that the evidence allows: within the tolerance by its upper confidence bound, not by luck."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from .._text import count_of
from .._tolerance import read_tolerance
from ..exceptions import InsufficientDataError
from ._bounds import t_quantile
from .degradation import DegradationCurve, sub_grids
from .profile import find_cliff

MAX_MORE_SEEDS = 100
Limit = Literal["too low", "too high", "cliff", "noise", "grid", "none"]


@dataclass(frozen=True, eq=False)
class Recommendation:
    """A grid resolution for the next search under one schedule.

    Attributes:
        schedule: name of the schedule.
        tolerance: excess loss that was allowed, in units of the loss.
        ratio: recommended factor between neighboring learning rates.
        learning_rates: a grid of that ratio over the range of the sweep, ascending, less those at which runs diverged.
        n_trials: how many learning rates that is.
        final_loss: loss that the best of such a grid reached on held-out seeds, averaged over the offsets.
        excess_loss: what it costs at the worst offset, with `confidence_interval`; `mean_excess_loss` on average.
        best_lr: the learning rate with the lowest mean loss in the sweep.
        limited_by: why it is not coarser: "too low" or "too high" (the side on which a coarser grid loses more),
            "cliff" (training breaks above the best), "noise" (the estimate is within the tolerance, its band is not),
            "grid" (the sweep does not reach far enough to tell), "none" (there is no coarser grid).
        limit: the same in a sentence.
        trials_saved: trials of this schedule's sweep, all its seeds, that the coarser grid would not have run.
        seconds_saved: their recorded wall-clock time, NaN where unknown.
        warnings: what weakens the recommendation.
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

    Strides are tried from fine to coarse; the one before the first that fails, or that the sweep does not reach, is
    recommended. Ratios are tested in a fixed order, so no multiple-testing correction is needed.

    Args:
        curve: of one schedule.
        tolerance: excess loss allowed: a positive number in units of the loss, or a text such as "1%" of the lowest
            mean loss of the curve.

    Raises:
        InsufficientDataError: when the evidence carries no recommendation: one seed, the best learning rate at the
            edge of the grid or perhaps among those with missing seeds, or bands too wide even for the next coarser
            grid. `estimate` is then the `Recommendation` that the point estimates alone would give, or None, and
            `needed` says what is missing.
        OptionError: when the tolerance is none.

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
        raise InsufficientDataError(f"{curve.schedule}: {_on_the_edge(curve)}", needed=_extension(curve, 1))
    if curve.block.unresolved_better:
        better = ", ".join(f"{lr:g}" for lr in curve.block.unresolved_better)
        raise InsufficientDataError(
            f"{curve.schedule}: {better} may beat the best, {curve.best_lr:g}, but some of the seeds there are missing",
            needed=f"the missing trials at {better}",
        )
    by_estimate = _build(curve, _last_within(curve.worst, curve, allowed), allowed)
    if curve.n_seeds == 1:
        raise InsufficientDataError(
            f"{curve.schedule}: one seed does not show the noise",
            estimate=by_estimate,
            needed="2 more seeds, better 4",
        )
    last = _last_within(curve.worst_interval[:, 1], curve, allowed)
    advice = _build(curve, last, allowed)
    if last == 0 and advice.limited_by == "noise":
        raise InsufficientDataError(
            f"{curve.schedule}: with {curve.n_seeds} seeds the band of the next coarser grid, {_band(curve, 1)}, "
            f"exceeds the tolerance {allowed:.4g}",
            estimate=by_estimate,
            needed=_more_seeds(curve, 1, allowed),
        )
    return advice


def _last_within(excess: NDArray[np.float64], curve: DegradationCurve, tolerance: float) -> int:
    within = curve.covered & (excess <= tolerance)
    return int(np.argmin(np.append(within, False))) - 1


def _build(curve: DegradationCurve, row: int, tolerance: float) -> Recommendation:
    lrs = curve.block.learning_rates
    grids = [g for g in sub_grids(len(lrs), int(curve.stride[row])) if len(g) == curve.n_trials[row]]
    # Of the sub-grids that span the range, the one that passes nearest to the best; the higher one if two do.
    grid = min(reversed(grids), key=lambda g: int(np.abs(g - curve.block.best).min()))
    grid = grid[curve.block.converged[grid]]  # the grid loses nothing without them
    saved = 0 if row == 0 else (len(lrs) - len(grid)) * curve.n_seeds
    limited_by, limit = _limit(curve, row + 1, tolerance)
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


def _limit(curve: DegradationCurve, row: int, tolerance: float) -> tuple[Limit, str]:
    if row >= len(curve.stride):
        return "none", "a coarser grid would have only one learning rate"
    if not curve.covered[row]:
        more = _extension(curve, row + 1) or _reach(curve, row)
        return "grid", f"the sweep is too narrow to measure ratio {curve.ratio[row]:.4g}: add {more}"
    grid = f"{count_of(int(curve.n_trials[row]), 'trial')} (ratio {curve.ratio[row]:.4g})"
    if curve.worst[row] <= tolerance:
        return "noise", (
            f"{grid} may be enough, but their band {_band(curve, row)} exceeds the tolerance "
            f"({_more_seeds(curve, row, tolerance)} would decide)"
        )
    block, steps = curve.block, int(curve.stride[row])
    cliff = find_cliff(block)
    if cliff is not None and cliff - block.best <= steps and not curve.too_low[row] > curve.too_high[row]:
        lrs = block.learning_rates
        return "cliff", f"training breaks between {lrs[cliff - 1]:g} and {lrs[cliff]:g}, close above the best"
    high, low = curve.too_high[row], curve.too_low[row]
    side: Limit = "too low" if low >= high or math.isnan(high) else "too high"
    if math.isinf(curve.worst[row]):
        return side, f"{grid} may all diverge"
    top = float(curve.worst_interval[row, 1])
    allow = f"; a tolerance of {_rounded_up(top)} would allow it" if math.isfinite(top) else ""
    sides = " and ".join(
        f"a rate too {name} {'diverges' if math.isinf(cost) else f'costs {cost:.4f}'}"
        for name, cost in (("low", low), ("high", high))
        if not math.isnan(cost)
    )
    return side, (
        f"{grid} could lose {curve.worst[row]:.4f}, more than the tolerance {tolerance:.4g}; off by that factor, "
        f"{sides}{allow}"
    )


def _on_the_edge(curve: DegradationCurve) -> str:
    side = "highest" if curve.block.best > 0 else "lowest"
    return f"the best learning rate, {curve.best_lr:g}, is the {side} of the sweep; the optimum may lie beyond it"


def _extension(curve: DegradationCurve, steps: int) -> str:
    # What to add to the sweep so that it has `steps` points on both sides of its best.
    best, n = curve.block.best, len(curve.block.learning_rates)
    above, below = max(steps - (n - 1 - best), 0), max(steps - best, 0)
    ends = ((above, "above", curve.block.learning_rates[-1]), (below, "below", curve.block.learning_rates[0]))
    parts = [f"{count_of(count, 'learning rate')} {side} {end:g}" for count, side, end in ends if count]
    return " and ".join(parts)


def _reach(curve: DegradationCurve, row: int) -> str:
    # The same where the points are there but lie too close together, on a grid that is not geometric.
    lrs, best, ratio = curve.block.learning_rates, curve.best_lr, curve.ratio[row] * (1 - 1e-9)
    parts = [f"up to {best * ratio:.4g}"] if lrs[-1] < best * ratio else []
    parts += [f"down to {best / ratio:.4g}"] if lrs[0] > best / ratio else []
    return f"learning rates {' and '.join(parts)}"


def _band(curve: DegradationCurve, row: int) -> str:
    low, high = curve.worst_interval[row]
    return f"[{low:.4f}, {high:.4f}]"


def _more_seeds(curve: DegradationCurve, row: int, tolerance: float) -> str:
    # How many seeds would bring the upper bound under the tolerance if estimate and noise stayed as they are.
    estimate, high, n = curve.worst[row], curve.worst_interval[row, 1], curve.n_seeds
    if estimate >= tolerance:
        return f"a tolerance of {_rounded_up(high)}"
    spread = (high - estimate) / (t_quantile(curve.confidence_level, n) / math.sqrt(n))
    for total in range(n + 1, n + MAX_MORE_SEEDS + 1):
        if estimate + spread * t_quantile(curve.confidence_level, total) / math.sqrt(total) <= tolerance:
            return f"about {count_of(total - n, 'more seed')}"
    return f"more than {MAX_MORE_SEEDS} more seeds, or a tolerance of {_rounded_up(high)}"


def _rounded_up(value: float) -> str:
    if not (math.isfinite(value) and value > 0):
        return f"{value:g}"
    unit = 10.0 ** (math.floor(math.log10(value)) - 1)
    return f"{math.ceil(value / unit) * unit:.3g}"
