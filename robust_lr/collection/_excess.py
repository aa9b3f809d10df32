"""What coarser grids cost in each sweep of a collection, at ratios that all of them share."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .._text import count_of
from ..analysis._bounds import by_offset
from ..analysis._selection import loss_block
from ..analysis.degradation import ROUNDED, curve_of
from ..exceptions import InsufficientDataError
from .sweeps import CollectedSweep

Array = NDArray[np.float64]

NOT_TRIED = "no result"
FEWEST = 3  # learning rates of a sweep that counts
STRIDES = (2, 3, 4, 5, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128)  # of the ratios, if two learning rates are left
MOST_RATIOS = 10
_SHARED = 0.1  # of the sweeps have a ratio that counts
_COARSER = 1.1  # a ratio at least this many times a sweep's own one is coarser than its grid
_GAP = 1.5  # times the typical step, in logarithms: the learning rate between two neighbors is missing
_MOST_GAPS = 0.15  # share of the steps of a geometric grid that may be gaps


@dataclass(frozen=True, eq=False)
class SweepExcess:
    """One schedule of one sweep.

    Attributes:
        sweep: the sweep.
        learning_rates, loss: its learning rates with a result and their mean losses, shape (L,), +inf where diverged.
        edge: "lower" or "upper" if that is the last learning rate on its side, else "".
        step: smallest factor between neighbors of the sub-grids of stride 1, 2, ..., L - 1.
        worst: excess loss at the worst offset of these strides.
        own_ratio: typical factor between its learning rates.
        uneven: whether its learning rates are far from a geometric grid.
        one_seed: whether the excess is measured on the runs themselves; else it is scored on held-out seeds.
    """

    sweep: CollectedSweep
    learning_rates: Array
    loss: Array
    edge: str
    step: Array
    worst: Array
    own_ratio: float
    uneven: bool
    one_seed: bool

    @property
    def n_trials(self) -> int:
        """The number of its learning rates."""
        return len(self.loss)

    @property
    def best_lr(self) -> float:
        """The learning rate with the lowest mean loss."""
        return float(self.learning_rates[self.loss.argmin()])

    @property
    def best_loss(self) -> float:
        """The lowest mean loss."""
        return float(self.loss.min())

    def at(self, ratio: float) -> tuple[float, int]:
        """Return the excess loss of a grid of this ratio and its trials; NaN if its own grid is no finer.

        Of its sub-grids it is the finest whose steps are all at least `ratio`, so that uneven grids err upwards.
        """
        if ratio < _COARSER * self.own_ratio:
            return math.nan, 0
        wide = np.flatnonzero(self.step[1:] * ROUNDED >= ratio)
        if not wide.size:
            return float(self.loss.max() - self.loss.min()), 1
        stride = int(wide[0]) + 2
        return float(self.worst[stride - 1]), -(-self.n_trials // stride)


def sweep_excess(member: CollectedSweep, schedule: str) -> SweepExcess | str:
    """Return what coarser grids cost under one schedule of a sweep, or why it cannot show that."""
    points = member.points(schedule)
    if points is None:
        return NOT_TRIED
    lrs, loss, n = points.learning_rates, points.loss, len(points.learning_rates)
    if n < FEWEST:
        return f"fewer than {count_of(FEWEST, 'learning rate')}"
    if not np.isfinite(loss).any():
        return "every learning rate diverged"
    if not np.ptp(loss):
        return "every learning rate has the same loss"
    best, log = int(loss.argmin()), np.diff(np.log(lrs))
    one_seed = int(points.n_seeds.max()) == 1
    return SweepExcess(
        sweep=member,
        learning_rates=lrs,
        loss=loss,
        edge="lower" if best == 0 else "upper" if best == n - 1 else "",
        step=np.exp([np.log(lrs[k:] / lrs[:-k]).min() for k in range(1, n)]),
        worst=_of_runs(loss) if one_seed else _of_means(member, schedule),
        own_ratio=float(np.exp(np.median(log))),
        uneven=bool(np.mean(np.maximum(log / np.median(log), np.median(log) / log) > _GAP) > _MOST_GAPS),
        one_seed=one_seed,
    )


def _of_runs(loss: Array) -> Array:
    return np.asarray([by_offset(loss, k).min(axis=0).max() for k in range(1, len(loss))]) - float(loss.min())


def _of_means(member: CollectedSweep, schedule: str) -> Array:
    try:
        return curve_of(loss_block(member.sweep, schedule), 0.95).worst
    except InsufficientDataError:  # pragma: no cover - the points have shown that there are enough
        raise AssertionError(member.label) from None


def common_ratios(found: Sequence[SweepExcess]) -> Array:
    """Return the ratio of the typical grid of these sweeps, and those of their coarser sub-grids, ascending."""
    own = float(np.quantile([each.own_ratio for each in found], 0.5, method="lower"))
    steps = np.sort([
        each.step[stride - 1] for each in found for stride in STRIDES if stride <= (each.n_trials + 1) // 2
    ])  # fmt: skip
    ratios = list[float]()
    while (steps := steps[steps > _COARSER * (ratios[-1] if ratios else own)]).size:
        alike = steps[steps <= _COARSER * steps[0]]
        if len(alike) >= _SHARED * len(found):
            ratios.append(float(np.median(alike)))
        steps = steps[len(alike) :]
    while len(ratios) > MOST_RATIOS:
        ratios = ratios[::-2][::-1]
    return np.array([own, *ratios])
