"""The driver's side of a run on a cluster: it starts workers, hands out trials, and replaces workers that are lost."""

from __future__ import annotations

import contextlib
import logging
import math
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import ray

from robust_lr._text import main_line
from robust_lr.exceptions import RobustLRError
from robust_lr.runners import Slot, TrialSource, failed_trial, fair_share
from robust_lr.trials import Status, TrialResult, TrialSpec

from ._worker_base import Worker, WorkerLost

_EARLY_LOSSES_ALLOWED = 3
_NODE_LOSSES_ALLOWED = 10  # of one trial, which may be the one that kills the nodes
_SECONDS_BETWEEN_LOOKS = 5.0  # at how many workers the cluster holds
_SECONDS_TO_COMPLAIN = 30.0
_SECONDS_IDLE = 30.0  # before a worker without trials is stopped; a search may be about to ask for more

_log = logging.getLogger("robust_lr")


@dataclass
class _Place:
    slot: Slot
    worker: Worker | None = None
    is_ready: bool = False  # the worker has had room for a trial
    last_busy: float = 0.0


class Pool:
    """The workers of one run. A lost node does not count as a failure of its trials; for lost workers see `Slot`.

    `start` starts a worker for at most so many trials at a time. `n_workers` returns how many workers the cluster
    holds, which changes as nodes come and go. `capacity` is the number of trials that a worker may have in flight.
    """

    def __init__(
        self,
        start: Callable[[int], Worker],
        source: TrialSource,
        *,
        n_workers: Callable[[], int],
        capacity: int,
        asked_for: str,
    ) -> None:
        self._start, self._ask_n_workers, self._capacity, self._asked_for = start, n_workers, capacity, asked_for
        self._source, self._blamed, self._places = source, set[TrialSpec](), list[_Place]()
        self._node_losses, self._early_losses, self._n_workers = Counter[TrialSpec](), 0, 0
        self._looked, self._complained = -math.inf, math.inf

    def results(self) -> Iterator[TrialResult]:
        """Yield each result as it arrives. Closing the iterator stops all workers."""
        finished = deque[TrialResult]()
        try:
            self._start_and_assign()
            while finished or self._source.waiting or any(place.slot.has_work for place in self._places):
                ready = self._wait(0.0 if finished else 1.0)
                for place in self._places:
                    finished += self._poll(place, ready)
                self._start_and_assign()
                if finished:
                    yield finished.popleft()  # one at a time, so that no worker waits for the journal to write them all
                    self._start_and_assign()  # the result may have brought new trials
        finally:
            for place in self._places:
                self._stop(place)

    def _wait(self, timeout: float) -> set[object]:
        refs = [ref for place in self._places if place.worker for ref in place.worker.refs()]
        if not refs:
            time.sleep(min(0.1, timeout))
            return set()
        # The limit finds silent problems: a group that waits for one of its ranks, a cluster without room.
        ready, _ = ray.wait(refs, num_returns=1, timeout=timeout)
        if ready and len(refs) > 1:
            ready, _ = ray.wait(refs, num_returns=len(refs), timeout=0)
        return set(ready)

    def _start_and_assign(self) -> None:
        self._look()
        for place in sorted(self._places, key=lambda place: not place.slot.suspects):
            has_trials = place.slot.suspects or len(self._source.waiting) > self._n_starting
            if place.worker is None and has_trials and len(self._running) < self._n_workers:
                place.worker, place.is_ready = self._start(place.slot.limit), False
        share = fair_share([place.slot for place, _ in self._running], len(self._source.waiting))
        for place, worker in self._running:
            slot = place.slot
            if worker.room and not place.is_ready:
                place.is_ready, self._early_losses = True, 0
            limit = slot.limit if slot.suspects else share
            if trials := slot.take(min(worker.room, limit - len(slot.in_flight))):
                worker.submit(tuple(trials))
            if slot.in_flight or not place.is_ready:
                place.last_busy = time.monotonic()
            elif time.monotonic() - place.last_busy > _SECONDS_IDLE:
                self._stop(place)

    @property
    def _running(self) -> list[tuple[_Place, Worker]]:
        return [(place, place.worker) for place in self._places if place.worker is not None]

    @property
    def _n_starting(self) -> int:
        return sum(not place.is_ready and not place.slot.suspects for place, _ in self._running)

    def _look(self) -> None:
        """Check how many workers the cluster holds, and warn if none has come up for a long time."""
        now = time.monotonic()
        if now - self._looked < _SECONDS_BETWEEN_LOOKS:
            return
        self._looked, self._n_workers = now, max(1, self._ask_n_workers())
        new = range(self._n_workers - len(self._places))
        self._places += [_Place(Slot(self._source, self._capacity, self._blamed)) for _ in new]
        if not self._running or any(worker.is_up for _, worker in self._running):
            self._complained = math.inf
        elif self._complained == math.inf:
            self._complained = now
        elif now - self._complained > _SECONDS_TO_COMPLAIN:
            self._complained = now
            _log.warning("waiting for room on the cluster: a trial takes %s, and nothing is free", self._asked_for)

    def _poll(self, place: _Place, ready: set[object]) -> list[TrialResult]:
        worker = place.worker
        if worker is None:
            return []
        try:
            results = worker.poll(ready)
        except WorkerLost as loss:
            return self._handle_death(place, worker, loss)
        for result in results:
            place.slot.finish(result)
        return results

    def _handle_death(self, place: _Place, worker: Worker, loss: WorkerLost) -> list[TrialResult]:
        self._stop(place)
        self._looked = -math.inf  # a node may be gone
        if loss.node_lost:
            return self._give_back(place.slot, loss.cause)
        status: Status = "out_of_memory" if loss.out_of_memory else "failed"
        if place.slot.in_flight:
            return place.slot.lose(loss.cause, status=status)
        if not place.is_ready and worker.capacity > 1:  # it died while setting up for so many
            return place.slot.lose(loss.cause, status=status, n_together=worker.capacity)
        if not place.is_ready:
            self._count_early_loss(loss)
        return []

    def _give_back(self, slot: Slot, cause: str) -> list[TrialResult]:
        self._node_losses.update(slot.in_flight.keys())
        slot.give_back([spec for spec in slot.in_flight if self._node_losses[spec] <= _NODE_LOSSES_ALLOWED])
        hopeless = list(slot.in_flight)
        slot.in_flight.clear()
        return [failed_trial(spec, cause) for spec in hopeless]

    def _count_early_loss(self, loss: WorkerLost) -> None:
        self._early_losses += 1
        if self._early_losses > _EARLY_LOSSES_ALLOWED:
            raise RobustLRError(
                f"{self._early_losses} workers in a row ended before they were ready: {main_line(loss.cause)}"
            )

    def _stop(self, place: _Place) -> None:
        if place.worker is not None:
            worker, place.worker = place.worker, None
            with contextlib.suppress(Exception):  # a cluster that is gone cannot take resources back
                worker.stop()
