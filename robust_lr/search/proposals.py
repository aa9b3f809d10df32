"""Which learning rate to try next: the one after which the least may be left to gain, whatever its loss will be.

Two stages:

- *Open*: the middles of the cells of the range; or, from a start, steps that double, downhill, until the best has a
  neighbour on both sides.
- *Split*: candidates are points spread over the gaps that can hide more than the tolerance, the minimum of the parabola
  through the best three points, a free end of the range, and, where there is noise, one more seed at a point near the
  best. A candidate's score is the mean, over plausible curves through these three points (`robust_lr.search.curves`),
  of ``log(excess bound afterwards / tolerance)``, which is 0 where the search would be over. Before a learning rate
  that diverged, the edge may lie anywhere, and one more outcome is that this one diverges too. Trials in flight lie on
  the same curve, so that those of a batch complement each other.

In doubt the first stage is the full coarse grid, and the second splits the gaps of the best's valley. A ridge between
two valleys may be noise: where nothing is known of it, ridge and higher valley are run once more before all else.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import pairwise, product

from .convex_bound import Valley
from .lookahead import Outlook
from .state import FINEST, Situation

_N_SPREAD = 11
# Nearer to the end of a gap than this share of it, a trial tells the slope there and little else.
_MARGIN = 0.15
_UNBOUNDED = 1e6


def next_x(situation: Situation, in_flight: Sequence[float]) -> float | None:
    """Return the log of the learning rate to try next; None when nothing (more) would help.

    Args:
        situation: what is known.
        in_flight: log of the learning rates that are out.
    """
    x = _to_look_at(situation, in_flight)
    if x is not None:
        return x
    valley = situation.valley
    if valley is None or len(valley.points) < 3:
        return _middle_of_widest(situation, in_flight)
    return _best_split(valley, situation, in_flight)[0]


def trials_left(situation: Situation) -> float:
    """Return how many trials it takes to the tolerance if each lowers the log of the excess bound as the next does.

    Zero while the range is still being looked at.
    """
    valley = situation.valley
    if valley is None or len(valley.points) < 3 or _to_look_at(situation, ()) is not None:
        return 0.0
    now = math.log(max(valley.excess_bound / situation.tolerance, 1.0))
    _, then = _best_split(valley, situation, ())
    return 0.0 if now == 0 else now / (now - then) if then < now else math.inf


def _to_look_at(situation: Situation, in_flight: Sequence[float]) -> float | None:
    taken = [*situation.tried, *in_flight]
    if situation.evidence.doubt is not None:
        repeat = next((x for x in situation.to_repeat if all(abs(x - other) > FINEST for other in in_flight)), None)
        return next(iter(situation.unseen(situation.grid, taken)), None) if repeat is None else repeat
    opening = next(_openings(situation, taken), None)
    if opening is not None:
        return opening
    return next((bend for bend in situation.bends if all(abs(bend - x) > FINEST for x in in_flight)), None)


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
    if len(situation.evidence.points) >= 3:
        return
    # Down first: far above the valley a loss says nothing, or is none. After the wrong way the other one is long.
    sides = ((-1, step, down, low), (1, 2 * step, up, high))
    for k, (sign, first, is_open, end) in product(range(1, 64), sides):
        x, before = (start + sign * first * (2**n - 1) for n in (k, k - 1))
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
    pieces: list[tuple[float, float]] = []
    for left, right in stretches:
        inside = [left, *sorted(x for x in in_flight if left < x < right), right]
        pieces += pairwise(inside)
    left, right = max(pieces, key=lambda piece: piece[1] - piece[0], default=(0.0, 0.0))
    return (left + right) / 2 if right - left > 2 * FINEST else None


def _best_split(valley: Valley, situation: Situation, in_flight: Sequence[float]) -> tuple[float | None, float]:
    """Return the candidate with the lowest score, and the score; (None, +inf) without a candidate."""
    counts = tuple(situation.evidence.counts[lr] for lr in situation.lrs)
    outlook = Outlook(valley, counts, situation.evidence.error, situation.tolerance)

    def score(x: float) -> tuple[float, float]:
        after = [outlook.after([*in_flight, x], curve) for _, curve in outlook.curves]
        weights = [(1 - risk(x)) * weight for weight, _ in outlook.curves]
        if risk(x):
            before = replace(outlook, valley=replace(valley, high=x))
            after += [before.after(in_flight, curve) for _, curve in outlook.curves]
            weights += [risk(x) * weight for weight, _ in outlook.curves]
        bounds = [min(v.excess_bound / tolerance, _UNBOUNDED) for v in after]
        mean = math.fsum(w * bound for w, bound in zip(weights, bounds, strict=True))
        return math.fsum(w * math.log(max(bound, 1.0)) for w, bound in zip(weights, bounds, strict=True)), mean

    def risk(x: float) -> float:
        """The probability that x diverges, if the edge lies anywhere before the first learning rate that did."""
        last = valley.points[-1].x
        return 0.0 if situation.wall is None else max(0.0, (x - last) / (situation.wall - last))

    tolerance = situation.tolerance
    scores = [(*score(x), x) for x in _candidates(outlook, situation, in_flight)]
    if not scores:
        return None, math.inf
    best = min(scores)
    return best[2], best[0]


def _candidates(outlook: Outlook, situation: Situation, in_flight: Sequence[float]) -> Iterator[float]:
    (low, high), gaps = situation.range, situation.open_gaps
    valley, vertex = outlook.valley, outlook.vertex
    best, xs = valley.points[valley.best].x, [p.x for p in valley.points]
    # While the best has no neighbour on one side, the way leads there: a lower loss is worth more than a known slope,
    # or than another seed, which would lower the bound of an end without a second point by ever less, never enough.
    outer = [gap for gap in gaps if (gap.left == best == xs[-1]) or (gap.right == best == xs[0])]
    for gap in outer or gaps:
        width = gap.right - gap.left
        near = max(_MARGIN * width, FINEST)
        spread = [gap.left + near + k / (_N_SPREAD - 1) * (width - 2 * near) for k in range(_N_SPREAD)]
        if vertex is not None:
            spread.append(min(max(vertex, gap.left + near), gap.right - near))
        # Where the parabola falls up to a free end of the range, that end is the place to try.
        if gap.left == low < xs[0]:
            spread = [low] if low not in in_flight and (vertex is None or vertex <= low) else [low, *spread]
        if gap.right == high > xs[-1] and situation.wall is None:
            spread = [high] if high not in in_flight and (vertex is None or vertex >= high) else [*spread, high]
        yield from (x for x in sorted(spread) if all(abs(x - other) >= near * (1 - 1e-9) for other in in_flight))
    if situation.evidence.half_width and gaps and not outer:
        first, last = max(valley.best - 2, 0), min(valley.best + 3, len(xs))
        yield from (x for x in xs[first:last] if all(abs(x - other) > FINEST for other in in_flight))
