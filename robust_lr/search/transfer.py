"""The start of a search, from the result of one under another schedule or at another length."""

from __future__ import annotations

import math

from .._checks import check_flag, check_whole
from ..exceptions import DataError, OptionError, ScheduleError
from ..schedules.closed_forms import Schedule
from ..schedules.specs import parse_schedule
from ..theory import transfer_ratio
from . import SearchResult, SearchStart

_TOTAL_STEPS = 10_000
# All spreads are standard deviations of log(lr). How well a search knows where the minimum is:
OF_A_SEARCH = 0.2
# How the best learning rate of language models drifts, per log(length ratio).
DRIFT = 0.18
# Between schedules, networks need about this power of theory's factor, give or take this share of its log.
_DAMPING, _SHARE_OF_NETWORKS, _SHARE_OF_CONVEX = 2 / 3, 0.5, 0.25


def transfer_learning_rate(
    result: SearchResult,
    *,
    to_schedule: str | Schedule | None = None,
    from_total_steps: int | None = None,
    to_total_steps: int | None = None,
    convex: bool = False,
) -> SearchStart:
    """Return where to start a search under another schedule, at another number of steps, or both.

    It is a start with its spread, not an answer. Pass it on as ``SearchOptions(start=start.lr,
    start_factor=start.factor)``; it must lie in the range of that search.

    *Another length* keeps the learning rate. Over 161 pairs of lengths of language models (three sizes of the Step Law
    study, one batch size at a time) the best learning rate neither fell nor rose on average. In two of three pairs it
    stayed within a factor of 1.25 at up to twice the length, 1.5 at five times, 1.8 at 25 times
    (docs/how-to/horizons.md).

    *Another schedule* takes the power 2/3 of theory's factor (`robust_lr.theory.transfer_ratio`): from constant to
    cosine theory says 3.2; networks needed 1 to 4.

    ``convex=True`` uses theory's factor for both, about the inverse square root of the length under one schedule. On
    convex problems it is right more often: within the tolerance in 81% instead of 60% between schedules.

    Args:
        result: the result of the previous search.
        to_schedule: the new schedule, a `Schedule` or its spec; by default it stays the same.
        from_total_steps: the training steps of a trial in the previous search, >= 1; by default 10,000, because the
            ratio between two schedules hardly depends on it.
        to_total_steps: the training steps of a trial in the new search, >= 1; by default the same.
        convex: whether the problem is convex, such as linear and logistic regression.

    Raises:
        DataError: when the previous search found no learning rate.
        OptionError: when neither schedule nor steps change, or an option is missing or out of range.
        ScheduleError: when a schedule cannot be read, or the previous search had none.

    Example:
        >>> import math
        >>> from robust_lr.search import LearningRateSearch
        >>> search = LearningRateSearch(1e-3, 0.1, tolerance=0.005, schedule="constant")
        >>> while not search.done:
        ...     for lr in search.ask():
        ...         search.tell(lr, 0.3 + 0.03 * math.log(lr / 0.02) ** 2)
        >>> start = transfer_learning_rate(search.result, to_schedule="cosine")
        >>> round(start.lr / search.result.lr, 2), round(start.factor, 2)
        (2.17, 1.85)
        >>> start = transfer_learning_rate(search.result, from_total_steps=1000, to_total_steps=5000)
        >>> start.lr == search.result.lr, round(start.factor, 2)
        (True, 1.42)
    """
    if not isinstance(result, SearchResult):
        raise DataError(f"result must be the SearchResult of a search, got {type(result).__name__}")
    if not result.lr > 0:
        raise DataError(f"there is no learning rate to transfer: the search found none in {result.n_trials} trials")
    if to_schedule is None and to_total_steps is None:
        raise OptionError("nothing to transfer to: give to_schedule, to_total_steps or both")
    if to_total_steps is not None and from_total_steps is None:
        raise OptionError(f"to_total_steps={to_total_steps!r} needs from_total_steps, the steps of the previous search")
    before = _TOTAL_STEPS if from_total_steps is None else from_total_steps
    after = before if to_total_steps is None else to_total_steps
    for name, steps in (("from_total_steps", before), ("to_total_steps", after)):
        check_whole(name, steps, at_least=1)
    if result.schedule is None:
        raise ScheduleError("the previous search had no schedule: pass schedule= to LearningRateSearch")
    schedule = parse_schedule(result.schedule if to_schedule is None else to_schedule)
    if check_flag("convex", convex):
        move = math.log(transfer_ratio(result.schedule, schedule, total_steps=before, to_total_steps=after))
        spread = _SHARE_OF_CONVEX * move
    else:
        middle = max(round(math.sqrt(before * after)), 1)  # the way back is the inverse
        theory = math.log(transfer_ratio(result.schedule, schedule, total_steps=middle))
        move, spread = _DAMPING * theory, math.hypot(_SHARE_OF_NETWORKS * theory, DRIFT * math.log(after / before))
    factor = math.exp(math.hypot(OF_A_SEARCH, spread))
    return SearchStart(lr=result.lr * math.exp(move) if move else result.lr, factor=factor)
