"""The near side of the process pool: it starts the workers, hands out trials, and replaces workers that die."""

from __future__ import annotations

import atexit
import contextlib
import math
import multiprocessing
import signal
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess

from .._text import last_line
from ..exceptions import RobustLRError
from ..trials import Status, TrialResult, TrialSpec
from ._worker import CannotLoad, Crash, Message, Wants, child_inherits, work
from .base import failed_trial
from .evaluators import Retries, halved, take_left

_EARLY_DEATHS_ALLOWED = 2
_SECONDS_TO_STOP = 5.0
_SECONDS_TO_ASK = 0.001  # for the next trials, after a result; else it would wait until the journal has the result


@dataclass
class _Worker:
    process: SpawnProcess
    pipe: Connection
    is_up: bool = False  # it has been sent the payload
    is_ready: bool = False  # it has asked for trials
    n_wanted: int = 0
    in_flight: dict[TrialSpec, None] = field(default_factory=dict)
    last_words: str = ""
    status: Status = "failed"  # of a trial that it dies with


@dataclass
class _Seat:
    """The place of one worker at a time, and what its dead have left: trials that no other worker gets to see."""

    capacity: int
    worker: _Worker | None = None
    suspects: deque[TrialSpec] = field(default_factory=deque)

    @property
    def n_in_flight(self) -> int:
        return len(self.worker.in_flight) if self.worker else 0

    @property
    def is_starting(self) -> bool:
        return self.worker is not None and not self.worker.is_ready


