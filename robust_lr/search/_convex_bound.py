"""The bound that ends a search: how much lower than its best measured point a curve with one valley can still be.

Let f be the loss as a function of ``x = log(lr)``, measured at ``x_1 < ... < x_n``, the best of them at b. Two
assumptions. *One valley*: f falls to its least value, then it rises. *Convex inside*: f is convex over the core, the
stretch of measured points around b on which none lies above the chord of its two neighbors, and, if the core ends with
the outermost point, on to the end of the range. A learning rate that diverges has f = +inf, which fits both.

The line through two points of a convex curve is a lower bound of it outside of them. With ``x_j < x_i < x`` (or in the
opposite order) and ``t = (x - x_i) / (x_i - x_j) >= 0``::

    f(x) >= (1 + t) f(x_i) - t f(x_j),   hence   f(b) - f(x) <= f(b) - (1 + t) f(x_i) + t f(x_j)         (gain line)

On the gap between two neighbors the pair to its left and the pair to its right give one gain line each: one falls and
one rises, and where they cross is the most that the gap can hide. On the outermost gaps, to an end of the range or to
the first learning rate that diverged, there is one line. No line, no bound: +inf. The largest value over all gaps is
the excess bound: nothing in the range is lower than the best by more. Outside of the core, one valley alone rules out
a gain.

With noise, each loss has an error e, the half-width of its confidence interval. Errors of different points are
independent, so a gain line is raised by the half-width of its own interval, in which b counts once::

    sqrt(e_b^2 (1 - c_b)^2 + sum over the pair, without b, of c^2 e^2),    c = 1 + t for x_i, -t for x_j, c_b that of b

This is convex in x, so between the ends of a gap its chord is a bound. Any two of the nearest three points may then
give the least line: a wider pair is less steep, but its slope is known better.
"""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from itertools import combinations, pairwise
from typing import NamedTuple

_ROUNDING = 1e-12
_LEAST_RIDGE = 0.1


class Point(NamedTuple):
    x: float
    loss: float
    error: float = 0.0


class Gap(NamedTuple):
    """A stretch of x without a measured point inside; its loss is lower than the best by at most `max_improvement`."""

    left: float
    right: float
    max_improvement: float
    at: float  # the x at which it could be that much lower


