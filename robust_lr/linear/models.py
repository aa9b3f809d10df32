"""Linear, logistic and softmax regression as a training function, without torch."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any, Unpack, get_args

import numpy as np
from numpy.typing import NDArray

from .._checks import check_number, check_whole
from .._labels import label_of
from ..divergence import DivergenceWatch
from ..exceptions import DataError, NotVectorizable
from ..runners import SequentialEvaluator
from ..runners.packed import PackOptions, PackPlan
from ..schedules.closed_forms import Schedule
from ..schedules.specs import parse_schedule
from ..trials import TrialSpec
from ._sgd import Kind, LinearProblem, losses, plan_closed_form, train_alone

Array = NDArray[Any]

_NAME = "robust_lr.linear_models:LinearModelTask"  # unchanged since version 0.1.0, because journals contain it


@dataclass(frozen=True, kw_only=True, eq=False)
class LinearModelTask:
    """A `TrainFunction` that trains ``outputs = inputs @ W + b`` by mini-batch SGD from zero.

    Step t = 0..T-1 takes B rows and the learning rate ``lr * schedule(t, T)`` on the objective
    ``F(W, b) = loss + weight_decay / 2 * |W|**2``. With n examples of d inputs and k outputs, the loss is

    - "linear": the mean of ``(outputs - targets)**2`` over all n k numbers;
    - "logistic": the mean binary cross-entropy of ``sigmoid(outputs)`` over all n k numbers;
    - "softmax": the mean cross-entropy over the n rows; k is one more than the largest class number.

    "loss" is F over the whole training set. The seed draws the batches, with replacement, by
    ``numpy.random.default_rng(seed).integers(n, size=(T, B))``: the same for every learning rate and schedule. The
    inputs' type is used throughout. `PackedRunner` trains many trials together, with the same results up to rounding.

    Args:
        kind: "linear", "logistic" or "softmax".
        train_data: (inputs, targets): inputs float32 or float64, shape (n, d); targets of shape (n,) or (n, k), in
            [0, 1] for "logistic"; for "softmax" whole class numbers >= 0, shape (n,).
        total_steps: T, >= 1.
        batch_size: B, >= 1.
        momentum: >= 0; the update is that of `torch.optim.SGD`.
        dampening: the share of a gradient that does not enter the momentum, in [0, 1].
        nesterov: whether to use Nesterov momentum; it needs momentum > 0 and no dampening.
        weight_decay: the coefficient of the penalty, >= 0; it excludes the bias.
        has_bias: whether the model has a bias b.
        validation_data: as `train_data`; adds "validation_loss", without the penalty, and for "softmax", and for
            "logistic" where all its targets are 0 or 1, "validation_accuracy".
        divergence_factor: > 1; see `robust_lr.divergence.DivergenceWatch`.
        divergence_patience: steps, >= 1.

    Raises:
        DataError: when an argument violates any of the above.

    Example:
        >>> x = np.linspace(-1, 1, 16)[:, None]
        >>> task = LinearModelTask(kind="linear", train_data=(x, 3 * x + 1), total_steps=100, batch_size=4)
        >>> task(lr=0.3, schedule="cosine", seed=0)["loss"] < 1e-3
        True
        >>> task(lr=300.0, schedule="cosine", seed=0)["loss"]
        inf
    """

    kind: Kind
    train_data: tuple[Array, Array] = field(repr=False)
    total_steps: int
    batch_size: int
    momentum: float = 0.0
    dampening: float = 0.0
    nesterov: bool = False
    weight_decay: float = 0.0
    has_bias: bool = True
    validation_data: tuple[Array, Array] | None = field(default=None, repr=False)
    divergence_factor: float = 1e6
    divergence_patience: int = 100

    def __post_init__(self) -> None:
        if self.kind not in get_args(Kind):
            raise DataError(f"kind must be one of {', '.join(get_args(Kind))}, got {self.kind!r}")
        for name in ("total_steps", "batch_size"):
            self._set(name, check_whole(name, getattr(self, name), at_least=1, error=DataError))
        for name in ("momentum", "weight_decay"):
            self._set(name, check_number(name, getattr(self, name), at_least=0, error=DataError))
        self._set("dampening", check_number("dampening", self.dampening, error=DataError, at_least=0, at_most=1))
        if self.nesterov and (self.momentum == 0 or self.dampening != 0):
            raise DataError(
                f"nesterov needs momentum > 0 and dampening 0, got momentum={self.momentum}, dampening={self.dampening}"
            )
        DivergenceWatch(factor=self.divergence_factor, patience=self.divergence_patience)
        self._set("train_data", _checked_data("train_data", self.kind, self.train_data))
        if self.validation_data is None:
            return
        self._set("validation_data", _checked_data("validation_data", self.kind, self.validation_data))
        expected, found = (
            " and ".join(f"{a.dtype}{list(a.shape[1:])}" for a in data)
            for data in (self.train_data, self.validation_data)
        )
        if expected != found:
            raise DataError(f"validation_data must have the columns and types of train_data, {expected}; got {found}")

    def _set(self, name: str, value: object) -> None:
        object.__setattr__(self, name, value)

    @property
    def label(self) -> str:
        """Name of the task in a journal; tasks whose results may differ have different names."""
        parts = {f.name: label_of(getattr(self, f.name)) for f in fields(self)}
        digest = hashlib.sha256(repr(parts).encode()).hexdigest()[:12]
        kind = type(self)
        name = _NAME if kind is LinearModelTask else f"{kind.__module__}:{kind.__qualname__}"
        return f"{name}({self.kind}, sha={digest})"

    def __call__(self, *, lr: float, schedule: Schedule | str, seed: int) -> dict[str, float]:
        """Train once and return "loss" and the figures on the validation data.

        A trial that diverges, as `robust_lr.divergence.DivergenceWatch` judges the objectives of its batches, ends at
        that step, with an infinite loss (and validation loss) and "diverged_at_step", counted from 0; it is T if only
        the final loss is not finite.

        Args:
            lr: the peak learning rate, finite and > 0.
            schedule: a `Schedule` or its spec.
            seed: a whole number >= 0.

        Raises:
            DataError: when `lr` or `seed` is out of range.
        """
        return train_alone(self.problem, lr=lr, schedule=parse_schedule(schedule), seed=seed)

    def plan_packs(
        self, trials: Sequence[TrialSpec], schedules: Mapping[str, Schedule], **options: Unpack[PackOptions]
    ) -> PackPlan:
        """Choose how to train these trials; see `robust_lr.runners.packed.Packable`.

        Raises:
            NotVectorizable: for any engine but "auto", "closed_form" and "sequential", and for any device but the CPU.
        """
        engine, device = options["engine"], options["device"]
        if engine == "sequential":
            return PackPlan(engine, 1, 1.0, lambda _: SequentialEvaluator(self, dict(schedules)), "sequential")
        if engine not in ("auto", "closed_form"):
            raise NotVectorizable(f"a LinearModelTask is trained by engine='closed_form', not by {engine!r}")
        if device not in (None, "cpu"):
            raise NotVectorizable(f"the closed-form engine runs on the CPU, not on {device!r}")
        return plan_closed_form(self.problem, trials, schedules, options)

    def initial(self, seed: int) -> tuple[Array, Array | None]:
        """Return the weights, shape (d, k), and the bias, shape (k,), or None: zeros for every seed."""
        inputs, targets = self.train_data
        k = targets.shape[1] if self.kind != "softmax" else 1 + max(int(t.max()) for _, t in self._data())
        return np.zeros((inputs.shape[1], k), inputs.dtype), np.zeros(k, inputs.dtype) if self.has_bias else None

    def batches(self, seed: int) -> NDArray[np.int64]:
        """Return the rows of the training data that each step of a seed uses, shape (T, B)."""
        seed = check_whole("seed", seed, at_least=0, error=DataError)
        size = (self.total_steps, self.batch_size)
        return np.random.default_rng(seed).integers(0, len(self.train_data[0]), size=size)

    def evaluate(self, weights: Array, bias: Array | None) -> dict[str, float]:
        """Return the figures of a model: "loss" and those on the validation data."""
        with np.errstate(all="ignore"):  # divergence is a result
            outputs = [inputs @ weights + (0 if bias is None else bias) for inputs, _ in self._data()]
            means = [
                float(losses(self.kind, z[None, ..., None].copy(), y[None], np.ones((1, 1), z.dtype))[0, 0])
                for z, (_, y) in zip(outputs, self._data(), strict=True)
            ]
            square = float(np.sum(np.square(weights, dtype=np.float64)))
        figures = {"loss": means[0] + 0.5 * self.weight_decay * square}
        if self.validation_data is not None:
            figures["validation_loss"] = means[1]
            targets = self.validation_data[1]
            if self.kind == "softmax":
                figures["validation_accuracy"] = float(np.mean(outputs[1].argmax(axis=1) == targets))
            elif self.kind == "logistic" and np.isin(targets, (0, 1)).all():
                figures["validation_accuracy"] = float(np.mean((outputs[1] > 0) == targets))
        return figures

    @property
    def problem(self) -> LinearProblem:
        """The task in the form that the closed-form engine trains."""
        names = ("kind", "total_steps", "batch_size", "momentum", "dampening", "nesterov", "weight_decay")
        shared = {name: getattr(self, name) for name in (*names, "divergence_factor", "divergence_patience")}
        return LinearProblem(
            inputs=self.train_data[0],
            targets=self.train_data[1],
            initial=self.initial,
            batches=self.batches,
            evaluate=self.evaluate,
            diverged=self._diverged,
            penalty=self.weight_decay,
            **shared,
        )

    def _diverged(self, step: int) -> dict[str, float]:
        figures = {"loss": math.inf, "diverged_at_step": float(step)}
        return figures if self.validation_data is None else {**figures, "validation_loss": math.inf}

    def _data(self) -> list[tuple[Array, Array]]:
        return [self.train_data, *([] if self.validation_data is None else [self.validation_data])]


def _checked_data(name: str, kind: Kind, data: tuple[Array, Array]) -> tuple[Array, Array]:
    """Return read-only copies: inputs (n, d), and targets (n, k) or class numbers (n,)."""
    try:
        inputs, targets = (np.array(part, order="C") for part in data)
    except (TypeError, ValueError):
        raise DataError(f"{name} must be a pair of arrays (inputs, targets)") from None
    if inputs.dtype not in (np.float32, np.float64) or inputs.ndim != 2 or inputs.size == 0:
        raise DataError(f"the inputs of {name} must be float32 or float64 of shape (n, d), got {_shape(inputs)}")
    if len(targets.shape) not in (1, 2) or len(targets) != len(inputs) or targets.size == 0:
        raise DataError(f"{name} must have as many targets as inputs, {len(inputs)}; got targets {_shape(targets)}")
    if kind == "softmax":
        if targets.ndim != 1 or not np.issubdtype(targets.dtype, np.integer) or targets.min() < 0:
            wanted = "whole class numbers >= 0, one per row"
            raise DataError(f"the targets of {name} must be {wanted}, got {_shape(targets)}")
        targets = targets.astype(np.intp)
    else:
        if not (np.issubdtype(targets.dtype, np.number) or targets.dtype == bool) or np.iscomplexobj(targets):
            raise DataError(f"the targets of {name} must be numbers, got {_shape(targets)}")
        targets = targets.astype(inputs.dtype).reshape(len(targets), -1)
        if kind == "logistic" and not ((targets >= 0) & (targets <= 1)).all():
            raise DataError(f"the targets of {name} must be in [0, 1], got {targets.min():g} to {targets.max():g}")
    for array in (inputs, targets):
        array.flags.writeable = False
    return inputs, targets


def _shape(array: Array) -> str:
    least = f", least {array.min()}" if np.issubdtype(array.dtype, np.integer) and array.size else ""
    return f"{array.dtype} of shape {array.shape}{least}"
