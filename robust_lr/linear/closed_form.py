"""The closed-form engine: SGD on linear, logistic and softmax regression, many trials at a time, in numpy."""

from __future__ import annotations

import math
import time
import traceback
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace

import numpy as np

from .._checks import check_number, check_whole
from ..divergence import DivergenceWatch
from ..exceptions import DataError, RobustLRError
from ..runners.base import TrialSource, evaluate_trial, failed_trial
from ..schedules.closed_forms import Schedule, tabulated
from ..trials import TrialResult, TrialSpec
from ._kernel import LANES as LANES
from ._kernel import Array, Kernel
from ._kernel import Kind as Kind
from ._kernel import LinearProblem as LinearProblem

Outcome = int | tuple[Array, Array | None]  # the step that diverged, or the final weights and bias


@dataclass(frozen=True, kw_only=True)
class ClosedFormPacks:
    """The `Evaluator` that trains many trials of a `LinearProblem` at a time; a trial's result depends on none of it.

    Args:
        problem: what is trained.
        schedules: the schedule for each name in the trials.
        slots: trials trained at a time, at most, >= 1; a multiple of 8 leaves no lane idle.

    Raises:
        RobustLRError: when `slots` is out of range.

    Example:
        >>> from robust_lr import Constant
        >>> from robust_lr.linear.models import LinearModelTask
        >>> from robust_lr.runners import TrialList
        >>> x = np.linspace(-1, 1, 16)[:, None]
        >>> task = LinearModelTask(kind="linear", train_data=(x, 3 * x), total_steps=100, batch_size=4)
        >>> packs = ClosedFormPacks(problem=task, schedules={"constant": Constant()}, slots=8)
        >>> trials = TrialList([TrialSpec("constant", lr, 0) for lr in (0.01, 0.1, 1.0)])
        >>> results = {result.spec.lr: result.loss for result in packs.results(trials)}
        >>> [task(lr=lr, schedule="constant", seed=0)["loss"] == loss for lr, loss in sorted(results.items())]
        [True, True, True]
    """

    problem: LinearProblem = field(repr=False)
    schedules: Mapping[str, Schedule]
    slots: int

    def __post_init__(self) -> None:
        check_whole("slots", self.slots, at_least=1, error=RobustLRError)

    def results(self, source: TrialSource) -> Iterator[TrialResult]:
        """Take trials until there are none left and yield one result for each; see `Evaluator.results`."""
        pack = _Pack(self.problem, -(-self.slots // LANES))
        waiting: list[_Run] = []
        while True:
            n_wanted = min(self.slots - pack.n_alive, LANES * pack.n_free) - len(waiting)
            is_idle = not pack.groups and not waiting
            specs = source.take(n_wanted, wait=is_idle) if n_wanted > 0 else []
            if is_idle and not specs:
                return
            for spec in specs:
                try:
                    table = tabulated(self.schedules[spec.schedule], self.problem.total_steps)
                    waiting.append(_Run(spec, table))
                except Exception:
                    yield failed_trial(spec, traceback.format_exc(), 0.0)
            while pack.n_free and waiting:
                seed = Counter(run.spec.seed for run in waiting).most_common(1)[0][0]
                runs = [run for run in waiting if run.spec.seed == seed][:LANES]
                waiting = [run for run in waiting if run not in runs]
                try:
                    pack.start(runs)
                except Exception:
                    for run in runs:
                        yield failed_trial(run.spec, traceback.format_exc(), 0.0)
            for run, outcome in pack.advance() if pack.groups else ():
                yield self._result(run, outcome)

    def _result(self, run: _Run, outcome: Outcome) -> TrialResult:
        def train(**_: object) -> dict[str, float]:
            return _figures(self.problem, outcome)

        result = evaluate_trial(train, run.spec, self.schedules[run.spec.schedule])
        return replace(result, seconds=run.seconds + result.seconds)


def train_alone(problem: LinearProblem, *, lr: float, schedule: Schedule, seed: int) -> dict[str, float]:
    """Train one trial and return its figures: those that it has in a pack, to the last bit."""
    pack = _Pack(problem, 1)
    pack.start([_Run(TrialSpec("", lr, seed), tabulated(schedule, problem.total_steps))])
    while not (ended := pack.advance()):
        pass
    return _figures(problem, ended[0][1])


def _figures(problem: LinearProblem, outcome: Outcome) -> dict[str, float]:
    if isinstance(outcome, int):
        return problem.diverged(outcome)
    figures = problem.evaluate(*outcome)
    return figures if math.isfinite(figures["loss"]) else problem.diverged(problem.total_steps)


@dataclass(eq=False)
class _Run:
    """One trial on its way: its schedule as multipliers, shape (T,), and its share of the time so far, in seconds."""

    spec: TrialSpec
    multipliers: Array
    seconds: float = 0.0
    watch: DivergenceWatch | None = None  # only while an objective is above its bound
    watched_from: int = 0

    def __post_init__(self) -> None:
        check_number("lr", self.spec.lr, error=DataError, above=0)


@dataclass(eq=False)
class _Group:
    """The runs in the lanes of a group, and the batches that they share, shape (T, B)."""

    lanes: list[_Run | None]
    batches: Array
    step: int = 0


class _Pack:
    """A stack of groups, those in use first; row g of every array belongs to ``groups[g]``."""

    def __init__(self, problem: LinearProblem, n_groups: int) -> None:
        weights, bias = problem.initial(0)
        n, self._d = problem.inputs.shape
        self._k, dtype = weights.shape[1], problem.inputs.dtype
        self._problem, self._n_groups = problem, n_groups
        self._has_bias = bias is not None
        ones = np.ones((n, int(self._has_bias)), dtype)
        self._inputs = np.concatenate([problem.inputs, ones], axis=1)
        self._weights = np.zeros((n_groups, self._inputs.shape[1], self._k * LANES), dtype)
        self._velocity = np.zeros_like(self._weights if problem.momentum else self._weights[:0])
        self._first = np.zeros((n_groups, LANES))  # the objective of step 0
        self._kernel: Kernel | None = None
        self.groups: list[_Group] = []

    @property
    def n_free(self) -> int:
        """The number of groups that can be started."""
        return self._n_groups - len(self.groups)

    @property
    def n_alive(self) -> int:
        """The number of runs on their way."""
        return sum(run is not None for group in self.groups for run in group.lanes)

    def start(self, runs: list[_Run]) -> None:
        """Start a group of at most 8 runs of one seed."""
        seed, g = runs[0].spec.seed, len(self.groups)
        weights, bias = self._problem.initial(seed)
        of_seed = [group.batches for group in self.groups for run in group.lanes if run and run.spec.seed == seed]
        batches = of_seed[0] if of_seed else np.ascontiguousarray(self._problem.batches(seed), np.intp)
        self._weights[g] = 0.0
        self._velocity[g : g + 1] = 0.0
        lanes = self._by_lane(self._weights)[g, ..., : len(runs)]
        lanes[: self._d] = weights[..., None]
        if bias is not None:
            lanes[self._d] = bias[..., None]
        self.groups.append(_Group([*runs, *[None] * (LANES - len(runs))], batches))

    def advance(self) -> list[tuple[_Run, Outcome]]:
        """Train all groups for a block of steps; return the runs that ended in it."""
        begun = time.perf_counter()
        if self._kernel is None:
            batch_size = self.groups[0].batches.shape[1]
            self._kernel = Kernel(self._problem, self._inputs, self._d, self._k, batch_size, self._n_groups)
        n_steps = min(self._kernel.block, *(self._problem.total_steps - group.step for group in self.groups))
        objectives = np.empty((n_steps, len(self.groups), LANES))
        with np.errstate(all="ignore"):
            for start in range(0, len(self.groups), self._kernel.part):
                part = slice(start, min(start + self._kernel.part, len(self.groups)))
                groups = self.groups[part]
                objectives[:, part] = self._kernel.train(
                    self._weights[part],
                    self._velocity[part],
                    rows=np.stack([group.batches[group.step : group.step + n_steps] for group in groups], axis=1),
                    rates=self._rates(groups, n_steps),
                    steps=np.array([group.step for group in groups]),
                )
        share = (time.perf_counter() - begun) / self.n_alive
        for group in self.groups:
            for run in filter(None, group.lanes):
                run.seconds += share
        ended = self._diverged(objectives)
        for group in self.groups:
            group.step += n_steps
        return ended + self._finished()

    def _rates(self, groups: list[_Group], n_steps: int) -> Array:
        """Return the learning rates of the next steps, shape (n, G, 8); 0 in the lanes without a run."""
        rates = np.zeros((n_steps, len(groups), LANES), self._inputs.dtype)
        for g, group in enumerate(groups):
            for lane, run in enumerate(group.lanes):
                if run:
                    rates[:, g, lane] = run.spec.lr * run.multipliers[group.step : group.step + n_steps]
        return rates

    def _diverged(self, objectives: Array) -> list[tuple[_Run, Outcome]]:
        """Empty the lanes that diverged in the steps just made, and return their runs."""
        problem, ended = self._problem, list[tuple[_Run, Outcome]]()
        for g, group in enumerate(self.groups):
            if group.step == 0:
                self._first[g] = objectives[0, g]
        first = np.abs(self._first[: len(self.groups)])
        bound = np.where((first > 0) & np.isfinite(first), problem.divergence_factor * first, math.inf)
        is_calm: Array = np.all(np.isfinite(objectives) & (objectives <= bound), axis=0)
        for g, group in enumerate(self.groups):
            for lane, run in enumerate(group.lanes):
                if run is None:
                    continue
                if is_calm[g, lane]:
                    run.watch = None
                    continue
                if run.watch is None:
                    run.watch = DivergenceWatch(factor=problem.divergence_factor, patience=problem.divergence_patience)
                    run.watched_from = group.step
                    if group.step:
                        run.watch.see(self._first[g, lane : lane + 1])
                        run.watched_from -= 1
                step = run.watch.see(objectives[:, g, lane])
                if step is not None:
                    ended.append((run, run.watched_from + step))
                    group.lanes[lane] = None
                    self._by_lane(self._weights)[g, ..., lane] = 0.0
                    self._by_lane(self._velocity)[g : g + 1, ..., lane] = 0.0
        return ended

    def _finished(self) -> list[tuple[_Run, Outcome]]:
        """Remove the groups that are at the last step or empty, and return the runs that are at the last step."""
        ended = list[tuple[_Run, Outcome]]()
        weights = self._by_lane(self._weights)
        for g in reversed(range(len(self.groups))):
            group, last = self.groups[g], len(self.groups) - 1
            if group.step < self._problem.total_steps and any(group.lanes):
                continue
            for lane, run in enumerate(group.lanes):
                if run:
                    final = weights[g, ..., lane].copy()
                    ended.append((run, (final[: self._d], final[self._d] if self._has_bias else None)))
            self.groups[g] = self.groups[last]
            self.groups.pop()
            for array in (self._weights, self._first, self._velocity):
                array[g : g + 1] = array[last : last + 1]
        return ended

    def _by_lane(self, array: Array) -> Array:
        return array.reshape(len(array), self._weights.shape[1], self._k, LANES)
