"""Which engine trains a sweep, and in packs of which size: the one with the least predicted time."""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from statistics import median
from typing import Literal

import torch

from robust_lr._text import count_of
from robust_lr.exceptions import NotVectorizable
from robust_lr.linear._sgd import plan_closed_form
from robust_lr.runners import SequentialEvaluator
from robust_lr.runners.base import Evaluator, is_out_of_memory
from robust_lr.runners.packed import PackPlan
from robust_lr.schedules.closed_forms import Schedule
from robust_lr.trials import TrialSpec

from .._training import Training
from ._inspect import inspect_replica
from ._linear import linear_problem
from ._memory import free_memory
from ._pack import Pack, PackEvaluator, one_thread
from ._verify import verify_pack

_LEAST_GAIN = 1.1  # below it, the simpler engine is as good
# Until it is measured, what is typical of models is what is predicted with. A step of less than so many seconds on a
# CPU core, and any on a GPU, is mostly overhead, which a pack saves. A pack of longer ones falls out of the cache.
_SHORT_STEP = 7e-4
_SHORT, _LONG = (48, 1.5, 2.0), (8, 1.05, 1.3)  # slots of a first pack, the gain of packing, that of compiling
_GROWTH, _GAIN_OF_GROWTH = 4, 1.3
_TRACE_SECONDS, _TRACE_SECONDS_PER_OPERATION = 0.1, 0.007
_COMPILE_SECONDS, _COMPILE_SECONDS_PER_OPERATION = 5.0, 0.015
_STEPS_TIMED, _STEPS_TO_TRY = 3, 20  # to verify, to warm up, to time


