"""Where a search stands: its range, the valley in it, what is left to look at, and whether it is at its end."""

from __future__ import annotations

import math
import sys
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Literal

from .evidence import Evidence, Tell
from .valley import Gap, Valley

# A cell of the first look at the range is at most so many coarse steps wide: at a ratio of 4, 1.8 decades.
_STEPS_A_LOOK = 3
# Where all diverge, so many coarse steps below the range are tried.
_STEPS_AWAY = 3
# No two learning rates nearer than half a percent are told apart.
FINEST = 0.005
Edge = Literal["lower", "upper"]
_DIGITS = 4
_SAME = 1e-9


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
        return max(self.settings.tolerance * abs(min(means.values(), default=math.inf)), sys.float_info.min)

    @cached_property
    def evidence(self) -> Evidence:
        """The tells, read together."""
        return Evidence(self.tells, self.settings.noise, self.tolerance)

    @cached_property
    def lrs(self) -> tuple[float, ...]:
        """The learning rates of the points of the valley, ascending."""
        low, high = self._between
        return tuple(lr for lr in self.evidence.means if low < math.log(lr) < high)

    @cached_property
    def wall(self) -> float | None:
        """log of the smallest learning rate that diverged over the best; None when there is none."""
        best = min(self.evidence.means, key=self.evidence.means.__getitem__, default=0.0)
        return min((math.log(lr) for lr in self.evidence.diverged if lr > best), default=None)

    @cached_property
    def range(self) -> tuple[float, float]:
        """log of the smallest and largest learning rate that may be asked for.

        The range that was asked for, with what was told outside of it, and a step of the coarse ratio more where that
        is called for (`edge`), on each side as far as the range is wide at most. Where everything diverged, three such
        steps below the range are tried.
        """
        low, high = self._told_range
        if not self.settings.extend:
            return low, high
        first, last = self._asked_range
        step, most = math.log(self.settings.ratio), last - first
        if self.edge == "upper":
            high = max(high, math.log(self.lr_at(min(high + step, last + most))))
        elif self.edge == "lower":
            low = min(low, math.log(self.lr_at(max(low - step, first - most))))
        elif not self.evidence.points and self.tried and self.tried[0] <= low:
            low = min(low, math.log(self.lr_at(max(low - step, first - min(_STEPS_AWAY * step, most)))))
        return low, high

    @cached_property
    def edge(self) -> Edge | None:
        """On which end of what was told the best lies, with more than the tolerance to gain in a coarse step beyond it.

        Larger learning rates come first; past one that diverged there is nothing to gain.
        """
        points, (low, high), step = self.evidence.points, self._told_range, math.log(self.settings.ratio)
        if len(points) < 2:
            return None
        valley = Valley(points, low - step, high + step)
        best = points[valley.best].x
        sides: tuple[tuple[Edge, bool, float, float, float], ...] = (
            ("upper", self.wall is None, points[-1].x, high, high + step),
            ("lower", True, points[0].x, low, low - step),
        )
        for name, free, outermost, end, beyond in sides:
            at_end = valley.gain_at(end) <= self.tolerance or abs(end - best) <= 2 * FINEST
            if free and best == outermost and at_end and valley.gain_at(beyond) > self.tolerance:
                return name
        return None

    @cached_property
    def _asked_range(self) -> tuple[float, float]:
        return math.log(self.settings.lr_min), math.log(self.settings.lr_max)

    @cached_property
    def _told_range(self) -> tuple[float, float]:
        first, last = self._asked_range
        finite = [p.x for p in self.evidence.points] or self.tried[:1]
        return min([first, *finite]), max([last, *finite])

    def lr_at(self, x: float) -> float:
        """The learning rate at ``x = log(lr)``: one that is known already as it is, another with four digits."""
        known = (*self.evidence.counts, self.settings.lr_min, self.settings.lr_max)
        return next((lr for lr in known if abs(math.log(lr) - x) < _SAME), float(f"{math.exp(x):.{_DIGITS}g}"))

    @cached_property
    def valley(self) -> Valley | None:
        """The curve around the best, up to the next learning rates that diverged; None without a finite loss."""
        left, right = self._between
        points = tuple(p for p in self.evidence.points if left < p.x < right)
        low, high = self.range
        return Valley(points, max(low, left), high if self.wall is None else right) if points else None

    @cached_property
    def _between(self) -> tuple[float, float]:
        means = self.evidence.means
        best = min(means, key=means.__getitem__, default=0.0)
        below = max((math.log(lr) for lr in self.evidence.diverged if lr < best), default=-math.inf)
        return below, math.inf if self.wall is None else self.wall

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
        """Where the range is looked at before all else: the middles of an odd number of cells, the centre first."""
        low, high = self._asked_range
        n = math.ceil((high - low) / (_STEPS_A_LOOK * math.log(self.settings.ratio)) - 1e-9)
        return _middles(low, high, max(3, n + (n + 1) % 2))

    @cached_property
    def bends(self) -> list[float]:
        """Where to look for a second valley: a loss that flattens out may also be on its way down into one.

        The middles of the gaps right outside of the core, where they are wider than half a cell of the first look.
        """
        if self.valley is None:
            return []
        points, (first, last) = self.valley.points, self.valley.core
        gaps = [points[i : i + 2] for i in (last, first - 1) if 0 <= i < len(points) - 1]
        cell = abs(self.looks[0] - self.looks[1])
        return [(a.x + b.x) / 2 for a, b in gaps if b.x - a.x > 0.6 * cell]

    @cached_property
    def grid(self) -> tuple[float, ...]:
        """The full coarse grid, for when there is doubt: the middles of cells at most the coarse ratio wide."""
        low, high = self.range
        return _middles(low, high, max(3, math.ceil((high - low) / math.log(self.settings.ratio) - 1e-9)))

    def unseen(self, cells: tuple[float, ...], tried: list[float]) -> list[float]:
        """Return which cells, given by their middles, hold no tried x; those that must diverge are left out."""
        half = min(b - a for a, b in pairwise(sorted(cells))) / 2
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
