"""SGD on linear, logistic and softmax regression in numpy: gradients written out, many trials in one array."""

from __future__ import annotations

import math
import time
import traceback
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from .._checks import check_number, check_whole
from .._text import count_of
from ..divergence import DivergenceWatch
from ..exceptions import DataError
from ..runners.base import TrialSource, evaluate_trial, failed_trial
from ..runners.packed import PackPlan
from ..schedules.closed_forms import Schedule, tabulated
from ..trials import TrialResult, TrialSpec

Kind = Literal["linear", "logistic", "softmax"]
Array = NDArray[Any]
Outcome = int | tuple[Array, Array | None]  # the step that diverged, or the final weights and bias

_MOST_SLOTS = 256  # beyond it a trial costs no less
_COPIES = 4  # of the weights of a trial: as they begin, momentum, gradient, scratch
_BLOCK = 64  # steps between two looks at the objectives
_STACK_BYTES = 1 << 20  # of weights that are stepped together: more fall out of the cache


@dataclass(frozen=True, kw_only=True)
class LinearProblem:
    """What the closed form trains: ``outputs = inputs @ weights + bias``, by SGD on one of three losses.

    With n examples of d inputs and k outputs, a batch of B rows has the loss F: "linear", the mean of
    ``(outputs - targets)**2`` over B k numbers; "logistic", the mean over B k numbers of the binary cross-entropy of
    ``sigmoid(outputs)``; "softmax", the mean cross-entropy over B rows. The update is that of `torch.optim.SGD`.

    Args:
        kind: "linear", "logistic" or "softmax".
        inputs: shape (n, d), float32 or float64: the type of all that is computed.
        targets: shape (n, k), of the type of the inputs; for "softmax" class numbers, shape (n,).
        total_steps: T.
        initial: returns the weights (d, k) and the bias (k,), or None, of a seed.
        batches: returns the rows of each step of a seed, shape (T, B).
        evaluate: returns the figures of final weights and bias, with the key "loss".
        diverged: returns the figures of a trial that diverged at a step; T when only the final loss is not finite.
        momentum: of SGD, >= 0; `dampening` and `nesterov` as there.
        weight_decay: times the weights, it is added to their gradient.
        decays_bias: whether the bias decays like the weights.
        penalty: what is watched for divergence is ``F + penalty / 2 * |weights|**2``.
        divergence_factor: see `robust_lr.divergence.DivergenceWatch`, as for `divergence_patience`.
    """

    kind: Kind
    inputs: Array = field(repr=False)
    targets: Array = field(repr=False)
    total_steps: int
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


@dataclass(frozen=True, kw_only=True)
class ClosedFormPacks:
    """The `Evaluator` that trains up to `slots` trials of a `LinearProblem` together.

    A result agrees with that of the trial alone to rounding.

    Example:
        >>> from robust_lr import Constant
        >>> from robust_lr.linear.models import LinearModelTask
        >>> from robust_lr.runners.evaluators import TrialList
        >>> x = np.linspace(-1, 1, 16)[:, None]
        >>> task = LinearModelTask(kind="linear", train_data=(x, 3 * x), total_steps=100, batch_size=4)
        >>> packs = ClosedFormPacks(problem=task.problem, schedules={"constant": Constant()}, slots=8)
        >>> trials = TrialList([TrialSpec("constant", lr, 0) for lr in (0.01, 0.1)])
        >>> [math.isclose(r.loss, task(lr=r.spec.lr, schedule="constant", seed=0)["loss"])
        ...  for r in packs.results(trials)]
        [True, True]
    """

    problem: LinearProblem = field(repr=False)
    schedules: Mapping[str, Schedule]
    slots: int

    def __post_init__(self) -> None:
        check_whole("slots", self.slots, at_least=1)

    def results(self, source: TrialSource) -> Iterator[TrialResult]:
        """Take trials until there are none left and yield one result for each; see `Evaluator.results`."""
        while specs := source.take(self.slots, wait=True):
            runs = list[_Run]()
            for spec in specs:
                try:
                    runs.append(_Run(self.problem, spec, self.schedules[spec.schedule]))
                except Exception:
                    yield failed_trial(spec, traceback.format_exc(), 0.0)
            for stack in _stacks(runs):
                start = time.perf_counter()
                _train(self.problem, stack)
                seconds = (time.perf_counter() - start) / sum(map(len, stack))
                for run in (run for row in stack for run in row):
                    yield self._result(run, seconds)

    def _result(self, run: _Run, seconds: float) -> TrialResult:
        result = evaluate_trial(
            lambda **_: _figures(self.problem, run.outcome), run.spec, self.schedules[run.spec.schedule]
        )
        return TrialResult(run.spec, result.loss, result.status, seconds + result.seconds, result.metrics, result.error)


def train_alone(problem: LinearProblem, *, lr: float, schedule: Schedule, seed: int) -> dict[str, float]:
    """Train one trial and return its figures."""
    run = _Run(problem, TrialSpec("", lr, seed), schedule)
    _train(problem, [[run]])
    return _figures(problem, run.outcome)


