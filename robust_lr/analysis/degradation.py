"""How much the final loss degrades as a learning-rate grid gets coarser, computed from one fine sweep."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .._checks import check_confidence_level
from .._page import Table, to_html, to_text
from .._text import count_of, loss_text
from ..exceptions import InsufficientDataError
from ..readers.runs import called
from ..sweep.results import SweepResult
from ..sweep.unused_axes import find_unused_axes
from ._bounds import mean_bounds
from ._selection import CrossFit, LossBlock, cross_fit, loss_block

Array = NDArray[np.float64]

ROUNDED = 1.02  # learning rates written with three digits are off by up to 0.5 %, and a reach compares four of them
ONE_SEED = "one seed: each learning rate is chosen and scored on the same run, so figures are optimistic"


@dataclass(frozen=True, eq=False, repr=False)
class DegradationCurve:
    """Excess of the best loss on a coarser grid over the best loss on the full one, for each stride k = 1, 2, ...

    Stride k keeps every k-th learning rate; there are k such sub-grids, one per offset o. With mu_i the mean final loss
    at learning rate i, ``D_o = min_{i in sub-grid o} mu_i - min_j mu_j >= 0``; `worst` is ``max_o D_o``, `mean` is
    ``mean_o D_o``. All arrays have one entry per stride.

    Attributes:
        schedule: name of the schedule.
        stride: k.
        ratio: largest factor between neighbors of a sub-grid of stride k (``ratio**k`` on a geometric grid).
        n_trials: learning rates in the largest sub-grid, ``ceil(L / k)``.
        worst: excess loss at the worst offset, estimated by cross-fit, in units of the loss, +inf if all diverged.
        worst_interval: its confidence interval, shape (n_strides, 2); NaN with one seed.
        mean: excess loss averaged over the offsets, and `mean_interval`, its confidence interval.
        final_loss: loss of the sub-grid's best learning rate, averaged over the offsets.
        worst_final_loss: the same at the worst offset.
        too_high: excess loss k grid points above the best learning rate; NaN beyond the grid, +inf if it diverged.
        too_low: the same below it.
        covered: whether the sweep extends by a factor of `ratio` on both sides of its best; if not, the figure
            reflects the ends of the grid, not the problem.
        block: the losses from which the curve is computed.
        confidence_level: of the intervals, two-sided, for each stride.
        warnings: limits of the figures, in words.
    """

    schedule: str
    stride: NDArray[np.intp]
    ratio: Array
    n_trials: NDArray[np.intp]
    worst: Array
    worst_interval: Array
    mean: Array
    mean_interval: Array
    final_loss: Array
    worst_final_loss: Array
    too_high: Array
    too_low: Array
    covered: NDArray[np.bool_]
    block: LossBlock
    confidence_level: float
    warnings: tuple[str, ...]

    @property
    def n_seeds(self) -> int:
        """Number of seeds behind the intervals."""
        return len(self.block.seeds)

    @property
    def best_lr(self) -> float:
        """The learning rate with the lowest mean loss."""
        return float(self.block.learning_rates[self.block.best])

    def __repr__(self) -> str:
        grid = f"{count_of(len(self.block.learning_rates), 'learning rate')}, {count_of(self.n_seeds, 'seed')}"
        return f"DegradationCurve({self.schedule!r}, {grid}, best_lr={self.best_lr:g})"

    def __str__(self) -> str:
        """The curve as a table: what each coarser grid costs."""
        return to_text([self._table()])

    def _repr_html_(self) -> str:
        return to_html([self._table()])

    def _table(self) -> Table:
        rows = []
        for k in range(len(self.stride)):
            costs = [_cost_text(self.worst[k]), _band_text(self.worst_interval[k])]
            costs += [_cost_text(self.mean[k]), _band_text(self.mean_interval[k]), _cost_text(self.final_loss[k])]
            mark = "" if self.covered[k] else "sweep too narrow"
            rows.append([f"{self.ratio[k]:.4g}", str(self.n_trials[k]), *costs, mark])
        band = f"{self.confidence_level:.0%} band"
        header = ["ratio", "trials", "worst offset", band, "mean over offsets", band, "final loss", ""]
        name = f"{called(self.schedule)}: excess loss of a coarser grid, best learning rate {self.best_lr:g}"
        return Table(name, header, rows)


def _cost_text(loss: float) -> str:
    return loss_text(loss) if math.isfinite(loss) else "diverged"


def _band_text(interval: Array) -> str:
    return "-" if math.isnan(interval[0]) else f"[{loss_text(interval[0])}, {loss_text(interval[1])}]"


def degradation_curve(sweep: SweepResult, schedule: str, *, confidence_level: float = 0.95) -> DegradationCurve:
    """Measure how much the final loss degrades when only every k-th learning rate of a sweep is tried.

    The estimate chooses each learning rate on all seeds but one and scores it on that one (see `CrossFit`); the
    interval consists of paired t bounds, by the intersection-union principle, and holds for each stride by itself.
    A learning rate at which any seed diverged counts as +inf, also when it is chosen for that seed; the intervals
    ignore divergence that no seed showed. `worst` is the largest of k estimates, so it errs upwards when the offsets
    are alike; its interval allows for that. One seed gives no interval.

    Args:
        sweep: any sweep; its learning rates need not be evenly spaced.
        schedule: name of one of its schedules.
        confidence_level: in (0, 1).

    Raises:
        InsufficientDataError: fewer than three learning rates, no result, or every run diverged.
        DataError: no schedule of that name.
        OptionError: a confidence level out of range.

    Example:
        >>> sweep = SweepResult(("cosine",), [0.1, 0.2, 0.4, 0.8, 1.6], (0,), [[[3.0], [1.5], [1.0], [1.25], [9.0]]])
        >>> curve = degradation_curve(sweep, "cosine")
        >>> curve.ratio, curve.worst
        (array([ 2.,  4.,  8., 16.]), array([0.  , 0.25, 0.5 , 2.  ]))
    """
    check_confidence_level(confidence_level)
    block = loss_block(sweep, schedule)
    n = len(block.learning_rates)
    if n < 3:
        raise InsufficientDataError(
            f"{schedule}: {count_of(n, 'learning rate')} cannot show what a coarser grid costs",
            needed=count_of(3 - n, "more learning rate"),
        )
    strides, lrs, fit = np.arange(1, n), block.learning_rates, cross_fit(block)
    # Any fixed j would do for a lower bound of mu_i - min_j mu_j; the best one is chosen on the other seeds, so that
    # its luck does not push the bound up.
    baseline, lower = fit.score(np.arange(n)), np.full(n, math.inf)
    lower[block.converged] = mean_bounds(block.loss[block.converged] - baseline, confidence_level)[0]
    rows = [_one_stride(block, fit, baseline, lower, confidence_level, int(k)) for k in strides]
    with np.errstate(over="ignore"):
        ratio = np.array([np.max(lrs[k:] / lrs[:-k]) for k in strides])
    return DegradationCurve(
        schedule=schedule,
        stride=strides,
        ratio=ratio,
        n_trials=-(-n // strides),
        covered=_covered(lrs, block.best, ratio),
        block=block,
        confidence_level=confidence_level,
        warnings=(*_warnings(block), *_unused(sweep, schedule)),
        **{name: np.array([row[name] for row in rows]) for name in rows[0]},
    )


def _covered(lrs: Array, best: int, ratio: Array) -> NDArray[np.bool_]:
    # The full grid needs a neighbor on both sides only.
    reach = min(lrs[-1] / lrs[best], lrs[best] / lrs[0]) * ROUNDED
    covered = reach >= ratio
    covered[0] = 0 < best < len(lrs) - 1
    return np.asarray(covered)


def _by_offset(values: Array, stride: int) -> Array:
    # Shape (rows, stride, ...): column o is the sub-grid of offset o, filled up with +inf.
    rows = -(-len(values) // stride)
    missing = np.full((rows * stride - len(values), *values.shape[1:]), math.inf)
    return np.concatenate([values, missing]).reshape(rows, stride, *values.shape[1:])


def sub_grids(n: int, stride: int) -> list[NDArray[np.intp]]:
    """Return the positions of the learning rates of each offset's sub-grid."""
    return [np.arange(offset, n, stride) for offset in range(stride)]


