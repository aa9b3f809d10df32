"""How much the final loss degrades as a learning-rate grid gets coarser, computed from one fine sweep."""

from __future__ import annotations

import math
from collections.abc import Sequence
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
from ._bounds import ExcessBounds, by_offset
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
        worst_interval: its confidence interval, shape (n_strides, 2); NaN if nothing shows the noise.
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
        """Number of seeds; single learning rates may have fewer (`block.n_seeds`)."""
        return len(self.block.seeds)

    @property
    def df(self) -> float:
        """Degrees of freedom behind the intervals; 0 if there are none, since nothing shows the noise."""
        return self.block.fit.df

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


def degradation_curve(
    sweep: SweepResult, schedule: str, *, confidence_level: float = 0.95, noise: float | None = None
) -> DegradationCurve:
    """Measure how much the final loss degrades when only every k-th learning rate of a sweep is tried.

    The estimate chooses each learning rate on all seeds but one and scores it on that one (see `CrossFit`). The
    interval rests on a two-way model of learning rates and seeds, which pools the noise over the learning rates: two
    seeds suffice, and cells may be missing. It holds for each stride by itself (docs/explanation/coverage.md). A
    learning rate at which any seed diverged counts as +inf, also when it is chosen for that seed; the intervals ignore
    divergence that no seed showed. `worst` is the largest of k estimates, so it errs upwards when the offsets are
    alike; its interval allows for that. One seed gives no interval, unless a second one at a few learning rates, or
    `noise`, shows the noise.

    Args:
        sweep: any sweep; its learning rates need not be evenly spaced.
        schedule: name of one of its schedules.
        confidence_level: in (0, 1).
        noise: standard deviation of the loss over seeds near the best learning rate, if you know it, right within a
            factor of about 1.5: then one seed has intervals too.

    Raises:
        InsufficientDataError: fewer than three learning rates, no result, or every run diverged.
        DataError: no schedule of that name.
        OptionError: a confidence level or a noise out of range.

    Example:
        >>> sweep = SweepResult(("cosine",), [0.1, 0.2, 0.4, 0.8, 1.6], (0,), [[[3.0], [1.5], [1.0], [1.25], [9.0]]])
        >>> curve = degradation_curve(sweep, "cosine")
        >>> curve.ratio, curve.worst
        (array([ 2.,  4.,  8., 16.]), array([0.  , 0.25, 0.5 , 2.  ]))
    """
    check_confidence_level(confidence_level)
    return curve_of(loss_block(sweep, schedule, noise=noise), confidence_level)


def curve_of(block: LossBlock, confidence_level: float, strides: Sequence[int] | None = None) -> DegradationCurve:
    """Return the curve of these losses, at all strides or at some; see `degradation_curve`."""
    schedule, n = block.schedule, len(block.learning_rates)
    if n < 3:
        raise InsufficientDataError(
            f"{schedule}: {count_of(n, 'learning rate')} cannot show what a coarser grid costs",
            needed=count_of(3 - n, "more learning rate"),
        )
    lrs, fit = block.learning_rates, cross_fit(block)
    stride = np.arange(1, n) if strides is None else np.array(strides)
    bounds = ExcessBounds(block, confidence_level)
    baseline = fit.score(np.arange(n))
    rows = [_one_stride(fit, baseline, bounds, int(k)) for k in stride]
    best = fit.choice(np.arange(n))
    with np.errstate(over="ignore"):
        ratio = np.array([np.max(lrs[k:] / lrs[:-k]) for k in stride])
    return DegradationCurve(
        schedule=schedule,
        stride=stride,
        ratio=ratio,
        n_trials=-(-n // stride),
        covered=covered_strides(lrs, block.best, ratio),
        block=block,
        confidence_level=confidence_level,
        warnings=(*_warnings(block), *_unused(block)),
        too_high=_shifted(fit, best, stride),
        too_low=_shifted(fit, best, -stride),
        **{name: np.array([row[name] for row in rows]) for name in rows[0]},
    )


def covered_strides(lrs: Array, best: int, ratio: Array) -> NDArray[np.bool_]:
    """Return whether learning rates reach as far as each stride's ratio on both sides of the best."""
    # The full grid needs a neighbor on both sides only.
    reach = min(lrs[-1] / lrs[best], lrs[best] / lrs[0]) * ROUNDED
    covered = reach >= ratio
    covered[0] = 0 < best < len(lrs) - 1
    return np.asarray(covered)


def sub_grids(n: int, stride: int) -> list[NDArray[np.intp]]:
    """Return the positions of the learning rates of each offset's sub-grid."""
    return [np.arange(offset, n, stride) for offset in range(stride)]


def _one_stride(fit: CrossFit, baseline: Array, bounds: ExcessBounds, stride: int) -> dict[str, Any]:
    # baseline: each seed's loss, shape (K,), at the best learning rate that the other seeds choose.
    choice = by_offset(fit.choosing, stride).argmin(axis=0) * stride + np.arange(stride)[:, None]
    seeds = np.arange(fit.loss.shape[1])
    held_out = np.where(np.isfinite(fit.choosing[choice, seeds]), fit.loss[choice, seeds], math.inf)
    scores, excess = held_out.mean(axis=1), (held_out - baseline).mean(axis=1)
    worst, mean = max(float(excess.max()), 0.0), max(float(excess.mean()), 0.0)
    # The full grid against itself: nothing to estimate.
    of_worst, of_mean = bounds.of_stride(stride) if stride > 1 else ((0.0, 0.0), (0.0, 0.0))
    return {
        "worst": worst,
        "worst_interval": _around(worst, *of_worst),
        "mean": mean,
        "mean_interval": _around(mean, *of_mean),
        "final_loss": scores.mean(),
        "worst_final_loss": scores.max(),
    }


def _around(estimate: float, low: float, high: float) -> tuple[float, float]:
    # The excess is never negative, and an interval holds its own estimate.
    if math.isnan(low) or math.isnan(high):
        return math.nan, math.nan
    return min(max(low, 0.0), estimate), max(high, estimate)


def _shifted(fit: CrossFit, best: NDArray[np.intp], steps: NDArray[np.intp]) -> Array:
    # Excess loss this many steps beside the best learning rate of each seed, shape of steps; NaN beyond the grid.
    (n, n_seeds), moved = fit.loss.shape, best + steps[:, None]
    inside = ((moved >= 0) & (moved < n)).all(axis=1)
    seeds = np.arange(n_seeds)
    excess = fit.loss[np.clip(moved, 0, n - 1), seeds] - fit.loss[best, seeds]
    return np.where(inside, excess.mean(axis=1), math.nan)


def _unused(block: LossBlock) -> tuple[str, ...]:
    return find_unused_axes([block.schedule], block.seeds, block.loss[None]).notes


def _warnings(block: LossBlock) -> tuple[str, ...]:
    found = list(block.notes)
    if len(block.seeds) == 1:
        found.append(ONE_SEED)
    partly = np.flatnonzero(~block.converged & np.isfinite(block.loss).any(axis=1))
    if partly.size:
        names = ", ".join(f"{block.learning_rates[i]:g}" for i in partly)
        found.append(f"some seeds diverged at {names}: these learning rates count as diverged")
    return tuple(found)
