"""Sequential training, in parts that packs can recombine: models, batches, noise, objective, evaluation."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from functools import cached_property
from itertools import islice
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from robust_lr._checks import check_whole
from robust_lr.divergence import DivergenceWatch
from robust_lr.exceptions import DataError
from robust_lr.schedules.closed_forms import Schedule, tabulated
from robust_lr.schedules.specs import parse_schedule

from ._examples import Examples, examples_of, outputs_of
from ._run import TrainingRun
from .packing._dropout import noise_keys

_INITIAL, _BATCHES, _NOISE = range(3)  # each seed has one random stream for each of these


@dataclass(frozen=True, kw_only=True, eq=False)
class Training:
    """The fields of a `SupervisedTask`, and its training of one trial at a time."""

    make_model: Callable[[], nn.Module]
    train_data: Any = field(repr=False)
    loss: Callable[[Any, Any], Tensor]
    total_steps: int
    batch_size: int = None  # type: ignore[assignment]  # a number once it is made
    optimizer: Callable[..., Optimizer] = torch.optim.SGD
    optimizer_options: Mapping[str, Any] = field(default_factory=dict)
    parameter_groups: Callable[..., Any] | None = None
    validation_data: Any = field(default=None, repr=False)
    metrics: Mapping[str, Callable[[Any, Any], Tensor | float]] = field(default_factory=dict)
    penalty: Callable[[nn.Module], Tensor] | None = None
    clip_norm: float | None = None
    device: str | torch.device = "cpu"
    autocast: torch.dtype | None = None
    evaluation_batch_size: int = 1024
    check_every: int = 50
    divergence_factor: float = 1e6
    divergence_patience: int = 100

    def __call__(self, *, lr: float, schedule: Schedule | str, seed: int) -> dict[str, float]:
        """Train once and return "loss" and the other figures; see the class.

        A trial that diverges ends there, with an infinite loss (and training loss) and "diverged_at_step", the first
        step (from 0) whose objective was not finite or far too large; T if only the final one was not finite.

        Args:
            lr: the peak learning rate, finite and > 0.
            schedule: a `Schedule` or its spec.
            seed: a whole number >= 0.

        Raises:
            DataError: when `lr` or `seed` is out of range.
        """
        run = self.start(lr=lr, seed=seed)
        run.advance(self._multipliers(schedule))
        return run.evaluate()

    def start(self, *, lr: float, seed: int) -> TrainingRun:
        """Return a training that is about to begin, for any number of steps; `total_steps` has no part in it.

        Args:
            lr, seed: as in a call of the task.
        """
        if not (math.isfinite(lr) and lr > 0):
            raise DataError(f"lr must be a finite number > 0, got {lr!r}")
        return TrainingRun(self, self.initial_model(seed), lr=lr, seed=seed)

    def outcome(self, model: nn.Module, n_steps: int | None = None) -> dict[str, float]:
        results = self.evaluate(model)
        is_finite = math.isfinite(results["loss"] + results.get("training_loss", 0.0))
        return results if is_finite else self.failure(self.total_steps if n_steps is None else n_steps)

    def failure(self, diverged_at: int) -> dict[str, float]:
        failed = {"loss": math.inf, "diverged_at_step": float(diverged_at)}
        return failed if self.validation_data is None else {**failed, "training_loss": math.inf}

    def watch(self) -> DivergenceWatch:
        return DivergenceWatch(factor=self.divergence_factor, patience=self.divergence_patience)

    def initial_model(self, seed: int) -> nn.Module:
        device = torch.device(self.device)
        with _seeded(_stream(seed, _INITIAL), device):
            return self.make_model().to(device)

    def make_optimizer(self, model: nn.Module, lr: float) -> Optimizer:
        parameters = model.parameters() if self.parameter_groups is None else self.parameter_groups(model, lr=lr)
        return self.optimizer(parameters, lr=lr, **self.optimizer_options)

    def batch_indices(self, seed: int) -> Tensor:
        """Return the training rows that each step of a seed uses: int64, shape (total_steps, batch_size)."""
        n_rows = self.total_steps * self.batch_size
        epochs = islice(self._epochs(seed), -(-n_rows // len(self.examples)))
        return torch.cat(list(epochs))[:n_rows].view(self.total_steps, self.batch_size)

    @cached_property
    def examples(self) -> Examples:
        return examples_of("train_data", self.train_data)

    @cached_property
    def validation_examples(self) -> Examples | None:
        return None if self.validation_data is None else examples_of("validation_data", self.validation_data)

    def objective(self, model: nn.Module, inputs: Any, targets: Any) -> Tensor:
        with self._precision():
            value = self.loss(outputs_of(model, inputs), targets)
            if value.ndim:
                raise DataError(f"loss must return a scalar, the mean over the batch, not shape {tuple(value.shape)}")
            return value if self.penalty is None else value + self.penalty(model)

    def evaluate(self, model: nn.Module) -> dict[str, float]:
        """Return the figures of a trained model; see the class."""
        was_training = model.training
        model.eval()
        try:
            with torch.no_grad(), self._precision():
                objective = self._means(model, self.examples, {"loss": self.loss})["loss"]
                if self.penalty is not None:
                    objective += float(self.penalty(model))
                if self.validation_examples is None:
                    return {"loss": objective}
                means = self._means(model, self.validation_examples, {"loss": self.loss, **self.metrics})
        finally:
            model.train(was_training)
        figures = {"loss": means.pop("loss"), "training_loss": objective}
        return figures | {f"validation_{name}": mean for name, mean in means.items()}

    def steps(self, model: nn.Module, *, lr: float, schedule: Schedule | str, seed: int) -> Iterator[Tensor]:
        """Train the model lazily, and yield the objective of each step before its update.

        Use it inside `noise_of(seed)`, else the model draws from the caller's generators.
        """
        return TrainingRun(self, model, lr=lr, seed=seed).steps(self._multipliers(schedule))

    def _multipliers(self, schedule: Schedule | str) -> list[float]:
        multipliers: list[float] = tabulated(parse_schedule(schedule), self.total_steps).tolist()
        return multipliers

    def noise_of(self, seed: int) -> AbstractContextManager[None]:
        """Set torch's global generators, also those of the device, to the seed's noise inside the context."""
        return _seeded(_stream(seed, _NOISE), torch.device(self.device))

    def noise_keys(self, seed: int, n_steps: int | None = None) -> Tensor:
        """Return the key of the dropout masks of each step of a seed: int32, shape (n_steps,), on the device."""
        n = self.total_steps if n_steps is None else n_steps
        return torch.from_numpy(noise_keys(_stream(seed, _NOISE), n)).to(self.device)

    def batches(self, seed: int, first: int = 0) -> Iterator[Tensor]:
        """Yield the training rows of each step of a seed from step `first` on, without end."""
        return islice(self._batches(seed), first, None)

    def _precision(self) -> AbstractContextManager[Any]:
        on = torch.device(self.device).type
        return nullcontext() if self.autocast is None else torch.autocast(on, self.autocast)

    def _batches(self, seed: int) -> Iterator[Tensor]:
        rows, epochs = torch.empty(0, dtype=torch.int64), self._epochs(seed)
        while True:
            if rows.shape[0] < self.batch_size:
                rows = torch.cat([rows, next(epochs)])
            yield rows[: self.batch_size]
            rows = rows[self.batch_size :]

    def _epochs(self, seed: int) -> Iterator[Tensor]:
        generator, n = torch.Generator().manual_seed(_stream(seed, _BATCHES)), len(self.examples)
        while True:
            yield torch.randperm(n, generator=generator) if self.examples.is_shuffled else torch.arange(n)

    def _means(
        self, model: nn.Module, data: Examples, functions: Mapping[str, Callable[[Any, Any], Tensor | float]]
    ) -> dict[str, float]:
        n, sums = len(data), dict.fromkeys(functions, 0.0)
        for start in range(0, n, self.evaluation_batch_size):
            rows = torch.arange(start, min(start + self.evaluation_batch_size, n))
            inputs, targets = data.batch(rows, self.device)
            outputs = outputs_of(model, inputs)
            for name, function in functions.items():
                sums[name] += float(function(outputs, targets)) * len(rows)
        return {name: total / n for name, total in sums.items()}


def _stream(seed: int, purpose: int) -> int:
    seed = check_whole("seed", seed, at_least=0, error=DataError)
    return int(np.random.SeedSequence((seed, purpose)).generate_state(1, np.uint64)[0])


@contextmanager
def _seeded(seed: int, device: torch.device) -> Iterator[None]:
    """Seed the global generators of the CPU and of `device`, and restore them at the end."""
    on_cuda = device.type == "cuda"
    with torch.random.fork_rng([device] if on_cuda else [], device_type="cuda"):
        torch.default_generator.manual_seed(seed)  # torch.manual_seed would also seed GPUs that are not saved here
        if on_cuda:
            with torch.cuda.device(device):
                torch.cuda.manual_seed(seed)
        yield
