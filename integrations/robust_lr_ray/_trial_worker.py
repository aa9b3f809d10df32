"""A worker in one actor that runs one trial after the other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from typing import Any

import ray
from ray.exceptions import RayError

from robust_lr.runners.memory import resident_bytes
from robust_lr.runners.pool import Worker
from robust_lr.trials import TrialResult, TrialSpec

from ._crash_report import crash_report, preemption_told
from ._work_item import load_work

AT_MOST = 2  # trials in flight: the next one is sent ahead, so that the actor never idles
_SHORT = 0.2  # seconds; after a longer trial nothing is sent ahead


class TrialWorker(Worker):
    """An actor that calls the training function in its main thread."""

    def __init__(self, work: ray.ObjectRef[bytes], options: Mapping[str, Any]) -> None:
        self._running, self._at_most = dict[Any, TrialSpec](), 1
        actor: Any = ray.remote(_TrialActor).options(**options)
        self._actor = actor.remote(work)
        self._hello = self._actor.hello.remote()

    def submit(self, trials: Sequence[TrialSpec]) -> None:
        self._running |= {self._actor.evaluate.remote(spec): spec for spec in trials}
        self.room -= len(trials)

    def refs(self) -> list[Any]:
        return list(self._running) if self.is_up else [self._hello]

    def poll(self, ready: Set[Any]) -> list[TrialResult]:
        results = list[TrialResult]()
        try:
            if not self.is_up and self._hello in ready:
                self.node = ray.get(self._hello)  # which raises if it cannot run trials
                self.is_up = True
            for ref in [ref for ref in self._running if ref in ready]:
                ended, self.n_bytes = ray.get(ref)
                results += ended
                del self._running[ref]
        except RayError as error:
            self.lost = crash_report(error, self._actor)
        if results:
            self._at_most = AT_MOST if results[-1].seconds < _SHORT else 1
        self.room = self._at_most - len(self._running) if self.is_up else 0
        return results

    def stop(self) -> None:
        ray.kill(self._actor)


class _TrialActor:
    def __init__(self, work: bytes) -> None:
        self._pickled, self._has_failed = work, False

    def hello(self) -> str:
        """Load the training function, and return the name of the node."""
        self._work = load_work(self._pickled)
        address = ray.util.get_node_ip_address()  # type: ignore[no-untyped-call]
        return f"node {address} ({ray.get_runtime_context().get_node_id()[:8]})"

    def evaluate(self, spec: TrialSpec) -> tuple[list[TrialResult], int]:
        """Run a trial, unless an earlier one has failed: this process may be broken, and the driver replaces it.

        Return its result, and the memory of this process.
        """
        if self._has_failed:
            return [], 0
        with preemption_told():
            result = self._work.evaluate(spec)
        self._has_failed = not result.is_final
        return [result], resident_bytes()
