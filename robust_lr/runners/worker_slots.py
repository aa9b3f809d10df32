"""A slot holds one worker at a time. It outlives its workers, and knows which trials may have killed them."""

from __future__ import annotations

import logging
import math
import traceback
from collections import deque
from collections.abc import Callable, Iterator, Sequence

from .._text import main_line
from ..exceptions import RobustLRError
from ..trials import Status, TrialResult, TrialSpec
from .base import Evaluator, TrialSource, failed_trial, failure_status
from .trial_sources import take_left

_log = logging.getLogger("robust_lr")


class Slot:
    """The trials of one worker: those in flight, and those left by lost workers.

    Trials that were in flight together when their worker was lost are suspects. No other slot sees them; they run again
    half as many at a time, until the one to blame is alone. That one has failed; a retry of it runs alone from the
    start. The others do not count as failed.

    A slot is itself the `TrialSource` of its worker.

    Args:
        source: source of new trials.
        capacity: trials at a time, at least 1.
        blamed: the trials that killed a worker while alone in it; all slots of a run share this set.
    """

    def __init__(self, source: TrialSource, capacity: int, blamed: set[TrialSpec] | None = None) -> None:
        self.label = source.label
        self.in_flight = dict[TrialSpec, None]()
        self.suspects = deque[TrialSpec]()
        self.limit = self._capacity = capacity
        self._source, self._blamed = source, set[TrialSpec]() if blamed is None else blamed

    @property
    def waiting(self) -> Sequence[TrialSpec]:
        """The trials that `take` draws from: the suspects, or else those of the source."""
        return self.suspects or self._source.waiting

    @property
    def has_work(self) -> bool:
        """Whether trials are in flight, or suspects wait to run again."""
        return bool(self.in_flight or self.suspects)

    def take(self, n: int = 1, *, wait: bool = False) -> list[TrialSpec]:
        """Hand out the next trials, at most n and at most as many as there is room for; never blocks."""
        room = min(n, self.limit - len(self.in_flight))
        taken = take_left(self.suspects, room) if self.suspects else self._take_from_source(room)
        self.in_flight |= dict.fromkeys(taken)
        return taken

    def _take_from_source(self, room: int) -> list[TrialSpec]:
        if not self._blamed:
            return self._source.take(room) if room > 0 else []
        taken = list[TrialSpec]()
        while len(taken) < room and not self._blamed & self.in_flight.keys() and self._source.waiting:
            if self._source.waiting[0] in self._blamed:
                return taken if taken or self.in_flight else self._source.take(1)
            taken += self._source.take(1)
        return taken

    def give_back(self, trials: Sequence[TrialSpec]) -> None:
        """Return trials in flight to the source, none of which has failed."""
        for spec in trials:
            del self.in_flight[spec]
        self._source.give_back(trials)

    def finish(self, result: TrialResult) -> None:
        """Note that a trial has a result."""
        self.in_flight.pop(result.spec, None)

    def lose(self, cause: str, *, status: Status = "failed", n_together: int | None = None) -> list[TrialResult]:
        """Note that the worker is lost; return the failure of the trial to blame, if known.

        Args:
            cause: the cause, named in the last line.
            status: status of a trial that was alone.
            n_together: how many trials there was room for; by default those in flight, or else the limit.
        """
        trials = list(self.in_flight)
        self.in_flight.clear()
        n = (len(trials) or self.limit) if n_together is None else n_together
        if n > 1:
            self.limit = n // 2
            self.suspects.extendleft(reversed(trials))
            said = main_line(cause)
            _log.warning("%d trials ended together (%s); they run again, at most %d at a time", n, said, n // 2)
            return []
        self._blamed.update(trials)
        if trials:
            self.limit = self._capacity  # this trial is to blame, not their number
        return [failed_trial(spec, cause, status=status) for spec in trials]


def fair_share(slots: Sequence[Slot], n_waiting: int) -> int:
    """Return how many trials each slot may have in flight, so that none idles while another holds the rest.

    Slots with suspects are left out.
    """
    free = sorted((slot for slot in slots if not slot.suspects), key=lambda slot: slot.limit)
    left = n_waiting + sum(len(slot.in_flight) for slot in free)
    share = 1
    for i, slot in enumerate(free):
        share = max(1, math.ceil(left / (len(free) - i)))
        if share <= slot.limit:
            return share
        left -= slot.limit  # this one is full; the others share the rest
    return share


def evaluate_here(
    make_evaluator: Callable[[int], Evaluator], capacity: int, source: TrialSource
) -> Iterator[TrialResult]:
    """Run the trials of a source in this process, and yield one result for each.

    If the evaluator itself raises, for instance out of memory, its trials in flight run again, half as many at a time.
    The exception passes through if there was room for only one trial and none was in flight.

    Args:
        make_evaluator: makes an evaluator for at most so many trials at a time.
        capacity: trials at a time to begin with, at least 1.
        source: source of the trials.
    """
    slot = Slot(source, capacity)
    while slot.waiting:
        limit = slot.limit
        try:
            for result in make_evaluator(limit).results(slot):
                slot.finish(result)
                yield result
        except Exception as error:
            if limit == 1 and not slot.in_flight:
                raise
            yield from slot.lose(traceback.format_exc(), status=failure_status(error))
        else:
            if slot.in_flight:
                raise RobustLRError(f"the evaluator gave no result for {len(slot.in_flight)} trials")
