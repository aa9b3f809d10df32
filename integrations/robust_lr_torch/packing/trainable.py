"""What the engines that train packs need of a task; `SupervisedTask` is one."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from robust_lr.schedules.closed_forms import Schedule


class Trainable(Protocol):
    """A task that can be trained step by step, and whose parts can be had one by one; see `SupervisedTask` for them.

    The methods depend on nothing but their arguments: what an engine puts together from them is what the task does.
    """

    @property
    def make_model(self) -> Callable[[], nn.Module]:
        """Makes a new module."""

    @property
    def train_data(self) -> tuple[Any, Any]:
        """Inputs and targets."""

    @property
    def loss(self) -> Callable[[Any, Any], Tensor]:
        """``loss(outputs, targets)``."""

    @property
    def total_steps(self) -> int:
        """T, the number of steps."""

    @property
    def batch_size(self) -> int:
        """B, the rows of a batch."""

    @property
    def optimizer(self) -> Callable[..., Optimizer]:
        """``optimizer(parameters, lr=lr, **optimizer_options)``."""

    @property
    def optimizer_options(self) -> Mapping[str, Any]:
        """Options of the optimizer."""

    @property
    def penalty(self) -> Callable[[nn.Module], Tensor] | None:
        """What is added to the loss."""

    @property
    def clip_norm(self) -> float | None:
        """What gradients are clipped to."""

    @property
    def device(self) -> str | torch.device:
        """Where it trains."""

    @property
    def check_every(self) -> int:
        """Steps between two looks at the objective."""

    @property
    def divergence_factor(self) -> float:
        """See `DivergenceWatch`."""

    @property
    def divergence_patience(self) -> int:
        """See `DivergenceWatch`."""

    def __call__(self, *, lr: float, schedule: Schedule, seed: int) -> Mapping[str, float]:
        """Train once."""

    def initial_model(self, seed: int) -> nn.Module:
        """Return the untrained model of a seed, on the device."""

    def batch_indices(self, seed: int) -> Tensor:
        """Return the rows of each step: int64, shape (T, B)."""

    def noise_of(self, seed: int) -> AbstractContextManager[None]:
        """Seed torch's global generators inside."""

    def noise_keys(self, seed: int) -> Tensor:
        """Return the key of the dropout masks of each step: int32, shape (T,)."""

    def objective(self, model: nn.Module, inputs: Any, targets: Any) -> Tensor:
        """Return the scalar that is minimised."""

    def steps(self, model: nn.Module, *, lr: float, schedule: Schedule, seed: int) -> Iterator[Tensor]:
        """Train a model alone, a step for each value."""

    def evaluate(self, model: nn.Module) -> dict[str, float]:
        """Return the final figures of a model."""

    def outcome(self, model: nn.Module, diverged_at: int | None) -> dict[str, float]:
        """Return what a trial returns that ended with `model`, or diverged at a step."""

    def failure(self, diverged_at: int) -> dict[str, float]:
        """Return what a trial returns that diverged at a step."""
