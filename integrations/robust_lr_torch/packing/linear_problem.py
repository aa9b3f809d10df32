"""Recognises the tasks that the closed-form engine can train: one linear layer, a standard loss, SGD."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from robust_lr.exceptions import NotVectorizable
from robust_lr.linear.closed_form import Kind

from .replica_optimizers import rule_of
from .rules import SGDRule
from .trainable import Trainable

_LOSSES: dict[Any, Kind] = {
    functional.mse_loss: "linear",
    functional.binary_cross_entropy_with_logits: "logistic",
    functional.cross_entropy: "softmax",
}
_LOSS_MODULES: dict[type[nn.Module], Kind] = {
    nn.MSELoss: "linear",
    nn.BCEWithLogitsLoss: "logistic",
    nn.CrossEntropyLoss: "softmax",
}


@dataclass(frozen=True)
class SupervisedLinearProblem:
    """A `SupervisedTask` as a `robust_lr.linear.closed_form.LinearProblem`; make it by `linear_problem`."""

    task: Trainable = field(repr=False)
    kind: Kind
    momentum: float
    dampening: float
    nesterov: bool
    weight_decay: float
    total_steps: int
    penalty: float = 0.0  # weight decay is not in the objective of the task

    @property
    def inputs(self) -> NDArray[Any]:
        """The training inputs, shape (n, d)."""
        return np.asarray(self.task.train_data[0].detach().flatten(1))

    @property
    def targets(self) -> NDArray[Any]:
        """The targets: class numbers, shape (n,), or numbers, shape (n, k)."""
        return np.asarray(self.task.train_data[1].detach())

    @property
    def bias_decay(self) -> float:
        """As torch's SGD has it, the same as that of the weights."""
        return self.weight_decay

    @property
    def divergence_factor(self) -> float:
        """See `DivergenceWatch`."""
        return self.task.divergence_factor

    @property
    def divergence_patience(self) -> int:
        """See `DivergenceWatch`."""
        return self.task.divergence_patience

    def initial(self, seed: int) -> tuple[NDArray[Any], NDArray[Any] | None]:
        """Return the initial weights, shape (d, k), and bias, shape (k,), of a seed."""
        layer = _layer(self.task.initial_model(seed))
        bias = None if layer.bias is None else layer.bias.detach().numpy()
        return np.ascontiguousarray(layer.weight.detach().numpy().T), bias

    def batches(self, seed: int) -> NDArray[np.int64]:
        """Return the rows that each step sees, shape (T, B)."""
        return np.asarray(self.task.batch_indices(seed)[: self.total_steps])

    def evaluate(self, weights: NDArray[Any], bias: NDArray[Any] | None) -> dict[str, float]:
        """Return what the task returns for a model with these weights."""
        model = self.task.initial_model(0)
        layer = _layer(model)
        with torch.no_grad():
            layer.weight.copy_(torch.from_numpy(np.ascontiguousarray(weights.T)))
            if bias is not None:
                layer.bias.copy_(torch.from_numpy(np.ascontiguousarray(bias)))
        return self.task.evaluate(model)

    def diverged(self, step: int) -> dict[str, float]:
        """Return what the task returns for a trial that diverged at this step."""
        return self.task.failure(step)


def linear_problem(task: Trainable) -> SupervisedLinearProblem:
    """Return the task as a problem for the closed-form engine.

    The model must be one `nn.Linear`, perhaps after an `nn.Flatten`; the loss `mse_loss`,
    `binary_cross_entropy_with_logits` or `cross_entropy`, as a function or a module, with its defaults; the optimizer
    `torch.optim.SGD`; without penalty or clipping, on the CPU.

    Raises:
        NotVectorizable: when it is another kind of task; the reason says what stands in the way.
    """
    inputs, targets = task.train_data
    if not (isinstance(inputs, Tensor) and isinstance(targets, Tensor)):
        raise _no("the data are not tensors")
    if torch.device(task.device).type != "cpu" or inputs.is_cuda or targets.is_cuda:
        raise _no("it runs on the CPU only")
    if task.penalty is not None or task.clip_norm is not None:
        raise _no("it has no penalty and no clipping")
    kind = _kind(task.loss)
    layer = _layer(task.initial_model(0))
    rule = rule_of(task.optimizer, task.optimizer_options)
    if not isinstance(rule, SGDRule) or rule.maximize:
        raise _no("the optimizer must be torch.optim.SGD")
    dtype = layer.weight.dtype
    expected = inputs.shape[:1] if kind == "softmax" else (len(inputs), layer.out_features)
    if tuple(targets.shape) != tuple(expected):
        raise _no(f"the targets must have shape {tuple(expected)}, not {tuple(targets.shape)}")
    if kind == "softmax" and not (targets.dtype == torch.int64 and targets.min() >= 0):
        raise _no("the targets of cross_entropy must be class numbers")
    if inputs.dtype != dtype or dtype not in (torch.float32, torch.float64):
        raise _no(f"inputs and weights must both be float32 or float64, not {inputs.dtype} and {dtype}")
    if kind != "softmax" and targets.dtype != dtype:
        raise _no(f"the targets must be {dtype}, not {targets.dtype}")
    flattens = any(type(m) is nn.Flatten for m in task.initial_model(0).modules())
    if inputs.flatten(1).shape[1] != layer.in_features or not (inputs.ndim == 2 or flattens):
        raise _no("the model must map each input to its outputs by one linear layer")
    return SupervisedLinearProblem(
        task=task,
        kind=kind,
        momentum=rule.momentum,
        dampening=rule.dampening,
        nesterov=rule.nesterov,
        weight_decay=rule.weight_decay,
        total_steps=task.total_steps,
    )


def _kind(loss: Any) -> Kind:
    if isinstance(loss, nn.Module):
        kind = _LOSS_MODULES.get(type(loss))
        default = type(loss)() if kind else None
        plain = {name: value for name, value in vars(loss).items() if not name.startswith("_")}
        if kind and not dict(loss.named_buffers()) and plain == {n: v for n, v in vars(default).items() if n[0] != "_"}:
            return kind
    elif loss in _LOSSES:
        return _LOSSES[loss]
    raise _no("the loss must be mse_loss, binary_cross_entropy_with_logits or cross_entropy, with its defaults")


def _layer(model: nn.Module) -> nn.Linear:
    """Return the one layer of a model that is nothing but a linear layer."""
    layers = list(model) if type(model) is nn.Sequential else [model]
    *before, last = layers or [model]
    plain = all(
        type(m) is nn.Identity or (type(m) is nn.Flatten and (m.start_dim, m.end_dim) == (1, -1)) for m in before
    )
    hooked = any(
        m._forward_hooks or m._forward_pre_hooks or m._backward_hooks or m._backward_pre_hooks for m in model.modules()
    ) or any(p._backward_hooks or getattr(p, "_post_accumulate_grad_hooks", None) for p in model.parameters())
    if type(last) is not nn.Linear or not plain or hooked or not all(p.requires_grad for p in model.parameters()):
        raise _no("the model must be one nn.Linear, perhaps after nn.Flatten")
    return last


def _no(reason: str) -> NotVectorizable:
    return NotVectorizable(f"the closed-form engine does not fit: {reason}")
