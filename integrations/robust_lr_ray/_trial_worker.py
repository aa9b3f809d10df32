"""A worker in one actor that runs one trial after the other."""

from __future__ import annotations

from collections.abc import Mapping, Set
from typing import Any

import ray
from ray.exceptions import RayError

from robust_lr.trials import TrialResult, TrialSpec

from ._work_item import check_loaded, load_work
from ._worker_base import crash_report

AT_MOST = 2  # trials in flight: the next one is sent ahead, so that the actor never idles
_SHORT = 0.2  # seconds; after a longer trial nothing is sent ahead


class TrialWorker:
    """An actor that calls the training function in its main thread."""

    capacity = 1

    def __init__(self, work: ray.ObjectRef[bytes], options: Mapping[str, Any]) -> None:
        self.is_up, self._running, self._is_short = False, dict[Any, TrialSpec](), False
        actor: Any = ray.remote(_TrialActor).options(**options)
        self._actor = actor.remote(work)
        self._hello = self._actor.hello.remote()

    @property
    def room(self) -> int:
        return (AT_MOST if self._is_short else 1) - len(self._running) if self.is_up else 0

    def submit(self, trials: tuple[TrialSpec, ...]) -> None:
        for spec in trials:
            self._running[self._actor.evaluate.remote(spec)] = spec

    def refs(self) -> list[Any]:
        return list(self._running) if self.is_up else [self._hello]

    def poll(self, ready: Set[Any]) -> list[TrialResult]:
        results = list[TrialResult]()
        try:
            if not self.is_up and self._hello in ready:
                check_loaded(ray.get(self._hello))
                self.is_up = True
            for ref in [ref for ref in self._running if ref in ready]:
                results.append(ray.get(ref))
                del self._running[ref]
        except RayError as error:
            if not results:  # else the next poll raises it
                raise crash_report(error, self._actor) from None
        if results:
            self._is_short = results[-1].seconds < _SHORT
        return results

    def stop(self) -> None:
        ray.kill(self._actor)


class _TrialActor:
    def __init__(self, work: bytes) -> None:
        self._work, self._error = load_work(work)

    def hello(self) -> str | None:
        """Return None, or why this actor cannot run trials."""
        return self._error

    def evaluate(self, spec: TrialSpec) -> TrialResult:
        return self._work.evaluate(spec)