class Planner:
    """Chooses the engine and the slots for the trials of a task; the arguments are those of `Packable.plan_packs`."""

    def __init__(
        self,
        task: Training,
        trials: Sequence[TrialSpec],
        schedules: Mapping[str, Schedule],
        slots: int | Literal["auto"],
        n_workers: int,
        memory_limit: int | None,
    ) -> None:
        self.task, self.schedules, self.slots = task, dict(schedules), slots
        self.n_workers, self.memory_limit = n_workers, memory_limit
        # Small learning rates first: what is timed and compared is an ordinary run.
        self.trials = sorted(trials, key=lambda t: t.lr)
        self.trials_per_worker = max(1, math.ceil(len(trials) / n_workers))
        self.on_cpu = torch.device(task.device).type == "cpu"
        # Other processes must not decide: what takes long is interrupted more often.
        self.clock = time.thread_time if self.on_cpu else time.perf_counter
        self.alone = self.seconds = math.nan  # of a step of a replica, alone and by the best engine so far
        self.best: PackPlan | None = None  # sequential
        self.pack: Pack | None = None  # the last one tried, and what it took to make
        self.tracing = math.nan

    def plan(self, engine: str) -> PackPlan:
        """Return the plan of an engine; that of "auto" is the closed form where it fits, else the fastest.

        Raises:
            NotVectorizable: when the replicas cannot be trained together, or not by the engine asked for.
        """
        if engine == "sequential":
            return self.sequential("as asked for")
        if engine == "closed_form":
            return self.closed_form()
        if engine in ("packed", "compiled"):
            return self.packed(compiled=engine == "compiled")
        if not self.trials:
            return self.sequential("there are no trials")
        with contextlib.suppress(NotVectorizable):
            return self.closed_form()
        return self.fastest()

    def sequential(self, why: str) -> PackPlan:
        evaluator = SequentialEvaluator(self.task, self.schedules)
        return PackPlan("sequential", 1, 1.0, lambda slots: evaluator, f"one after the other: {why}")

    def closed_form(self) -> PackPlan:
        limits = self.slots, self.n_workers, self.memory_limit
        return plan_closed_form(linear_problem(self.task), self.trials, self.schedules, *limits)

    def packed(self, *, compiled: bool) -> PackPlan:
        """Return the plan of an engine that was asked for, without timing it; tracing tells whether it can work."""
        with one_thread(self.task):
            pack = Pack(self.task, self.schedules, 2)
            if self.trials:
                verify_pack(pack, self.schedules, self.trials)
        return self._plan_of(pack, self._fitting(pack, self._balanced(_SHORT[0])), compiled=compiled)

    def fastest(self) -> PackPlan:
        """Try what is predicted to end the sweep sooner than the best so far, its preparation included; keep the best.

        First a step alone is timed, then a pack, on a GPU larger ones, then the compiler.
        """
        self.alone = self.seconds = self._seconds_alone()
        is_short = self.alone < _SHORT_STEP or not self.on_cpu
        most, gain_of_packing, gain_of_compiling = _SHORT if is_short else _LONG
        with one_thread(self.task):
            slots = self._balanced(most)
            n_operations = inspect_replica(self.task, self.trials[0].seed).n_operations
            tracing = _TRACE_SECONDS + _TRACE_SECONDS_PER_OPERATION * n_operations
            if not self._is_worth(tracing, slots, gain_of_packing):
                return self.sequential(f"it takes about {self.alone * self._n_steps:.2g} s as it is")
            gain = self._try(slots)
            while self.pack and gain > _LEAST_GAIN and not self.on_cpu:
                slots, larger = self.pack.slots, self._fitting(self.pack, self._balanced(_GROWTH * self.pack.slots))
                if larger <= slots or not self._is_worth(2 * self.tracing, larger, _GAIN_OF_GROWTH):
                    break
                gain = self._try(larger)
            if self.pack:
                cost = _COMPILE_SECONDS + _COMPILE_SECONDS_PER_OPERATION * self.pack.traced.n_operations
                slots = self.best.slots if self.best else 1
                if self._is_worth(cost, slots, gain_of_compiling):
                    with contextlib.suppress(NotVectorizable):  # no compiler
                        self._try(slots, compiled=True)
        return self.best or self.sequential(f"{self.alone * 1e3:.3g} ms a step, and no pack is faster")

    @property
    def _n_steps(self) -> int:
        return self.task.total_steps * self.trials_per_worker

    def _balanced(self, most: int) -> int:
        """Return the slots of equally full packs, at most those asked for."""
        most = most if self.slots == "auto" else self.slots
        return math.ceil(self.trials_per_worker / math.ceil(self.trials_per_worker / most))

    def _fitting(self, pack: Pack, slots: int) -> int:
        memory = free_memory(self.task.device, self.n_workers) if self.memory_limit is None else self.memory_limit
        return min(slots, max(1, memory // pack.traced.bytes_per_replica))

    def _is_worth(self, preparation: float, slots: int, gain: float) -> bool:
        left = self._n_steps * self.seconds
        return preparation + _STEPS_TO_TRY * slots * self.seconds + left / gain < left

    def _try(self, slots: int, *, compiled: bool = False) -> float:
        """Time a pack, and keep it if it is the best so far; return its gain over the best before it."""
        n_steps = min(_STEPS_TIMED, self.task.total_steps)
        try:
            start = time.perf_counter()
            pack = Pack(self.task, self.schedules, slots, compiled=compiled)
            self.tracing = time.perf_counter() - start
            if (fits := self._fitting(pack, slots)) < slots:
                return self._try(fits, compiled=compiled)
            if self.pack is None:
                verify_pack(pack, self.schedules, self.trials)
            for i in range(slots):
                pack.load(self.trials[i % len(self.trials)])
            seconds = _seconds_per_call(lambda: pack.steps(n_steps), self.clock) / (n_steps * slots)
        except Exception as error:
            if is_out_of_memory(error):
                return 0.0
            raise
        pack.clear()
        self.pack, gain = pack, self.seconds / seconds
        if gain > (1.0 if compiled else _LEAST_GAIN):  # the compiler's time is spent by now
            self.best, self.seconds = self._plan_of(pack, slots, compiled=compiled, seconds=seconds), seconds
        return gain

    def _plan_of(self, pack: Pack, slots: int, *, compiled: bool, seconds: float = math.nan) -> PackPlan:
        # It goes out once: who asks again does so because something went wrong with it.
        ready = [pack] if (pack.slots, pack.is_compiled) == (slots, compiled) else []

        def make(n: int) -> Evaluator:
            spare = ready.pop() if ready else None
            return PackEvaluator(self.task, self.schedules, n, compiled, spare if n == slots else None)

        name, gain, n_bytes = "compiled" if compiled else "packed", self.alone / seconds, pack.traced.bytes_per_replica
        note = f"{name}, {count_of(slots, 'slot')}, {n_bytes / 1e3:.3g} kB a replica"
        if not math.isnan(seconds):
            times = f"{self.alone * 1e6:.4g} us a step alone, {seconds * 1e6:.4g} us in a pack"
            note += f": {gain:.3g} times as fast as one after the other ({times})"
        return PackPlan(name, slots, gain, make, note, seconds * self.task.total_steps * len(self.trials))

    def _seconds_alone(self) -> float:
        """Time a step of one trial, with the threads that it would have."""
        task, spec = self.task, self.trials[0]

        def endless_steps() -> Iterator[torch.Tensor]:
            while True:
                model, schedule = task.initial_model(spec.seed), self.schedules[spec.schedule]
                yield from task.steps(model, lr=spec.lr, schedule=schedule, seed=spec.seed)

        with one_thread(task) if self.n_workers > 1 else contextlib.nullcontext(), task.noise_of(spec.seed):
            steps = endless_steps()
            # On a GPU a step alone waits for the device as often as a trial does, not each time.
            n_steps = 1 if self.on_cpu else min(task.check_every, task.total_steps)
            return _seconds_per_call(lambda: float([next(steps) for _ in range(n_steps)][-1]), self.clock) / n_steps


def _seconds_per_call(call: Callable[[], object], clock: Callable[[], float]) -> float:
    """Return the median of several calls, after one that warms up; the shortest is shorter the more there are."""
    call()
    times, end = list[float](), time.perf_counter() + 0.05
    while len(times) < 3 or (len(times) < 50 and time.perf_counter() < end):
        start = clock()
        call()
        times.append(clock() - start)
    return median(times)
