"""How much lower a curve of one valley can still be than its best measured point: the bound that ends a search.

Let f be the loss as a function of ``x = log(lr)``, measured at ``x_1 < ... < x_n``, the best of them at b. Two things
are assumed. *One valley*: f falls to its least value, then it rises. *Convex inside*: f is convex over the core, the
stretch of measured points around b on which none lies above the chord of its two neighbours, and, where the core ends
with the outermost point, on to the end of the range. A learning rate that diverges is f = +inf, which fits both.

The line through two points of a convex curve is a lower bound of it outside of them. With ``x_j < x_i < x`` (or all the
other way round) and ``t = (x - x_i) / (x_i - x_j) >= 0``::

    f(x) >= (1 + t) f(x_i) - t f(x_j),   hence   f(b) - f(x) <= f(b) - (1 + t) f(x_i) + t f(x_j)         (gain line)

On the gap between two neighbours the pair to its left and the pair to its right give one gain line each: one falls and
one rises, and where they cross, in closed form, is the most that the gap can hide. On the outermost gaps, to an end of
the range or to the first learning rate that diverged, there is one line. No line, no bound: +inf. The largest value
over all gaps is the excess bound: nothing in the range is lower than the best by more. Outside of the core one valley
alone says that nothing is gained.

With errors, ``|measured - f| <= e`` at each point, a gain line is raised by what they can do to it; b counts once::

    e_b |1 - c_b| + sum over the pair, without b, of |c| e,     c = 1 + t for x_i, -t for x_j, c_b that of b (0 if none)

Then any two of the nearest three points may give the least line, not only the nearest two. A wider pair is less steep,
but its slope is known better.
"""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations, pairwise
from typing import NamedTuple

_ROUNDING = 1e-12
_LEAST_RIDGE = 0.1


class Point(NamedTuple):
    """A measured point of the curve: the loss at ``x = log(lr)`` is within `error` of `loss`."""

    x: float
    loss: float
    error: float = 0.0


class Gap(NamedTuple):
    """A stretch of x without a measured point inside, and what it can hide.

    Attributes:
        left: where it begins: a point, or the end of the range.
        right: where it ends: a point, the end of the range, or a learning rate that diverged.
        gain: the loss in it is lower than that of the best point by at most this; +inf where nothing is known.
        at: the x for which that is so.
    """

    left: float
    right: float
    gain: float
    at: float


