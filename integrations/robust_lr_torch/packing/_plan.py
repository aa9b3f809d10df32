"""The choice of engine and pack size for a sweep, by the shortest predicted time."""

from __future__ import annotations

import contextlib
import math
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import cycle, islice
from statistics import median

import torch

from robust_lr._text import count_of
from robust_lr.exceptions import NotVectorizable
from robust_lr.linear._sgd import plan_closed_form
from robust_lr.runners import SequentialEvaluator
from robust_lr.runners.base import Evaluator, is_out_of_memory
from robust_lr.runners.packed import PackOptions, PackPlan
from robust_lr.schedules.closed_forms import Schedule
from robust_lr.trials import TrialSpec

from .._training import Training
from ._choice import USUAL_SLOTS, Attempt, Choice, Measured, balanced, fastest, slots_in_cache
from ._inspect import inspect_replica
from ._linear import linear_problem
from ._memory import free_memory
from ._optimizers import checked_optimizer
from ._pack import Pack, PackEvaluator, longest_block, one_thread
from ._verify import verify_pack

_SECONDS_PER_CALL, _SECONDS_OF_CALLS = 0.02, 0.05  # approximate duration of a timed call, and of all
_LEAST_PAIRS = 3  # of calls, to compare a pack with a step alone
_MOST_SECONDS_OF_CALLS = 1.0  # of such a comparison, in a long sweep
_SHARE_OF_SWEEP = 0.005  # that timing a step alone may take, and such a comparison
_NOTHING_PAYS_BELOW = 0.2  # seconds of a sweep


