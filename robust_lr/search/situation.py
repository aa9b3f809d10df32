"""Where a search stands: its range, the valley in it, what is left to look at, and whether it is at its end."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

from .evidence import Evidence, Tell
from .valley import Gap, Valley

# A look is three coarse steps wide: at a ratio of 4, 1.8 decades. Two thirds of a search over two decades.
_STEPS_A_LOOK = 3
# No two learning rates nearer than half a percent are told apart.
FINEST = 0.005


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What a search was asked for; `LearningRateSearch` says what each means, and checks them."""

    lr_min: float
    lr_max: float
    tolerance: float
    ratio: float
    start: float | None = None
    max_trials: int | None = None
    relative: bool = False
    extend: bool = True
    noise: float | None = None


@dataclass(frozen=True)
class Situation:
    """What follows from the settings and the tells of a search; nothing here depends on what is in flight.

    Args:
        settings: what was asked for.
        tells: the results so far, in any order.
    """

    settings: Settings
    tells: tuple[Tell, ...]

    @cached_property
    def tolerance(self) -> float:
        """The tolerance as a loss."""
        if not self.settings.relative:
            return self.settings.tolerance
        means = Evidence(self.tells, None, 0.0).means
        return self.settings.tolerance * abs(min(means.values(), default=math.inf))

    @cached_property
    def evidence(self) -> Evidence:
        """The tells, read together."""
        return Evidence(self.tells, self.settings.noise, self.tolerance)

    @cached_property
    def lrs(self) -> tuple[float, ...]:
        """The learning rates of the points of the valley, ascending."""
        return tuple(self.evidence.means)

    @cached_property
    def wall(self) -> float | None:
        """log of the smallest learning rate that diverged over the best; None when there is none."""
        best = min(self.evidence.means, key=self.evidence.means.__getitem__, default=0.0)
        return min((math.log(lr) for lr in self.evidence.diverged if lr > best), default=None)

    @cached_property
    def range(self) -> tuple[float, float]:
        """log of the smallest and largest learning rate that may be asked for.

        The range that was asked for, with what was told outside of it. When the best lies on an end, and a step of the
        coarse ratio beyond it could gain more than the tolerance, one such step; at most as far as the range is wide.
        """
        low, high = math.log(self.settings.lr_min), math.log(self.settings.lr_max)
        points, step, width = self.evidence.points, math.log(self.settings.ratio), high - low
        ends = low, high
        if points:
            low, high = min(low, points[0].x), max(high, points[-1].x)
        elif self.evidence.diverged:
            low = min(low, math.log(self.evidence.diverged[0]))
        if not self.settings.extend:
            return low, high
        if self.wall is None and self._falls_beyond(high, step):
            high = max(high, min(high + step, ends[1] + width))
        elif self._falls_beyond(low, -step):
            low = min(low, max(low - step, ends[0] - width))
        return low, high

    def _falls_beyond(self, end: float, step: float) -> bool:
        points = self.evidence.points
        if not points:
            return step < 0 and bool(self.evidence.diverged) and math.log(self.evidence.diverged[0]) <= end
        valley = Valley(points, min(end + step, points[0].x), max(end + step, points[-1].x))
        best = points[valley.best].x
        outermost = points[-1].x if step > 0 else points[0].x
        return best == outermost and abs(best - end) < FINEST and valley.gain_at(end + step) > self.tolerance

    @cached_property
    def valley(self) -> Valley | None:
        """The curve; None while no learning rate has a finite loss."""
        points = self.evidence.points
        if not points:
            return None
        low, high = self.range
        return Valley(points, low, high if self.wall is None else max(self.wall, points[-1].x))

    @cached_property
    def open_sides(self) -> tuple[bool, bool]:
        """Whether the valley is still open to larger, and to smaller learning rates: nothing tried there is higher."""
        points = self.evidence.points
        if not points:
            return not self.evidence.diverged, True
        least = min(p.loss for p in points)
        best = [p.x for p in points if p.loss == least]
        return self.wall is None and points[-1].x == best[-1], points[0].x == best[0]

    @cached_property
    def looks(self) -> tuple[float, ...]:
        """Where the range is looked at before anything is believed: the middles of an odd number of cells, centre first."""
        low, high = math.log(self.settings.lr_min), math.log(self.settings.lr_max)
        n = math.ceil((high - low) / (_STEPS_A_LOOK * math.log(self.settings.ratio)) - 1e-9)
        return _middles(low, high, max(3, n + (n + 1) % 2))

    @cached_property
    def grid(self) -> tuple[float, ...]:
        """The full coarse grid, for when there is doubt: the middles of cells that are at most the coarse ratio wide."""
        low, high = self.range
        return _middles(low, high, max(3, math.ceil((high - low) / math.log(self.settings.ratio) - 1e-9)))

    def unseen(self, cells: tuple[float, ...], tried: list[float]) -> list[float]:
        """Return which cells, given by their middles, hold no tried x; those that must diverge are left out."""
        half = abs(min((b - a for a, b in zip(sorted(cells), sorted(cells)[1:], strict=False)), default=0.0)) / 2
        wall = math.inf if self.wall is None else self.wall
        return [x for x in cells if x < wall and all(abs(x - other) > half * (1 + 1e-9) for other in tried)]

    @cached_property
    def tried(self) -> list[float]:
        """log of every learning rate told, ascending."""
        return [math.log(lr) for lr in self.evidence.counts]

    @cached_property
    def open_gaps(self) -> tuple[Gap, ...]:
        """The gaps that can hide more than the tolerance and are wide enough for another learning rate."""
        gaps = () if self.valley is None else self.valley.gaps
        return tuple(gap for gap in gaps if gap.gain > self.tolerance and gap.right - gap.left > 2 * FINEST)


def _middles(low: float, high: float, n: int) -> tuple[float, ...]:
    """The middles of n equal cells, from the middle one outwards, the higher of two first."""
    order = sorted(range(n), key=lambda i: (abs(2 * i - (n - 1)), -i))
    return tuple(low + (2 * i + 1) / (2 * n) * (high - low) for i in order)
