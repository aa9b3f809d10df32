"""The result of a search from its state: the best, the bound with its conditions, the good interval."""

from __future__ import annotations

import math

from .._text import listed
from ..prior.valley_prior import LEVEL
from ._convex_bound import ConvexBound
from ._observations import LARGEST_ERROR, student
from ._result import SearchResult
from ._state import HIDDEN, SearchState
from ._step import Ask, End

# The relative distance of neighboring floats; a loss, a mean over many terms, has lost a digit of it.
_SINGLE, _DOUBLE, _DIGITS_LOST = 2.0**-23, 2.0**-52, 10


def summarize(state: SearchState, move: Ask | End, schedule: str | None) -> SearchResult:
    """Return the result in a state whose next step is `move`."""
    valley, (low, high) = state.valley, state.range
    careful = None if valley is None else _with_errors(valley, state)
    lr, loss = math.nan, math.inf
    if valley is not None:
        lr, loss = state.valley_lrs[valley.best], valley.points[valley.best].loss
    bound, note = _bound(state)
    by_prior = isinstance(move, End) and move.by_prior
    if by_prior:
        bound, note = state.tolerance, "in 95% of sweeps like the earlier ones"
    return SearchResult(
        lr=lr,
        loss=loss,
        excess_bound=bound,
        bound_note=note,
        n_trials=len(state.results),
        stop=move.stop if isinstance(move, End) else None,
        reason=move.reason if isinstance(move, End) else "",
        good_interval=None if careful is None else _good_interval(careful, state),
        best_interval=None if bound is None or careful is None or by_prior else _best_interval(careful, state),
        noise=state.data.seed_std,
        cliff=None if valley is None else state.cliff,
        assumption_violation=state.data.assumption_violation,
        failed=state.failed,
        history=state.observations,
        tolerance=state.tolerance,
        lr_range=(state.lr_at(low), state.lr_at(high)),
        edge=state.edge,
        schedule=schedule,
        notes=(*(() if state.guide is None else state.guide.notes), *_tolerance_notes(state)),
        claim=None if bound is None else "prior" if by_prior else "convexity",
        probability=LEVEL if by_prior else None,
        trials_needed=move.trials_needed if isinstance(move, End) else None,
    )


def _bound(state: SearchState) -> tuple[float | None, str]:
    valley = state.valley
    if valley is None:
        return None, "no loss is finite"
    if state.data.assumption_violation is not None:
        return None, f"the data contradict one convex valley: {state.data.assumption_violation}"
    if state.steps is not None:
        return None, state.steps
    if not math.isfinite(valley.excess_bound):
        return None, "too few learning rates were tried for a bound"
    first, last = valley.core
    whole = (first, last) == (0, len(valley.points) - 1)
    lrs = state.valley_lrs
    conditions = ["the loss is convex in log(lr)" + ("" if whole else f" from {lrs[first]:.4g} to {lrs[last]:.4g}")]
    conditions += [] if whole else ["has one valley overall"]
    if state.data.half_width:
        conditions.append("the noise is within its 95% intervals")
    elif state.noise:
        conditions.append(f"trials have a noise of {state.noise:.2g}")
    else:
        unknown = "" if state.data.dof else ", which no repeat has shown yet"
        conditions.append(f"trials have a noise of at most {state.tolerance / HIDDEN:.2g}{unknown}")
    edge = f"; beyond the {state.edge} end of the range the loss may be lower still" if state.edge else ""
    return state.excess_bound, f"if {listed(conditions)}{edge}"


def _tolerance_notes(state: SearchState) -> tuple[str, ...]:
    """Where the tolerance asks for more than the losses can show."""
    if state.valley is None:
        return ()
    given, best = state.settings.tolerance, abs(state.valley.points[state.valley.best].loss)
    if given.relative and state.tolerance > 2 * given.value * best:
        return (
            f"the best loss is near 0, where a share means little: the tolerance of {given} stands for "
            f"{state.tolerance:.2g} here, so give it as a number",
        )
    finest = _DIGITS_LOST * best * (_SINGLE if state.data.are_single else _DOUBLE)
    if state.tolerance < finest:
        kind = "32-bit" if state.data.are_single else "64-bit"
        return (
            f"the tolerance of {state.tolerance:.2g} is finer than {kind} losses of {best:.2g} can show: "
            f"give {finest:.1g} or more",
        )
    return ()


def _with_errors(valley: ConvexBound, state: SearchState) -> ConvexBound:
    """The valley with the errors of a known noise, which an interval needs."""
    if not state.noise:
        return valley
    error = min(student(math.inf) * state.noise, LARGEST_ERROR)
    counts = (state.data.counts[lr] for lr in state.valley_lrs)
    points = (p._replace(error=p.error + error / math.sqrt(n)) for p, n in zip(valley.points, counts, strict=True))
    return ConvexBound(tuple(points), valley.low, valley.high)


def _good_interval(valley: ConvexBound, state: SearchState) -> tuple[float, float]:
    points, best = valley.points, valley.points[valley.best]
    # How far each loss may lie above that of the best.
    above = [0.0 if p is best else p.loss - best.loss + math.hypot(p.error, best.error) for p in points]

    def end(step: int) -> float:
        i = valley.best
        while 0 <= i + step < len(points) and above[i + step] <= state.tolerance:
            i += step
        if not 0 <= i + step < len(points):
            return state.valley_lrs[i]
        # Between two points, a metric that moves in steps need not stay below their chord.
        share = 0.0 if state.steps else (state.tolerance - above[i]) / (above[i + step] - above[i])
        return state.valley_lrs[i] * math.exp(share * (points[i + step].x - points[i].x))

    return end(-1), end(1)


def _best_interval(valley: ConvexBound, state: SearchState) -> tuple[float, float]:
    low, high = valley.best_interval
    return state.lr_at(low), state.lr_at(high)
