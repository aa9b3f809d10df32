"""Where a search may begin after one under another schedule or of another length: `transfer_learning_rate`."""

from __future__ import annotations

from .._checks import check_whole
from ..exceptions import DataError, ScheduleError
from ..schedules.closed_forms import Schedule
from ..schedules.specs import parse_schedule
from ..theory import tuned_bound
from . import SearchResult

_TOTAL_STEPS = 10_000


def transfer_learning_rate(
    result: SearchResult,
    *,
    to_schedule: str | Schedule | None = None,
    from_total_steps: int | None = None,
    to_total_steps: int | None = None,
) -> float:
    """Return the learning rate to start a search from under another schedule, at another number of steps, or both.

    It is the best one of `result` times the ratio of the learning rates ``eta*`` at which the bound of convex theory is
    least (`theory.tuned_bound`): a start, not an answer. Give it to the new search as ``start=`` with the narrow
    step ``ratio=2``; it must lie in the range of that search.

    Measured on the tables in `benchmarks/tables` by ``python benchmarks/search_transfer.py``, in trials:

    - over two decades such a search takes 0.8 less than a cold one, which takes 5.9 on average; over four 1.9 less, of
      7.1. In 0.5 and 0.2 % of the cases it takes more than one more, three at most.
    - From a start that is off by a factor of 3 it takes 0.5 to 0.7 less over two decades, and 1.6 to 1.8 over four.
    - From one that is too low by a factor of 10 it takes 0.8 more over two decades, four at most, and 0.3 less over
      four; from one that is too high by 10, 0.4 and 1.1 less.

    Args:
        result: of the search before.
        to_schedule: the schedule to move to, a `Schedule` or its spec; left out, it stays the same.
        from_total_steps: the steps of a training of the search before, >= 1; left out, and the steps stay the same,
            10 000, on which the ratio between two schedules hardly depends.
        to_total_steps: the steps of a training to come, >= 1; left out, they stay the same.

    Raises:
        DataError: when the search before has found no learning rate, or one of the two numbers of steps is missing.
        ScheduleError: when a schedule cannot be read, or the search before was told of none.

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
        raise DataError(f"there is no learning rate to transfer: the search found none in {len(result.history)} trials")
    if result.schedule is None:
        raise ScheduleError("the search was told of no schedule: give LearningRateSearch its schedule=")
    if to_schedule is None and to_total_steps is None:
        raise DataError("nothing to transfer to: give to_schedule, to_total_steps or both")
    if to_total_steps is not None and from_total_steps is None:
        raise DataError(f"to_total_steps={to_total_steps!r} needs from_total_steps, the steps of the search before")
    before = _TOTAL_STEPS if from_total_steps is None else from_total_steps
    after = before if to_total_steps is None else to_total_steps
    for name, steps in (("from_total_steps", before), ("to_total_steps", after)):
        check_whole(name, steps, at_least=1, error=DataError)
    schedule = parse_schedule(result.schedule if to_schedule is None else to_schedule)
    new, old = (tuned_bound(s, total_steps=n).learning_rate for s, n in ((schedule, after), (result.schedule, before)))
    return result.lr * (new / old)
