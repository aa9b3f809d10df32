"""The points that a search tries before its bound can guide it."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from itertools import chain, pairwise, product

from ._start import first_step
from ._state import FINEST, SearchState

# A cell of the first look at the range is at most this many coarse steps wide: at a ratio of 4, 1.8 decades.
_STEPS_PER_CELL = 3
_MOST_CELLS = 9
# With this many trials in flight, one more measures the noise.
_BATCH = 2
# From this many tolerances on, noise may be what the bound shows.
_NEAR = 4.0
# After so many results, noise that is hardly known must be what keeps a search from its end.
_LATE, _LEAST_REPEATS = 16, 4


def place_to_look(state: SearchState, taken: Sequence[float]) -> float | None:
    """Return the log of the next learning rate to try regardless of the bound, or None."""
    tried = [math.log(lr) for lr in state.data.counts]
    if state.data.assumption_violation is not None:
        return next(chain(repeats(state, taken), _empty_cells(state, _coarse_grid(state), [*tried, *taken])), None)
    probes = (x for x in plateau_probes(state) if _is_free(x, taken))
    valley, is_batch = state.valley, len(tried) >= 3 and len(taken) >= _BATCH
    is_near = valley is not None and len(valley.points) >= 3 and valley.excess_bound <= _NEAR * state.tolerance
    spare = repeats(state, taken) if is_near or is_batch or _is_late(state) else ()
    return next(chain(_openings(state, [*tried, *taken]), probes, spare), None)


def initial_points(state: SearchState) -> tuple[float, ...]:
    """The first look at the range: the middles of an odd number of cells, the center first."""
    low, high = state.asked_range
    n = math.ceil((high - low) / (_STEPS_PER_CELL * math.log(state.settings.ratio)) - 1e-9)
    return _middles(low, high, min(max(3, n + (n + 1) % 2), _MOST_CELLS))


def plateau_probes(state: SearchState) -> list[float]:
    """The points that test for a second valley: a loss that flattens out may also be on its way down into one.

    They are the middles of the gaps just outside the core, if wider than half a cell of the first look.
    """
    if state.valley is None:
        return []
    points, (first, last) = state.valley.points, state.valley.core
    cells = initial_points(state)
    low, high = state.range
    gaps = [points[i : i + 2] for i in (last, first - 1) if 0 <= i < len(points) - 1]
    inside = [(max(a.x, low), min(b.x, high)) for a, b in gaps]
    return [(left + right) / 2 for left, right in inside if right - left > 0.6 * abs(cells[0] - cells[1])]


def _openings(state: SearchState, taken: Sequence[float]) -> Iterator[float]:
    settings = state.settings
    if settings.options.start is None:
        cells = initial_points(state)
        empty = _empty_cells(state, cells, taken)
        yield from empty if state.guide is None or not taken else _worth_a_look(state, list(empty), len(cells), taken)
        return
    start, factor = math.log(settings.options.start), settings.options.start_factor
    step = math.log(settings.ratio) if factor is None else first_step(factor)
    if not taken:
        yield start
    if not taken or len(state.data.points) >= 3:
        return
    low, high = state.range
    up, down = _open_sides(state)
    # Down first: far above the valley a loss says nothing, or there is none. After a wrong first step the other side
    # is far away, so steps upwards are twice as long.
    sides = ((-1, step, down, low), (1, 2 * step, up, high))
    for k, (sign, first, is_open, end) in product(range(1, 64), sides):
        x, before = (start + sign * first * (2**n - 1) for n in (k, k - 1))
        if is_open and sign * (end - before) > FINEST:
            x = min(max(x, low), high)
            if _is_free(x, taken):
                yield x


def _worth_a_look(state: SearchState, empty: list[float], n_cells: int, taken: Sequence[float]) -> list[float]:
    """The cells left after trials by a prior: those in which the valley may go on, first.

    Of the others only so many that the first look takes no more trials than without the prior.
    """
    (up, down), points = _open_sides(state), state.data.points
    best = min(points, key=lambda p: p.loss).x if points else min(taken)
    low, high = (max((x for x in taken if x < best), default=best), min((x for x in taken if x > best), default=best))
    inside = [x for x in empty if low < x < high or (up and x > max(taken)) or (down and x < min(taken))]
    others = [x for x in empty if x not in inside]
    return inside + others[: max(n_cells - len(set(taken)) - len(inside), 0)]


def _open_sides(state: SearchState) -> tuple[bool, bool]:
    """Whether the valley is still open to larger, and to smaller learning rates: no point there is worse."""
    points = state.data.points
    if not points:
        return not state.data.broken, True
    least = min(p.loss for p in points)
    best = [p.x for p in points if p.loss == least]
    return state.cliff is None and points[-1].x == best[-1], points[0].x == best[0]


def _coarse_grid(state: SearchState) -> tuple[float, ...]:
    low, high = state.range
    return _middles(low, high, max(3, math.ceil((high - low) / math.log(state.settings.ratio) - 1e-9)))


def repeats(state: SearchState, taken: Sequence[float]) -> Iterator[float]:
    """The points where another seed tells how much noise there is, since the claim hangs on it.

    The claim is a bound at the best (one repeat; four if noise keeps the search from its end), or a second valley: its
    ridge and the higher valley (two).
    """
    valleys, points = state.data.second_valley, () if state.valley is None else state.valley.points
    wanted, n = sorted(points, key=lambda p: p.loss)[:3], _LEAST_REPEATS if _is_late(state) else 1
    if valleys is not None:
        left, ridge, right = valleys
        wanted, n = [ridge, max(left, right, key=lambda p: p.loss)], 2
    failed, seen = {math.log(lr) for lr in state.failed}, {math.log(lr): n for lr, n in state.data.counts.items()}
    pending = sum(p.x in taken and p.x not in failed for p in wanted)
    if state.steps is None and state.data.dof + pending < n:
        yield from sorted((p.x for p in wanted if _is_free(p.x, taken)), key=seen.__getitem__)


def _empty_cells(state: SearchState, cells: Sequence[float], taken: Sequence[float]) -> Iterator[float]:
    """The middles of the cells in which nothing was tried and training may still converge."""
    half = min(b - a for a, b in pairwise(sorted(cells))) / 2
    return (
        x for x in cells if x < state.divergence_limit and all(abs(x - other) > half * (1 + 1e-9) for other in taken)
    )


def _is_late(state: SearchState) -> bool:
    return state.data.half_width > 0 and len(state.results) >= _LATE


def _is_free(x: float, taken: Sequence[float]) -> bool:
    return all(abs(x - other) > FINEST for other in taken)


def _middles(low: float, high: float, n: int) -> tuple[float, ...]:
    """The middles of n equal cells, from the central one outwards, the higher of two first."""
    order = sorted(range(n), key=lambda i: (abs(2 * i - (n - 1)), -i))
    return tuple(low + (2 * i + 1) / (2 * n) * (high - low) for i in order)
