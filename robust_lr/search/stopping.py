"""Whether a search is at its end, and what it has found."""

from __future__ import annotations

import math
from functools import lru_cache

from .convex_bound import Valley
from .proposals import next_x, trials_left
from .result import SearchResult, Stop
from .state import Situation

# The fight against noise is given up when it would take more trials than this.
_WORTH_TRYING = 6
_ABOUT_ZERO = 1e-3


@lru_cache(maxsize=64)
def reason_to_stop(situation: Situation) -> tuple[Stop, str] | None:
    """Return why the search is over, with its words; None when it is not."""
    settings, n_trials = situation.settings, len(situation.tells)
    if settings.max_trials is not None and n_trials >= settings.max_trials:
        known = "" if n_trials == settings.max_trials else f", {n_trials} are known"
        return "max_trials", f"all {settings.max_trials} trials are spent{known}"
    noise_limited = is_noise_limited(situation)
    if not noise_limited and next_x(situation, ()) is not None:
        return None
    if situation.evidence.doubt is not None:
        return "doubt", f"{situation.evidence.doubt}; the coarse grid was tried, then the valley of the best"
    if noise_limited:
        return "noise-limited", "what is left to gain is below what the noise lets one see"
    if situation.valley is None:
        return "diverged", "every learning rate that was tried diverged"
    if situation.valley.excess_bound <= situation.tolerance:
        end = f"; the best is at its {situation.edge} end" if situation.edge else ""
        return "tolerance", f"nothing in the range is better by more than the tolerance{end}"
    if situation.edge:
        return "edge", f"the loss still falls at the {situation.edge} end of the range: widen it"
    losses = [p.loss for p in situation.valley.points]
    if settings.relative and abs(min(losses)) < _ABOUT_ZERO * (max(losses) - min(losses)):
        return "resolution", "the best loss is about 0, and a share of that is no tolerance: give an absolute one"
    return "resolution", "the learning rates that could be better are too near to those that were tried"


def is_noise_limited(situation: Situation) -> bool:
    """Whether noise is most of the excess bound, and what would lower it, seeds or learning rates, costs too much."""
    valley = situation.valley
    if valley is None or not situation.tolerance < valley.excess_bound < math.inf:
        return False
    if valley.excess_bound <= 2 * valley.bound_without_errors:
        return False
    return trials_left(situation) > _WORTH_TRYING


def summarise(situation: Situation, schedule: str | None) -> SearchResult:
    """Return the result of a search in this situation."""
    valley, (low, high) = situation.valley, situation.range
    lr, loss, cliff = math.nan, math.inf, None
    if valley is not None:
        lr, loss = situation.lrs[valley.best], valley.points[valley.best].loss
        cliff = None if situation.wall is None else math.exp(situation.wall - valley.points[valley.best].x)
    bound, note = _bound(situation)
    stop, reason = reason_to_stop(situation) or (None, "")
    return SearchResult(
        lr=lr,
        loss=loss,
        excess_bound=bound,
        bound_note=note,
        n_trials=len(situation.tells),
        stop=stop,
        reason=reason,
        good_interval=None if valley is None else _good_interval(valley, lr, situation),
        cliff=cliff,
        doubt=situation.evidence.doubt,
        history=situation.tells,
        tolerance=situation.tolerance,
        lr_range=(situation.lr_at(low), situation.lr_at(high)),
        edge=situation.edge,
        schedule=schedule,
    )


def _bound(situation: Situation) -> tuple[float | None, str]:
    valley = situation.valley
    if valley is None:
        return None, "no learning rate with a finite loss is known"
    if situation.evidence.doubt is not None:
        return None, f"withdrawn: {situation.evidence.doubt}"
    if not math.isfinite(valley.excess_bound):
        return None, "too few learning rates are known for a bound"
    first, last = valley.core
    whole = (first, last) == (0, len(valley.points) - 1)
    convex = "" if whole else f" from {situation.lrs[first]:.4g} to {situation.lrs[last]:.4g}, and has one valley"
    edge = f"; beyond the {situation.edge} end of the range the loss may be lower still" if situation.edge else ""
    noise = ", and the errors are within their 95 % intervals" if any(p.error for p in valley.points) else ""
    return valley.excess_bound, f"true if the loss is convex in log(lr){convex}{noise}{edge}"


def _good_interval(valley: Valley, lr: float, situation: Situation) -> tuple[float, float]:
    level = valley.points[valley.best].loss + situation.tolerance
    ends = []
    for step in (-1, 1):
        i = valley.best
        while 0 <= i + step < len(valley.points) and valley.points[i + step].loss <= level:
            i += step
        end = situation.lrs[i]
        if 0 <= i + step < len(valley.points):
            inner, outer = valley.points[i], valley.points[i + step]
            share = (level - inner.loss) / (outer.loss - inner.loss)
            end *= math.exp(share * (outer.x - inner.x))
        ends.append(end)
    return ends[0], ends[1]
