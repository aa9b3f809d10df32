"""The parent's side of the process pool: it starts workers, hands out trials, and replaces workers that die."""

from __future__ import annotations

import atexit
import contextlib
import multiprocessing
import signal
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess

from .._text import main_line
from ..exceptions import RobustLRError
from ..trials import Status, TrialResult, TrialSpec
from ._worker import CannotLoad, CrashReport, Message, TrialRequest, child_inherits, work
from .base import TrialSource
from .worker_slots import Slot, fair_share

_EARLY_DEATHS_ALLOWED = 2
_SECONDS_TO_STOP = 5.0
_SECONDS_TO_REQUEST = 0.001  # the next trials, sent after a result; else the request would wait for the journal


@dataclass
class _Worker:
    process: SpawnProcess
    pipe: Connection
    capacity: int
    is_up: bool = False  # it has been sent the payload
    is_ready: bool = False  # it has requested trials
    n_requested: int = 0
    crash_report: str = ""
    status: Status = "failed"  # of a trial that dies with it


@dataclass
class _Place:
    number: int
    slot: Slot
    worker: _Worker | None = field(default=None)


class Pool:
    """The workers of one run. Each has a pipe of its own, so that one killed in mid-message harms no other.

    A worker has up to `capacity` trials in flight at a time, and gets `payload_for(capacity)`, a pickled `Evaluator`.
    """

    def __init__(
        self,
        payload_for: Callable[[int], bytes],
        source: TrialSource,
        *,
        n_workers: int,
        capacity: int,
        environment: Callable[[int], Mapping[str, str]],
    ) -> None:
        self._payload_for, self._source, self._environment = payload_for, source, environment
        blamed = set[TrialSpec]()
        self._places = [_Place(number, Slot(source, capacity, blamed)) for number in range(n_workers)]
        self._early_deaths = 0

    def results(self) -> Iterator[TrialResult]:
        # An iterator left open must not keep the interpreter from exiting: multiprocessing joins at exit.
        atexit.register(self.stop)
        finished = deque[TrialResult]()
        try:
            self._start_and_assign()
            while finished or self._source.waiting or any(place.slot.has_work for place in self._places):
                # The limit covers a dead worker whose own children hold its end of the pipe open.
                for place, worker in self._ready_workers(timeout=0.0 if finished else 1.0):
                    finished += self._poll(place, worker)
                self._start_and_assign()
                if finished:
                    yield finished.popleft()  # one at a time, so that no worker waits for the journal to write them all
                    self._start_and_assign()  # the result may have brought new trials
        finally:
            self.stop()
            atexit.unregister(self.stop)

    def _start_and_assign(self) -> None:
        for place in self._places:
            if place.worker is None and (place.slot.suspects or len(self._source.waiting) > self._n_starting()):
                place.worker = self._start(place)
        share = fair_share([place.slot for place in self._places], len(self._source.waiting))
        for place in self._places:
            worker, slot = place.worker, place.slot
            if worker is None or not worker.n_requested:
                continue
            room = (slot.limit if slot.suspects else share) - len(slot.in_flight)
            trials = slot.take(min(worker.n_requested, room))
            if trials:
                worker.n_requested -= len(trials)
                _send(worker.pipe, trials)

    def _n_starting(self) -> int:
        return sum(p.worker is not None and not p.worker.is_ready and not p.slot.suspects for p in self._places)

    def _start(self, place: _Place) -> _Worker:
        context = multiprocessing.get_context("spawn")
        ours, theirs = context.Pipe()
        # Not a daemon: daemons may not have children, and a data loader needs some.
        process = context.Process(target=work, args=(theirs,), name=f"robust-lr-{place.number}", daemon=False)
        with theirs, child_inherits(self._environment(place.number)):
            process.start()
        return _Worker(process, ours, place.slot.limit)

    def _ready_workers(self, *, timeout: float) -> list[tuple[_Place, _Worker]]:
        """Wait until workers have sent something or have died; return them with their slots."""
        running = [(place, place.worker) for place in self._places if place.worker is not None]
        handles = [h for _, w in running for h in (w.pipe, w.process.sentinel)]
        ready = set(wait(handles, timeout))
        return [
            (place, w)
            for place, w in running
            if w.pipe in ready or w.process.sentinel in ready or not w.process.is_alive()
        ]

    def _poll(self, place: _Place, worker: _Worker) -> list[TrialResult]:
        """Receive a worker's messages; clean up if it has died. A result sent before death counts."""
        finished = list[TrialResult]()
        is_alive, patience = worker.process.is_alive(), 0.0
        try:
            while worker.pipe.poll(patience):
                message = worker.pipe.recv()
                patience = _SECONDS_TO_REQUEST if isinstance(message, TrialResult) else 0.0
                finished += self._receive(place, worker, message)
        except (EOFError, OSError):
            is_alive = False
        return finished if is_alive else finished + self._handle_death(place, worker)

    def _receive(self, place: _Place, worker: _Worker, message: Message) -> list[TrialResult]:
        if isinstance(message, TrialResult):
            place.slot.finish(message)
            return [message]
        if isinstance(message, CannotLoad):
            raise RobustLRError(
                "the worker processes cannot load train: define it in a module or script that they can import, or use "
                f"SerialRunner; {main_line(message.traceback)}"
            )
        if isinstance(message, CrashReport):
            worker.crash_report, worker.status = message.traceback, message.status
        elif isinstance(message, TrialRequest):
            worker.is_ready, self._early_deaths = True, 0
            worker.n_requested += message.n
        else:
            worker.is_up = True
            _send(worker.pipe, self._payload_for(worker.capacity))
        return []

    def _handle_death(self, place: _Place, worker: _Worker) -> list[TrialResult]:
        place.worker = None
        code = _end(worker, seconds=_SECONDS_TO_STOP)
        signal_name = f" ({signal.Signals(-code).name})" if -code in set(signal.Signals) else ""
        cause = worker.crash_report or f"worker died with exit code {code}{signal_name}"
        if worker.is_ready:
            return place.slot.lose(cause, status=worker.status) if place.slot.in_flight else []
        if worker.is_up and worker.capacity > 1:  # it died while setting up for so many
            return place.slot.lose(cause, status=worker.status, n_together=worker.capacity)
        self._count_early_death(code, worker.crash_report)
        return []

    def _count_early_death(self, code: int, crash_report: str) -> None:
        self._early_deaths += 1
        if self._early_deaths > _EARLY_DEATHS_ALLOWED:
            hint = "a script must start its sweep under `if __name__ == '__main__':`; their own errors are on stderr"
            raise RobustLRError(
                f"{self._early_deaths} worker processes in a row ended with exit code {code} before they were ready: "
                f"{main_line(crash_report) if crash_report else hint}"
            )

    def stop(self) -> None:
        """Stop every worker: idle ones by a message, others by SIGTERM, those that stay by SIGKILL."""
        for place in self._places:
            if place.worker is not None and place.worker.is_ready and not place.slot.in_flight:
                _send(place.worker.pipe, None)
            elif place.worker is not None:
                place.worker.process.terminate()
        deadline = time.monotonic() + _SECONDS_TO_STOP
        for place in self._places:
            if place.worker is not None:
                _end(place.worker, seconds=max(0.0, deadline - time.monotonic()))
                place.worker = None


def _send(pipe: Connection, message: object) -> None:
    with contextlib.suppress(OSError):  # the worker has died, as `_ready_workers` is about to find out
        pipe.send(message)


def _end(worker: _Worker, *, seconds: float) -> int:
    """Wait for a process, kill it if it stays, and return its exit code."""
    worker.process.join(seconds)
    if worker.process.is_alive():
        worker.process.kill()
        worker.process.join()
    code = worker.process.exitcode or 0
    worker.pipe.close()
    worker.process.close()
    return code
