"""Trials in packs: many replicas of one small model, each with a trial of its own, trained together."""

from __future__ import annotations

import logging
import math
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, replace
from typing import Literal, Protocol, get_args, runtime_checkable

from .._checks import check_flag, check_whole
from .._text import levels_to_user
from ..exceptions import NotVectorizable, OptionError, RobustLRWarning
from ..schedules.closed_forms import Schedule
from ..trials import TrainFunction, TrialResult, TrialSpec
from .base import Evaluator, TrialSource
from .process_pool import ProcessPoolRunner, device_names
from .serial import SequentialEvaluator
from .worker_slots import evaluate_here

Engine = Literal["auto", "sequential", "packed", "compiled", "closed_form"]

_SECONDS_WORTH_PROCESSES = 6.0  # processes that import torch take so long to be of use

_log = logging.getLogger("robust_lr")


@dataclass(frozen=True)
class PackPlan:
    """How a task will be trained in packs.

    Args:
        engine: "sequential", "packed", "compiled" or "closed_form".
        slots: replicas in a pack, at least 1; a slot whose trial has ended takes the next one.
        gain: measured throughput relative to one trial after the other on one core, NaN when not measured.
        make_evaluator: makes the `Evaluator` for at most so many trials at a time; it is asked for fewer than `slots`
            where a pack did not fit. An evaluator that is to run in other processes must pickle.
        note: the choice, and what was measured, in one line.
        seconds: about how long all trials take in this process, NaN when not known.

    Raises:
        OptionError: when the engine is none of these, or `slots` is no whole number of at least 1.
    """

    engine: str
    slots: int
    gain: float
    make_evaluator: Callable[[int], Evaluator]
    note: str
    seconds: float = math.nan

    def __post_init__(self) -> None:
        _check_engine(self.engine, get_args(Engine)[1:])
        check_whole("slots", self.slots, at_least=1)


@runtime_checkable
class Packable(TrainFunction, Protocol):
    """A training function that also says how to train many of its trials together."""

    def plan_packs(
        self,
        trials: Sequence[TrialSpec],
        schedules: Mapping[str, Schedule],
        *,
        engine: str,
        slots: int | Literal["auto"],
        n_workers: int,
        device: str | None,
        memory_limit: int | None,
    ) -> PackPlan:
        """Choose how to train these trials, perhaps after a short measurement; the arguments are `PackedRunner`'s.

        The plan's packs should be of one size: with n trials and W workers, at most n / W replicas each.

        Raises:
            NotVectorizable: when they can only be trained one after the other.
        """


