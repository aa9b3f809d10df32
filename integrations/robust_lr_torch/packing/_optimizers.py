"""The update rule of a stack of replicas, from a user's optimizer."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import SGD, Adam, AdamW, Optimizer

from robust_lr.exceptions import NotVectorizable

from .._run import needs_closure
from .._training import Training
from ._delta_rule import DeltaRule, MakeOptimizer, check_linear
from ._grouped_rule import Group, GroupedRule
from ._not_vectorizable import not_vectorizable
from ._rules import AdamRule, SGDRule, UpdateRule

_SLOWER = 2.0**-7  # a learning rate to compare with 1; a power of two scales without rounding
_SGD_OPTIONS = ("momentum", "dampening", "weight_decay", "nesterov", "maximize")
_ADAM_OPTIONS = ("betas", "eps", "weight_decay", "amsgrad", "maximize")
_NO_OPTIONS = ("params", "param_names", "lr")


def rule_of(task: Training, model: nn.Module) -> UpdateRule:
    """Return the rule that updates each replica of a stack as the task's optimizer updates the model alone.

    SGD, Adam and AdamW of ``torch.optim`` have rules of their own. Any other optimizer is probed first.
    """
    optimizer, slower = checked_optimizer(task, model), task.make_optimizer(model, _SLOWER)
    if len(optimizer.param_groups) != len(slower.param_groups):
        raise NotVectorizable("the optimizer has other parameter groups at another learning rate")
    for group, other in zip(optimizer.param_groups, slower.param_groups, strict=True):
        _refuse_other_options(group, other)
    names = {id(param): name for name, param in model.named_parameters()}
    groups = tuple(
        Group(frozenset(names[id(p)] for p in group["params"]), group["lr"], _rule_of_group(task, optimizer, group))
        for group in optimizer.param_groups
    )
    return groups[0].rule if [group.factor for group in groups] == [1.0] else GroupedRule(groups)


def checked_optimizer(task: Training, model: nn.Module) -> Optimizer:
    """Return the optimizer of a model at a learning rate of 1, unless it has more to it than its options."""
    with not_vectorizable("the optimizer cannot be made for the parameters of the model"):
        optimizer = task.make_optimizer(model, 1.0)
    if not isinstance(optimizer, Optimizer):
        raise NotVectorizable(f"a pack needs a torch.optim.Optimizer, got {type(optimizer).__name__}")
    if obstacle := _obstacle(optimizer, model):
        raise NotVectorizable(f"{_name_of(optimizer)} {obstacle}")
    return optimizer


def _rule_of_group(task: Training, optimizer: Optimizer, group: Mapping[str, Any]) -> UpdateRule:
    kind = type(optimizer)
    options = {name: value for name, value in group.items() if name not in _NO_OPTIONS}
    if kind is SGD:  # not its subclasses
        return SGDRule(**{name: options[name] for name in _SGD_OPTIONS})
    if kind in (Adam, AdamW):
        decoupled = kind is AdamW or options.get("decoupled_weight_decay", False)  # older versions have no such option
        return AdamRule(**{name: options[name] for name in _ADAM_OPTIONS}, decoupled_weight_decay=decoupled)
    make_optimizer, name = _maker(task, optimizer, options), _name_of(optimizer)
    check_linear(make_optimizer, name)
    return DeltaRule(make_optimizer)


def _maker(task: Training, optimizer: Optimizer, options: Mapping[str, Any]) -> MakeOptimizer:
    """Return a function that makes the optimizer of one group, for other parameters."""
    make: Callable[..., Optimizer] = partial(task.optimizer, lr=1.0, **task.optimizer_options)
    if len(optimizer.param_groups) == 1 and task.parameter_groups is None:
        return make
    if _is_public(type(optimizer)):  # and so has no options outside of its groups
        make = type(optimizer)
    with not_vectorizable("an optimizer of your own makes its groups itself; give them by parameter_groups="):
        make([{"lr": 1.0, **options, "params": [nn.Parameter(torch.zeros(3))]}])
    return lambda parameters: make([{"lr": 1.0, **options, "params": parameters}])


def _refuse_other_options(at_one: Mapping[str, Any], slower: Mapping[str, Any]) -> None:
    if slower["lr"] != at_one["lr"] * _SLOWER:
        raise NotVectorizable(
            "the optimizer trains at another learning rate than it is given, and not at a fixed multiple of it: "
            f"{slower['lr']} for {_SLOWER}, {at_one['lr']} for 1"
        )
    if other := [name for name in at_one if name not in _NO_OPTIONS and slower[name] != at_one[name]]:
        raise NotVectorizable(f"the optimizer has another {other[0]} at another learning rate")


def _obstacle(optimizer: Optimizer, model: nn.Module) -> str | None:
    if needs_closure(optimizer):
        return "cannot step a stack of replicas: its step calls a closure, as often as that replica needs"
    held = {id(param) for group in optimizer.param_groups for param in group["params"]}
    to_train = {id(param) for param in model.parameters() if param.requires_grad}
    if not to_train <= held <= {id(param) for param in model.parameters()}:
        return "does not hold the parameters of the model; a pack needs them all, and no others"
    if optimizer._optimizer_step_pre_hooks or optimizer._optimizer_step_post_hooks:
        return "has hooks on its step, which a pack would not call"
    if "step" in vars(optimizer):
        return "has a step that was replaced, which a pack would not call"
    return next(filter(None, map(_obstacle_in_options, optimizer.param_groups)), None)


def _obstacle_in_options(options: Mapping[str, Any]) -> str | None:
    if "lr" not in options:
        return "has no option lr; a pack sets it for each replica"
    for option, value in options.items():
        values = value if isinstance(value, tuple | list) else (value,)
        if option != "params" and any(isinstance(v, Tensor) for v in values):
            return f"has a tensor for {option}; a pack needs a number"
    return "is differentiable=True, which a pack is not" if options.get("differentiable") else None


def _name_of(optimizer: Optimizer) -> str:
    kind = type(optimizer)
    return f"torch.optim.{kind.__name__}" if _is_public(kind) else f"{kind.__module__}.{kind.__qualname__}"


def _is_public(kind: type[Optimizer]) -> bool:
    return getattr(torch.optim, kind.__name__, None) is kind
