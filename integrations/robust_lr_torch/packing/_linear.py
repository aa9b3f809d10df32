"""Recognizes the tasks that the closed-form engine can train: one linear layer, a standard loss, SGD."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from robust_lr.exceptions import NotVectorizable
from robust_lr.linear._sgd import Kind, LinearProblem

from .._training import Training
from ._grouped_rule import GroupedRule
from ._optimizers import rule_of
from ._rules import SGDRule, UpdateRule

_LOSSES: dict[Any, tuple[Kind, type[nn.Module]]] = {
    functional.mse_loss: ("linear", nn.MSELoss),
    functional.binary_cross_entropy_with_logits: ("logistic", nn.BCEWithLogitsLoss),
    functional.cross_entropy: ("softmax", nn.CrossEntropyLoss),
}
_Array = NDArray[Any]


def linear_problem(task: Training) -> LinearProblem:
    tensors = task.examples.tensors
    if tensors is None or len(tensors) != 2 or isinstance(task.examples.columns, Mapping):
        raise _no("the data are not tensors of inputs and targets")
    inputs, targets = tensors
    if torch.device(task.device).type != "cpu" or inputs.is_cuda or targets.is_cuda:
        raise _no("it runs on the CPU only")
    if any(option is not None for option in (task.penalty, task.clip_norm, task.autocast)):
        raise _no("it has no penalty, no clipping and no autocast")
    kind, model = _kind(task.loss), task.initial_model(0)
    layer = _layer(model)
    rule, decays_bias = _sgd(rule_of(task, model))
    flattens = any(type(m) is nn.Flatten for m in model.modules())
    if inputs.flatten(1).shape[1] != layer.in_features or not (inputs.ndim == 2 or flattens):
        raise _no("the model must map each input to its outputs by one linear layer")
    _check_types(kind, layer, inputs, targets)
    parts = _Parts(task)
    return LinearProblem(
        kind=kind,
        inputs=np.asarray(inputs.detach().flatten(1)),
        targets=np.asarray(targets.detach()),
        total_steps=task.total_steps,
        batch_size=task.batch_size,
        initial=parts.initial,
        batches=parts.batches,
        evaluate=parts.evaluate,
        diverged=task.failure,
        decays_bias=decays_bias,
        divergence_factor=task.divergence_factor,
        divergence_patience=task.divergence_patience,
        **{name: getattr(rule, name) for name in ("momentum", "dampening", "nesterov", "weight_decay")},
    )


@dataclass(frozen=True)
class _Parts:
    """The task's parts for the closed form, as arrays that pickle."""

    task: Training

    def initial(self, seed: int) -> tuple[_Array, _Array | None]:
        layer = _layer(self.task.initial_model(seed))
        bias = None if layer.bias is None else layer.bias.detach().numpy()
        return np.ascontiguousarray(layer.weight.detach().numpy().T), bias

    def batches(self, seed: int) -> _Array:
        return np.asarray(self.task.batch_indices(seed))

    def evaluate(self, weights: _Array, bias: _Array | None) -> dict[str, float]:
        model = self.task.initial_model(0)
        layer = _layer(model)
        with torch.no_grad():
            layer.weight.copy_(torch.from_numpy(np.ascontiguousarray(weights.T)))
            if bias is not None:
                layer.bias.copy_(torch.from_numpy(np.ascontiguousarray(bias)))
        return self.task.evaluate(model)


def _sgd(rule: UpdateRule) -> tuple[SGDRule, bool]:
    """Return the rule of the weights, and whether it decays the bias as well."""
    groups = {name: group for group in rule.groups for name in group.names} if isinstance(rule, GroupedRule) else {}
    if any(group.factor != 1 for group in groups.values()):
        raise _no("the optimizer trains at another learning rate than it is given")
    rules = {name.rpartition(".")[2]: group.rule for name, group in groups.items()} or {"weight": rule, "bias": rule}
    weight, bias = rules["weight"], rules.get("bias", rules["weight"])
    if not (isinstance(weight, SGDRule) and isinstance(bias, SGDRule)) or weight.maximize:
        raise _no("the optimizer must be torch.optim.SGD")
    if bias not in (weight, replace(weight, weight_decay=0.0)):
        raise _no("the parameter groups may differ in the weight decay of the bias only, and that must be 0")
    return weight, bias == weight


def _check_types(kind: Kind, layer: nn.Linear, inputs: Tensor, targets: Tensor) -> None:
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


def _kind(loss: Any) -> Kind:
    for function, (kind, module) in _LOSSES.items():
        if loss is function or (type(loss) is module and _options(loss) == _options(module())):
            return kind
    raise _no("the loss must be mse_loss, binary_cross_entropy_with_logits or cross_entropy, with its defaults")


def _options(loss: nn.Module) -> dict[str, Any]:
    """Return the options and buffers of a loss; a tensor among them equals only itself."""
    plain = {name: value for name, value in vars(loss).items() if not name.startswith("_")}
    return {**plain, **{name: id(buffer) for name, buffer in loss.named_buffers()}}


def _layer(model: nn.Module) -> nn.Linear:
    *before, last = (list(model) if type(model) is nn.Sequential else [model]) or [model]
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