@dataclass(frozen=True)
class PackedRunner:
    """Trains many replicas of one small model together, with the results of training one after the other.

    A training step of a small model is mostly overhead: the interpreter, the dispatch of each operation, on a GPU the
    launch of each kernel. A pack pays it once for all its replicas: their parameters lie in one array with an axis for
    the replica, and each has its own learning rate, schedule, batches and end. One that has finished or diverged makes
    room for the next trial. Packing pays for steps of less than about a millisecond on a CPU core, and on a GPU nearly
    always for small models; where it does not, the task's plan says so, and the trials run one after the other.

    The training function must say how: a `Packable`, with the method `plan_packs`, such as
    `robust_lr.linear.models.LinearModelTask` or `robust_lr_torch.SupervisedTask`. Any other, and one that cannot be
    vectorized, runs one trial after the other, with a `RobustLRWarning` that says why. What was chosen and measured is
    logged to the logger "robust_lr" at level INFO.

    One worker without devices is this process, and any callable will do. More workers, one pack each, are
    processes, with all that `ProcessPoolRunner` says about them; a sweep of a few seconds is done in this process
    all the same. A pack that does not fit is split: when its worker dies, or its evaluator raises, its unfinished
    trials are run again, half as many at a time, down to the one that is to blame.

    Args:
        n_jobs: number of packs at a time; by default one a device, 1 without devices.
        slots: replicas in a pack, at least 1; "auto" leaves it to the task.
        engine: "auto" for the fastest that the task finds, or "sequential" (one after the other), "packed" (many in
            one array), "compiled" (the same through a compiler) or "closed_form" (gradients written out by hand).
        strict: raise `NotVectorizable` where the trials cannot be trained in packs, rather than warn. Where they can,
            but are no faster in packs, they still run one after the other.
        device: where the task shall train, such as "cuda"; None leaves it to the task.
        devices: what CUDA_VISIBLE_DEVICES is set to in each worker; see `ProcessPoolRunner`.
        memory_limit: bytes that a pack may take, at least 1; None leaves it to the task.
        threads_per_worker: threads of the numerical libraries in each worker process. More than 1 makes the small
            operations of a pack slower, not faster; has no effect in this process.

    Raises:
        OptionError: when an argument is wrong.
        NotVectorizable: by `run`, when strict.

    Example:
        >>> from robust_lr import Constant
        >>> from robust_lr.runners import TrialList
        >>> def train(*, lr, schedule, seed):
        ...     return (lr - 0.5) ** 2
        >>> trials = [TrialSpec("constant", lr, 0) for lr in (0.25, 0.5)]
        >>> runner = PackedRunner(engine="sequential")
        >>> [result.loss for result in runner.run(train, TrialList(trials), {"constant": Constant()})]
        [0.0625, 0.0]
        >>> try:
        ...     PackedRunner(strict=True).run(train, TrialList(trials), {"constant": Constant()})
        ... except NotVectorizable as error:
        ...     error.reason
        'the training function has no plan_packs, which says how to train a pack'
    """

    n_jobs: int = None  # type: ignore[assignment]  # a number once it is made
    _: KW_ONLY
    slots: int | Literal["auto"] = "auto"
    engine: Engine = "auto"
    strict: bool = False
    device: str | None = None
    devices: Sequence[str] = ()
    memory_limit: int | None = None
    threads_per_worker: int | None = 1

    def __post_init__(self) -> None:
        _check_engine(self.engine, get_args(Engine))
        check_flag("strict", self.strict)
        if self.slots != "auto":
            check_whole("slots", self.slots, at_least=1)
        if self.memory_limit is not None:
            check_whole("memory_limit", self.memory_limit, at_least=1)
        devices = device_names(self.devices)
        if devices and self.device is not None and ":" in str(self.device):
            raise OptionError(f"with devices each worker sees one GPU, as cuda; device={self.device!r} names another")
        object.__setattr__(self, "device", None if self.device is None else str(self.device))
        object.__setattr__(self, "devices", devices)
        object.__setattr__(self, "n_jobs", (len(devices) or 1) if self.n_jobs is None else self.n_jobs)
        self._pool()  # which checks the rest

    def _pool(self) -> ProcessPoolRunner:
        return ProcessPoolRunner(self.n_jobs, devices=self.devices, threads_per_worker=self.threads_per_worker)

    def run(
        self, train: TrainFunction, source: TrialSource, schedules: Mapping[str, Schedule]
    ) -> Iterator[TrialResult]:
        """Run each trial and yield its result as it finishes; see `Runner.run`. Closing the iterator ends it all."""
        trials = tuple(source.waiting)
        if not trials:
            return iter(())
        plan = self._plan(train, trials, schedules)
        if plan.note:
            _log.info("%s", plan.note)
        slots = 1 if plan.engine == "sequential" else plan.slots
        if not self.devices and (self.n_jobs == 1 or plan.seconds < _SECONDS_WORTH_PROCESSES):
            return evaluate_here(plan.make_evaluator, slots, source)
        return self._pool().evaluate(plan.make_evaluator, slots, source, schedules)

    def _plan(self, train: TrainFunction, trials: Sequence[TrialSpec], schedules: Mapping[str, Schedule]) -> PackPlan:
        if not isinstance(train, Packable) and self.device is not None:
            raise OptionError(f"device={self.device!r} is for a task that can be packed; a function chooses its own")
        if self.engine == "sequential":
            return self._sequential(train, trials, schedules, "one after the other, as asked for")
        try:
            if not isinstance(train, Packable):
                raise NotVectorizable("the training function has no plan_packs, which says how to train a pack")
            return self._ask(train, trials, schedules, self.engine)
        except NotVectorizable as error:
            if self.strict:
                raise
            warnings.warn(f"running one after the other: {error}", RobustLRWarning, levels_to_user())
            return self._sequential(train, trials, schedules, "")  # the warning has said it

    def _sequential(
        self, train: TrainFunction, trials: Sequence[TrialSpec], schedules: Mapping[str, Schedule], note: str
    ) -> PackPlan:
        if self.device is not None and isinstance(train, Packable):  # only the task knows how to move itself
            return replace(self._ask(train, trials, schedules, "sequential"), note=note)
        return PackPlan("sequential", 1, 1.0, lambda slots: SequentialEvaluator(train, dict(schedules)), note)

    def _ask(
        self, train: Packable, trials: Sequence[TrialSpec], schedules: Mapping[str, Schedule], engine: str
    ) -> PackPlan:
        return train.plan_packs(
            trials,
            schedules,
            engine=engine,
            slots=self.slots,
            n_workers=self.n_jobs,
            device=self.device,
            memory_limit=self.memory_limit,
        )


def _check_engine(engine: object, known: Sequence[str]) -> None:
    if engine not in known:
        raise OptionError(f"engine must be one of {', '.join(known)}, got {engine!r}")
