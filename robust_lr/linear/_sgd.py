"""SGD on linear, logistic and softmax regression in numpy: gradients written out, many trials in one array."""

from __future__ import annotations

import math
import time
import traceback
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache, partial
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from .._checks import check_number
from .._text import count_of
from ..divergence import DivergenceWatch
from ..exceptions import DataError
from ..runners.base import TrialSource, evaluate_trial, failed_trial
from ..runners.packed import PackOptions, PackPlan
from ..schedules.closed_forms import Schedule, tabulated
from ..trials import TrialResult, TrialSpec

Kind = Literal["linear", "logistic", "softmax"]
Array = NDArray[Any]

_MOST_SLOTS, _STACK_BYTES = 256, 1 << 20  # beyond it trials get no cheaper, and the weights fall out of the cache
_COPIES = 4  # of the weights of a trial: as they begin, momentum, gradient, scratch
_BLOCK = 64  # steps between two looks at the objectives


@dataclass(frozen=True, kw_only=True)
class LinearProblem:
    """A linear model trained by SGD: ``outputs = inputs @ weights + bias``, with the steps of `torch.optim.SGD`.

    With the mean loss F, divergence is watched on ``F + penalty / 2 * |weights|**2``. Each seed has `initial` weights
    (d, k) and bias (k,), or None, and `batches`, the rows of each step, (T, B). `evaluate` returns the figures of a
    trial that ended with these weights, `diverged` those of one that diverged at this step: T if only the final loss
    is not finite.
    """

    kind: Kind
    inputs: Array = field(repr=False)  # (n, d)
    targets: Array = field(repr=False)  # (n, k), or class numbers (n,)
    total_steps: int
    batch_size: int
    initial: Callable[[int], tuple[Array, Array | None]]
    batches: Callable[[int], Array]
    evaluate: Callable[[Array, Array | None], dict[str, float]]
    diverged: Callable[[int], dict[str, float]]
    momentum: float = 0.0
    dampening: float = 0.0
    nesterov: bool = False
    weight_decay: float = 0.0
    decays_bias: bool = False
    penalty: float = 0.0
    divergence_factor: float = 1e6
    divergence_patience: int = 100


def train_alone(problem: LinearProblem, *, lr: float, schedule: Schedule, seed: int) -> dict[str, float]:
    run = _Run(problem, TrialSpec("", lr, seed), schedule)
    _train(problem, [[run]])
    return run.figures()


