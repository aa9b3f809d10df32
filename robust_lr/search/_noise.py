"""When noise is the limit of a search, and where repeats help against it.

A convex bound takes the worst curve through the losses, so it has room for some noise; the less, the smaller it is. So
the search stops by the bound of the losses as they are, but states none below what the noise hides (`hidden` of the
state): the tolerance, or ``2.5 s / sqrt(n)`` with n runs of a known standard deviation s, if that is more. So trials of
unknown noise may differ by 0.4 tolerances. That runs repeat exactly does not help: with one seed, too, learning rates
close together end a little apart, as if by chance. Noise that repeats have measured needs none of this, since it is in
the errors of the points.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator, Sequence

from ._observations import LARGEST_ERROR, student
from ._state import SearchState

# What it takes to give up because of measured noise: so many repeats, from which it is known, and so many results.
_LEAST_REPEATS, _LEAST_RESULTS = 4, 7


def is_noise_limited(state: SearchState) -> bool:
    """Return whether noise keeps the bound above the tolerance, and more repeats than allowed would be needed."""
    is_closed = not state.noise or (state.valley is not None and state.valley.excess_bound <= state.target)
    return is_closed and trials_against_noise(state) > state.settings.options.noise_trials


def trials_against_noise(state: SearchState) -> float:
    """Return about how many further trials would bring the bound within the tolerance; 0 if noise is not the limit."""
    if not state.noise:
        return _trials_against_errors(state)
    runs = math.ceil(min(state.hidden_by_one / state.tolerance, LARGEST_ERROR) ** 2 * (1 - 1e-9))
    return float(sum(max(runs - state.data.counts[lr], 0) for lr in state.near_lrs))


def repeats_against_noise(state: SearchState, taken: Sequence[float]) -> Iterator[float]:
    """Return the points near the best where another run lowers what a known noise hides, fewest runs first."""
    if state.valley is None or not state.noise or state.steps or state.data.assumption_violation:
        return
    if state.valley.excess_bound <= state.target > state.tolerance:
        yield from (
            x for x in map(math.log, sorted(state.near_lrs, key=state.data.counts.__getitem__)) if x not in taken
        )


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
    return sum(data.counts[lr] for lr in state.near_lrs) * (factor * factor - 1)
