"""Supervised training as a TrainFunction: a model, data and a loss, trained for a fixed number of steps on a seed."""

from __future__ import annotations

import contextlib
import hashlib
import inspect
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field, fields, replace
from itertools import islice
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.utils._python_dispatch import TorchDispatchMode

from robust_lr._labels import is_vague, label_of
from robust_lr.divergence import DivergenceWatch
from robust_lr.exceptions import DataError
from robust_lr.runners.packed import PackPlan
from robust_lr.schedules.closed_forms import Schedule, tabulated
from robust_lr.schedules.specs import parse_schedule
from robust_lr.trials import TrialSpec

from .packing.noise import CounterNoise, noise_keys
from .packing.plan import plan_packs

_WITHOUT_EFFECT = ("device", "evaluation_batch_size", "check_every")  # but for rounding
_INITIAL, _BATCHES, _NOISE = range(3)  # each seed has one random stream for each of these


@dataclass(frozen=True, kw_only=True, eq=False)
class SupervisedTask:
    """Train a fresh model for `total_steps` steps and return its final loss: a `TrainFunction`.

    Step t = 0..T-1 takes a batch (x, y) and updates the parameters w by the optimizer, with the learning rate
    ``lr * schedule(t, T)``, on the objective ``F(w) = loss(model(x), y) + penalty(model)``. What is returned as "loss"
    is F over the whole training set, in evaluation mode; `weight_decay` among the optimizer's options is not in it.

    A seed fixes the initial weights, the batches and the noise of dropout, independently of each other: they are
    the same for every learning rate and schedule. The masks of dropout come from a counter (the seed, the step, the
    call in the forward pass, the position), so that they are the same in a pack and on any device. The random state
    of the caller is left as it was. A task made of module-level functions and classes can be pickled, and so sent
    to other processes.

    Args:
        make_model: returns a new module; random numbers it draws come from the seed.
        train_data: (inputs, targets): two tensors of n rows, or anything with a length that a tensor of B indices
            indexes to such a batch.
        loss: ``loss(outputs, targets)``, a scalar tensor: the mean over the batch.
        total_steps: T, the number of optimizer steps, >= 1.
        batch_size: B, in [1, n]. Batches are drawn without replacement from one permutation of the data after another.
        optimizer: makes the optimizer, as ``optimizer(parameters, lr=lr, **optimizer_options)``.
        optimizer_options: such as ``{"momentum": 0.9}``.
        validation_data: (inputs, targets) as in `train_data`; adds "validation_loss", without the penalty.
        metrics: name to ``metric(outputs, targets)``, a mean over the batch; adds "validation_<name>".
        penalty: ``penalty(model)``, a scalar tensor such as an L2 term, part of the objective.
        clip_norm: the norm over all parameters that gradients are clipped to, > 0; None for no clipping.
        device: "cpu" or "cuda", the latter perhaps with an index.
        evaluation_batch_size: rows evaluated at once, >= 1.
        check_every: steps between two looks at whether the objective is finite, >= 1; a look waits for the device.
        divergence_factor: a trial has diverged, too, when its objective stays above this multiple of that of step 0
        divergence_patience: for so many steps in a row.

    Raises:
        DataError: when built, for anything above that does not hold.

    Example:
        >>> x = torch.linspace(-1, 1, 16).unsqueeze(1)
        >>> task = SupervisedTask(make_model=lambda: nn.Linear(1, 1), train_data=(x, 3 * x + 1),
        ...                       loss=nn.functional.mse_loss, total_steps=100, batch_size=4)
        >>> task(lr=0.3, schedule="cosine", seed=0)["loss"] < 1e-3
        True
        >>> task(lr=30.0, schedule="cosine", seed=0)["loss"]
        inf
    """

    make_model: Callable[[], nn.Module]
    train_data: tuple[Any, Any] = field(repr=False)
    loss: Callable[[Any, Any], Tensor]
    total_steps: int
    batch_size: int
    optimizer: Callable[..., Optimizer] = torch.optim.SGD
    optimizer_options: Mapping[str, Any] = field(default_factory=dict)
    validation_data: tuple[Any, Any] | None = field(default=None, repr=False)
    metrics: Mapping[str, Callable[[Any, Any], Tensor | float]] = field(default_factory=dict)
    penalty: Callable[[nn.Module], Tensor] | None = None
    clip_norm: float | None = None
    device: str | torch.device = "cpu"
    evaluation_batch_size: int = 1024
    check_every: int = 50
    divergence_factor: float = 1e6
    divergence_patience: int = 100

    def __post_init__(self) -> None:
        _check_task(self)
        object.__setattr__(self, "optimizer_options", dict(self.optimizer_options))
        object.__setattr__(self, "metrics", dict(self.metrics))

    @property
    def label(self) -> str:
        """Name of the task in the journal of a sweep: another one for each task whose results may be different.

        It holds a digest of the names of the functions, the options, and the numbers in the data. What has no telling
        name (a lambda, a local function, data that are no tensors and print as an address) is named in it, and makes a
        journal ask for a label.
        """
        parts = {f.name: label_of(getattr(self, f.name)) for f in fields(self) if f.name not in _WITHOUT_EFFECT}
        vague = [f"{name}={part}, " for name, part in parts.items() if is_vague(part)]
        digest = hashlib.sha256(repr(parts).encode()).hexdigest()[:12]
        return f"{type(self).__module__}:{type(self).__qualname__}({''.join(vague)}sha={digest})"

    def __call__(self, *, lr: float, schedule: Schedule | str, seed: int) -> dict[str, float]:
        """Train once and return "loss", and what was asked for on the validation data.

        A trial that diverges ends there, with an infinite loss (and validation loss) and "diverged_at_step", the first
        step (from 0) whose objective was not finite or far too large; T when only the final one was not finite.

        Args:
            lr: the peak learning rate, finite and > 0.
            schedule: a `Schedule` or its spec.
            seed: a whole number >= 0.
        """
        if not (math.isfinite(lr) and lr > 0):
            raise DataError(f"lr must be a finite number > 0, got {lr!r}")
        model = self.initial_model(seed)
        watch = DivergenceWatch(factor=self.divergence_factor, patience=self.divergence_patience)
        diverged_at = None
        with self.noise_of(seed):
            for objectives in self._blocks(self.steps(model, lr=lr, schedule=schedule, seed=seed)):
                if (diverged_at := watch.see(objectives)) is not None:
                    break
            return self.outcome(model, diverged_at)

    def outcome(self, model: nn.Module, diverged_at: int | None) -> dict[str, float]:
        """Return what a trial returns that ended with `model`, or that diverged at a step."""
        if diverged_at is None:
            results = self.evaluate(model)
            if math.isfinite(results["loss"]):
                return results
            diverged_at = self.total_steps
        return self.failure(diverged_at)

    def failure(self, diverged_at: int) -> dict[str, float]:
        """Return what a trial returns that diverged at a step."""
        failed = {"loss": math.inf, "diverged_at_step": float(diverged_at)}
        return failed if self.validation_data is None else {**failed, "validation_loss": math.inf}

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
        """Choose how to train these trials together, after a short measurement; see `robust_lr.runners.Packable`."""
        task = self if device is None else replace(self, device=device)
        return plan_packs(
            task, trials, schedules, engine=engine, slots=slots, n_workers=n_workers, memory_limit=memory_limit
        )

    def initial_model(self, seed: int) -> nn.Module:
        """Return the untrained model of a seed, on the device."""
        device = torch.device(self.device)
        with _seeded(_stream(seed, _INITIAL), device):
            return self.make_model().to(device)

    def batch_indices(self, seed: int) -> Tensor:
        """Return which rows of the training data each step of a seed sees: int64, shape (total_steps, batch_size)."""
        n_rows, n = self.total_steps * self.batch_size, len(self.train_data[1])
        rows = torch.cat(list(islice(self._permutations(seed), -(-n_rows // n))))
        return rows[:n_rows].reshape(self.total_steps, self.batch_size)

    def objective(self, model: nn.Module, inputs: Any, targets: Any) -> Tensor:
        """Return ``loss(model(inputs), targets) + penalty(model)``, a scalar tensor."""
        value = self.loss(model(inputs), targets)
        if value.ndim:
            raise DataError(f"loss must return a scalar, the mean over the batch, not shape {tuple(value.shape)}")
        return value if self.penalty is None else value + self.penalty(model)

    def evaluate(self, model: nn.Module) -> dict[str, float]:
        """Return what a trial that ended with `model` returns: "loss", and what is asked for on the validation data."""
        was_training = model.training
        model.eval()
        try:
            with torch.no_grad():
                results = self._means(model, self.train_data, {"loss": self.loss})
                if self.penalty is not None:
                    results["loss"] += float(self.penalty(model))
                if self.validation_data is not None:
                    means = self._means(model, self.validation_data, {"loss": self.loss, **self.metrics})
                    results |= {f"validation_{name}": mean for name, mean in means.items()}
        finally:
            model.train(was_training)
        return results

    def steps(self, model: nn.Module, *, lr: float, schedule: Schedule | str, seed: int) -> Iterator[Tensor]:
        """Train the model, a step whenever the next value is asked for: the objective of each step, before its update.

        Inside of `noise_of(seed)`, else what the model draws comes from the caller's generators.
        """
        device = torch.device(self.device)
        optimizer = self.optimizer(model.parameters(), lr=lr, **self.optimizer_options)
        peaks = [group["lr"] for group in optimizer.param_groups]
        inputs, targets = (data.to(device) if isinstance(data, Tensor) else data for data in self.train_data)
        keys = self.noise_keys(seed)
        draws, checked = True, False
        multipliers = tabulated(parse_schedule(schedule), self.total_steps).tolist()
        for rows, key, multiplier in zip(self._batches(seed), keys, multipliers, strict=True):
            for group, peak in zip(optimizer.param_groups, peaks, strict=True):
                group["lr"] = peak * multiplier
            optimizer.zero_grad()
            x, y = inputs[rows].to(device), targets[rows].to(device)
            if draws:
                with CounterNoise(key) as noise:
                    objective = self.objective(model, x, y)
                with contextlib.nullcontext() if checked or not noise.n_calls else _NoDraws():  # type: ignore[no-untyped-call]
                    objective.backward()  # type: ignore[no-untyped-call]
                draws, checked = noise.n_calls > 0, True  # a model without dropout is spared the cost of looking for it
            else:
                objective = self.objective(model, x, y)
                objective.backward()  # type: ignore[no-untyped-call]
            if self.clip_norm is not None:
                nn.utils.clip_grad_norm_(model.parameters(), self.clip_norm)
            optimizer.step()
            yield objective.detach()

    def noise_of(self, seed: int) -> AbstractContextManager[None]:
        """Inside of it, torch's global generators (those of the device, too) are those of the seed's noise."""
        return _seeded(_stream(seed, _NOISE), torch.device(self.device))

    def noise_keys(self, seed: int) -> Tensor:
        """Return the key of the dropout masks of each step of a seed: int32, shape (total_steps,), on the device."""
        return torch.from_numpy(noise_keys(_stream(seed, _NOISE), self.total_steps)).to(self.device)

    def _blocks(self, objectives: Iterator[Tensor]) -> Iterator[list[float]]:
        """Yield the objectives in blocks of `check_every`; reading one waits for the device."""
        while block := list(islice(objectives, self.check_every)):
            yield torch.stack(block).tolist()

    def _batches(self, seed: int) -> Iterator[Tensor]:
        permutations = self._permutations(seed)
        rows = torch.empty(0, dtype=torch.int64)
        for _ in range(self.total_steps):
            if rows.shape[0] < self.batch_size:
                rows = torch.cat([rows, next(permutations)])
            yield rows[: self.batch_size]
            rows = rows[self.batch_size :]

    def _permutations(self, seed: int) -> Iterator[Tensor]:
        generator = torch.Generator().manual_seed(_stream(seed, _BATCHES))
        while True:
            yield torch.randperm(len(self.train_data[1]), generator=generator)

    def _means(
        self, model: nn.Module, data: tuple[Any, Any], functions: Mapping[str, Callable[[Any, Any], Tensor | float]]
    ) -> dict[str, float]:
        device, n = torch.device(self.device), len(data[1])
        sums = dict.fromkeys(functions, 0.0)
        for start in range(0, n, self.evaluation_batch_size):
            rows = torch.arange(start, min(start + self.evaluation_batch_size, n))
            outputs, targets = model(data[0][rows].to(device)), data[1][rows].to(device)
            for name, function in functions.items():
                sums[name] += float(function(outputs, targets)) * len(rows)
        return {name: total / n for name, total in sums.items()}


class _NoDraws(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Raises when a backward pass draws random numbers, as a checkpoint does that computes dropout again.

    `CounterNoise` is off there: the masks would be other ones than those of the forward pass.
    """

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        if torch.Tag.nondeterministic_seeded in func.tags:
            raise DataError("torch.utils.checkpoint would draw other dropout masks the second time; drop outside")
        return func(*args, **(kwargs or {}))


def _stream(seed: int, purpose: int) -> int:
    """Return the seed of one of the independent random streams of a trial's seed."""
    if not _is_whole(seed, at_least=0):
        raise DataError(f"seed must be a whole number of at least 0, got {seed!r}")
    return int(np.random.SeedSequence((int(seed), purpose)).generate_state(1, np.uint64)[0])


@contextmanager
def _seeded(seed: int, device: torch.device) -> Iterator[None]:
    """Seed the global generators of the CPU and of `device`, and put them back at the end."""
    on_cuda = device.type == "cuda"
    with torch.random.fork_rng([device] if on_cuda else [], device_type="cuda"):
        torch.default_generator.manual_seed(seed)  # torch.manual_seed would seed every GPU too, and those not forked
        if on_cuda:
            with torch.cuda.device(device):
                torch.cuda.manual_seed(seed)
        yield


def _check_task(task: SupervisedTask) -> None:
    for name in ("make_model", "loss", "optimizer", *(() if task.penalty is None else ("penalty",))):
        if not callable(getattr(task, name)):
            raise DataError(f"{name} must be callable, got {getattr(task, name)!r}")
    for name in ("total_steps", "batch_size", "evaluation_batch_size", "check_every"):
        if not _is_whole(getattr(task, name), at_least=1):
            raise DataError(f"{name} must be a whole number of at least 1, got {getattr(task, name)!r}")
    n = _count_rows("train_data", task.train_data)
    if task.batch_size > n:
        raise DataError(f"batch_size={task.batch_size} is more than the {n} rows of train_data")
    if task.validation_data is not None:
        _count_rows("validation_data", task.validation_data)
    elif task.metrics:
        raise DataError(f"metrics are computed on validation_data, which is missing: {', '.join(task.metrics)}")
    if wrong := [name for name, metric in task.metrics.items() if not callable(metric) or name == "loss"]:
        raise DataError(f"metrics must map names other than 'loss' to callables, got {', '.join(map(repr, wrong))}")
    DivergenceWatch(factor=task.divergence_factor, patience=task.divergence_patience)
    if task.clip_norm is not None and not (math.isfinite(task.clip_norm) and task.clip_norm > 0):
        raise DataError(f"clip_norm must be a finite number > 0 or None, got {task.clip_norm!r}")
    if str(task.device).partition(":")[0] not in ("cpu", "cuda"):
        raise DataError(f"device must be 'cpu' or 'cuda', perhaps with an index, got {task.device!r}")
    if "lr" in task.optimizer_options:
        raise DataError("optimizer_options must not hold lr: it comes with each trial")
    try:
        inspect.signature(task.optimizer).bind((), lr=1.0, **task.optimizer_options)
    except TypeError as error:
        raise DataError(f"optimizer does not take optimizer_options={task.optimizer_options!r}: {error}") from None


def _count_rows(name: str, data: tuple[Any, Any]) -> int:
    try:
        inputs, targets = data
        n, n_targets = len(inputs), len(targets)
    except (TypeError, ValueError):
        raise DataError(f"{name} must be a pair (inputs, targets), each with a length") from None
    if n != n_targets or n == 0:
        raise DataError(f"{name} must have as many inputs as targets, and at least one; got {n} and {n_targets}")
    first = torch.zeros(1, dtype=torch.int64)
    if not (isinstance(inputs[first], Tensor) and isinstance(targets[first], Tensor)):
        raise DataError(f"{name} must give tensors when indexed; make them of arrays with torch.as_tensor")
    return n


def _is_whole(value: object, *, at_least: int) -> bool:
    return isinstance(value, int | np.integer) and not isinstance(value, bool) and bool(value >= at_least)
