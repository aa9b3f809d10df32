"""A worker in one actor that trains many replicas of a small model together, each for its own trial."""

from __future__ import annotations

import logging
import threading
import warnings
from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from queue import SimpleQueue
from typing import Any, Literal

import ray
from ray.exceptions import RayError

from robust_lr.exceptions import NotVectorizable, RobustLRWarning
from robust_lr.runners import Evaluator, Packable, TrialQueue, TrialSource
from robust_lr.runners.pool import Worker, WorkerLost, send_results
from robust_lr.trials import TrialResult, TrialSpec

from ._crash_report import crash_report
from ._work_item import Work, check_loaded, load_work

_log = logging.getLogger("robust_lr")


@dataclass(frozen=True)
class Packing:
    """How to pack trials: the arguments of `robust_lr.PackedRunner`, the trials to plan for, the number of workers."""

    slots: int | Literal["auto"]
    engine: str
    strict: bool
    trials: tuple[TrialSpec, ...]
    n_workers: int


@dataclass(frozen=True)
class _Hello:
    """First message of a worker: why it cannot load its work, or how it packs, or why it does not."""

    error: str | None = None
    slots: int = 1
    note: str = ""
    refusal: str = ""


class PackWorker(Worker):
    """An actor that plans its packs for its node, and trains them.

    A pack has `at_most` replicas, whatever its plan says.
    """

    def __init__(self, work: ray.ObjectRef[bytes], options: Mapping[str, Any], packing: Packing, at_most: int) -> None:
        self._strict = packing.strict
        actor: Any = ray.remote(_PackActor).options(**options, max_concurrency=2)
        self._actor = actor.remote(work, packing, at_most)
        self._stream = self._actor.messages.remote()

    def submit(self, trials: Sequence[TrialSpec]) -> None:
        self.room -= len(trials)
        self._actor.put.remote(trials)

    def refs(self) -> list[Any]:
        return [self._stream]

    def poll(self, ready: Set[Any]) -> list[TrialResult]:
        results = list[TrialResult]()
        try:
            while self.lost is None and (self._stream in ready or ray.wait([self._stream], timeout=0)[0]):
                ready = set()
                results += self.receive(ray.get(next(self._stream)))
        except RayError as error:
            self.lost = crash_report(error, self._actor)
        except StopIteration:
            self.lost = WorkerLost("the worker ended before its trials")
        return results

    def stop(self) -> None:
        ray.kill(self._actor)

    def receive(self, message: object) -> list[TrialResult]:
        if isinstance(message, _Hello):
            check_loaded(message.error)
            if message.refusal and self._strict:
                raise NotVectorizable(message.refusal)
            if message.refusal:
                warnings.warn(f"running one trial at a time: {message.refusal}", RobustLRWarning, stacklevel=2)
            elif message.note:
                _log.info("%s", message.note)
            self.is_up, self.capacity = True, message.slots
        return super().receive(message)


class _PackActor:
    """`messages` streams a hello, then results, requests for trials, and why it ends; `put` brings trials."""

    def __init__(self, work: bytes, packing: Packing, at_most: int) -> None:
        self._work, self._error = load_work(work)
        self._packing, self._at_most = packing, at_most
        self._messages = SimpleQueue[object]()
        self._queue = TrialQueue(self._messages.put)

    def hello(self) -> None:
        """Show that this actor is alive."""

    def put(self, trials: Sequence[TrialSpec]) -> None:
        self._queue.put(list(trials))

    def messages(self) -> Iterator[object]:
        if self._error is not None:
            yield _Hello(self._error)
            return
        threading.Thread(target=self._evaluate, daemon=True).start()
        while True:
            yield self._messages.get()

    def _evaluate(self) -> None:
        try:
            send_results(self._evaluator(), self._queue, self._messages.put)
        except BaseException as error:  # from making the evaluator, or SystemExit: the driver waits for results
            self._messages.put(WorkerLost.by(error))

    def _evaluator(self) -> Evaluator:
        train, packing = self._work.train, self._packing
        has_gpu = ray.get_runtime_context().get_accelerator_ids().get("GPU")
        try:
            if not isinstance(train, Packable):
                raise NotVectorizable("the training function has no plan_packs, which says how to train a pack")
            plan = train.plan_packs(
                packing.trials,
                self._work.schedules,
                engine=packing.engine,
                slots=packing.slots,
                n_workers=packing.n_workers,
                device="cuda" if has_gpu else None,
                memory_limit=None,
            )
        except NotVectorizable as error:
            self._messages.put(_Hello(refusal=str(error)))
            return _OneAtATime(self._work)
        slots = 1 if plan.engine == "sequential" else min(plan.slots, self._at_most)
        self._messages.put(_Hello(slots=slots, note=plan.note))
        return _OneAtATime(self._work) if plan.engine == "sequential" else plan.make_evaluator(slots)


@dataclass(frozen=True)
class _OneAtATime:
    """The evaluator of trials that are not packed; each may continue from its checkpoint."""

    work: Work

    def results(self, source: TrialSource) -> Iterator[TrialResult]:
        while trials := source.take(1, wait=True):
            for spec in trials:
                yield self.work.evaluate(spec)
