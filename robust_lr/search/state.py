"""Where a search stands: its range, the valley in it, what is left to look at, and whether it is at its end."""

from __future__ import annotations

import math
import sys
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Literal

from .convex_bound import Gap, Valley
from .observations import Evidence, Tell

# A cell of the first look at the range is at most so many coarse steps wide: at a ratio of 4, 1.8 decades.
_STEPS_A_LOOK = 3
_MOST_LOOKS = 9
# What a float holds, with room to calculate.
SMALLEST, LARGEST = 1e-300, 1e300
# So many second seeds say how much noise there is.
_SEEDS_IN_DOUBT = 2
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
        """log of the smallest learning rate over the best that diverged or exploded; None when there is none."""
        means = self.evidence.means
        # Without a finite loss a divergence that was added by hand below the range says nothing of the range.
        lowest = min((self.settings.lr_min, *self._own)) * (1 - _SAME)
        best = min(means, key=means.__getitem__, default=lowest)
        return min((math.log(lr) for lr in self.evidence.walls if lr > best), default=None)

    @cached_property
    def range(self) -> tuple[float, float]:
        """log of the smallest and largest learning rate that may be asked for.

        The range that was asked for; or, where it may be extended, with what was told outside of it, and a step of the
        coarse ratio more where that is called for (`edge`), on each side as far as the range is wide at most. Where
        everything diverged, three such steps below the range are tried.
        """
        low, high = self._told_range
        if not self.settings.extend:
            return low, high
        (least, most), step = self._limits, math.log(self.settings.ratio)
        all_diverged = not self.evidence.points and bool(self._own) and math.log(min(self._own)) <= low + _SAME
        if self.edge == "upper":
            high = max(high, math.log(self.lr_at(min(high + step, most))))
        elif self.edge == "lower":
            low = min(low, math.log(self.lr_at(max(low - step, least))))
        elif all_diverged:
            low = min(low, math.log(self.lr_at(max(low - step, self._asked_range[0] - _STEPS_AWAY * step, least))))
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
    def _limits(self) -> tuple[float, float]:
        first, last = self._asked_range
        width = last - first
        return max(first - width, math.log(SMALLEST)), min(last + width, math.log(LARGEST))

    @cached_property
    def _own(self) -> tuple[float, ...]:
        return tuple(tell.lr for tell in self.tells if not tell.foreign)

    @cached_property
    def _told_range(self) -> tuple[float, float]:
        (first, last), (least, most) = self._asked_range, self._limits
        if not self.settings.extend:
            return first, last
        finite = [p.x for p in self.evidence.points] or [math.log(lr) for lr in self._own]
        told = [x for x in finite if least - _SAME <= x <= most + _SAME]
        return min([first, *told]), max([last, *told])

    def lr_at(self, x: float) -> float:
        """The learning rate at ``x = log(lr)``: one that is known already as it is, another with four digits."""
        first, last = self.settings.lr_min, self.settings.lr_max
        known = next((lr for lr in (*self.evidence.counts, first, last) if abs(math.log(lr) - x) < _SAME), None)
        if known is not None:
            return known
        rounded = float(f"{math.exp(x):.{_DIGITS}g}")
        return min(max(rounded, first), last) if math.log(first) <= x <= math.log(last) else rounded

    @cached_property
    def valley(self) -> Valley | None:
        """The curve around the best, up to the next learning rates that diverged; None without a finite loss."""
        left, right = self._between
        points = tuple(p for p in self.evidence.points if left < p.x < right)
        low, high = self.range
        return Valley(points, max(low, left), min(high, right)) if points else None

    @cached_property
    def _between(self) -> tuple[float, float]:
        means = self.evidence.means
        best = min(means, key=means.__getitem__, default=0.0)
        below = max((math.log(lr) for lr in self.evidence.walls if lr < best), default=-math.inf)
        return below, math.inf if self.wall is None else self.wall

    @cached_property
    def open_sides(self) -> tuple[bool, bool]:
        """Whether the valley is still open to larger, and to smaller learning rates: nothing tried there is higher."""
        points = self.evidence.points
        if not points:
            return not self.evidence.walls, True
        least = min(p.loss for p in points)
        best = [p.x for p in points if p.loss == least]
        return self.wall is None and points[-1].x == best[-1], points[0].x == best[0]

    @cached_property
    def looks(self) -> tuple[float, ...]:
        """Where the range is looked at before all else: the middles of an odd number of cells, the centre first."""
        low, high = self._asked_range
        n = math.ceil((high - low) / (_STEPS_A_LOOK * math.log(self.settings.ratio)) - 1e-9)
        return _middles(low, high, min(max(3, n + (n + 1) % 2), _MOST_LOOKS))

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
        low, high = self.range
        inside = [(max(a.x, low), min(b.x, high)) for a, b in gaps]
        return [(left + right) / 2 for left, right in inside if right - left > 0.6 * cell]

    @cached_property
    def grid(self) -> tuple[float, ...]:
        """The full coarse grid, for when there is doubt: the middles of cells at most the coarse ratio wide."""
        low, high = self.range
        return _middles(low, high, max(3, math.ceil((high - low) / math.log(self.settings.ratio) - 1e-9)))

    @cached_property
    def to_repeat(self) -> tuple[float, ...]:
        """Where a second seed would tell whether a doubt is noise: at the ridge, then in the higher valley."""
        valleys, counts = self.evidence.second_valley, self.evidence.counts
        if self.settings.noise is not None or valleys is None:
            return ()
        left, ridge, right = valleys
        higher = max(left, right, key=lambda p: p.loss)
        once = {math.log(lr) for lr, n in counts.items() if n == 1}
        repeated = sum(counts.values()) - len(counts)
        return tuple(p.x for p in (ridge, higher) if p.x in once) if repeated < _SEEDS_IN_DOUBT else ()

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
        """The gaps that can hide more than the tolerance and are wide enough for another learning rate.

        One that nothing is known of, as where the loss falls ever faster, is done with below half a coarse step.
        """
        gaps = () if self.valley is None else self.valley.gaps
        least = {True: 2 * FINEST, False: max(math.log(self.settings.ratio) / 2, 2 * FINEST)}
        return tuple(g for g in gaps if g.gain > self.tolerance and g.right - g.left > least[math.isfinite(g.gain)])


def _middles(low: float, high: float, n: int) -> tuple[float, ...]:
    """The middles of n equal cells, from the middle one outwards, the higher of two first."""
    order = sorted(range(n), key=lambda i: (abs(2 * i - (n - 1)), -i))
    return tuple(low + (2 * i + 1) / (2 * n) * (high - low) for i in order)
