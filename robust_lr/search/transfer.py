"""The start of a search, from the result of one under another schedule or at another length."""

from __future__ import annotations

from .._checks import check_whole
from ..exceptions import DataError, OptionError, ScheduleError
from ..schedules.closed_forms import Schedule
from ..schedules.specs import parse_schedule
from ..theory import transfer_ratio
from . import SearchResult

_TOTAL_STEPS = 10_000


def transfer_learning_rate(
    result: SearchResult,
    *,
    to_schedule: str | Schedule | None = None,
    from_total_steps: int | None = None,
    to_total_steps: int | None = None,
) -> float:
    """Return the learning rate at which to start a search under another schedule, at another number of steps, or both.

    It is the best learning rate of `result` times `robust_lr.transfer_ratio`, the ratio of the learning rates ``eta*``
    that minimize the bound of convex theory: a start, not an answer. Pass it to the new search as
    ``SearchOptions(start=..., ratio=2)``; it must lie in the range of that search.

    Measured on the tables in `benchmarks/tables` by ``python benchmarks/search_transfer.py``, in trials:

    - Over two decades such a search takes 0.8 fewer than one without a start, which takes 5.9 on average; over four
      decades 1.9 fewer, of 7.1. In 0.5% and 0.2% of the cases it takes more than one extra, three at most.
    - From a start off by a factor of 3 it takes 0.5 to 0.7 fewer over two decades, and 1.6 to 1.8 over four.
    - From a start too low by a factor of 10 it takes 0.8 more over two decades (four at most), and 0.3 fewer over
      four; from one too high by 10, 0.4 and 1.1 fewer.

    Args:
        result: the result of the previous search.
        to_schedule: the new schedule, a `Schedule` or its spec; by default it stays the same.
        from_total_steps: the training steps of a trial in the previous search, >= 1; by default 10,000, because the
            ratio between two schedules hardly depends on it.
        to_total_steps: the training steps of a trial in the new search, >= 1; by default the same.

    Raises:
        DataError: when the previous search found no learning rate.
        OptionError: when neither schedule nor steps change, or a number of steps is missing or out of range.
        ScheduleError: when a schedule cannot be read, or the previous search had none.

    Example:
        >>> import math
        >>> from robust_lr.search import LearningRateSearch
        >>> search = LearningRateSearch(1e-3, 0.1, tolerance=0.005, schedule="constant")
        >>> while not search.done:
        ...     for lr in search.ask():
        ...         search.tell(lr, 0.3 + 0.03 * math.log(lr / 0.02) ** 2)
        >>> round(transfer_learning_rate(search.result, to_schedule="cosine") / search.result.lr, 2)
        3.19
    """
    if not isinstance(result, SearchResult):
        raise DataError(f"result must be the SearchResult of a search, got {type(result).__name__}")
    if not result.lr > 0:
        raise DataError(f"there is no learning rate to transfer: the search found none in {result.n_trials} trials")
    if result.schedule is None:
        raise ScheduleError("the previous search had no schedule: pass schedule= to LearningRateSearch")
    if to_schedule is None and to_total_steps is None:
        raise OptionError("nothing to transfer to: give to_schedule, to_total_steps or both")
    if to_total_steps is not None and from_total_steps is None:
        raise OptionError(f"to_total_steps={to_total_steps!r} needs from_total_steps, the steps of the previous search")
    before = _TOTAL_STEPS if from_total_steps is None else from_total_steps
    after = before if to_total_steps is None else to_total_steps
    for name, steps in (("from_total_steps", before), ("to_total_steps", after)):
        check_whole(name, steps, at_least=1)
    schedule = parse_schedule(result.schedule if to_schedule is None else to_schedule)
    return result.lr * transfer_ratio(result.schedule, schedule, total_steps=before, to_total_steps=after)