def plan_closed_form(
    problem: LinearProblem,
    trials: Sequence[TrialSpec],
    schedules: Mapping[str, Schedule],
    *,
    slots: int | Literal["auto"],
    n_workers: int,
    memory_limit: int | None,
) -> PackPlan:
    """Return the plan of these trials in closed form; the arguments are those of `Packable.plan_packs`."""
    n_trials = max(1, len(trials))
    size = slots
    if size == "auto":  # all packs equally full
        size = math.ceil(n_trials / (n_workers * math.ceil(n_trials / (_MOST_SLOTS * n_workers))))
    if memory_limit is not None:
        weights, _ = problem.initial(trials[0].seed if trials else 0)
        size = min(size, max(1, memory_limit // (_COPIES * weights.nbytes)))
    make = partial(_evaluator, problem, dict(schedules))
    return PackPlan("closed_form", size, math.nan, make, f"closed form in numpy, {count_of(size, 'slot')}")


def _evaluator(problem: LinearProblem, schedules: Mapping[str, Schedule], slots: int) -> ClosedFormPacks:
    return ClosedFormPacks(problem=problem, schedules=schedules, slots=slots)


def _figures(problem: LinearProblem, outcome: Outcome) -> dict[str, float]:
    if isinstance(outcome, int):
        return problem.diverged(outcome)
    figures = problem.evaluate(*outcome)
    return figures if math.isfinite(figures["loss"]) else problem.diverged(problem.total_steps)


class _Run:
    outcome: Outcome

    def __init__(self, problem: LinearProblem, spec: TrialSpec, schedule: Schedule) -> None:
        check_number("lr", spec.lr, error=DataError, above=0)
        self.spec, self.batches = spec, problem.batches(spec.seed)
        weights, bias = problem.initial(spec.seed)
        self.has_bias = bias is not None
        self.initial = weights if bias is None else np.concatenate([weights, bias[None]])
        self.rates = spec.lr * tabulated(schedule, problem.total_steps)
        self.watch = DivergenceWatch(factor=problem.divergence_factor, patience=problem.divergence_patience)


def _stacks(runs: Sequence[_Run]) -> Iterator[list[list[_Run]]]:
    """Yield rectangles of runs: each row has one seed, and so one batch at each step."""
    by_seed = defaultdict[int, list[_Run]](list)
    for run in sorted(runs, key=lambda run: run.spec.lr):  # what diverges in one row does so in the others
        by_seed[run.spec.seed].append(run)
    by_length = defaultdict[int, list[list[_Run]]](list)
    for row in by_seed.values():
        size = math.ceil(len(row) / math.ceil(len(row) / _most(row[0])))
        for part in (row[start : start + size] for start in range(0, len(row), size)):
            by_length[len(part)].append(part)
    for length, rows in by_length.items():
        n_rows = max(1, _most(rows[0][0]) // length)
        yield from (rows[start : start + n_rows] for start in range(0, len(rows), n_rows))


def _most(run: _Run) -> int:
    return max(1, _STACK_BYTES // run.initial.nbytes)


def _train(problem: LinearProblem, stack: list[list[_Run]]) -> None:
    """Train a rectangle of G rows of L runs, and set the outcome of each. A run that diverges leaves it."""
    d, has_bias = problem.inputs.shape[1], stack[0][0].has_bias
    ones = np.ones((len(problem.inputs), int(has_bias)), problem.inputs.dtype)
    inputs = np.concatenate([problem.inputs, ones], axis=1)
    rows = np.stack([row[0].batches for row in stack], axis=1)  # (T, G, B)
    runs = np.array(stack, dtype=object)
    rates = np.array([[run.rates for run in row] for row in stack]).transpose(2, 0, 1)  # (T, G, L)
    weights = np.array([[run.initial for run in row] for row in stack]).transpose(0, 2, 3, 1).copy()  # (G, D, k, L)
    velocity = np.zeros_like(weights)
    alive = np.ones(runs.shape, dtype=bool)
    for start in range(0, problem.total_steps, _BLOCK):
        block = slice(start, start + _BLOCK)
        with np.errstate(all="ignore"):  # divergence is a result
            objectives = _steps(problem, inputs, weights, velocity, rows[block], rates[block] * alive, start == 0)
        for at in zip(*alive.nonzero(), strict=True):
            diverged_at = runs[at].watch.see(objectives[:, *at])
            if diverged_at is not None:
                runs[at].outcome, alive[at] = diverged_at, False
                weights[at[0], ..., at[1]] = velocity[at[0], ..., at[1]] = 0.0
        keep = alive.any(axis=0)
        if not keep.all():
            runs, alive, rates = runs[:, keep], alive[:, keep], rates[..., keep]
            weights, velocity = weights[..., keep].copy(), velocity[..., keep].copy()
        if not keep.any():
            return
    for g, lane in zip(*alive.nonzero(), strict=True):
        final = weights[g, ..., lane].copy()
        runs[g, lane].outcome = final[:d], final[d] if has_bias else None


def _steps(
    problem: LinearProblem, inputs: Array, weights: Array, velocity: Array, rows: Array, rates: Array, is_first: bool
) -> Array:
    """Make n steps, in place; return the objective of each before its update, float64, shape (n, G, L)."""
    (n, n_rows, batch_size), (_, size, k, n_lanes), dtype = rows.shape, weights.shape, weights.dtype
    d = problem.inputs.shape[1]
    by_column = np.tile(rates.astype(dtype), k)[:, :, None]  # (n, G, 1, k L)
    flat, momentum = weights.reshape(n_rows, size, -1), velocity.reshape(n_rows, size, -1)
    decayed = slice(0, size if problem.decays_bias else d)
    # Without momentum the rate goes into the residual, which is smaller than the gradient.
    factors = np.ones_like(by_column) if problem.momentum else by_column
    decays = factors * dtype.type(problem.weight_decay)
    residual, means = _LOSSES[problem.kind](problem.targets[rows], factors, k)
    x, outputs = np.empty((n_rows, batch_size, size), dtype), np.empty((n_rows, batch_size, k * n_lanes), dtype)
    gradient, squares = np.empty_like(flat), np.zeros((n, n_rows, k * n_lanes))
    for i in range(n):
        np.take(inputs, rows[i], axis=0, out=x, mode="clip")
        residual(i, np.matmul(x, flat, out=outputs))
        np.matmul(x.swapaxes(1, 2), outputs, out=gradient)
        if problem.penalty:
            squares[i] = np.einsum("gdc,gdc->gc", flat[:, :d], flat[:, :d])
        if problem.weight_decay:
            gradient[:, decayed] += decays[i] * flat[:, decayed]
        if problem.momentum:
            momentum *= problem.momentum
            momentum += gradient if is_first and i == 0 else (1 - problem.dampening) * gradient
            flat -= by_column[i] * (gradient + problem.momentum * momentum if problem.nesterov else momentum)
        else:
            flat -= gradient
    penalties = 0.5 * problem.penalty * squares.reshape(n, n_rows, k, n_lanes).sum(axis=2)
    return np.asarray(means() + penalties)


# A loss is given the targets of a block of steps, (n, G, B[, k]), and factors, (n, G, 1, k L). It returns a function
# that turns the outputs of step i, (G, B, k L), into their gradient times the factors, in place, and one that returns
# the mean losses of the steps so far, (n, G, L).
_Loss = tuple[Callable[[int, Array], None], Callable[[], Array]]


def _elementwise(targets: Array, factors: Array, k: int, *, logistic: bool) -> _Loss:
    n, n_rows, batch_size, _ = targets.shape
    n_lanes = factors.shape[-1] // k
    targets = np.repeat(targets, n_lanes, axis=-1)
    kept = np.empty(targets.shape, factors.dtype)
    factors = factors * factors.dtype.type((1.0 if logistic else 2.0) / (batch_size * k))

    def residual(i: int, outputs: Array) -> None:
        kept[i] = outputs
        if logistic:
            np.negative(outputs, out=outputs)
            np.exp(outputs, out=outputs)
            outputs += 1
            np.reciprocal(outputs, out=outputs)
        outputs -= targets[i]
        outputs *= factors[i]

    def means() -> Array:
        if logistic:
            losses = np.maximum(kept, 0) + np.log1p(np.exp(-np.abs(kept))) - targets * kept
        else:
            losses = np.square(kept - targets)
        return np.asarray(losses.reshape(n, n_rows, batch_size, k, n_lanes).mean(axis=(2, 3), dtype=np.float64))

    return residual, means


def _softmax(targets: Array, factors: Array, k: int) -> _Loss:
    n, n_rows, batch_size = targets.shape
    n_lanes = factors.shape[-1] // k
    factors = factors[..., :n_lanes] / factors.dtype.type(batch_size)
    sums, chosen = np.empty((2, n, n_rows, batch_size, n_lanes), factors.dtype)
    g, b = np.ogrid[:n_rows, :batch_size]

    def residual(i: int, outputs: Array) -> None:
        logits = outputs.reshape(n_rows, batch_size, k, n_lanes)
        logits -= np.maximum.reduce(logits, axis=2, keepdims=True)
        chosen[i] = logits[g, b, targets[i]]
        np.exp(logits, out=logits)
        np.add.reduce(logits, axis=2, out=sums[i])
        logits *= (factors[i] / sums[i])[:, :, None]
        logits[g, b, targets[i]] -= factors[i]

    return residual, lambda: np.asarray((np.log(sums) - chosen).mean(axis=2, dtype=np.float64))


_LOSSES: dict[Kind, Callable[[Array, Array, int], _Loss]] = {
    "linear": partial(_elementwise, logistic=False),
    "logistic": partial(_elementwise, logistic=True),
    "softmax": _softmax,
}
