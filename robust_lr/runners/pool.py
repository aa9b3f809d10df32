"""The pool: it starts workers, hands out trials, and replaces workers that are lost.

A worker is a process of this machine, or whatever a plug-in makes of one: an actor on a cluster, or a group of them.
"""

from __future__ import annotations

import atexit
import contextlib
import logging
import math
import time
import traceback
from collections import Counter, deque
from collections.abc import Callable, Generator, Iterable, Sequence, Set
from dataclasses import dataclass, field
from typing import Any

from .._text import main_line
from ..exceptions import RobustLRError
from ..trials import Status, TrialResult, TrialSpec
from .base import Evaluator, TrialSource, failed_trial, failure_status
from .memory import MemoryWatch
from .nodes import NodeRecords
from .outgoing import outbox_of
from .preemption import SECONDS_TO_SAVE, is_ending
from .time_limit import timed_out
from .worker_slots import Slot, fair_share

_EARLY_LOSSES_ALLOWED = 3
_BLAMELESS_LOSSES_ALLOWED = 10  # of one trial, which may be the one that kills the nodes
_SECONDS_BETWEEN_LOOKS = 5.0  # at how many workers there may be
_SECONDS_TO_COMPLAIN = 30.0
_SECONDS_IDLE = 30.0  # before a worker without trials is stopped; a search may be about to ask for more
_SECONDS_TO_STOP = 5.0
_TRIALS_PASSED_OVER = 20  # in a search for one that a node has not failed
_A_CLUSTER = 2  # nodes

_log = logging.getLogger("robust_lr")


@dataclass(frozen=True)
class WorkerLost:
    """Why a worker can run nothing more, and the status of a trial that was lost with it.

    The trials in flight are not to blame if, for instance, a node was lost: they run again elsewhere.
    """

    cause: str
    status: Status = "failed"
    is_blameless: bool = False

    @classmethod
    def by(cls, error: BaseException) -> WorkerLost:
        """Return the loss of a worker by an exception, from its handler."""
        return cls(traceback.format_exc(), failure_status(error))


# A trial that fails may leave its process broken, as a failed assertion on a GPU does.
_SPENT = WorkerLost("an earlier trial failed in the same process", is_blameless=True)

_RECYCLED = WorkerLost("it has run as many trials as it may", is_blameless=True)


class Worker:
    """Runs trials in one process, or in several that work together.

    Attributes:
        is_up: whether it runs; only then does it take trials.
        capacity: how many trials it trains at a time, known once it is up.
        lost: why it can run nothing more, once that is so; a RobustLRError if no other worker can either.
        room: how many more trials it takes now.
        node: name of the machine on which it runs, known once it is up; empty if there is only one.
        n_bytes: memory of its process after the last trial, 0 if unknown.
    """

    is_up: bool = False
    capacity: int = 1
    lost: WorkerLost | RobustLRError | None = None
    room: int = 0
    node: str = ""
    n_bytes: int = 0

    def submit(self, trials: Sequence[TrialSpec]) -> None:
        """Begin these trials, at most `room` of them."""
        raise NotImplementedError

    def refs(self) -> list[Any]:
        """Return what to wait for."""
        raise NotImplementedError

    def poll(self, ready: Set[Any]) -> list[TrialResult]:
        """Return the results that have arrived. Called about once a second if nothing is ready."""
        raise NotImplementedError

    def stop(self) -> None:
        """Release its resources, without blocking for long."""
        raise NotImplementedError

    def join(self, seconds: float) -> None:
        """Wait until it has ended, after `stop`; end it by force after so many seconds."""

    def receive(self, message: object) -> list[TrialResult]:
        """Take a message of `send_results`, or a number of trials for which there is room."""
        if isinstance(message, TrialResult):
            return [message]
        if isinstance(message, (WorkerLost, RobustLRError)):
            self.lost = message
        elif isinstance(message, int):
            self.room += message
        return []


def send_results(evaluator: Evaluator, source: TrialSource, send: Callable[[object], None]) -> None:
    """Carry out the trials of a source, in a worker, and send each result, or the reason why there are no more."""
    try:
        for result in evaluator.results(source):
            send(result)
    except Exception as error:
        send(WorkerLost.by(error))


@dataclass
class _Place:
    number: int
    slot: Slot
    worker: Worker | None = None
    is_ready: bool = False  # the worker has had room for a trial
    last_busy: float = 0.0
    begun: dict[TrialSpec, float] = field(default_factory=dict)  # when each trial in flight was submitted
    n_submitted: int = 0  # trials of this worker


