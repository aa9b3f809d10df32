"""The next learning rate to try: the one expected to lower the excess bound most.

Two stages:

- *Open* (`_initial_points`): the middles of the cells of the range; or, from a start, doubling steps downhill until the
  best has a neighbor on both sides. After a contradiction of the assumptions: a second seed at the ridge and in the
  higher valley, in case the ridge is noise, and then the full coarse grid.
- *Split*: candidates are points spread over the gaps that can hide more than the tolerance, the minimum of the parabola
  through the best three points, a free end of the range, and, with noise, one more seed at a point near the best. A
  candidate's score is the mean, over plausible curves through these three points (`_curves`), of
  ``log(excess bound afterwards / tolerance)``, which is 0 where the search would be over. Below a learning rate that
  diverged, the limit may lie anywhere, so one more outcome is that the candidate diverges too. Trials in flight lie on
  the same curves, so the members of a batch complement each other. Learning rates that were given up count as in
  flight for ever: the search goes around them.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import chain, pairwise

from ._convex_bound import ConvexBound
from ._initial_points import place_to_look, repeats
from ._lookahead import Lookahead
from ._noise import repeats_against_noise
from ._state import FINEST, SearchState

_N_SPREAD, _N_SPREAD_IN_NOISE = 11, 5
# Closer to the end of a gap than this share of it, a trial tells the slope there and little else.
_MARGIN = 0.15
_UNBOUNDED = 1e6


def propose(state: SearchState, taken: Sequence[float]) -> float | None:
    """Return the log of the learning rate to try next, None if nothing would help.

    Taken are the logs of the learning rates that are in flight or given up.
    """
    x = None if state.guide is None else state.guide.next_trial(taken)
    if x is not None:
        return x
    x = place_to_look(state, taken)
    if x is None and (state.valley is None or len(state.valley.points) < 3):
        x = _middle_of_widest(state, taken)
    elif x is None and state.valley is not None:
        x = _best_split(state.valley, state, taken)
    spare = chain(repeats(state, taken), repeats_against_noise(state, taken))
    return next(spare, None) if x is None else x


def _middle_of_widest(state: SearchState, taken: Sequence[float]) -> float | None:
    low, high = state.range
    if state.valley is None:
        if low not in taken and low + FINEST < state.divergence_limit < math.inf:
            return low
        stretches = [(low, min(high, state.divergence_limit))]
    else:
        stretches = [(gap.left, gap.right) for gap in state.open_gaps]
    pieces = [
        piece
        for left, right in stretches
        for piece in pairwise([left, *sorted(x for x in taken if left < x < right), right])
    ]
    left, right = max(pieces, key=lambda piece: piece[1] - piece[0], default=(0.0, 0.0))
    return (left + right) / 2 if right - left > 2 * FINEST else None


def _best_split(valley: ConvexBound, state: SearchState, taken: Sequence[float]) -> float | None:
    """Return the candidate with the lowest score, None without a candidate."""
    counts = tuple(state.data.counts[lr] for lr in state.valley_lrs)
    ahead = Lookahead(valley, counts, state.data.error, state.data.dof, state.target)
    # An unbounded outcome counts as far worse than the present.
    worst = _UNBOUNDED * max(1.0, valley.excess_bound / state.target if valley.excess_bound < math.inf else 1.0)
    last, limit = valley.points[-1].x, state.divergence_limit

    def score(x: float) -> tuple[float, float]:
        # The probability that x diverges, if the limit lies anywhere between the last finite loss and the cliff.
        risk = max(0.0, (x - last) / (limit - last)) if limit < math.inf else 0.0
        outcomes = [((1 - risk) * weight, ahead.after([*taken, x], curve)) for weight, curve in ahead.curves]
        if risk:
            cut = replace(ahead, valley=replace(valley, high=x))
            outcomes += [(risk * weight, cut.after(taken, curve)) for weight, curve in ahead.curves]
        bounds = [(weight, min(after.excess_bound / state.target, worst)) for weight, after in outcomes]
        mean = math.fsum(weight * bound for weight, bound in bounds)
        return math.fsum(weight * math.log(max(bound, 1.0)) for weight, bound in bounds), mean

    return min(((*score(x), x) for x in _candidates(ahead, state, taken)), default=(0.0, 0.0, None))[-1]


def _candidates(ahead: Lookahead, state: SearchState, taken: Sequence[float]) -> Iterator[float]:
    (low, high), gaps = state.range, state.open_gaps
    valley, vertex = ahead.valley, ahead.vertex
    best, xs = valley.points[valley.best].x, [p.x for p in valley.points]
    # While the best has no neighbor on one side, go there: a lower loss is worth more than a known slope, or than
    # another seed, which would lower the bound of an end without a second point by ever less, never enough.
    outer = [gap for gap in gaps if (gap.left == best == xs[-1]) or (gap.right == best == xs[0])]
    n = _N_SPREAD
    if state.data.half_width:
        # Noise opens every gap a little; the places that matter are few, and none needs to be exact.
        n, gaps = _N_SPREAD_IN_NOISE, tuple(gap for gap in gaps if gap.max_improvement >= valley.excess_bound / 2)
    for gap in outer or gaps:
        width = gap.right - gap.left
        near = max(_MARGIN * width, FINEST)
        spread = [gap.left + near + k / (n - 1) * (width - 2 * near) for k in range(n)]
        if vertex is not None:
            spread.append(min(max(vertex, gap.left + near), gap.right - near))
        # If the parabola falls up to a free end of the range, that end is the place to try.
        if gap.left == low < xs[0] and low > state.lower_limit:
            spread = [low] if low not in taken and (vertex is None or vertex <= low) else [low, *spread]
        if gap.right == high > xs[-1] and state.cliff is None:
            spread = [high] if high not in taken and (vertex is None or vertex >= high) else [*spread, high]
        yield from (x for x in sorted(spread) if all(abs(x - other) >= near * (1 - 1e-9) for other in taken))
    if state.data.half_width and gaps and not outer:
        first = max(valley.best - 2, 0)
        yield from (x for x in xs[first : valley.best + 3] if all(abs(x - other) > FINEST for other in taken))
