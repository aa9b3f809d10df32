"""The near side of the process pool: it starts the workers, hands out trials, and replaces workers that die."""

from __future__ import annotations

import atexit
import contextlib
import multiprocessing
import signal
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess

from ..exceptions import RobustLRError
from ..trials import TrialResult, TrialSpec
from ._worker import child_inherits, work
from .base import failed_trial

_EARLY_DEATHS_ALLOWED = 2
_SECONDS_TO_STOP = 5.0


@dataclass
class _Worker:
    process: SpawnProcess
    pipe: Connection
    is_up: bool = False
    trial: TrialSpec | None = None


class Pool:
    """The workers of one run. Each has a pipe of its own, so that one killed in mid-message harms no other."""

    def __init__(
        self,
        payload: bytes,
        trials: Sequence[TrialSpec],
        n_workers: int,
        retries: int,
        environment: Callable[[int], Mapping[str, str]],
    ) -> None:
        self.payload, self.n_workers, self.retries, self.environment = payload, n_workers, retries, environment
        self.waiting = deque(trials)
        self.attempts: Counter[TrialSpec] = Counter()
        self.workers: dict[int, _Worker] = {}
        self.early_deaths = 0

    def results(self) -> Iterator[TrialResult]:
        """Yield each result as it comes."""
        # An iterator that nobody closed must not keep the interpreter from exiting: multiprocessing joins at exit.
        atexit.register(self.stop)
        try:
            self._employ()
            while self.waiting or any(worker.trial for worker in self.workers.values()):
                finished = [result for slot in self._stirring() for result in self._attend(slot)]
                self._employ()
                yield from finished
        finally:
            self.stop()
            atexit.unregister(self.stop)

    def _employ(self) -> None:
        """Give each idle worker a trial, and each free slot a worker while there are trials for it."""
        for slot in range(self.n_workers):
            worker = self.workers.get(slot)
            n_starting = sum(not w.is_up for w in self.workers.values())
            if worker is None and len(self.waiting) > n_starting:
                self.workers[slot] = self._start(slot)
            elif worker is not None and worker.is_up and worker.trial is None and self.waiting:
                worker.trial = self.waiting.popleft()
                self.attempts[worker.trial] += 1
                _send(worker.pipe, worker.trial)

    def _start(self, slot: int) -> _Worker:
        context = multiprocessing.get_context("spawn")
        ours, theirs = context.Pipe()
        # Not a daemon: daemons may have no children, and a data loader wants some.
        process = context.Process(target=work, args=(theirs,), name=f"robust-lr-{slot}", daemon=False)
        with theirs, child_inherits(self.environment(slot)):
            process.start()
        return _Worker(process, ours)

    def _stirring(self) -> list[int]:
        """Wait until workers have something to say or have died; return their slots."""
        handles = [h for w in self.workers.values() for h in (w.pipe, w.process.sentinel)]
        # The limit is for a dead worker whose own children hold its end of the pipe open.
        ready = set(wait(handles, timeout=1.0))
        return [
            slot
            for slot, w in self.workers.items()
            if w.pipe in ready or w.process.sentinel in ready or not w.process.is_alive()
        ]

    def _attend(self, slot: int) -> list[TrialResult]:
        """Take what a worker has sent, and bury it if it has died; a result sent before death counts."""
        worker, finished = self.workers[slot], list[TrialResult]()
        is_alive = worker.process.is_alive()
        try:
            while worker.pipe.poll():
                finished += self._receive(worker, worker.pipe.recv())
        except (EOFError, OSError):
            is_alive = False
        return finished if is_alive else finished + self._bury(slot)

    def _receive(self, worker: _Worker, message: str | TrialResult | None) -> list[TrialResult]:
        if isinstance(message, TrialResult):
            worker.trial = None
            return self._settle(message)
        if isinstance(message, str):
            raise RobustLRError(
                "the worker processes cannot load train: define it in a module or script that they can import, or use "
                f"SerialRunner; {message.strip().splitlines()[-1]}"
            )
        worker.is_up, self.early_deaths = True, 0
        _send(worker.pipe, self.payload)
        return []

    def _settle(self, result: TrialResult) -> list[TrialResult]:
        if result.status == "failed" and self.attempts[result.spec] <= self.retries:
            # In front, so that a training function that always fails is known after a few trials, not after all.
            self.waiting.appendleft(result.spec)
            return []
        return [result]

    def _bury(self, slot: int) -> list[TrialResult]:
        worker = self.workers.pop(slot)
        code = _end(worker, seconds=_SECONDS_TO_STOP)
        if not worker.is_up:
            self.early_deaths += 1
        if self.early_deaths > _EARLY_DEATHS_ALLOWED:
            raise RobustLRError(
                f"{self.early_deaths} worker processes in a row ended with exit code {code} before they were ready: "
                "a script must start its sweep under `if __name__ == '__main__':`; their own errors are on stderr"
            )
        if worker.trial is None:
            return []
        cause = f" ({signal.Signals(-code).name})" if -code in set(signal.Signals) else ""
        return self._settle(failed_trial(worker.trial, f"worker died with exit code {code}{cause}"))

    def stop(self) -> None:
        """End every worker: the idle ones by asking, the others by SIGTERM, and by SIGKILL those that stay."""
        for worker in self.workers.values():
            if worker.is_up and worker.trial is None:
                _send(worker.pipe, None)
            else:
                worker.process.terminate()
        deadline = time.monotonic() + _SECONDS_TO_STOP
        while self.workers:
            slot = next(iter(self.workers))
            _end(self.workers[slot], seconds=max(0.0, deadline - time.monotonic()))
            del self.workers[slot]


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