def _one_stride(
    block: LossBlock, fit: CrossFit, baseline: Array, lower_bounds: Array, confidence_level: float, stride: int
) -> dict[str, Any]:
    # baseline: each seed's loss, shape (K,), at the best learning rate that the other seeds choose; lower_bounds: of
    # mu_i - min_j mu_j for each learning rate i, shape (L,).
    choosing = _by_offset(fit.choosing, stride)
    scores = _held_out_scores(fit, choosing)
    excess = (scores - baseline).mean(axis=1)
    # The offset with the largest excess is itself a choice: take the one seen on all seeds and those that each
    # leave-one-out subset would name, and the smallest of their lower bounds.
    suspects = np.append(choosing.min(axis=0).argmax(axis=0), excess.argmax())
    lower = _by_offset(lower_bounds, stride).min(axis=0)
    worst, mean = max(float(excess.max()), 0.0), max(float(excess.mean()), 0.0)
    high_of_worst, high_of_mean = _upper_bounds(block, scores, confidence_level)
    of_worst, of_mean = (lower[suspects].min(), high_of_worst), (lower.mean(), high_of_mean)
    if stride == 1:  # the full grid against itself: nothing to estimate
        of_worst = of_mean = 0.0, 0.0
    elif len(block.seeds) == 1:
        of_worst = of_mean = math.nan, math.nan
    return {
        "worst": worst,
        "worst_interval": _around(worst, *of_worst),
        "mean": mean,
        "mean_interval": _around(mean, *of_mean),
        "final_loss": scores.mean(),
        "worst_final_loss": scores.mean(axis=1).max(),
        "too_high": _shifted(fit, stride),
        "too_low": _shifted(fit, -stride),
    }


