"""Evaluators in this process: one trial after the other, and any evaluator over a list of trials, with retries."""

from __future__ import annotations

import logging
import traceback
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass

from ..exceptions import RobustLRError
from ..schedules.closed_forms import Schedule
from ..trials import Status, TrainFunction, TrialResult, TrialSpec
from .base import Evaluator, TrialSource, evaluate_trial, failed_trial, is_out_of_memory

_log = logging.getLogger("robust_lr")


@dataclass(frozen=True)
class OneByOne:
    """The `Evaluator` that calls the training function for one trial after the other.

    Example:
        >>> from robust_lr import Constant
        >>> evaluator = OneByOne(lambda *, lr, schedule, seed: 2 * lr, {"constant": Constant()})
        >>> trials = TrialList([TrialSpec("constant", lr, 0) for lr in (0.25, 0.5)])
        >>> [result.loss for result in evaluator.results(trials)]
        [0.5, 1.0]
    """

    train: TrainFunction
    schedules: Mapping[str, Schedule]

    def results(self, source: TrialSource) -> Iterator[TrialResult]:
        """Take one trial at a time, and yield what `evaluate_trial` gives; see `Evaluator.results`."""
        while trials := source.take(1, wait=True):
            for spec in trials:
                yield evaluate_trial(self.train, spec, self.schedules[spec.schedule])


class TrialList:
    """The `TrialSource` of trials that are all known: what it gives is in order, and what is not there never comes.

    Attributes:
        waiting: the trials that nobody has taken yet.
        in_flight: those taken; whoever has the result of one removes it.

    Example:
        >>> trials = TrialList([TrialSpec("constant", lr, 0) for lr in (0.1, 0.2, 0.3)])
        >>> [len(trials.take(2, wait=True)) for _ in range(3)]
        [2, 1, 0]
    """

    def __init__(self, trials: Iterable[TrialSpec]) -> None:
        self.waiting, self.in_flight = deque(trials), dict[TrialSpec, None]()

    def take(self, n: int, *, wait: bool) -> list[TrialSpec]:
        """Return the next trials, at most n; never blocks."""
        taken = take_left(self.waiting, n)
        self.in_flight |= dict.fromkeys(taken)
        return taken


class Retries:
    """Counts how often each trial has failed, and grants each the same number of further tries."""

    def __init__(self, limit: int) -> None:
        self._limit, self._failures = limit, Counter[TrialSpec]()

    def grants(self, result: TrialResult) -> bool:
        """Tell whether the trial of this result is to be run again."""
        if result.is_final:
            return False
        self._failures[result.spec] += 1
        return self._failures[result.spec] <= self._limit


def take_left(trials: deque[TrialSpec], n: int) -> list[TrialSpec]:
    """Remove the first trials, at most n, and return them."""
    return [trials.popleft() for _ in range(min(n, len(trials)))]


def evaluate_here(
    make_evaluator: Callable[[int], Evaluator], slots: int, trials: Iterable[TrialSpec], retries: int
) -> Iterator[TrialResult]:
    """Run the trials in this process, and yield one result for each.

    A failed trial is run again, before those that wait: a training function that always fails is known after a few
    trials, not after all. When the evaluator itself raises, out of memory for one, the trials that it had in flight
    are run again, half as many at a time; one that was alone has failed. What it raises with a single slot before it
    has taken a trial is raised.

    Args:
        make_evaluator: makes an evaluator for at most so many trials at a time.
        slots: how many to begin with, at least 1.
        trials: distinct trials.
        retries: how often a failed trial is run again, at least 0.
    """
    source, again, size = TrialList(trials), Retries(retries), slots
    while source.waiting:
        results = iter(make_evaluator(size).results(source))
        while True:
            try:
                result = next(results)
            except StopIteration:
                if source.in_flight:
                    raise RobustLRError(f"the evaluator gave no result for {len(source.in_flight)} trials") from None
                break
            except Exception as error:
                suspects, source.in_flight = list(source.in_flight), {}
                n_together = len(suspects) or size
                if n_together > 1:
                    size = halved(n_together, f"{type(error).__name__}: {error}")
                    source.waiting.extendleft(reversed(suspects))
                    break
                if not suspects:
                    raise
                # It was this one, and not that there were many.
                status: Status = "out_of_memory" if is_out_of_memory(error) else "failed"
                result, size = failed_trial(suspects[0], traceback.format_exc(), status=status), slots
                results = iter(())
            source.in_flight.pop(result.spec, None)
            if again.grants(result):
                source.waiting.appendleft(result.spec)
            else:
                yield result


def halved(n: int, cause: str) -> int:
    """Return how many trials may be run at a time after n together came to an end, and log it."""
    _log.warning("%d trials ended together (%s); they are run again, at most %d at a time", n, cause, n // 2)
    return n // 2