class Pool:
    """The workers of one run. For the trials of a lost worker see `Slot`.

    Args:
        start: starts worker number i, for at most so many trials at a time.
        source: hands out the trials.
        n_workers: returns how many workers there may be, which changes as the nodes of a cluster come and go.
        capacity: how many trials a worker may have in flight, at least 1.
        wait: waits for any of the workers' `refs`, for so many seconds, and returns those that are ready.
        waiting: what the pool waits for while no worker is up, in words.
        trial_timeout: seconds after which a trial in flight has failed and its worker is ended; None for no limit.
        trials_per_worker: number of trials after which a worker is replaced by a new one; None for no limit.
    """

    def __init__(
        self,
        start: Callable[[int, int], Worker],
        source: TrialSource,
        *,
        n_workers: Callable[[], int],
        capacity: int,
        wait: Callable[[list[Any], float], Iterable[Any]],
        waiting: str,
        trial_timeout: float | None = None,
        trials_per_worker: int | None = None,
    ) -> None:
        self._start, self._ask_n_workers, self._capacity = start, n_workers, capacity
        self._wait_for, self._waiting = wait, waiting
        self._nodes, self._memory = NodeRecords(), MemoryWatch()
        self._trial_timeout, self._trials_per_worker = trial_timeout, trials_per_worker
        self._source, self._blamed, self._places = source, set[TrialSpec](), list[_Place]()
        self._outbox = outbox_of(source)
        self._blameless_losses, self._early_losses, self._n_workers = Counter[TrialSpec](), 0, 0
        self._looked, self._complained = -math.inf, math.inf
        self._error: RobustLRError | None = None

    def results(self) -> Generator[TrialResult]:
        """Yield each result as it arrives. Closing the iterator stops all workers."""
        # An iterator left open must not keep the interpreter from exiting: multiprocessing joins at exit.
        atexit.register(self._stop_all)
        finished = deque[TrialResult]()
        try:
            self._start_and_assign()
            while finished or self._source.waiting or any(place.slot.has_work for place in self._places):
                if len(finished) <= len(self._places):  # else trials end faster than the journal writes them
                    ready = self._wait(0.0 if finished else 1.0)
                    for place, worker in self._running:
                        finished += self._poll(place, worker, ready)
                if self._error is not None:
                    yield from finished
                    raise self._error
                if all(result.is_final for result in finished):  # else retries come before new trials
                    self._start_and_assign()
                if finished:
                    yield finished.popleft()  # one at a time, so that no worker waits for the journal to write them all
                    if not finished or finished[0].is_final:
                        self._start_and_assign()  # the result may have brought new trials
        finally:
            self._stop_all()
            atexit.unregister(self._stop_all)

    def _wait(self, timeout: float) -> Set[Any]:
        refs = [ref for _, worker in self._running for ref in worker.refs()]
        if not refs:
            time.sleep(min(0.1, timeout))
            return set()
        # The limit finds silent problems: a dead worker whose children hold its pipe open, a group that waits for one
        # of its ranks, a cluster without room.
        return set(self._wait_for(refs, timeout))

    def _start_and_assign(self) -> None:
        self._look()
        for place in sorted(self._places, key=lambda place: not place.slot.suspects):
            has_trials = place.slot.suspects or len(self._source.waiting) > self._n_starting
            if place.worker is None and has_trials and len(self._running) < self._n_workers:
                place.worker, place.is_ready = self._start(place.number, place.slot.limit), False
                place.begun, place.n_submitted = {}, 0
                self._memory.begin(place.number)
        share = fair_share([place.slot for place, _ in self._running], len(self._source.waiting))
        for place, worker in self._running:
            slot = place.slot
            if worker.room and not place.is_ready:
                place.is_ready, self._early_losses = True, 0
            limit = slot.limit if slot.suspects else share
            if self._trials_per_worker is not None:
                limit = min(limit, self._trials_per_worker - place.n_submitted + len(slot.in_flight))
            if trials := self._take(place, worker, min(worker.room, limit - len(slot.in_flight))):
                if self._trial_timeout is not None:
                    place.begun |= dict.fromkeys(trials, time.monotonic())
                place.n_submitted += len(trials)
                worker.submit(trials)
            if slot.in_flight or not place.is_ready:
                place.last_busy = time.monotonic()
            elif time.monotonic() - place.last_busy > _SECONDS_IDLE:
                self._stop(place)

    def _take(self, place: _Place, worker: Worker, room: int) -> list[TrialSpec]:
        """The next trials for a worker: of the first ones that wait, those that its node has not failed."""
        slot, taken, others = place.slot, list[TrialSpec](), list[TrialSpec]()
        nodes = {each.node for _, each in self._running if each.is_up}
        while len(taken) < room and len(others) < _TRIALS_PASSED_OVER and (next_ones := slot.take(room - len(taken))):
            if slot.suspects or len(nodes) < _A_CLUSTER:
                return taken + next_ones
            mine, not_mine = self._nodes.split(worker.node, next_ones, nodes)
            taken, others = taken + mine, others + not_mine
        slot.give_back(others)
        return taken

    @property
    def _running(self) -> list[tuple[_Place, Worker]]:
        return [(place, place.worker) for place in self._places if place.worker is not None]

    @property
    def _n_starting(self) -> int:
        return sum(not place.is_ready and not place.slot.suspects for place, _ in self._running)

    def _look(self) -> None:
        """Check how many workers there may be, and warn if none has come up for a long time."""
        now = time.monotonic()
        if now - self._looked < _SECONDS_BETWEEN_LOOKS:
            return
        self._looked, self._n_workers = now, max(1, self._ask_n_workers())
        new = range(len(self._places), self._n_workers)
        self._places += [_Place(number, Slot(self._source, self._capacity, self._blamed)) for number in new]
        if not self._running or any(worker.is_up for _, worker in self._running):
            self._complained = math.inf
        elif self._complained == math.inf:
            self._complained = now
        elif now - self._complained > _SECONDS_TO_COMPLAIN:
            self._complained = now
            _log.warning("waiting for %s", self._waiting)

    def _poll(self, place: _Place, worker: Worker, ready: Set[Any]) -> list[TrialResult]:
        results, lost = worker.poll(ready), worker.lost
        for result in results:
            self._nodes.note(worker.node, result)
            place.slot.finish(result)
            place.begun.pop(result.spec, None)
        if results and worker.capacity == 1:
            self._memory.note(place.number, worker.n_bytes)
        if worker.capacity == 1 and any(not result.is_final for result in results):
            lost = lost or _SPENT
        lost = lost or self._too_long(place)
        return results if lost is None else results + self._handle_loss(place, worker, lost)

    def _too_long(self, place: _Place) -> WorkerLost | None:
        """Why the pool itself ends a worker: a trial has taken too long, or it was the last one of this worker."""
        limit, most = self._trial_timeout, self._trials_per_worker
        if limit is not None and place.begun and time.monotonic() - min(place.begun.values()) > limit:
            return WorkerLost(timed_out(limit))
        return _RECYCLED if most is not None and place.n_submitted >= most and not place.slot.in_flight else None

    def _handle_loss(self, place: _Place, worker: Worker, lost: WorkerLost | RobustLRError) -> list[TrialResult]:
        slot = place.slot
        self._stop(place)
        if isinstance(lost, RobustLRError):
            self._error = lost
            return []
        self._looked = -math.inf  # a node may be gone
        saved = self._outbox.find(list(slot.in_flight)) if self._outbox else []
        for result in saved:  # it was lost on its way
            slot.finish(result)
        return saved + self._unfinished(place, worker, lost)

    def _unfinished(self, place: _Place, worker: Worker, lost: WorkerLost) -> list[TrialResult]:
        slot = place.slot
        if lost.is_blameless:
            return self._give_back(slot, lost.cause)
        if slot.in_flight:
            return slot.lose(lost.cause, status=lost.status)
        if not place.is_ready and worker.capacity > 1:  # it died while setting up for so many
            return slot.lose(lost.cause, status=lost.status, n_together=worker.capacity)
        if not place.is_ready:
            self._early_losses += 1
        if self._early_losses > _EARLY_LOSSES_ALLOWED:
            n, cause = self._early_losses, main_line(lost.cause)
            self._error = RobustLRError(f"{n} workers in a row ended before they were ready: {cause}")
        return []

    def _give_back(self, slot: Slot, cause: str) -> list[TrialResult]:
        losses = self._blameless_losses
        losses.update(slot.in_flight.keys())
        slot.give_back([spec for spec in slot.in_flight if losses[spec] <= _BLAMELESS_LOSSES_ALLOWED])
        hopeless = list(slot.in_flight)
        slot.in_flight.clear()
        return [failed_trial(spec, cause) for spec in hopeless]

    def _stop(self, *places: _Place) -> None:
        """Stop the workers of these places, all at the same time."""
        workers = [place.worker for place in places if place.worker is not None]
        for place in places:
            place.worker = None
        deadline = time.monotonic() + (SECONDS_TO_SAVE if is_ending() else _SECONDS_TO_STOP)
        for worker in workers:
            with contextlib.suppress(Exception):  # a cluster that is gone cannot take resources back
                worker.stop()
        for worker in workers:
            worker.join(max(0.0, deadline - time.monotonic()))

    def _stop_all(self) -> None:
        self._stop(*self._places)
