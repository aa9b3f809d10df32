"""A seat that is one actor, and trains many replicas of a small model together in it, each with a trial of its own."""

from __future__ import annotations

import logging
import threading
import traceback
import warnings
from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from queue import SimpleQueue
from typing import Any, Literal

import ray
from ray.exceptions import RayError

from robust_lr import TrialResult, TrialSpec
from robust_lr.exceptions import NotVectorisable, RobustLRWarning
from robust_lr.runners import Evaluator, Inbox, Packable, TrialSource, is_out_of_memory
from robust_lr.trials import Status

from .seats import SeatLost, lost
from .trial_seat import check_loaded, load_work
from .work import Work

_log = logging.getLogger("robust_lr")


@dataclass(frozen=True)
class Packing:
    """How trials are packed; see `robust_lr.PackedRunner` for the arguments."""

    slots: int | Literal["auto"] = "auto"
    engine: str = "auto"
    strict: bool = False
    device: str | None = None


@dataclass(frozen=True)
class _Hello:
    """What a worker says first: why it cannot load its work, or how it packs, and why it does not."""

    error: str | None = None
    note: str = ""
    refusal: str = ""


@dataclass(frozen=True)
class _Wants:
    n: int


@dataclass(frozen=True)
class _Crash:
    traceback: str
    status: Status


class PackSeat:
    """An actor that plans its packs by what it finds on its node, and trains them.

    Args:
        work: bytes of a pickled `Work`, in Ray's object store.
        options: those of the actor: its resources and environment.
        packing: how trials are packed.
        trials: all trials of the sweep: the plan is made for them.
        n_seats: seats that share them.
        at_most: replicas in a pack, whatever the plan says.
    """

    def __init__(
        self,
        work: ray.ObjectRef[bytes],
        options: Mapping[str, Any],
        *,
        packing: Packing,
        trials: Sequence[TrialSpec],
        n_seats: int,
        at_most: int,
    ) -> None:
        self.is_up, self._room = False, 0
        self._in_flight = dict[TrialSpec, None]()
        self._strict = packing.strict
        worker: Any = ray.remote(_PackWorker).options(**options, max_concurrency=2)
        self._actor = worker.remote(work, packing, tuple(trials), n_seats, at_most)
        self._stream = self._actor.results.remote()

    @property
    def in_flight(self) -> tuple[TrialSpec, ...]:
        """See `Seat.in_flight`."""
        return tuple(self._in_flight)

    @property
    def room(self) -> int:
        """See `Seat.room`."""
        return self._room

    def submit(self, trials: tuple[TrialSpec, ...]) -> None:
        """See `Seat.submit`."""
        self._in_flight |= dict.fromkeys(trials)
        self._room -= len(trials)
        self._actor.put.remote(list(trials))

    def refs(self) -> list[Any]:
        """See `Seat.refs`."""
        return [self._stream]

    def attend(self, ready: Set[Any]) -> list[TrialResult]:
        """See `Seat.attend`."""
        results = list[TrialResult]()
        try:
            while self._stream in ready or ray.wait([self._stream], timeout=0)[0]:
                ready = set()
                message = ray.get(next(self._stream))
                if isinstance(message, TrialResult):
                    self._in_flight.pop(message.spec, None)
                    results.append(message)
                    return results  # one at a time: what comes after it may be that the seat is lost
                self._receive(message)
        except RayError as error:
            raise lost(error, self._actor) from None
        except StopIteration:
            raise SeatLost("the worker ended before its trials") from None
        return results

    def _receive(self, message: object) -> None:
        if isinstance(message, _Wants):
            self._room += message.n
        elif isinstance(message, _Crash):
            raise SeatLost(message.traceback, out_of_memory=message.status == "out_of_memory")
        elif isinstance(message, _Hello):
            check_loaded(message.error)
            if message.refusal and self._strict:
                raise NotVectorisable(message.refusal)
            if message.refusal:
                warnings.warn(f"running one after the other: {message.refusal}", RobustLRWarning, stacklevel=2)
            elif message.note:
                _log.info("%s", message.note)
            self.is_up = True

    def close(self) -> None:
        """See `Seat.close`."""
        ray.kill(self._actor)


class _PackWorker:
    """The actor: `results` streams what its thread says, while `put` brings it trials."""

    def __init__(self, work: bytes, packing: Packing, trials: Sequence[TrialSpec], n_seats: int, at_most: int) -> None:
        self._work, self._error = load_work(work)
        self._packing, self._trials, self._n_seats, self._at_most = packing, trials, n_seats, at_most
        self._said = SimpleQueue[object]()
        self._inbox = Inbox(lambda n: self._said.put(_Wants(n)))

    def hello(self) -> None:
        """Answer, if it is there."""

    def put(self, trials: list[TrialSpec]) -> None:
        """Add trials."""
        self._inbox.put(trials)

    def results(self) -> Iterator[object]:
        """Yield a `_Hello`, then wants and results."""
        if self._error is not None:
            yield _Hello(self._error)
            return
        threading.Thread(target=self._evaluate, daemon=True).start()
        while True:
            message = self._said.get()
            yield message
            if isinstance(message, _Crash):
                return

    def _evaluate(self) -> None:
        try:
            for result in self._evaluator().results(self._inbox):
                self._said.put(result)
        except BaseException as error:  # SystemExit too: who waits for results must hear of it
            status: Status = "out_of_memory" if is_out_of_memory(error) else "failed"
            self._said.put(_Crash(traceback.format_exc(), status))

    def _evaluator(self) -> Evaluator:
        train, packing = self._work.train, self._packing
        try:
            if not isinstance(train, Packable):
                raise NotVectorisable("the training function has no plan_packs, which says how to train a pack")
            plan = train.plan_packs(
                self._trials,
                self._work.schedules,
                engine=packing.engine,
                slots=packing.slots,
                n_workers=self._n_seats,
                device=packing.device or _device(),
                memory_limit=None,
            )
        except NotVectorisable as error:
            self._said.put(_Hello(refusal=str(error)))
            return _OneByOne(self._work)
        self._said.put(_Hello(note=plan.note))
        if plan.engine == "sequential":
            return _OneByOne(self._work)
        return plan.make_evaluator(min(plan.slots, self._at_most))


@dataclass(frozen=True)
class _OneByOne:
    """The evaluator of trials that are not packed; each may go on from its checkpoint."""

    work: Work

    def results(self, source: TrialSource) -> Iterator[TrialResult]:
        while trials := source.take(1, wait=True):
            for spec in trials:
                yield self.work.evaluate(spec)


def _device() -> str | None:
    """The GPU that this worker was given, None where it has none: then the task decides."""
    return "cuda" if ray.get_runtime_context().get_accelerator_ids().get("GPU") else None
