"""Lookahead: plausible losses of trials that have not run yet, and the valley after them."""

from __future__ import annotations

import math
from bisect import bisect
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

from ._convex_bound import ConvexBound, Point
from ._curves import curves_through
from ._observations import student


@dataclass(frozen=True)
class Lookahead:
    """A valley, with plausible curves through its best point and two neighbors in the core."""

    valley: ConvexBound
    counts: tuple[int, ...]  # results at each of its points
    error: float  # of a point with one result
    dof: float  # of the noise
    tolerance: float

    @cached_property
    def curves(self) -> tuple[tuple[float, Callable[[float], float]], ...]:
        """The plausible curves as (weight, loss at x); a parabola if there are none."""
        points, (first, last) = self.valley.points, self.valley.core
        best, three = points[self.valley.best], self._three
        others = [p for p in three if p is not best]
        near = sorted((p for p in points[first : last + 1] if p not in three), key=lambda p: abs(p.x - best.x))[:2]
        curves = curves_through(best, others, near=near, tolerance=self.tolerance) if len(others) == 2 else ()
        if self.error:  # noise hides what the unlikely ones would tell
            curves = tuple(sorted(curves, key=lambda pair: -pair[0])[:3])
        return curves or ((1.0, self._parabola),)

    def after(self, xs: Sequence[float], curve: Callable[[float], float]) -> ConvexBound:
        """Return the valley after trials at these x, with losses from a curve, adjusted to be convex.

        A repeated point keeps its loss. Its error shrinks, and all do as the noise is known better. A trial beyond the
        cliff is left out.
        """
        points, counts = list(self.valley.points), list(self.counts)
        repeats = sum(x in self._xs for x in xs)
        better = student(self.dof + repeats) / student(self.dof) if repeats and self.dof else 1.0
        if better < 1:
            points = [p._replace(error=p.error * better) for p in points]
        for x in xs:
            known = [p.x for p in points]
            if x in known:
                i = known.index(x)
                points[i] = points[i]._replace(error=points[i].error * math.sqrt(counts[i] / (counts[i] + 1)))
                counts[i] += 1
            elif x < self.valley.high:
                i = bisect(known, x)
                low, high = self._limits(x)
                points.insert(i, Point(x, min(max(curve(x), low), high), self.error * better))
                counts.insert(i, 1)
        low, high = min(self.valley.low, points[0].x), max(self.valley.high, points[-1].x)
        return ConvexBound(tuple(points), low, high)

    @cached_property
    def vertex(self) -> float | None:
        """The x of the minimum of the parabola through the best three points, or None."""
        if len(self._three) < 3:
            return None
        (x0, f0, _), (x1, f1, _), (x2, f2, _) = self._three
        left, right = (f1 - f0) / (x1 - x0), (f2 - f1) / (x2 - x1)
        if right <= left:
            return None
        # A parabola has the slope of a chord in the middle of it, and the slope is linear in x.
        return (x0 + x1) / 2 - left * ((x2 - x0) / 2) / (right - left)

    def _limits(self, x: float) -> tuple[float, float]:
        """The smallest and largest loss that a convex curve can have at x."""
        points = self.valley.points
        i = bisect(self._xs, x)
        above = math.inf
        if 0 < i < len(points):
            share = (x - points[i - 1].x) / (points[i].x - points[i - 1].x)
            above = (1 - share) * points[i - 1].loss + share * points[i].loss
        gain = self.valley.max_improvement_at(x) if any(gap.left <= x <= gap.right for gap in self.valley.gaps) else 0.0
        return min(points[self.valley.best].loss - gain, above), above

    @cached_property
    def _xs(self) -> tuple[float, ...]:
        return tuple(p.x for p in self.valley.points)

    @cached_property
    def _three(self) -> tuple[Point, ...]:
        first, last = self.valley.core
        begin = min(max(self.valley.best - 1, first), max(last - 2, first))
        return self.valley.points[begin : min(begin + 3, last + 1)]

    def _parabola(self, x: float) -> float:
        """The polynomial through the best three points; a line or a constant if the core has fewer."""
        (x0, f0, _), *others = self._three
        slopes = [(f - f0) / (other - x0) for other, f, _ in others]
        slope = slopes[0] if slopes else 0.0
        if len(others) == 2:
            slope += (slopes[1] - slopes[0]) / (others[1].x - others[0].x) * (x - others[0].x)
        return f0 + (x - x0) * slope