class Planner:
    """Chooses the engine and the slots for the trials of a task; the arguments are those of `Packable.plan_packs`."""

    def __init__(
        self,
        task: Training,
        trials: Sequence[TrialSpec],
        schedules: Mapping[str, Schedule],
        options: PackOptions,
    ) -> None:
        self.task, self.schedules, self.options = task, dict(schedules), options
        self.slots, self.n_workers = options["slots"], options["n_workers"]
        # Small learning rates first, so that the timed runs are ordinary ones.
        self.trials = sorted(trials, key=lambda t: t.lr)
        self.trials_per_worker = max(1, math.ceil(len(trials) / self.n_workers))
        self.on_cpu = torch.device(task.device).type == "cpu"
        # Process time, so that other processes do not distort the comparison.
        self.clock = time.thread_time if self.on_cpu else time.perf_counter
        self.alone = math.nan  # seconds of a step of one trial
        self.n_threads = torch.get_num_threads()

    def plan(self) -> PackPlan:
        """Return the plan of an engine; "auto" is the closed form if it fits, else the fastest.

        Raises:
            NotVectorizable: when the replicas cannot be trained together, or not by this engine.
        """
        engine = self.options["engine"]
        if engine == "sequential":
            return self.sequential("as requested")
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
        return PackPlan("sequential", 1, 1.0, lambda slots: evaluator, f"sequential: {why}")

    def closed_form(self) -> PackPlan:
        return plan_closed_form(linear_problem(self.task), self.trials, self.schedules, self.options)

    def packed(self, *, compiled: bool) -> PackPlan:
        """Return the plan of a requested engine, without timing it; tracing shows whether it can work."""
        with one_thread(self.task):
            pack = Pack(self.task, self.schedules, 2)
            if self.trials:
                verify_pack(pack, self.schedules, self.trials)
        n_bytes = pack.traced.bytes_per_replica
        usual = slots_in_cache(n_bytes, is_compiled=compiled) if self.on_cpu else USUAL_SLOTS
        slots = balanced(self.trials_per_worker, usual if self.slots == "auto" else self.slots)
        return self._plan_of(pack, min(slots, self._most_slots(pack)), compiled=compiled)

    def fastest(self) -> PackPlan:
        """Time a step alone, then each attempt of `Choice`, and return the plan of the fastest."""
        seed, best, candidate = self.trials[0].seed, None, None
        checked_optimizer(self.task, self.task.initial_model(seed))
        choice = Choice(
            n_trials=self.trials_per_worker,
            total_steps=self.task.total_steps,
            alone=math.nan,
            on_cpu=self.on_cpu,
            slots=None if self.slots == "auto" else self.slots,
            has_compiled="torch._inductor.codegen.cpp" in sys.modules,
        )
        if choice.is_too_short:
            return self.sequential(f"{choice.n_steps} steps in all are over before a pack is made")
        steps_alone = _Timed(self._steps_alone(), longest_block(self.task), self.clock)
        self.alone = steps_alone.median(of_steps=choice.n_steps)
        choice = replace(choice, alone=self.alone)
        if choice.seconds_alone > _NOTHING_PAYS_BELOW:
            choice = replace(choice, small_step=_seconds_of_small_step(self.clock))
        tried = list[Measured]()
        with one_thread(self.task):
            if choice.next_attempt(tried):  # even a model of many operations may be worth a look
                replica = inspect_replica(self.task, seed)
                n_operations, n_bytes = replica.n_operations, replica.bytes_per_replica
                choice = replace(choice, n_operations=n_operations, bytes_per_replica=n_bytes)
            while attempt := choice.next_attempt(tried):
                measured, pack = self._try(attempt, candidate, steps_alone, is_first=fastest(tried) is None)
                tried.append(measured)
                if pack and fastest(tried) is measured:
                    candidate = pack
                if pack and choice.best(tried) is measured:
                    best = self._plan_of(pack, attempt.slots, compiled=attempt.is_compiled, seconds=measured.seconds)
        if not tried:
            return self.sequential(f"it takes about {choice.seconds_alone:.2g} s as it is")
        return best or self.sequential(f"{self.alone * 1e3:.3g} ms a step, and no pack is faster")

    def _most_slots(self, pack: Pack) -> int:
        limit = self.options["memory_limit"]
        memory = free_memory(self.task.device, self.n_workers) if limit is None else limit
        return max(1, memory // pack.traced.bytes_per_replica)

    def _try(
        self, attempt: Attempt, traced: Pack | None, steps_alone: _Timed, *, is_first: bool
    ) -> tuple[Measured, Pack | None]:
        try:
            start = self.clock()
            if attempt.is_compiled and traced is not None and traced.slots == attempt.slots:
                pack = traced.compiled()
            else:
                pack = Pack(self.task, self.schedules, attempt.slots, compiled=attempt.is_compiled)
            preparation, most_slots = self.clock() - start, self._most_slots(pack)
            if most_slots < attempt.slots:
                return Measured(attempt, math.inf, preparation, most_slots=most_slots), None
            if is_first:
                verify_pack(pack, self.schedules, self.trials)
            of_one_seed = [t for t in self.trials if t.seed == self.trials[0].seed]  # whose tables are made once
            for spec in islice(cycle(of_one_seed), attempt.slots):
                pack.load(spec)
            seconds = self.alone * self._share_of_alone(pack, steps_alone)
            pack.clear()
            return Measured(attempt, seconds, preparation, pack.traced.n_operations, most_slots), pack
        except Exception as error:
            if is_out_of_memory(error):
                return Measured.out_of_memory(attempt), None
            if attempt.is_compiled and isinstance(error, NotVectorizable):  # no compiler
                return Measured(attempt, math.inf), None
            raise

    def _plan_of(self, pack: Pack, slots: int, *, compiled: bool, seconds: float = math.nan) -> PackPlan:
        # Hand this pack out once: a second request means that something went wrong with it.
        ready = [pack] if (pack.slots, pack.is_compiled) == (slots, compiled) else []

        def make(n: int) -> Evaluator:
            spare = ready.pop() if ready else None
            return PackEvaluator(self.task, self.schedules, n, compiled, spare if n == slots else None)

        name, gain, n_bytes = "compiled" if compiled else "packed", self.alone / seconds, pack.traced.bytes_per_replica
        note = f"{name}, {count_of(slots, 'slot')}, {n_bytes / 1e3:.3g} kB a replica"
        if not math.isnan(seconds):
            times = f"{self.alone * 1e6:.4g} us a step alone, {seconds * 1e6:.4g} us in a pack"
            note += f": {gain:.3g} times as fast as sequential training ({times})"
        return PackPlan(name, slots, gain, make, note, seconds * self.task.total_steps * len(self.trials))

    def _steps_alone(self) -> Callable[[int], object]:
        """Return what makes n steps of one trial, again and again."""
        task, spec = self.task, self.trials[0]

        def endless_steps() -> Iterator[torch.Tensor]:
            while True:
                model, schedule = task.initial_model(spec.seed), self.schedules[spec.schedule]
                yield from task.steps(model, lr=spec.lr, schedule=schedule, seed=spec.seed)

        steps, n_threads = endless_steps(), 1 if self.on_cpu and self.n_workers > 1 else self.n_threads

        def run(n: int) -> None:
            before = torch.get_num_threads()
            torch.set_num_threads(n_threads)
            try:
                with task.noise_of(spec.seed):
                    float([next(steps) for _ in range(n)][-1])  # waits for a GPU
            finally:
                torch.set_num_threads(before)

        return run

    def _share_of_alone(self, pack: Pack, steps_alone: _Timed) -> float:
        """Return the time of a step of a replica in the pack over that of a step alone.

        They take turns, since a machine that others use too may be twice as slow a second later.
        """
        sweep = self.alone * self.trials_per_worker * self.task.total_steps
        budget = min(max(_SECONDS_OF_CALLS, _SHARE_OF_SWEEP * sweep), _MOST_SECONDS_OF_CALLS)
        packed, ratios = _Timed(pack.steps, longest_block(self.task), self.clock), list[float]()
        end = time.perf_counter() + budget
        while len(ratios) < _LEAST_PAIRS or (len(ratios) < 50 and time.perf_counter() < end):
            a_call = budget / (2 * _LEAST_PAIRS)
            ratios.append(packed.seconds(a_call) / steps_alone.seconds(a_call))
        return median(ratios) / pack.slots


def _seconds_of_small_step(clock: Callable[[], float]) -> float:
    """Return the seconds of a training step of one linear layer: on a busy machine, several times as many as else."""
    inputs, weight = torch.zeros(16, 16), torch.zeros(1, 16, requires_grad=True)
    optimizer = torch.optim.SGD([weight], lr=0.1)

    def steps(n_steps: int) -> None:
        for _ in range(n_steps):
            optimizer.zero_grad()
            torch.nn.functional.linear(inputs, weight).square().mean().backward()  # type: ignore[no-untyped-call]
            optimizer.step()

    return _Timed(steps, 20, clock).median(of_steps=3000)


class _Timed:
    """Times calls of ``run(n)``, with n at most `longest`, after it has been warmed up.

    As in training, quick steps run in blocks: on a GPU the host waits for the device only at the end of each block.
    """

    def __init__(self, run: Callable[[int], object], longest: int, clock: Callable[[], float]) -> None:
        self._run, self._longest, self._clock = run, longest, clock
        self._seconds(1)
        self.one = max(self._seconds(1), 1e-9)

    def median(self, *, of_steps: float) -> float:
        """Return the median seconds of a step over several calls, which take little of the time of so many steps."""
        budget = min(_SECONDS_OF_CALLS, _SHARE_OF_SWEEP * of_steps * self.one)
        times, end = [self.one] if budget < self.one else list[float](), time.perf_counter() + budget
        least = 3 if budget == _SECONDS_OF_CALLS else 1
        while len(times) < least or (len(times) < 50 and time.perf_counter() < end):
            times.append(self.seconds(budget))
        return median(times)  # the minimum would depend on their number

    def seconds(self, at_most: float) -> float:
        """Return the seconds of a step, from one call of about so many seconds."""
        return self._seconds(max(1, min(self._longest, int(min(_SECONDS_PER_CALL, at_most) / self.one))))

    def _seconds(self, n_steps: int) -> float:
        start = self._clock()
        self._run(n_steps)
        return (self._clock() - start) / n_steps
