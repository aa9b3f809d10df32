"""The parent's side of a worker process.

Each process has a pipe of its own, so that one killed in mid-message harms no other.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import signal
from collections.abc import Callable, Mapping, Sequence, Set
from typing import Any

from ..trials import TrialResult, TrialSpec
from ._worker import child_inherits, descendants, end_family, work
from .memory import resident_bytes
from .pool import Worker, WorkerLost

_SECONDS_TO_REQUEST = 0.001  # the next trials, sent after a result; else the request would wait for the journal
_SECONDS_TO_DIE = 5.0
_HINT = "a script must start its sweep under `if __name__ == '__main__':`; its own errors are on stderr"


class ProcessWorker(Worker):
    """A process that carries out trials with the pickled `Evaluator` that `payload_for` returns for a capacity."""

    def __init__(
        self, number: int, payload_for: Callable[[int], bytes], limit: int, environment: Mapping[str, str]
    ) -> None:
        self._payload_for, self._limit, self._n_running = payload_for, limit, 0
        self._family: list[int] = []
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        # Not a daemon: daemons may not have children, and a data loader needs some.
        self._process = context.Process(target=work, args=(theirs,), name=f"robust-lr-{number}", daemon=False)
        with theirs, child_inherits(environment):
            self._process.start()

    def submit(self, trials: Sequence[TrialSpec]) -> None:
        self.room -= len(trials)
        self._n_running += len(trials)
        self._send(trials)

    def refs(self) -> list[Any]:
        return [self._pipe, self._process.sentinel]

    def poll(self, ready: Set[Any]) -> list[TrialResult]:
        results = list[TrialResult]()
        is_alive, patience = self._process.is_alive(), 0.0
        try:
            while self._pipe.poll(patience):
                received = self.receive(self._pipe.recv())
                patience = _SECONDS_TO_REQUEST if received else 0.0
                results += received
        except (EOFError, OSError):
            is_alive = False
        self._n_running -= len(results)
        if results:
            self.n_bytes = resident_bytes(self._process.pid)
        if not is_alive and self.lost is None:
            cause = self._cause_of_death()
            self.lost = WorkerLost(cause, is_blameless=self._process.exitcode == -signal.SIGTERM)  # preempted
        return results

    def receive(self, message: object) -> list[TrialResult]:
        if message is None:
            self.is_up, self.capacity = True, self._limit
            self._send(self._payload_for(self.capacity))
        return super().receive(message)

    def stop(self) -> None:
        """End an idle process by a message, any other by SIGTERM."""
        if self.room and not self._n_running:
            self._send(None)
        else:
            self._family = descendants(self._process.pid or 0)  # also those in a session of their own
            self._process.terminate()

    def join(self, seconds: float) -> None:
        self._process.join(seconds)
        if self._process.is_alive():
            self._process.kill()
            self._process.join()
        if self._process.pid is not None:
            end_family(self._process.pid, self._family)
        self._pipe.close()

    def _send(self, message: object) -> None:
        with contextlib.suppress(OSError):  # the process has died, as the next poll finds out
            self._pipe.send(message)

    def _cause_of_death(self) -> str:
        self.join(_SECONDS_TO_DIE)
        code = self._process.exitcode or 0
        signal_name = f" ({signal.Signals(-code).name})" if -code in set(signal.Signals) else ""
        cause = f"worker died with exit code {code}{signal_name}"
        return cause if self.is_up else f"{cause}; {_HINT}"