def _held_out_scores(fit: CrossFit, choosing: Array) -> Array:
    stride, n_seeds = choosing.shape[1:]
    choice = choosing.argmin(axis=0) * stride + np.arange(stride)[:, None]
    return np.where(np.isfinite(choosing.min(axis=0)), fit.loss[choice, np.arange(n_seeds)], math.inf)


def _upper_bounds(block: LossBlock, scores: Array, confidence_level: float) -> tuple[float, float]:
    """Upper bounds of max_o D_o and of mean_o D_o.

    ``D_o = max_j (min_{i in o} mu_i - mu_j)``, and the held-out scores of offset o have a mean of at least
    min_{i in o} mu_i: so the largest over j of the upper bounds of ``scores_o - mu_j`` bounds D_o. Whichever j is the
    best of all, the offset that holds it loses nothing.
    """
    if not np.isfinite(scores).all():
        return math.inf, math.inf
    stride, candidates = len(scores), np.flatnonzero(block.converged)
    own, losses = candidates % stride, block.loss[candidates]
    each = mean_bounds(scores[:, None, :] - losses, confidence_level)[1]
    each[own, np.arange(len(candidates))] = 0.0
    average = (scores.sum(axis=0) - scores[own] - (stride - 1) * losses) / stride
    return float(each.max()), float(mean_bounds(average, confidence_level)[1].max())


def _around(estimate: float, low: float, high: float) -> tuple[float, float]:
    # The excess is never negative, and an interval holds its own estimate.
    if math.isnan(low) or math.isnan(high):
        return math.nan, math.nan
    return min(max(low, 0.0), estimate), max(high, estimate)


def _shifted(fit: CrossFit, steps: int) -> float:
    n, n_seeds = fit.loss.shape
    best = fit.choice(np.arange(n))
    moved = best + steps
    if moved.min() < 0 or moved.max() >= n:
        return math.nan
    seeds = np.arange(n_seeds)
    return float(np.mean(fit.loss[moved, seeds] - fit.loss[best, seeds]))


def _unused(sweep: SweepResult, schedule: str) -> tuple[str, ...]:
    loss = sweep.loss[[sweep.index(schedule)]]
    return find_unused_axes([schedule], sweep.seeds, loss).notes


def _warnings(block: LossBlock) -> tuple[str, ...]:
    found = list(block.notes)
    if len(block.seeds) == 1:
        found.append(ONE_SEED)
    partly = np.flatnonzero(~block.converged & np.isfinite(block.loss).any(axis=1))
    if partly.size:
        names = ", ".join(f"{block.learning_rates[i]:g}" for i in partly)
        found.append(f"some seeds diverged at {names}: these learning rates count as diverged")
    return tuple(found)
