"""Which learning rate to try next: the one after which the least may be left to gain, whatever its loss turns out to be.

Three stages:

- *Open*: the middles of the cells of the range; or, from a start, steps that double, downhill, until the best has a
  neighbour on both sides.
- *Split*: candidates are points spread over the gaps that can hide more than the tolerance, the minimum of the parabola
  through the best three points, a free end of the range, and, where there is noise, one more seed at a point near the
  best. A candidate's score is the mean, over three plausible outcomes, of ``log(excess bound afterwards / tolerance)``,
  which is 0 where the search would be over. An outcome is the loss on the parabola, kept between the gain line and the
  chord, or half-way from there to either. Trials in flight have the same outcome, so that those of a batch complement
  each other.
- *Grid*: in doubt, the cells of the full coarse grid.
"""

from __future__ import annotations

import math
from bisect import bisect
from collections.abc import Callable, Iterator, Sequence

from .situation import FINEST, Situation
from .valley import Gap, Point, Valley

_N_SPREAD = 11
_OUTCOMES = (-0.5, 0.0, 0.5)
# Nearer to the end of a gap than this share of it, a trial tells the slope there and little else.
_MARGIN = 0.05
_UNBOUNDED = 1e6


def next_x(situation: Situation, in_flight: Sequence[float]) -> float | None:
    """Return the log of the learning rate to try next; None when nothing (more) would help.

    Args:
        situation: what is known.
        in_flight: log of the learning rates that are out.
    """
    taken = [*situation.tried, *in_flight]
    if situation.evidence.doubt is not None:
        return next(iter(situation.unseen(situation.grid, taken)), None)
    opening = next(_openings(situation, taken), None)
    if opening is not None:
        return opening
    valley = situation.valley
    if valley is None or len(valley.points) < 3:
        return _middle_of_widest(situation, in_flight)
    return _best_split(valley, situation, in_flight)


def _openings(situation: Situation, taken: Sequence[float]) -> Iterator[float]:
    settings = situation.settings
    if settings.start is None:
        yield from situation.unseen(situation.looks, list(taken))
        return
    start, step = math.log(settings.start), math.log(settings.ratio)
    if not taken:
        yield start
        return
    low, high = situation.range
    up, down = situation.open_sides
    for k in range(1, 64):
        for sign, is_open, end in ((1, up, high), (-1, down, low)):
            x = start + sign * step * (2**k - 1)
            before = start + sign * step * (2 ** (k - 1) - 1)
            if is_open and sign * (end - before) > FINEST:
                x = min(max(x, low), high)
                if all(abs(x - other) > FINEST for other in taken):
                    yield x


def _middle_of_widest(situation: Situation, in_flight: Sequence[float]) -> float | None:
    low, high = situation.range
    if situation.valley is None:
        if situation.wall is not None and low not in in_flight and situation.wall > low + FINEST:
            return low
        stretches = [(low, high if situation.wall is None else situation.wall)]
    else:
        stretches = [(gap.left, gap.right) for gap in situation.open_gaps]
    pieces = []
    for left, right in stretches:
        inside = [left, *sorted(x for x in in_flight if left < x < right), right]
        pieces += list(zip(inside, inside[1:], strict=False))
    left, right = max(pieces, key=lambda piece: piece[1] - piece[0], default=(0.0, 0.0))
    return (left + right) / 2 if right - left > 2 * FINEST else None


def _best_split(valley: Valley, situation: Situation, in_flight: Sequence[float]) -> float | None:
    parabola = _parabola(valley)
    candidates = list(_candidates(valley, situation, in_flight))
    if not candidates:
        return None

    def score(x: float) -> tuple[float, float]:
        bounds = [
            min(_imagine(valley, situation, parabola, [*in_flight, x], outcome).excess_bound / tolerance, _UNBOUNDED)
            for outcome in _OUTCOMES
        ]
        return math.fsum(math.log(max(bound, 1.0)) for bound in bounds), math.fsum(bounds)

    tolerance = situation.tolerance
    return min(candidates, key=score)


