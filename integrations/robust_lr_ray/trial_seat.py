"""A seat that is one actor, and runs one trial after the other in it."""

from __future__ import annotations

import traceback
from collections.abc import Mapping, Set
from typing import Any

import ray
from ray import cloudpickle
from ray.exceptions import RayError

from robust_lr import RobustLRError, TrialResult, TrialSpec

from .seats import lost
from .work import Work

_SHORT = 0.2  # seconds; of trials that are over sooner the next one is there already when one ends


class TrialSeat:
    """An actor that calls the training function, in its main thread.

    Args:
        work: bytes of a pickled `Work`, in Ray's object store.
        options: those of the actor: its resources and environment.
    """

    def __init__(self, work: ray.ObjectRef[bytes], options: Mapping[str, Any]) -> None:
        self.is_up, self._running, self._is_short = False, dict[Any, TrialSpec](), False
        worker: Any = ray.remote(_TrialWorker).options(**options)
        self._actor = worker.remote(work)
        self._hello = self._actor.hello.remote()

    @property
    def in_flight(self) -> tuple[TrialSpec, ...]:
        """See `Seat.in_flight`."""
        return tuple(self._running.values())

    @property
    def room(self) -> int:
        """See `Seat.room`."""
        return (2 if self._is_short else 1) - len(self._running) if self.is_up else 0

    def submit(self, trials: tuple[TrialSpec, ...]) -> None:
        """See `Seat.submit`."""
        for spec in trials:
            self._running[self._actor.evaluate.remote(spec)] = spec

    def refs(self) -> list[Any]:
        """See `Seat.refs`."""
        return list(self._running) if self.is_up else [self._hello]

    def attend(self, ready: Set[Any]) -> list[TrialResult]:
        """See `Seat.attend`."""
        results = list[TrialResult]()
        try:
            if not self.is_up and self._hello in ready:
                check_loaded(ray.get(self._hello))
                self.is_up = True
            for ref in [ref for ref in self._running if ref in ready]:
                results.append(ray.get(ref))
                del self._running[ref]
        except RayError as error:
            if not results:  # else it will say so again
                raise lost(error, self._actor) from None
        if results:
            self._is_short = results[-1].seconds < _SHORT
        return results

    def close(self) -> None:
        """See `Seat.close`."""
        ray.kill(self._actor)


class _TrialWorker:
    """The actor."""

    def __init__(self, work: bytes) -> None:
        self._work, self._error = load_work(work)

    def hello(self) -> str | None:
        """Say that it is up, or why it never will be."""
        return self._error

    def evaluate(self, spec: TrialSpec) -> TrialResult:
        """Run one trial."""
        return self._work.evaluate(spec)


def load_work(work: bytes) -> tuple[Work, str | None]:
    """Return what was pickled and None, or anything and why it cannot be loaded here."""
    try:
        loaded: Work = cloudpickle.loads(work)
        loaded.schedules  # noqa: B018  # what cannot be read here is to be said now
    except Exception:
        return Work(_never, {}), traceback.format_exc()
    return loaded, None


def check_loaded(error: str | None) -> None:
    """Raise what a worker says that cannot load the training function."""
    if error is not None:
        raise RobustLRError(
            f"the workers of the cluster cannot load train: {error.strip().splitlines()[-1]}; what is not installed "
            "on its nodes travels with `ray job submit --working-dir .` or runtime_env={'working_dir': '.'}"
        )


def _never(*, lr: float, schedule: object, seed: int) -> float:
    raise RobustLRError("this worker has loaded nothing")