@dataclass(frozen=True)
class ConvexBound:
    """What is known of a curve over a range of x.

    Args:
        points: at least one, ascending in x, finite.
        low: the left end of the range; points outside of it count for the lines alone.
        high: the right end; the curve is finite to the left of it.

    Example:
        >>> valley = ConvexBound((Point(-1.0, 1.0), Point(0.0, 0.0), Point(1.0, 1.0)), low=-1.0, high=1.0)
        >>> valley.excess_bound  # the line through 0 and 1, carried on to -1
        1.0
    """

    points: tuple[Point, ...]
    low: float
    high: float

    @cached_property
    def best(self) -> int:
        """The number of the point with the least loss; of equals the one in the middle of them."""
        least = min(p.loss for p in self.points)
        equal = [i for i, p in enumerate(self.points) if p.loss == least]
        return equal[len(equal) // 2]

    @cached_property
    def core(self) -> tuple[int, int]:
        """The numbers of the first and last point of the core, where the points are those of a convex curve."""
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
        """The gaps of the core, and those from its ends to the ends of the range, from left to right."""
        return self._gaps(1.0)

    @cached_property
    def excess_bound(self) -> float:
        """By how much the best loss can exceed that of any x in the range at most; +inf when there is no bound."""
        return max((gap.gain for gap in self.gaps), default=0.0)

    @cached_property
    def bound_without_errors(self) -> float:
        """What the excess bound would be if the same losses were exact."""
        return max((gap.gain for gap in self._gaps(0.0)), default=0.0)

    def gain_at(self, x: float) -> float:
        """By how much f can be lower at an x in a gap than at the best point; below 0 it is higher, +inf: no bound."""
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
        pairs = self._pairs(left, right)
        lines = [(self._gain(near, far, left, errors), self._gain(near, far, right, errors)) for near, far in pairs]
        share, gain = _highest_minimum(lines)
        return Gap(left, right, max(gain, 0.0), left + share * (right - left))

    def _pairs(self, left: float, right: float) -> list[tuple[Point, Point]]:
        """The pairs (near, far) of points of the core on one side of a stretch whose lines can bound it."""
        core, xs, n_near = self._near
        i, j = bisect_right(xs, left), bisect_left(xs, right)
        sides = core[max(i - n_near, 0) : i][::-1], core[j : j + n_near]
        return [pair for side in sides for pair in combinations(side, 2)]

    @cached_property
    def _near(self) -> tuple[tuple[Point, ...], list[float], int]:
        """The points of the core, their x, and how many on each side of a stretch have lines that can bound it."""
        first, last = self.core
        core = self.points[first : last + 1]
        return core, [p.x for p in core], 3 if any(p.error for p in core) else 2

    def _gain(self, near: Point, far: Point, x: float, errors: float) -> float:
        t, best = (x - near.x) / (near.x - far.x), self.points[self.best]
        # Written so that a pair that holds the best itself subtracts no two large numbers.
        gain = (best.loss - near.loss) + t * (far.loss - near.loss)
        if not (best.error or near.error or far.error):
            return gain
        own, raised = 0.0, 0.0
        for weight, point in ((1 + t, near), (-t, far)):
            if point is best:
                own = weight
            else:
                raised += abs(weight) * point.error
        return gain + errors * (abs(1 - own) * best.error + raised)


def height_above_chord(left: Point, middle: Point, right: Point) -> float:
    """By how much the middle point lies above the chord of the others, errors and rounding taken off; <= 0: it may not.

    Example:
        >>> height_above_chord(Point(0.0, 1.0), Point(1.0, 2.5), Point(2.0, 3.0))
        0.5
    """
    share = (middle.x - left.x) / (right.x - left.x)
    height = (1 - share) * (middle.loss - left.loss) + share * (middle.loss - right.loss)
    error = (1 - share) * left.error + share * right.error + middle.error
    size = max(abs(p.loss) for p in (left, middle, right))
    height -= error
    return height if height > _ROUNDING * size else min(height, 0.0)


def highest_ridge(points: Sequence[Point]) -> tuple[float, tuple[Point, Point, Point]] | None:
    """Return the ridge between two valleys: its height over the higher valley, and (valley, ridge, valley).

    The points are ascending in x; the errors are taken off the height. A ridge counts only if its height is a tenth of
    what the higher valley lies above the lower one, or more: far above the best, as where a network has died, the loss
    may go up and down without another valley as deep. None when there is one valley.

    Example:
        >>> highest_ridge([Point(0.0, 1.0), Point(1.0, 3.0), Point(2.0, 1.5)])
        (1.5, (Point(x=0.0, loss=1.0, error=0.0), Point(x=1.0, loss=3.0, error=0.0), Point(x=2.0, loss=1.5, error=0.0)))
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
    """Return where on [0, 1] the least of the lines is highest, and its value there; a line is (at 0, at 1)."""
    if not lines:
        return 0.5, math.inf
    highest = max((min(line[end] for line in lines), float(end)) for end in (0, 1))
    for one, other in combinations(lines, 2):
        (a0, a1), (b0, b1) = one, other
        if (a0 - b0) * (a1 - b1) < 0:
            share = (a0 - b0) / ((a0 - b0) - (a1 - b1))
            # On a line that comes down from a loss of 1e30 nothing is left of the value where it crosses a flat one.
            steep = max(one, other, key=lambda line: abs(line[1] - line[0]))
            least = min((1 - share) * line[0] + share * line[1] for line in lines if line is not steep)
            highest = max(highest, (least, share))
    return highest[1], highest[0]
