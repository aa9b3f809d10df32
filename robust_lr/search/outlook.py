"""What trials that are not run yet may show: plausible losses, and the valley that there would be then."""

from __future__ import annotations

import math
from bisect import bisect
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from .valley import Point, Valley


@dataclass(frozen=True)
class Outlook:
    """A valley, and the parabola through its best point and two neighbours in the core as a guess of the rest.

    Args:
        valley: what is known.
        counts: how often each of its points was measured.
        error: the error of a point that is measured once.
    """

    valley: Valley
    counts: tuple[int, ...]
    error: float

    def after(self, xs: Sequence[float], outcome: float) -> Valley:
        """Return the valley after trials at these x, with one outcome for all, as in `loss`.

        A point that is measured again keeps its loss, and its error shrinks; a trial beyond the range is left out.
        """
        points, counts = list(self.valley.points), list(self.counts)
        for x in xs:
            known = [p.x for p in points]
            if x in known:
                i = known.index(x)
                points[i] = points[i]._replace(error=points[i].error * math.sqrt(counts[i] / (counts[i] + 1)))
                counts[i] += 1
            elif x < self.valley.high:
                i = bisect(known, x)
                points.insert(i, Point(x, self.loss(x, outcome), self.error))
                counts.insert(i, 1)
        return Valley(tuple(points), min(self.valley.low, points[0].x), max(self.valley.high, points[-1].x))

    def loss(self, x: float, outcome: float) -> float:
        """Return a plausible loss at x: that of the parabola, kept between the gain line and the chord, for outcome 0.

        From there an outcome of -1 leads to the gain line and 1 to the chord, or as far upwards as the gain line lies
        below, where there is none.
        """
        points = self.valley.points
        i = bisect([p.x for p in points], x)
        above = math.inf
        if 0 < i < len(points):
            share = (x - points[i - 1].x) / (points[i].x - points[i - 1].x)
            above = (1 - share) * points[i - 1].loss + share * points[i].loss
        gain = self.valley.gain_at(x) if any(gap.left <= x <= gap.right for gap in self.valley.gaps) else 0.0
        below = min(points[self.valley.best].loss - gain, above)
        middle = min(max(self._parabola(x), below), above)
        down = middle - below if math.isfinite(below) else 0.0
        return middle + outcome * (down if outcome < 0 or math.isinf(above) else above - middle)

    @cached_property
    def vertex(self) -> float | None:
        """The x of the minimum of the parabola; None where it has none."""
        if len(self._three) < 3:
            return None
        (x0, f0, _), (x1, f1, _), (x2, f2, _) = self._three
        left, right = (f1 - f0) / (x1 - x0), (f2 - f1) / (x2 - x1)
        if right <= left:
            return None
        # The slope of a parabola is that of a chord in its middle, and zero where the line through two of these is.
        return (x0 + x1) / 2 - left * ((x2 - x0) / 2) / (right - left)

    @cached_property
    def _three(self) -> tuple[Point, ...]:
        first, last = self.valley.core
        begin = min(max(self.valley.best - 1, first), max(last - 2, first))
        return self.valley.points[begin : min(begin + 3, last + 1)]

    def _parabola(self, x: float) -> float:
        """The polynomial through the best three points; a line or a constant where the core has fewer."""
        (x0, f0, _), *others = self._three
        slopes = [(f - f0) / (other - x0) for other, f, _ in others]
        slope = slopes[0] if slopes else 0.0
        if len(others) == 2:
            slope += (slopes[1] - slopes[0]) / (others[1].x - others[0].x) * (x - others[0].x)
        return f0 + (x - x0) * slope