def _candidates(valley: Valley, situation: Situation, in_flight: Sequence[float]) -> Iterator[float]:
    low, high = situation.range
    vertex = _vertex(valley)
    for gap in situation.open_gaps:
        width = gap.right - gap.left
        near = max(_MARGIN * width, FINEST)
        spread = [gap.left + (k + 1) / (_N_SPREAD + 1) * width for k in range(_N_SPREAD)]
        if vertex is not None:
            spread.append(min(max(vertex, gap.left + near), gap.right - near))
        if gap.left == low < valley.points[0].x:
            spread.append(low)
        if gap.right == high > valley.points[-1].x and situation.wall is None:
            spread.append(high)
        yield from (x for x in sorted(spread) if all(abs(x - other) >= near * (1 - 1e-9) for other in in_flight))
    if situation.evidence.half_width and situation.open_gaps:
        first, last = max(valley.best - 2, 0), min(valley.best + 3, len(valley.points))
        yield from (p.x for p in valley.points[first:last])


def _imagine(
    valley: Valley, situation: Situation, parabola: Callable[[float], float], xs: Sequence[float], outcome: float
) -> Valley:
    """The valley after tells at these x, with one outcome for all."""
    points = list(valley.points)
    counts = [situation.evidence.counts[lr] for lr in situation.lrs]
    for x in xs:
        known = [p.x for p in points]
        if x in known:
            i = known.index(x)
            points[i] = points[i]._replace(error=points[i].error * math.sqrt(counts[i] / (counts[i] + 1)))
            counts[i] += 1
        elif x < valley.high:
            i = bisect(known, x)
            points.insert(i, Point(x, _plausible(valley, parabola, x, outcome), situation.evidence.half_width or 0.0))
            counts.insert(i, 1)
    return Valley(tuple(points), min(valley.low, points[0].x), max(valley.high, points[-1].x))


def _plausible(valley: Valley, parabola: Callable[[float], float], x: float, outcome: float) -> float:
    points = valley.points
    i = bisect([p.x for p in points], x)
    if 0 < i < len(points):
        share = (x - points[i - 1].x) / (points[i].x - points[i - 1].x)
        above = (1 - share) * points[i - 1].loss + share * points[i].loss
    else:
        above = math.inf
    gain = valley.gain_at(x) if any(gap.left <= x <= gap.right for gap in valley.gaps) else 0.0
    below = min(points[valley.best].loss - gain, above)
    middle = min(max(parabola(x), below), above)
    if outcome < 0:
        return middle + (outcome * (middle - below) if math.isfinite(below) else 0.0)
    return middle + outcome * ((above if math.isfinite(above) else 2 * middle - max(below, -1e300)) - middle)


def _best_three(valley: Valley) -> tuple[Point, ...]:
    first, last = valley.core
    begin = min(max(valley.best - 1, first), max(last - 2, first))
    return valley.points[begin : min(begin + 3, last + 1)]


def _parabola(valley: Valley) -> Callable[[float], float]:
    """The polynomial through the best three points of the core (a line or a constant where there are fewer)."""
    (x0, f0, _), *others = _best_three(valley)
    slopes = [(f - f0) / (x - x0) for x, f, _ in others]
    slope = slopes[0] if slopes else 0.0
    bend = (slopes[1] - slopes[0]) / (others[1].x - others[0].x) if len(others) == 2 else 0.0

    def loss(x: float) -> float:
        return f0 + (x - x0) * (slope + (bend * (x - others[0].x) if others else 0.0))

    return loss


def _vertex(valley: Valley) -> float | None:
    three = _best_three(valley)
    if len(three) < 3:
        return None
    (x0, f0, _), (x1, f1, _), (x2, f2, _) = three
    left, right = (f1 - f0) / (x1 - x0), (f2 - f1) / (x2 - x1)
    if right <= left:
        return None
    # The slope of the parabola is that of a chord in its middle; it is zero where the line between the two is.
    return (x0 + x1) / 2 - left * ((x2 - x0) / 2) / (right - left)
