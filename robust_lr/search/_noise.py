"""What the noise of single runs hides from a search, and what repeats can do about it.

A convex bound takes the worst curve through the losses, so it has room for some noise; the less, the smaller it is. So
the search stops by the bound of the losses as they are, but states none below what the noise hides, ``2.5 s / sqrt(n)``
with n runs of standard deviation s. If nobody knows s, the trials may differ by 0.4 tolerances, and the claim is the
tolerance itself, however close the trials are. That runs repeat exactly does not help: with one seed, too, learning
rates close together end a little apart, as if by chance. Noise that repeats have measured needs none of this, since it
is in the errors of the points.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from ._observations import LARGEST_ERROR, student

if TYPE_CHECKING:
    from ._state import SearchState

# Measured: bounds of single runs, none of them below this, are then true in 97% (docs/search.md).
_HIDDEN = 2.5
# What it takes to give up because of measured noise: so many repeats, from which it is known, and so many results.
_LEAST_REPEATS, _LEAST_RESULTS = 4, 7


def hidden_by_noise(state: SearchState) -> float:
    """Return the least bound that the trials can support; 0 if the errors of the points hold the noise."""
    if state.data.half_width:
        return 0.0
    runs = min((state.data.counts[lr] for lr in _near(state)), default=1)
    return max(state.tolerance, hidden_by_one(state) / math.sqrt(runs))


def hidden_by_one(state: SearchState) -> float:
    """Return what the noise of one run hides, if it is known; else 0."""
    return _HIDDEN * min(state.noise or 0.0, LARGEST_ERROR / _HIDDEN)


def assumed_noise(state: SearchState) -> float:
    """Return the noise of single runs that a claim within the tolerance has room for."""
    return state.tolerance / _HIDDEN


def trials_against_noise(state: SearchState) -> float:
    """Return about how many further trials would bring the bound within the tolerance; 0 while noise is not the limit."""
    if state.noise:
        runs = math.ceil(min(hidden_by_one(state) / state.tolerance, LARGEST_ERROR) ** 2 * (1 - 1e-9))
        return float(sum(max(runs - state.data.counts[lr], 0) for lr in _near(state)))
    return _trials_against_errors(state)


def is_noise_limited(state: SearchState) -> bool:
    """Return whether noise keeps the bound above the tolerance, and more repeats than allowed would be needed."""
    is_closed = not state.noise or (state.valley is not None and state.valley.excess_bound <= state.target)
    return is_closed and trials_against_noise(state) > state.settings.options.noise_trials


def repeats_against_noise(state: SearchState, taken: Sequence[float]) -> Iterator[float]:
    """Return the points near the best where another run lowers what a known noise hides, fewest runs first."""
    if state.valley is None or not state.noise or state.steps or state.data.assumption_violation:
        return
    if state.valley.excess_bound <= state.target > state.tolerance:
        yield from (x for x in map(math.log, sorted(_near(state), key=state.data.counts.__getitem__)) if x not in taken)


def _near(state: SearchState) -> tuple[float, ...]:
    """The best learning rate and its neighbors."""
    valley = state.valley
    return () if valley is None else state.valley_lrs[max(valley.best - 1, 0) : valley.best + 2]


def _trials_against_errors(state: SearchState) -> float:
    """What the errors add to the bound falls like the root of the number of results at the best and its neighbors.

    Half the tolerance is left to it; the rest is for the gaps between them.
    """
    valley, data = state.valley, state.data
    if valley is None or not state.tolerance < valley.excess_bound < math.inf:
        return 0.0
    if data.dof < _LEAST_REPEATS or len(data.results) < _LEAST_RESULTS:
        return 0.0
    added = valley.excess_bound - valley.bound_without_errors
    if added < valley.bound_without_errors:
        return 0.0
    factor = added * student(math.inf) / student(data.dof) / max(state.tolerance / 2, sys.float_info.min)
    return sum(data.counts[lr] for lr in _near(state)) * (factor * factor - 1)
