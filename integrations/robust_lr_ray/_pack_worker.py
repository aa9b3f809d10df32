"""A worker in one actor that trains many replicas of a small model together, each for its own trial."""

from __future__ import annotations

import logging
import threading
import warnings
from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, replace
from queue import SimpleQueue
from typing import Any

import ray
from ray.exceptions import RayError

from robust_lr.exceptions import NotVectorizable, RobustLRError, RobustLRWarning
from robust_lr.runners import Evaluator, TrialQueue
from robust_lr.runners.outgoing import saving
from robust_lr.runners.packed import PackedRunner, plan_of
from robust_lr.runners.pool import Worker, WorkerLost, send_results
from robust_lr.trials import TrialResult, TrialSpec

from ._crash_report import crash_report
from ._work_item import Work, load_work

_log = logging.getLogger("robust_lr")


@dataclass(frozen=True)
class _Hello:
    """First message of a worker: how it packs, or why it does not."""

    slots: int = 1
    note: str = ""
    refusal: str = ""


class PackWorker(Worker):
    """An actor that plans packs of these trials for its node, and trains them with at most `limit` replicas."""

    def __init__(
        self,
        work: ray.ObjectRef[bytes],
        options: Mapping[str, Any],
        trials: Sequence[TrialSpec],
        packing: PackedRunner,
        limit: int,
    ) -> None:
        actor: Any = ray.remote(_PackActor).options(**options, max_concurrency=2)
        self._actor = actor.remote(work, trials, packing, limit)
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
            if message.refusal:
                warnings.warn(f"running one trial at a time: {message.refusal}", RobustLRWarning, stacklevel=2)
            elif message.note:
                _log.info("%s", message.note)
            self.is_up, self.capacity = True, message.slots
        return super().receive(message)


class _PackActor:
    """`messages` streams a hello, then those of `send_results`, and requests for trials; `put` brings trials."""

    def __init__(self, work: bytes, trials: Sequence[TrialSpec], packing: PackedRunner, limit: int) -> None:
        self._trials, self._packing, self._limit = trials, packing, limit
        self._messages = SimpleQueue[object]()
        self._queue = TrialQueue(self._messages.put)
        self._work = None
        try:  # in the main thread, since the user's modules may set signal handlers
            self._work = load_work(work)
        except RobustLRError as error:
            self._messages.put(error)

    def hello(self) -> None:
        """Show that this actor is alive."""

    def put(self, trials: Sequence[TrialSpec]) -> None:
        self._queue.put(list(trials))

    def messages(self) -> Iterator[object]:
        if self._work is not None:
            threading.Thread(target=self._evaluate, args=(self._work,), daemon=True).start()
        while True:
            yield self._messages.get()

    def _evaluate(self, work: Work) -> None:
        try:
            send_results(self._evaluator(work), self._queue, self._messages.put)
        except BaseException as error:  # from making the evaluator, or SystemExit: the driver waits for results
            self._messages.put(WorkerLost.by(error))

    def _evaluator(self, work: Work) -> Evaluator:
        has_gpu = ray.get_runtime_context().get_accelerator_ids().get("GPU")
        packing = replace(self._packing, device="cuda" if has_gpu else None)
        try:
            plan = plan_of(work.train, self._trials, work.schedules, packing.options)
        except NotVectorizable as error:
            self._messages.put(error if packing.strict else _Hello(refusal=str(error)))
            return work
        slots = 1 if plan.engine == "sequential" else min(plan.slots, self._limit)
        self._messages.put(_Hello(slots=slots, note=plan.note))
        return work if plan.engine == "sequential" else saving(plan.make_evaluator(slots), work.outbox)