@dataclass(frozen=True)
class ConvexBound:
    """The bound on a curve from its measured points, ascending in x; points outside the range only add lines."""

    points: tuple[Point, ...]
    low: float
    high: float

    @cached_property
    def best(self) -> int:
        """The index of the point with the lowest loss; of equals, the middle one."""
        least = min(p.loss for p in self.points)
        equal = [i for i, p in enumerate(self.points) if p.loss == least]
        return equal[len(equal) // 2]

    @cached_property
    def core(self) -> tuple[int, int]:
        """The indices of the first and last point of the core."""
        first = last = self.best
        while first > 0 and (first == self.best or height_above_chord(*self.points[first - 1 : first + 2]) <= 0):
            first -= 1
        while last < len(self.points) - 1 and (
            last == self.best or height_above_chord(*self.points[last - 1 : last + 2]) <= 0
        ):
            last += 1
        return first, last

    @cached_property
    def gaps(self) -> tuple[Gap, ...]:
        """The gaps of the core and from its ends to the ends of the range, ascending."""
        return self._gaps(1.0)

    @cached_property
    def excess_bound(self) -> float:
        return max((gap.max_improvement for gap in self.gaps), default=0.0)

    @cached_property
    def bound_without_errors(self) -> float:
        return max((gap.max_improvement for gap in self._gaps(0.0)), default=0.0)

    @cached_property
    def best_interval(self) -> tuple[float, float]:
        """The stretch that holds the minimum: outside of it, every x is worse than the best point."""
        inside = [self.points[self.best].x]
        for gap in self.gaps:
            first, last = 0.0, 1.0
            for near, far in self._pairs(gap.left, gap.right):
                left, right = (self._gain(near, far, x, 1.0) for x in (gap.left, gap.right))
                if left < 0 and right < 0:
                    first, last = 1.0, 0.0
                elif left < 0:
                    first = max(first, left / (left - right))
                elif right < 0:
                    last = min(last, left / (left - right))
            if first <= last:
                inside += [gap.left + share * (gap.right - gap.left) for share in (first, last)]
        return min(inside), max(inside)

    def max_improvement_at(self, x: float) -> float:
        """How much lower than the best point f can be at an x in a gap: negative if higher, +inf without a bound."""
        return min((self._gain(near, far, x, 1.0) for near, far in self._pairs(x, x)), default=math.inf)

    def _gaps(self, errors: float) -> tuple[Gap, ...]:
        first, last = self.core
        ends = [p.x for p in self.points[first : last + 1]]
        if first == 0 and self.low < ends[0]:
            ends.insert(0, self.low)
        if last == len(self.points) - 1 and self.high > ends[-1]:
            ends.append(self.high)
        inside = [(max(left, self.low), min(right, self.high)) for left, right in pairwise(ends)]
        return tuple(self._gap(left, right, errors) for left, right in inside if right > left)

    def _gap(self, left: float, right: float, errors: float) -> Gap:
        lines = list[tuple[float, float]]()
        for near, far in self._pairs(left, right):
            line = self._gain(near, far, left, errors), self._gain(near, far, right, errors)
            if line[0] <= 0 and line[1] <= 0:
                return Gap(left, right, 0.0, (left + right) / 2)
            lines.append(line)
        share, gain = _highest_minimum(lines)
        return Gap(left, right, max(gain, 0.0), left + share * (right - left))

    def _pairs(self, left: float, right: float) -> list[tuple[Point, Point]]:
        """The pairs (near, far) on one side of a stretch whose lines can bound it."""
        core, xs, n_near = self._core_points
        i, j = bisect_right(xs, left), bisect_left(xs, right)
        sides = core[max(i - n_near, 0) : i][::-1], core[j : j + n_near]
        return [pair for side in sides for pair in combinations(side, 2)]

    @cached_property
    def _core_points(self) -> tuple[tuple[Point, ...], list[float], int]:
        """The points of the core, their x, and how many on each side of a stretch can bound it."""
        first, last = self.core
        core = self.points[first : last + 1]
        return core, [p.x for p in core], 3 if any(p.error for p in core) else 2

    def _gain(self, near: Point, far: Point, x: float, errors: float) -> float:
        t, best = (x - near.x) / (near.x - far.x), self.points[self.best]
        # Written so that a pair that holds the best itself subtracts no two large numbers.
        gain = (best.loss - near.loss) + t * (far.loss - near.loss)
        if not (best.error or near.error or far.error):
            return gain
        own, variance = 0.0, 0.0
        for weight, point in ((1 + t, near), (-t, far)):
            if point is best:
                own = weight
            else:
                variance += (weight * point.error) ** 2
        return gain + errors * math.sqrt(variance + ((1 - own) * best.error) ** 2)


def height_above_chord(left: Point, middle: Point, right: Point) -> float:
    """How far the middle point lies above the chord of the others, beyond errors and rounding; <= 0 if it may not."""
    share = (middle.x - left.x) / (right.x - left.x)
    height = (1 - share) * (middle.loss - left.loss) + share * (middle.loss - right.loss)
    error = (1 - share) * left.error + share * right.error + middle.error
    size = max(abs(p.loss) for p in (left, middle, right))
    height -= error
    return height if height > _ROUNDING * size else min(height, 0.0)


def highest_ridge(points: Sequence[Point]) -> tuple[float, tuple[Point, Point, Point]] | None:
    """Return the height of the ridge over the higher of two valleys, beyond errors, and (valley, ridge, valley).

    A ridge counts only if it is at least a tenth as high as the higher valley lies above the lower one: far above the
    best, where a network has died, say, the loss may go up and down without another valley as deep.
    """
    found = None
    for i in range(1, len(points) - 1):
        ridge = points[i]
        left, right = (min(side, key=lambda p: p.loss + p.error) for side in (points[:i], points[i + 1 :]))
        height = ridge.loss - ridge.error - max(left.loss + left.error, right.loss + right.error)
        least = max(_ROUNDING * abs(ridge.loss), _LEAST_RIDGE * abs(left.loss - right.loss))
        if height > least and (found is None or height > found[0]):
            found = height, (left, ridge, right)
    return found


def _highest_minimum(lines: Sequence[tuple[float, float]]) -> tuple[float, float]:
    """Return where on [0, 1] the lowest of the lines (value at 0, value at 1) is highest, and the value there."""
    if not lines:
        return 0.5, math.inf
    rising, falling = min(lines), min(lines, key=lambda line: line[::-1])
    if rising[1] <= rising[0]:
        return 0.0, rising[0]
    if falling[0] <= falling[1]:
        return 1.0, falling[1]
    share = height = 0.0
    for _ in lines:
        share = (falling[0] - rising[0]) / ((falling[0] - rising[0]) - (falling[1] - rising[1]))
        # A line that falls from a loss of 1e30 has lost its digits by the time it crosses a flat one.
        height = _at(min(rising, falling, key=lambda line: abs(line[1] - line[0])), share)
        others = [line for line in lines if line is not rising and line is not falling]
        lowest = min(others, key=partial(_at, share=share), default=rising)
        if _at(lowest, share) >= height:
            break
        if lowest[1] > lowest[0]:
            rising = lowest
        else:
            falling = lowest
    return share, height


def _at(line: tuple[float, float], share: float) -> float:
    return (1 - share) * line[0] + share * line[1]
