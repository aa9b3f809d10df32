"""How a `SupervisedTask` is trained in packs: which engine, how many slots, found by a short measurement."""

from __future__ import annotations

import itertools
import math
import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from robust_lr.exceptions import NotVectorisable
from robust_lr.linear.closed_form import LANES, ClosedFormPacks, train_alone
from robust_lr.runners import SequentialEvaluator, TrialList
from robust_lr.runners.base import Evaluator, is_out_of_memory
from robust_lr.runners.packed import PackPlan
from robust_lr.schedules.closed_forms import Constant, Schedule
from robust_lr.trials import TrialSpec

from .linear_problem import SupervisedLinearProblem, linear_problem
from .pack import Pack, PackEvaluator, one_thread
from .trainable import Trainable
from .vectorize import inspect_replica

LEAST_GAIN = 1.3  # below it, one after the other is as good, and simpler
_LEAST_GAIN_COMPILED = 1.1  # for the compiler's time is spent by then
# The pilot may take so much of the sweep's time one after the other. A step that takes less than _SHORT_STEP seconds is
# mostly overhead, which a pack is nearly sure to save, so that looking for the best pack is worth more.
_PILOT_SHARE, _PILOT_SHARE_OF_SHORT_STEPS, _SHORT_STEP = 0.04, 0.2, 7e-4
_SIZES = (8, 16, 32, 64)
_USUAL_SLOTS = 32
_CLOSED_FORM_SLOTS = 256
_CLOSED_FORM_COPIES = 4  # of the weights, about: velocity, gradient, scratch
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
    leaves a sweep that is over in a moment as it is. It compiles the step where that should pay, and once it has, takes
    a factor of 1.1.

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
            return int(0.8 * torch.cuda.mem_get_info(device)[0]) // self.n_workers
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
        evaluator = SequentialEvaluator(self.task, self.schedules)
        return PackPlan("sequential", 1, gain, lambda slots: evaluator, f"one after the other: {why}")

    def closed_form(self, seconds_alone: float = math.nan, seconds: float = math.nan) -> PackPlan:
        problem = linear_problem(self.task)
        self._verify_closed_form(problem)
        slots = -(-self.balanced(_CLOSED_FORM_SLOTS) // LANES) * LANES if self.slots == "auto" else self.slots
        weights, _ = problem.initial(self.trials[0].seed if self.trials else 0)
        slots = min(slots, max(1, self.memory // (_CLOSED_FORM_COPIES * LANES * weights.nbytes)) * LANES)
        make = partial(_closed_form_evaluator, problem, self.schedules)
        note = f"closed form in numpy, {slots} slots{_said(seconds_alone, seconds)}"
        return PackPlan("closed_form", slots, seconds_alone / seconds, make, note, self.seconds(seconds))

    def _verify_closed_form(self, problem: SupervisedLinearProblem) -> None:
        """Raise unless the first steps of a trial end in the loss that they end in by the task itself."""
        if not self.trials:
            return
        spec, n_steps = self.tame[len(self.trials) // 2], min(_VERIFIED_STEPS, self.task.total_steps)
        short = replace(problem, total_steps=n_steps)
        found = train_alone(short, lr=spec.lr, schedule=Constant(), seed=spec.seed)["loss"]
        model = self.task.initial_model(spec.seed)
        with self.task.noise_of(spec.seed):
            for _ in itertools.islice(self.task.steps(model, lr=spec.lr, schedule=Constant(), seed=spec.seed), n_steps):
                pass
        expected = self.task.evaluate(model)["loss"]
        if math.isfinite(expected) and not math.isclose(found, expected, rel_tol=1e-3):
            raise NotVectorisable(
                f"{n_steps} steps in closed form end in another loss than the task's: {found:.7g}, {expected:.7g}"
            )

    def packed(self, *, compiled: bool) -> PackPlan:
        """Return the plan of an engine that was asked for, without timing it; tracing tells whether it can work."""
        with one_thread(self.task):
            pack = Pack(self.task, self.schedules, 2)
            self.verify(pack)
            slots = min(self.balanced(_USUAL_SLOTS), self.most_slots(pack))
        return self.plan_of(pack, slots, compiled=compiled)

    def verify(self, pack: Pack) -> None:
        """Raise unless two trials, of two seeds if there are, begin in a pack as each does alone."""
        first, middle = self.tame[0], self.tame[len(self.trials) // 2]
        pair = [first, next((t for t in (middle, *self.tame) if t.seed != first.seed), middle)]
        n_steps = min(_VERIFIED_STEPS, self.task.total_steps)
        try:
            for spec in pair:
                pack.load(spec)
            together = pack.steps(n_steps)
            for lane, spec in enumerate(pair):
                self._compare(spec, together[:, lane], pack.model(lane))
        except NotVectorisable:
            raise
        except Exception as error:
            if is_out_of_memory(error):
                raise
            raise NotVectorisable(f"a first pack of two fails: {str(error).strip().splitlines()[0]}") from error
        finally:
            pack.clear()

    def _compare(self, spec: TrialSpec, together: NDArray[np.float64], packed: nn.Module) -> None:
        """Raise unless a trial alone has these objectives, and then a model that gives what the packed one does."""
        task = self.task
        model = task.initial_model(spec.seed)
        with task.noise_of(spec.seed):
            steps = task.steps(model, lr=spec.lr, schedule=self.schedules[spec.schedule], seed=spec.seed)
            alone = [float(next(steps)) for _ in range(len(together))]
        scale = max((abs(v) for v in alone if math.isfinite(v)), default=0.0)
        pairs = [*zip(alone, together, [1e-4] * len(alone), strict=True)]
        if all(map(math.isfinite, alone)):
            rows = task.batch_indices(spec.seed)[0]
            inputs, targets = (data[rows].to(task.device) for data in task.train_data)
            with torch.no_grad():
                end, packed_end = (float(task.objective(m.eval(), inputs, targets)) for m in (model, packed))
            packed.train()
            pairs.append((end, packed_end, 1e-2))  # that of batch norm after Adam differs by more than rounding
        for step, (value, other, tolerance) in enumerate(pairs):
            if math.isfinite(value) and not abs(value - other) <= tolerance * scale:
                raise NotVectorisable(
                    f"after {step} steps a pack has another objective than a trial alone, {other:.7g} and {value:.7g}; "
                    "the model may keep values outside of its parameters and buffers, or count its calls"
                )

    def most_slots(self, pack: Pack) -> int:
        """Return how many slots the memory has room for."""
        return max(1, self.memory // pack.traced.bytes_per_replica - pack.traced.spare_lanes)

    def plan_of(
        self, pack: Pack, slots: int, *, compiled: bool, seconds_alone: float = math.nan, seconds: float = math.nan
    ) -> PackPlan:
        # It goes out once: who asks again does so because something went wrong with it.
        ready = [pack] if (pack.slots, pack.is_compiled) == (slots, compiled) else []

        def make(n: int) -> Evaluator:
            spare = ready.pop() if ready else None
            return PackEvaluator(self.task, self.schedules, n, compiled, spare if n == slots else None)

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
            tracing = _TRACE_SECONDS + n_operations * _TRACE_SECONDS_PER_OPERATION
            if 2 * tracing + 4 * _VERIFIED_STEPS * alone > self.allowance:  # a pack of two, verified, and another
                return sweep.one_by_one(f"it takes about {whole:.2g} s as it is")
            best = self._best_pack(alone)
        least = _LEAST_GAIN_COMPILED if best is not None and best.engine == "compiled" else LEAST_GAIN
        if best is None or best.gain < least:
            gain = math.nan if best is None else best.gain
            found = "no time to try packs" if best is None else f"{best.engine} was {best.gain:.2f} times as fast"
            return sweep.one_by_one(f"{alone * 1e3:.3g} ms a step; {found}", gain)
        return best

    def _best_pack(self, alone: float) -> PackPlan | None:
        """Try a pack of the usual size, then larger or smaller ones, and the compiler, as long as there is time."""
        before = self._elapsed()
        pack = Pack(self.task, self.sweep.schedules, 2)
        self.sweep.verify(pack)
        tracing = self._elapsed() - before
        most = self.sweep.most_slots(pack)
        sizes = sorted({min(self.sweep.balanced(size), most) for size in _SIZES})

        def time_left(slots: int) -> float:
            return self.allowance - self._elapsed() - 2 * tracing - _CALLS_TIMED * _STEPS_TIMED * slots * alone

        usual = [size for size in sizes if size <= _USUAL_SLOTS and time_left(size) > self.allowance / 2]
        start = sizes.index(max(usual, default=sizes[0]))
        best: PackPlan | None = None
        for direction in (sizes[start:], sizes[:start][::-1]):
            for slots in direction:
                plan = self._timed(slots, alone) if time_left(slots) > 0 else None
                if plan is None or (best is not None and plan.gain < 1.05 * best.gain):
                    break  # of this direction there is no more to expect
                best = plan
        return self._compiled(pack, alone, best)

    def _compiled(self, pack: Pack, alone: float, best: PackPlan | None) -> PackPlan | None:
        """Compile where what it usually gains is worth what it usually takes; then see whether it did."""
        gain = max(1.0, best.gain if best is not None else 1.0)
        left = alone / gain * self.task.total_steps * self.sweep.trials_per_worker
        cost = _COMPILE_SECONDS + _COMPILE_SECONDS_PER_OPERATION * pack.traced.n_operations
        if left * (1 - 1 / _COMPILED_GAIN) < 1.5 * cost:
            return best
        slots = best.slots if best is not None and best.gain >= LEAST_GAIN else 1
        try:
            plan = self._timed(slots, alone, compiled=True)
        except NotVectorisable:
            return best
        return plan if plan is not None and plan.gain > 1.1 * gain else best

    def _timed(self, slots: int, alone: float, *, compiled: bool = False) -> PackPlan | None:
        """Return the plan of a pack of this size, None when there is no memory for it."""
        n_steps = min(_STEPS_TIMED, self.task.total_steps)
        try:
            pack = Pack(self.task, self.sweep.schedules, slots, compiled=compiled)
            self._load(pack)
            seconds = _seconds_per_call(lambda: pack.steps(n_steps), self.clock) / (n_steps * slots)
        except Exception as error:
            if is_out_of_memory(error):
                return None
            raise
        pack.clear()
        return self.sweep.plan_of(pack, slots, compiled=compiled, seconds_alone=alone, seconds=seconds)

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
            with task.noise_of(spec.seed):
                steps = self._endless_steps(spec)
                # On a GPU a step alone waits for the device as often as a trial does, not each time.
                n_steps = 1 if torch.device(task.device).type == "cpu" else min(task.check_every, task.total_steps)

                def train() -> float:
                    return float([next(steps) for _ in range(n_steps)][-1])

                return _seconds_per_call(train, self.clock) / n_steps
        finally:
            torch.set_num_threads(threads)

    def _endless_steps(self, spec: TrialSpec) -> Iterator[torch.Tensor]:
        schedule = self.sweep.schedules[spec.schedule]
        while True:
            model = self.task.initial_model(spec.seed)
            yield from self.task.steps(model, lr=spec.lr, schedule=schedule, seed=spec.seed)

    def _seconds_closed_form(self, alone: float) -> float:
        """Time a step of a replica among a few of one seed: the difference between a short run and a longer one."""
        problem = linear_problem(self.task)
        trials = [t for t in self.trials if t.seed == self.trials[0].seed][:LANES]
        n_steps = max(10, int(_CLOSED_FORM_SECONDS / alone))
        lengths = [min(n, self.task.total_steps) for n in (10, 10 + n_steps)]
        if lengths[0] == lengths[1]:
            return math.inf

        def seconds(total_steps: int) -> float:
            steps_only = _WithoutEvaluation(**vars(replace(problem, total_steps=total_steps)))
            evaluator = ClosedFormPacks(problem=steps_only, schedules=self.sweep.schedules, slots=LANES)
            return _seconds_per_call(lambda: list(evaluator.results(TrialList(trials))), self.clock, most_calls=3)

        shorter, longer = map(seconds, lengths)
        difference = max(longer - shorter, longer / 10)  # which can be lost in the noise
        return difference / (lengths[1] - lengths[0]) / len(trials)

    def _elapsed(self) -> float:
        return self.clock() - self.start


class _WithoutEvaluation(SupervisedLinearProblem):
    """A problem whose steps are to be timed."""

    def evaluate(self, weights: NDArray[Any], bias: NDArray[Any] | None) -> dict[str, float]:
        return {"loss": 0.0}


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
    """Bytes that may still be allocated, by what the system and the container say; 4 GiB where neither does."""
    found = [4 << 30]
    if match := re.search(r"MemAvailable:\s+(\d+) kB", _text_of("/proc/meminfo")):
        found = [int(match[1]) << 10]
    limit, used = _text_of("/sys/fs/cgroup/memory.max"), _text_of("/sys/fs/cgroup/memory.current")
    if limit.isdigit() and used.isdigit():
        found.append(int(limit) - int(used))
    return max(1, min(found))


def _text_of(path: str) -> str:
    try:
        return Path(path).read_text(encoding="ascii").strip()
    except OSError:
        return ""


def _said(alone: float, seconds: float) -> str:
    if math.isnan(seconds):
        return ""
    times = f"{alone * 1e6:.4g} us a step alone, {seconds * 1e6:.4g} us in a pack"
    return f": {alone / seconds:.3g} times as fast as one after the other ({times})"


def _bytes(n: int) -> str:
    return f"{n / 1e6:.3g} MB" if n >= 1e5 else f"{n / 1e3:.3g} kB"
