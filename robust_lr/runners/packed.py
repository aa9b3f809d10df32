"""Trials in packs: many replicas of one small model trained together, each for its own trial."""

from __future__ import annotations

import logging
import math
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, replace
from typing import Literal, Protocol, TypedDict, Unpack, get_args, runtime_checkable

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

_SECONDS_WORTH_PROCESSES = 6.0  # the time that processes which import torch take to start

_log = logging.getLogger("robust_lr")


@dataclass(frozen=True)
class PackPlan:
    """A plan for training a task in packs.

    Args:
        engine: "sequential", "packed", "compiled" or "closed_form".
        slots: replicas in a pack, at least 1; a slot whose trial has ended takes the next one.
        gain: measured throughput relative to sequential training on one core, NaN if not measured.
        make_evaluator: makes the `Evaluator` for at most so many trials at a time; after a pack did not fit, it is
            asked for fewer than `slots`. An evaluator for other processes must pickle.
        note: the choice and the measurement, in one line.
        seconds: estimated time of all trials in this process, NaN if unknown.

    Raises:
        OptionError: when the engine is not one of these, or `slots` is not a whole number of at least 1.
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


class PackOptions(TypedDict):
    """What `PackedRunner` tells a task that plans its packs; its own options say what each means."""

    engine: str
    slots: int | Literal["auto"]
    n_workers: int
    device: str | None
    memory_limit: int | None


@runtime_checkable
class Packable(TrainFunction, Protocol):
    """A training function that can also plan how to train many of its trials together."""

    def plan_packs(
        self, trials: Sequence[TrialSpec], schedules: Mapping[str, Schedule], **options: Unpack[PackOptions]
    ) -> PackPlan:
        """Choose how to train these trials, perhaps after a short measurement.

        The plan's packs should be of one size: with n trials and W workers, at most n / W replicas each.

        Raises:
            NotVectorizable: when they can only be trained sequentially.
        """


@dataclass(frozen=True)
class PackedRunner:
    """Trains many replicas of one small model together, with the results of sequential training.

    A training step of a small model is mostly overhead: the interpreter, the dispatch of each operation, on a GPU the
    launch of each kernel. A pack pays this once for all its replicas: their parameters lie in one array with an axis
    for the replica; each has its own learning rate, schedule, batches and end. A replica that has finished or diverged
    makes room for the next trial. Packing pays for steps of less than about a millisecond on a CPU core, and nearly
    always for small models on a GPU. If it does not pay, the task's plan says so, and the trials run sequentially.

    The training function must be a `Packable`, with the method `plan_packs`, such as
    `robust_lr.linear.models.LinearModelTask` or `robust_lr_torch.SupervisedTask`. Any other, and one that cannot be
    vectorized, falls back to sequential training, with a `RobustLRWarning` that says why. The logger "robust_lr"
    reports the choice and the measurement at level INFO.

    A single pack without devices runs in this process, and any callable works. Several packs run in worker processes,
    with all the conditions of `ProcessPoolRunner`; but a sweep of a few seconds stays in this process. A pack that
    does not fit is split: when its worker dies or its evaluator raises, its unfinished trials run again, half as many
    at a time, down to the one to blame.

    Args:
        n_jobs: number of packs at a time; by default one per device, 1 without devices.
        slots: replicas in a pack, at least 1; "auto" leaves it to the task.
        engine: "auto" for the fastest that the task finds, or "sequential" (one after the other), "packed" (many in
            one array), "compiled" (the same through a compiler) or "closed_form" (hand-written gradients).
        strict: raise `NotVectorizable` instead of warning if the trials cannot be trained in packs. If they can, but
            packs are no faster, they still run sequentially.
        device: where the task trains, such as "cuda"; None leaves it to the task.
        devices: the value of CUDA_VISIBLE_DEVICES in each worker; see `ProcessPoolRunner`.
        memory_limit: maximum bytes of a pack, at least 1; None leaves it to the task.
        threads_per_worker: threads of the numerical libraries in each worker process. More than 1 slows down the
            small operations of a pack; no effect in this process.
        trial_timeout: seconds after which a pack is ended, with its worker process. Its trials run again, half as many
            at a time, and the one that is alone when it happens has failed. None for no limit.

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
    trial_timeout: float | None = None

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

    @property
    def options(self) -> PackOptions:
        """The options for the method `plan_packs` of a task."""
        return {
            "engine": self.engine,
            "slots": self.slots,
            "n_workers": self.n_jobs,
            "device": self.device,
            "memory_limit": self.memory_limit,
        }

    def _pool(self) -> ProcessPoolRunner:
        return ProcessPoolRunner(
            self.n_jobs, devices=self.devices, threads_per_worker=self.threads_per_worker,
            trial_timeout=self.trial_timeout,
        )  # fmt: skip

    def run(
        self, train: TrainFunction, source: TrialSource, schedules: Mapping[str, Schedule]
    ) -> Iterator[TrialResult]:
        """Run each trial and yield its result as it finishes; closing the iterator stops all. See `Runner.run`."""
        trials = tuple(source.waiting)
        if not trials:
            return iter(())
        plan = self._plan(train, trials, schedules)
        if plan.note:
            _log.info("%s", plan.note)
        slots = 1 if plan.engine == "sequential" else plan.slots
        is_short = self.n_jobs == 1 or plan.seconds < _SECONDS_WORTH_PROCESSES
        if not self.devices and is_short and self.trial_timeout is None:
            return evaluate_here(plan.make_evaluator, slots, source)
        return self._pool().evaluate(plan.make_evaluator, slots, source, schedules)

    def _plan(self, train: TrainFunction, trials: Sequence[TrialSpec], schedules: Mapping[str, Schedule]) -> PackPlan:
        options = self.options
        if not isinstance(train, Packable) and self.device is not None:
            raise OptionError(f"device={self.device!r} is for a task that can be packed; a function chooses its own")
        note = "sequential, as requested"
        if self.engine != "sequential":
            try:
                return plan_of(train, trials, schedules, options)
            except NotVectorizable as error:
                if self.strict:
                    raise
                warnings.warn(f"training sequentially: {error}", RobustLRWarning, levels_to_user())
                note = ""  # the warning has said it
        if self.device is not None:  # only the task can move itself to a device
            return replace(plan_of(train, trials, schedules, {**options, "engine": "sequential"}), note=note)
        return PackPlan("sequential", 1, 1.0, lambda slots: SequentialEvaluator(train, dict(schedules)), note)


def plan_of(
    train: TrainFunction, trials: Sequence[TrialSpec], schedules: Mapping[str, Schedule], options: PackOptions
) -> PackPlan:
    """Return the plan of a task for its packs.

    Raises:
        NotVectorizable: when the training function has no method `plan_packs`, or its trials cannot be packed.
    """
    if not isinstance(train, Packable):
        raise NotVectorizable("the training function has no plan_packs, which says how to train a pack")
    return train.plan_packs(trials, schedules, **options)


def _check_engine(engine: object, known: Sequence[str]) -> None:
    if engine not in known:
        raise OptionError(f"engine must be one of {', '.join(known)}, got {engine!r}")
