"""How a `SupervisedTask` is trained in packs: which engine, how many slots, found by a short measurement."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from statistics import median
from typing import Literal

import torch

from ..closed_form import LANES, ClosedFormPacks
from ..exceptions import NotVectorisable
from ..runners.base import Evaluator
from ..runners.evaluators import OneByOne, TrialList
from ..runners.packed import PackPlan
from ..schedules import Schedule
from ..trials import TrialSpec
from .linear_problem import linear_problem
from .pack import Pack, PackEvaluator, one_thread
from .trainable import Trainable
from .vectorise import inspect_replica

LEAST_GAIN = 1.3  # below it, one after the other is as good, and simpler
# The pilot may take so much of the sweep's time one after the other. A step that takes less than _SHORT_STEP seconds is
# mostly overhead, which a pack is nearly sure to save, so that looking for the best pack is worth more.
_PILOT_SHARE, _PILOT_SHARE_OF_SHORT_STEPS, _SHORT_STEP = 0.04, 0.2, 7e-4
_SIZES = (8, 16, 32, 64)
_USUAL_SLOTS = 32
_CLOSED_FORM_SLOTS = 256
_CLOSED_FORM_SECONDS = 0.02  # of steps alone, so many are timed
_VERIFIED_STEPS = 5
_STEPS_TIMED, _CALLS_TIMED = 3, 4
_TRACE_SECONDS, _TRACE_SECONDS_PER_OPERATION = 0.1, 0.007  # what tracing usually takes
_COMPILED_GAIN = 1.6  # what compiling usually gains, and
_COMPILE_SECONDS, _COMPILE_SECONDS_PER_OPERATION = 5.0, 0.035  # what it usually takes; then it is measured


def plan_packs(
    task: Trainable,
    trials: Sequence[TrialSpec],
    schedules: Mapping[str, Schedule],
    *,
    engine: str,
    slots: int | Literal["auto"],
    n_workers: int,
    memory_limit: int | None,
) -> PackPlan:
    """Choose the engine and the slots for these trials.

    With engine "auto" a pilot times a step alone, in closed form where that fits, and in packs of several sizes, and
    takes the fastest; one after the other where nothing gains a factor of 1.3. It spends at most 4 % of what the sweep
    would take one after the other (20 % for steps of less than 0.7 ms, where packs are nearly sure to gain), and so
    leaves a sweep that is over in a moment as it is. It compiles the step where that should pay.

    Raises:
        NotVectorisable: when the replicas cannot be trained together, or not by the engine asked for.
    """
    sweep = _Sweep(task, tuple(trials), dict(schedules), n_workers, slots, memory_limit)
    if engine == "sequential":
        return sweep.one_by_one("as asked for")
    if engine == "closed_form":
        return sweep.closed_form()
    if engine in ("packed", "compiled"):
        return sweep.packed(compiled=engine == "compiled")
    return _Pilot(sweep).choose()


@dataclass(frozen=True)
class _Sweep:
    task: Trainable
    trials: tuple[TrialSpec, ...]
    schedules: dict[str, Schedule]
    n_workers: int
    slots: int | Literal["auto"]
    memory_limit: int | None

    @property
    def trials_per_worker(self) -> int:
        return max(1, -(-len(self.trials) // self.n_workers))

    @property
    def tame(self) -> list[TrialSpec]:
        """The trials, those of the smallest learning rates first: what is timed and compared is an ordinary run."""
        return sorted(self.trials, key=lambda t: t.lr)

    @property
    def memory(self) -> int:
        """Bytes that a pack may take."""
        if self.memory_limit is not None:
            return self.memory_limit
        device = torch.device(self.task.device)
        if device.type == "cuda":
            return int(0.8 * torch.cuda.mem_get_info(device)[0])
        return _available_memory() // (2 * self.n_workers)

    def balanced(self, most: int) -> int:
        """Return the slots, at most so many (or what was asked for), that make all packs of the sweep equally large."""
        most = most if self.slots == "auto" else self.slots
        rounds = -(-self.trials_per_worker // max(1, most))
        return -(-self.trials_per_worker // rounds)

    def seconds(self, of_step: float) -> float:
        """Return how long the sweep takes in one process, at so many seconds a step of a replica."""
        return of_step * self.task.total_steps * len(self.trials)

    def one_by_one(self, why: str, gain: float = math.nan) -> PackPlan:
        evaluator = OneByOne(self.task, self.schedules)
        return PackPlan("sequential", 1, gain, lambda slots: evaluator, f"one after the other: {why}")

    def closed_form(self, seconds_alone: float = math.nan, seconds: float = math.nan) -> PackPlan:
        problem = linear_problem(self.task)
        slots = -(-self.balanced(_CLOSED_FORM_SLOTS) // LANES) * LANES if self.slots == "auto" else self.slots
        make = partial(_closed_form_evaluator, problem, self.schedules)
        note = f"closed form in numpy, {slots} slots{_said(seconds_alone, seconds)}"
        return PackPlan("closed_form", slots, seconds_alone / seconds, make, note, self.seconds(seconds))

    def packed(self, *, compiled: bool) -> PackPlan:
        """Return the plan of an engine that was asked for, without timing it; tracing tells whether it can work."""
        with one_thread(self.task):
            pack = Pack(self.task, self.schedules, 2)
            self.verify(pack)
            slots = min(self.balanced(_USUAL_SLOTS), self.most_slots(pack))
        return self.plan_of(pack, slots, compiled=compiled)

    def verify(self, pack: Pack) -> None:
        """Raise unless the first steps of a pack of two trials, of two seeds if there are, are those of each alone."""
        first = self.tame[0]
        pair = [first, next((t for t in self.tame if t.seed != first.seed), self.tame[-1])]
        for spec in pair:
            pack.load(spec)
        n_steps = min(_VERIFIED_STEPS, self.task.total_steps)
        together = pack.steps(n_steps)
        pack.clear()
        for lane, spec in enumerate(pair):
            for step, value in zip(range(n_steps), self._first_objectives(spec), strict=False):
                if not math.isclose(value, together[step, lane], rel_tol=1e-4, abs_tol=1e-4):
                    raise NotVectorisable(
                        f"a pack gives another objective at step {step} than a trial alone: {together[step, lane]:.7g} "
                        f"and {value:.7g}; the model may keep values in attributes, or count its calls"
                    )

    def _first_objectives(self, spec: TrialSpec) -> Sequence[float]:
        task, n_steps = self.task, min(_VERIFIED_STEPS, self.task.total_steps)
        model = task.initial_model(spec.seed)
        with task.noise_of(spec.seed):
            steps = task.steps(model, lr=spec.lr, schedule=self.schedules[spec.schedule], seed=spec.seed)
            return [float(next(steps)) for _ in range(n_steps)]

    def most_slots(self, pack: Pack) -> int:
        """Return how many slots the memory has room for."""
        return max(1, self.memory // pack.traced.bytes_per_replica - pack.traced.spare_lanes)

    def plan_of(
        self, pack: Pack, slots: int, *, compiled: bool, seconds_alone: float = math.nan, seconds: float = math.nan
    ) -> PackPlan:
        ready = pack if (pack.slots, pack.is_compiled) == (slots, compiled) else None

        def make(n: int) -> Evaluator:
            evaluator = PackEvaluator(self.task, self.schedules, n, compiled)
            return replace(evaluator, ready=ready) if n == slots else evaluator

        name = "compiled" if compiled else "packed"
        memory = f", {_bytes(pack.traced.bytes_per_replica)} a replica"
        note = f"{name}, {slots} slot{'s' * (slots > 1)}{_said(seconds_alone, seconds)}{memory}"
        return PackPlan(name, slots, seconds_alone / seconds, make, note, self.seconds(seconds))


class _Pilot:
    """Times a step alone and in packs, and chooses."""

    def __init__(self, sweep: _Sweep) -> None:
        self.sweep, self.task = sweep, sweep.task
        self.trials = sweep.tame
        # Other processes must not decide: what takes long is interrupted more often.
        self.clock = time.thread_time if torch.device(self.task.device).type == "cpu" else time.perf_counter

    def choose(self) -> PackPlan:
        sweep = self.sweep
        if not sweep.trials:
            return sweep.one_by_one("there are no trials")
        alone = self._seconds_alone()
        self.start = self.clock()
        whole = alone * self.task.total_steps * sweep.trials_per_worker
        self.allowance = whole * (_PILOT_SHARE_OF_SHORT_STEPS if alone < _SHORT_STEP else _PILOT_SHARE)
        try:
            seconds = self._seconds_closed_form(alone)
        except NotVectorisable:
            pass
        else:
            if alone >= LEAST_GAIN * seconds:
                return sweep.closed_form(alone, seconds)
        with one_thread(self.task):
            n_operations = inspect_replica(self.task, self.trials[0].seed).n_operations
            if _TRACE_SECONDS + n_operations * _TRACE_SECONDS_PER_OPERATION > self.allowance:
                return sweep.one_by_one(f"it takes about {whole:.2g} s as it is")
            best = self._best_pack(alone)
        if best is None or best.gain < LEAST_GAIN:
            gain = math.nan if best is None else best.gain
            found = "no time to try packs" if best is None else f"{best.engine} was {best.gain:.2f} times as fast"
            return sweep.one_by_one(f"{alone * 1e3:.3g} ms a step; {found}", gain)
        return best

    def _best_pack(self, alone: float) -> PackPlan | None:
        """Try a pack of the usual size, its larger or smaller neighbours, and the compiler, as time allows."""
        before = self._elapsed()
        pack = Pack(self.task, self.sweep.schedules, 2)
        self.sweep.verify(pack)
        tracing = self._elapsed() - before
        most = self.sweep.most_slots(pack)
        sizes = sorted({min(self.sweep.balanced(size), most) for size in _SIZES})

        def time_left(slots: int) -> float:
            return self.allowance - self._elapsed() - 2 * tracing - _CALLS_TIMED * _STEPS_TIMED * slots * alone

        plans: dict[int, PackPlan] = {}

        def gain(i: int) -> float:
            """The gain of the i-th size, 0 where there is no such size or no time for it."""
            if not 0 <= i < len(sizes) or (sizes[i] not in plans and time_left(sizes[i]) < 0):
                return 0.0
            if sizes[i] not in plans:
                plans[sizes[i]] = self._timed(Pack(self.task, self.sweep.schedules, sizes[i]), alone)
            return plans[sizes[i]].gain

        usual = [i for i, size in enumerate(sizes) if size <= _USUAL_SLOTS and time_left(size) > self.allowance / 2]
        best = max(usual, default=0)
        for step in (1, -1):
            while gain(best + step) > 1.05 * gain(best) > 0:
                best += step
        return self._compiled(pack, alone, plans.get(sizes[best]))

    def _compiled(self, pack: Pack, alone: float, best: PackPlan | None) -> PackPlan | None:
        """Compile where what it usually gains is worth what it usually takes; then see whether it did."""
        gain = max(1.0, best.gain if best is not None else 1.0)
        left = alone / gain * self.task.total_steps * self.sweep.trials_per_worker
        cost = _COMPILE_SECONDS + _COMPILE_SECONDS_PER_OPERATION * pack.traced.n_operations
        if left * (1 - 1 / _COMPILED_GAIN) < 1.5 * cost:
            return best
        slots = best.slots if best is not None and best.gain >= LEAST_GAIN else 1
        try:
            plan = self._timed(Pack(self.task, self.sweep.schedules, slots, compiled=True), alone)
        except NotVectorisable:
            return best
        return plan if plan.gain > 1.1 * gain else best

    def _timed(self, pack: Pack, alone: float) -> PackPlan:
        self._load(pack)
        n_steps = min(_STEPS_TIMED, self.task.total_steps)
        seconds = _seconds_per_call(lambda: pack.steps(n_steps), self.clock) / (n_steps * pack.slots)
        pack.clear()
        return self.sweep.plan_of(pack, pack.slots, compiled=pack.is_compiled, seconds_alone=alone, seconds=seconds)

    def _load(self, pack: Pack) -> None:
        for i in range(pack.slots):
            pack.load(self.trials[i % len(self.trials)])

    def _seconds_alone(self) -> float:
        """Time a step of one trial, with the threads that it would have."""
        task, spec = self.task, self.trials[0]
        threads = torch.get_num_threads()
        try:
            if self.sweep.n_workers > 1:
                torch.set_num_threads(1)
            model = task.initial_model(spec.seed)
            with task.noise_of(spec.seed):
                steps = task.steps(model, lr=spec.lr, schedule=self.sweep.schedules[spec.schedule], seed=spec.seed)
                return _seconds_per_call(lambda: float(next(steps, 0.0)), self.clock, most_calls=task.total_steps - 1)
        finally:
            torch.set_num_threads(threads)

    def _seconds_closed_form(self, alone: float) -> float:
        """Time a step of a replica among a few of one seed: the difference between a short run and a longer one."""
        problem = linear_problem(self.task)
        trials = [t for t in self.trials if t.seed == self.trials[0].seed][:LANES]
        n_steps = max(10, int(_CLOSED_FORM_SECONDS / alone))
        lengths = [min(n, self.task.total_steps) for n in (10, 10 + n_steps)]
        if lengths[0] == lengths[1]:
            return math.inf

        def seconds(total_steps: int) -> float:
            short = replace(problem, total_steps=total_steps)
            evaluator = ClosedFormPacks(problem=short, schedules=self.sweep.schedules, slots=LANES)
            return _seconds_per_call(lambda: list(evaluator.results(TrialList(trials))), self.clock, most_calls=3)

        shorter, longer = map(seconds, lengths)
        difference = max(longer - shorter, longer / 10)  # which can be lost in the noise
        return difference / (lengths[1] - lengths[0]) / len(trials)

    def _elapsed(self) -> float:
        return self.clock() - self.start


def _closed_form_evaluator(problem: object, schedules: Mapping[str, Schedule], slots: int) -> ClosedFormPacks:
    return ClosedFormPacks(problem=problem, schedules=schedules, slots=slots)  # type: ignore[arg-type]


def _seconds_per_call(
    call: Callable[[], object], clock: Callable[[], float], *, budget: float = 0.05, most_calls: int = 50
) -> float:
    """Return the median of several calls, after one that warms up; the shortest is shorter the more there are."""
    call()
    times, end = list[float](), time.perf_counter() + budget
    while len(times) < 3 or (len(times) < most_calls and time.perf_counter() < end):
        start = clock()
        call()
        times.append(clock() - start)
    return median(times)


def _available_memory() -> int:
    try:
        return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (ValueError, OSError, AttributeError):
        return 4 << 30


def _said(alone: float, seconds: float) -> str:
    if math.isnan(seconds):
        return ""
    times = f"{alone * 1e6:.4g} us a step alone, {seconds * 1e6:.4g} us in a pack"
    return f": {alone / seconds:.3g} times as fast as one after the other ({times})"


def _bytes(n: int) -> str:
    return f"{n / 1e6:.3g} MB" if n >= 1e5 else f"{n / 1e3:.3g} kB"