def plan_closed_form(
    problem: LinearProblem, trials: Sequence[TrialSpec], schedules: Mapping[str, Schedule], options: PackOptions
) -> PackPlan:
    slots, n_workers, memory_limit = options["slots"], options["n_workers"], options["memory_limit"]
    n_trials, (weights, _) = max(1, len(trials)), problem.initial(0)
    most = min(_MOST_SLOTS, max(1, _STACK_BYTES // weights.nbytes))
    n_rounds = math.ceil(n_trials / (most * n_workers))
    size = math.ceil(n_trials / (n_workers * n_rounds)) if slots == "auto" else slots  # all packs equally full
    if memory_limit is not None:
        size = min(size, max(1, memory_limit // (_COPIES * weights.nbytes)))
    make = partial(ClosedFormPacks, problem, dict(schedules))
    seconds = len(trials) * problem.total_steps * (1e-6 + 1e-9 * problem.batch_size * weights.size)
    return PackPlan("closed_form", size, math.nan, make, f"closed form in numpy, {count_of(size, 'slot')}", seconds)


@dataclass(frozen=True)
class ClosedFormPacks:
    """An `Evaluator` that trains up to `slots` trials together; each result agrees with that of the trial alone."""

    problem: LinearProblem = field(repr=False)
    schedules: Mapping[str, Schedule]
    slots: int

    def results(self, source: TrialSource) -> Iterator[TrialResult]:
        problem = replace(  # each seed's once
            self.problem, initial=lru_cache(8)(self.problem.initial), batches=lru_cache(8)(self.problem.batches)
        )
        while specs := source.take(self.slots, wait=True):
            runs = list[_Run]()
            for spec in specs:
                try:
                    runs.append(_Run(problem, spec, self.schedules[spec.schedule]))
                except Exception:
                    yield failed_trial(spec, traceback.format_exc(), 0.0)
            for stack in _stacks(runs):
                start = time.perf_counter()
                _train(problem, stack)
                seconds = (time.perf_counter() - start) / sum(map(len, stack))
                for run in (run for row in stack for run in row):
                    result = evaluate_trial(run.figures, run.spec, self.schedules[run.spec.schedule])
                    yield replace(result, seconds=seconds + result.seconds)


class _Run:
    """A trial: what it begins with, the rate of each step, and its outcome, weights or the step that diverged."""

    outcome: int | Array

    def __init__(self, problem: LinearProblem, spec: TrialSpec, schedule: Schedule) -> None:
        check_number("lr", spec.lr, error=DataError, above=0)
        self.problem, self.spec = problem, spec
        self.batches = problem.batches(spec.seed)
        weights, bias = problem.initial(spec.seed)
        self.has_bias = bias is not None
        self.initial = weights if bias is None else np.concatenate([weights, bias[None]])
        self.rates = spec.lr * tabulated(schedule, problem.total_steps)
        self.watch = DivergenceWatch(factor=problem.divergence_factor, patience=problem.divergence_patience)

    def figures(self, **_: object) -> dict[str, float]:
        problem = self.problem
        if isinstance(self.outcome, int):
            return problem.diverged(self.outcome)
        weights, bias = (self.outcome[:-1], self.outcome[-1]) if self.has_bias else (self.outcome, None)
        figures = problem.evaluate(weights, bias)
        return figures if math.isfinite(figures["loss"]) else problem.diverged(problem.total_steps)


def _stacks(runs: Sequence[_Run]) -> list[list[list[_Run]]]:
    """Return rectangles of runs: each row has one seed, and so one batch at each step."""
    by_seed, by_length = defaultdict[int, list[_Run]](list), defaultdict[int, list[list[_Run]]](list)
    for run in sorted(runs, key=lambda run: run.spec.lr):  # what diverges in one row does so in the others
        by_seed[run.spec.seed].append(run)
    for row in by_seed.values():
        by_length[len(row)].append(row)
    return list(by_length.values())


def _train(problem: LinearProblem, stack: list[list[_Run]]) -> None:
    """Train a rectangle of G rows of L runs, and set the outcome of each. A run that diverges leaves it."""
    ones = np.ones((len(problem.inputs), int(stack[0][0].has_bias)), problem.inputs.dtype)
    inputs = np.concatenate([problem.inputs, ones], axis=1)
    rows = np.stack([row[0].batches for row in stack], axis=1)  # (T, G, B)
    runs = np.array(stack, dtype=object)
    rates = np.array([[run.rates for run in row] for row in stack]).transpose(2, 0, 1)  # (T, G, L)
    weights = np.array([[run.initial for run in row] for row in stack]).transpose(0, 2, 3, 1).copy()  # (G, D, k, L)
    velocity = np.zeros_like(weights)
    alive = np.ones(runs.shape, dtype=bool)
    for start in range(0, problem.total_steps, _BLOCK):
        block = slice(start, min(start + _BLOCK, problem.total_steps))
        with np.errstate(all="ignore"):  # divergence is a result
            objectives = _steps(problem, inputs, weights, velocity, rows[block], rates[block] * alive, start == 0)
        for g, lane in np.argwhere(alive):
            diverged_at = runs[g, lane].watch.see(objectives[:, g, lane])
            if diverged_at is not None:
                runs[g, lane].outcome, alive[g, lane] = diverged_at, False
                weights[g, ..., lane] = velocity[g, ..., lane] = 0.0
        keep = alive.any(axis=0)
        if not keep.all():
            runs, alive, rates = runs[:, keep], alive[:, keep], rates[..., keep]
            weights, velocity = weights[..., keep].copy(), velocity[..., keep].copy()
        if not keep.any():
            return
    for g, lane in np.argwhere(alive):
        runs[g, lane].outcome = weights[g, ..., lane].copy()


def _steps(
    problem: LinearProblem, inputs: Array, weights: Array, velocity: Array, rows: Array, rates: Array, is_first: bool
) -> Array:
    """Make n steps, in place; return the objective of each before its update, float64, shape (n, G, L)."""
    (n, n_rows, batch_size), (_, size, k, n_lanes), dtype = rows.shape, weights.shape, weights.dtype
    d, flat, momentum = problem.inputs.shape[1], weights.reshape(n_rows, size, -1), velocity.reshape(n_rows, size, -1)
    decayed = slice(0, size if problem.decays_bias else d)
    rates = rates.astype(dtype)
    # Without momentum the rate goes into the residual, which is smaller than the gradient.
    factors = np.ones_like(rates) if problem.momentum else rates
    by_column = np.tile(rates, k)[:, :, None]  # (n, G, 1, k L)
    decays = np.tile(factors, k)[:, :, None] * dtype.type(problem.weight_decay)
    x, outputs = np.empty((n_rows, batch_size, size), dtype), np.empty((n_rows, batch_size, k, n_lanes), dtype)
    residual, gradient = outputs.reshape(n_rows, batch_size, -1), np.empty_like(flat)
    objectives = np.empty((n, n_rows, n_lanes))
    for i in range(n):
        inputs.take(rows[i], axis=0, out=x, mode="clip")
        np.matmul(x, flat, out=residual)
        objectives[i] = losses(problem.kind, outputs, problem.targets[rows[i]], factors[i])
        np.matmul(x.swapaxes(1, 2), residual, out=gradient)
        if problem.penalty:
            objectives[i] += 0.5 * problem.penalty * np.einsum("gdkl,gdkl->gl", weights[:, :d], weights[:, :d])
        if problem.weight_decay:
            gradient[:, decayed] += decays[i] * flat[:, decayed]
        if problem.momentum:
            momentum *= problem.momentum
            momentum += gradient if is_first and i == 0 else (1 - problem.dampening) * gradient
            gradient = by_column[i] * (gradient + problem.momentum * momentum if problem.nesterov else momentum)
        flat -= gradient
    return objectives


def losses(kind: Kind, outputs: Array, targets: Array, factors: Array) -> Array:
    """Return the mean loss of each model, (G, L), and turn the outputs into its gradient, times a factor each.

    The outputs are (G, B, k, L), the targets (G, B, k) or class numbers (G, B), the factors (G, L).
    """
    n_rows, batch_size, k, _ = outputs.shape
    if kind == "softmax":
        at = targets, np.arange(n_rows)[:, None], np.arange(batch_size)
        factors = factors[:, None] / factors.dtype.type(batch_size)
        logits = outputs.transpose(2, 0, 1, 3).copy()  # classes first: sums over them then add long rows
        logits -= np.maximum.reduce(logits, axis=0)
        chosen = logits[at]
        np.exp(logits, out=logits)
        sums = np.add.reduce(logits, axis=0)
        logits *= factors / sums
        logits[at] -= factors
        outputs[...] = logits.transpose(1, 2, 0, 3)
        return np.asarray(np.add.reduce(np.log(sums) - chosen, axis=1, dtype=np.float64) / batch_size)
    targets, factors = targets[..., None], factors[:, None, None] / factors.dtype.type(batch_size * k)
    if kind == "linear":
        outputs -= targets
        values, factors = np.square(outputs), 2 * factors
    else:
        values = np.maximum(outputs, 0) + np.log1p(np.exp(-np.abs(outputs))) - targets * outputs
        np.reciprocal(1 + np.exp(-outputs), out=outputs)
        outputs -= targets
    outputs *= factors
    return np.asarray(np.add.reduce(values, axis=(1, 2), dtype=np.float64) / (batch_size * k))