class Pool:
    """The workers of one run. Each has a pipe of its own, so that one killed in mid-message harms no other.

    A worker has up to `capacity` trials in flight at a time, and gets `payload_for(capacity)`, a pickled `Evaluator`.
    The trials of a worker that dies go to the one that replaces it, half as many at a time, until the trial that is to
    blame is alone.
    """

    def __init__(
        self,
        payload_for: Callable[[int], bytes],
        trials: Sequence[TrialSpec],
        *,
        n_workers: int,
        capacity: int,
        retries: int,
        environment: Callable[[int], Mapping[str, str]],
    ) -> None:
        self.payload_for, self.capacity, self.environment = payload_for, capacity, environment
        self.waiting, self.again = deque(trials), Retries(retries)
        self.seats = [_Seat(capacity) for _ in range(n_workers)]
        self.early_deaths = 0

    def results(self) -> Iterator[TrialResult]:
        """Yield each result as it comes."""
        # An iterator that nobody closed must not keep the interpreter from exiting: multiprocessing joins at exit.
        atexit.register(self.stop)
        finished = deque[TrialResult]()
        try:
            self._employ()
            while finished or self.waiting or any(seat.suspects or seat.n_in_flight for seat in self.seats):
                # The limit is for a dead worker whose own children hold its end of the pipe open.
                for seat, worker in self._stirring(timeout=0.0 if finished else 1.0):
                    finished += self._attend(seat, worker)
                self._employ()
                if finished:
                    yield finished.popleft()  # one at a time: no worker waits for the journal to have them all
        finally:
            self.stop()
            atexit.unregister(self.stop)

    def _employ(self) -> None:
        """Start a worker in each empty seat while there are trials for it, and give those that are up their share."""
        for number, seat in enumerate(self.seats):
            if seat.worker is None and (seat.suspects or len(self.waiting) > self._n_starting()):
                seat.worker = self._start(number)
        share = self._fair_share()
        for seat in self.seats:
            worker, most = seat.worker, seat.capacity if seat.suspects else min(share, seat.capacity)
            if worker is None:
                continue
            trials = take_left(seat.suspects or self.waiting, min(worker.n_wanted, most - seat.n_in_flight))
            if trials:
                worker.n_wanted -= len(trials)
                worker.in_flight |= dict.fromkeys(trials)
                _send(worker.pipe, trials)

    def _n_starting(self) -> int:
        return sum(seat.is_starting and not seat.suspects for seat in self.seats)

    def _fair_share(self) -> int:
        """Return how many trials each worker may have in flight, so that none idles while another has all the rest."""
        seats = sorted((seat for seat in self.seats if not seat.suspects), key=lambda seat: seat.capacity)
        left = len(self.waiting) + sum(seat.n_in_flight for seat in seats)
        for i, seat in enumerate(seats):
            share = math.ceil(left / (len(seats) - i))
            if share <= seat.capacity:
                return share
            left -= seat.capacity  # this one is full; the others share the rest
        return self.capacity

    def _start(self, number: int) -> _Worker:
        context = multiprocessing.get_context("spawn")
        ours, theirs = context.Pipe()
        # Not a daemon: daemons may have no children, and a data loader wants some.
        process = context.Process(target=work, args=(theirs,), name=f"robust-lr-{number}", daemon=False)
        with theirs, child_inherits(self.environment(number)):
            process.start()
        return _Worker(process, ours)

    def _stirring(self, *, timeout: float) -> list[tuple[_Seat, _Worker]]:
        """Wait until workers have something to say or have died; return them with their seats."""
        employed = [(seat, seat.worker) for seat in self.seats if seat.worker is not None]
        handles = [h for _, w in employed for h in (w.pipe, w.process.sentinel)]
        ready = set(wait(handles, timeout))
        return [
            (seat, w)
            for seat, w in employed
            if w.pipe in ready or w.process.sentinel in ready or not w.process.is_alive()
        ]

    def _attend(self, seat: _Seat, worker: _Worker) -> list[TrialResult]:
        """Take what a worker has sent, and bury it if it has died; a result sent before death counts."""
        finished = list[TrialResult]()
        is_alive, patience = worker.process.is_alive(), 0.0
        try:
            while worker.pipe.poll(patience):
                message = worker.pipe.recv()
                patience = _SECONDS_TO_ASK if isinstance(message, TrialResult) else 0.0
                finished += self._receive(seat, worker, message)
        except (EOFError, OSError):
            is_alive = False
        return finished if is_alive else finished + self._bury(seat, worker)

    def _receive(self, seat: _Seat, worker: _Worker, message: Message) -> list[TrialResult]:
        if isinstance(message, TrialResult):
            worker.in_flight.pop(message.spec, None)
            # In front, so that a training function that always fails is known after a few trials, not after all.
            return self._settle(message, self.waiting)
        if isinstance(message, CannotLoad):
            raise RobustLRError(
                "the worker processes cannot load train: define it in a module or script that they can import, or use "
                f"SerialRunner; {last_line(message.traceback)}"
            )
        if isinstance(message, Crash):
            worker.last_words, worker.status = message.traceback, message.status
            return []
        if isinstance(message, Wants):
            worker.is_ready, self.early_deaths = True, 0
            worker.n_wanted += message.n
            return []
        worker.is_up = True
        _send(worker.pipe, self.payload_for(seat.capacity))
        return []

    def _settle(self, result: TrialResult, queue: deque[TrialSpec]) -> list[TrialResult]:
        """Put a trial that is to be tried again in front of the queue; return the result of any other."""
        if self.again.grants(result):
            queue.appendleft(result.spec)
            return []
        return [result]

    def _bury(self, seat: _Seat, worker: _Worker) -> list[TrialResult]:
        seat.worker, trials = None, list(worker.in_flight)
        code = _end(worker, seconds=_SECONDS_TO_STOP)
        signal_name = f" ({signal.Signals(-code).name})" if -code in set(signal.Signals) else ""
        cause = worker.last_words or f"worker died with exit code {code}{signal_name}"
        n_together = len(trials) if worker.is_ready else seat.capacity if worker.is_up else 0
        if n_together > 1:
            seat.capacity = halved(n_together, last_line(cause))
            seat.suspects.extendleft(reversed(trials))
            return []
        if not worker.is_ready:
            self._count_early_death(code, worker.last_words)
        finished = [
            r for spec in trials for r in self._settle(failed_trial(spec, cause, status=worker.status), seat.suspects)
        ]
        if finished:
            # It was this one, and not that there were many.
            seat.capacity = self.capacity
        return finished

    def _count_early_death(self, code: int, last_words: str) -> None:
        self.early_deaths += 1
        if self.early_deaths > _EARLY_DEATHS_ALLOWED:
            hint = "a script must start its sweep under `if __name__ == '__main__':`; their own errors are on stderr"
            raise RobustLRError(
                f"{self.early_deaths} worker processes in a row ended with exit code {code} before they were ready: "
                f"{last_line(last_words) if last_words else hint}"
            )

    def stop(self) -> None:
        """End every worker: the idle ones by asking, the others by SIGTERM, and by SIGKILL those that stay."""
        workers = [seat.worker for seat in self.seats if seat.worker is not None]
        for worker in workers:
            if worker.is_ready and not worker.in_flight:
                _send(worker.pipe, None)
            else:
                worker.process.terminate()
        deadline = time.monotonic() + _SECONDS_TO_STOP
        for seat in self.seats:
            if seat.worker is not None:
                _end(seat.worker, seconds=max(0.0, deadline - time.monotonic()))
                seat.worker = None


def _send(pipe: Connection, message: object) -> None:
    with contextlib.suppress(OSError):  # the worker has died, which `_stirring` is about to see
        pipe.send(message)


def _end(worker: _Worker, *, seconds: float) -> int:
    """Wait for a process, kill it when it stays, and return its exit code."""
    worker.process.join(seconds)
    if worker.process.is_alive():
        worker.process.kill()
        worker.process.join()
    code = worker.process.exitcode or 0
    worker.pipe.close()
    worker.process.close()
    return code
