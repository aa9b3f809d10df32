"""The choice of engine and pack size for a sweep, by the shortest predicted time."""

from __future__ import annotations

import contextlib
import math
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
from ._choice import USUAL_SLOTS, Attempt, Choice, Measured, balanced, fastest
from ._inspect import inspect_replica
from ._linear import linear_problem
from ._memory import free_memory
from ._optimizers import checked_optimizer
from ._pack import Pack, PackEvaluator, longest_block, one_thread
from ._verify import verify_pack

_SECONDS_PER_CALL, _SECONDS_OF_CALLS = 0.02, 0.05  # approximate duration of a timed call, and of all
_SHARE_OF_SWEEP = 0.005  # that timing a step alone may take
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
        slots = balanced(self.trials_per_worker, USUAL_SLOTS if self.slots == "auto" else self.slots)
        return self._plan_of(pack, min(slots, self._most_slots(pack)), compiled=compiled)

    def fastest(self) -> PackPlan:
        """Time a step alone, then each attempt of `Choice`, and return the plan of the fastest."""
        seed, best, candidate = self.trials[0].seed, None, None
        checked_optimizer(self.task, self.task.initial_model(seed))
        self.alone = self._seconds_alone()
        choice = Choice(
            n_trials=self.trials_per_worker,
            total_steps=self.task.total_steps,
            alone=self.alone,
            n_operations=0,
            on_cpu=self.on_cpu,
            slots=None if self.slots == "auto" else self.slots,
        )
        if choice.seconds_alone > _NOTHING_PAYS_BELOW:
            choice = replace(choice, small_step=_seconds_of_small_step(self.clock))
        tried = list[Measured]()
        with one_thread(self.task):
            if choice.next_attempt(tried):  # even a model of many operations may be worth a look
                choice = replace(choice, n_operations=inspect_replica(self.task, seed).n_operations)
            while attempt := choice.next_attempt(tried):
                measured, pack = self._try(attempt, candidate, is_first=fastest(tried) is None)
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

    def _try(self, attempt: Attempt, traced: Pack | None, *, is_first: bool) -> tuple[Measured, Pack | None]:
        try:
            start = self.clock()
            if attempt.is_compiled and traced is not None:
                pack = traced.compiled()
            else:
                pack = Pack(self.task, self.schedules, attempt.slots)
            preparation, most_slots = self.clock() - start, self._most_slots(pack)
            if most_slots < attempt.slots:
                return Measured(attempt, math.inf, preparation, most_slots=most_slots), None
            if is_first:
                verify_pack(pack, self.schedules, self.trials)
            of_one_seed = [t for t in self.trials if t.seed == self.trials[0].seed]  # whose tables are made once
            for spec in islice(cycle(of_one_seed), attempt.slots):
                pack.load(spec)
            seconds = _seconds_per_step(pack.steps, longest_block(self.task), self.clock) / attempt.slots
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

    def _seconds_alone(self) -> float:
        task, spec = self.task, self.trials[0]

        def endless_steps() -> Iterator[torch.Tensor]:
            while True:
                model, schedule = task.initial_model(spec.seed), self.schedules[spec.schedule]
                yield from task.steps(model, lr=spec.lr, schedule=schedule, seed=spec.seed)

        with one_thread(task) if self.n_workers > 1 else contextlib.nullcontext(), task.noise_of(spec.seed):
            steps = endless_steps()
            run = lambda n: float([next(steps) for _ in range(n)][-1])  # noqa: E731
            n_steps = self.trials_per_worker * task.total_steps
            return _seconds_per_step(run, longest_block(task), self.clock, n_steps)


def _seconds_of_small_step(clock: Callable[[], float]) -> float:
    """Return the seconds of a training step of one linear layer: on a busy machine, several times as many as else."""
    inputs, weight = torch.zeros(16, 16), torch.zeros(1, 16, requires_grad=True)
    optimizer = torch.optim.SGD([weight], lr=0.1)

    def steps(n_steps: int) -> None:
        for _ in range(n_steps):
            optimizer.zero_grad()
            torch.nn.functional.linear(inputs, weight).square().mean().backward()  # type: ignore[no-untyped-call]
            optimizer.step()

    return _seconds_per_step(steps, 20, clock, of_steps=3000)


def _seconds_per_step(
    run: Callable[[int], object], longest: int, clock: Callable[[], float], of_steps: float = math.inf
) -> float:
    """Return the median time per step over calls of ``run(n)``, with n at most `longest`.

    As in training, quick steps run in blocks: on a GPU the host waits for the device only at the end of each block.
    It takes little of the time of `of_steps` steps.
    """

    def seconds(n_steps: int) -> float:
        start = clock()
        run(n_steps)
        return (clock() - start) / n_steps

    seconds(1)  # warms up
    one = max(seconds(1), 1e-9)
    budget = min(_SECONDS_OF_CALLS, _SHARE_OF_SWEEP * of_steps * one)
    n_steps = max(1, min(longest, int(min(_SECONDS_PER_CALL, budget) / one)))
    times, end = [one] if budget < one else list[float](), time.perf_counter() + budget
    least = 3 if budget == _SECONDS_OF_CALLS else 1
    while len(times) < least or (len(times) < 50 and time.perf_counter() < end):
        times.append(seconds(n_steps))
    return median(times)  # the minimum would depend on their number
