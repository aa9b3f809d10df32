"""The update rule of a stack of replicas, from a user's optimizer."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import SGD, Adam, AdamW, Optimizer

from robust_lr.exceptions import NotVectorizable

from ._delta_rule import DeltaRule, MakeOptimizer, check_linear
from ._not_vectorizable import not_vectorizable
from ._rules import AdamRule, SGDRule, UpdateRule


def rule_of(optimizer: Callable[..., Optimizer], options: Mapping[str, Any]) -> UpdateRule:
    def made(lr: float) -> MakeOptimizer:
        return lambda parameters: optimizer(parameters, lr=lr, **options)

    rule = rule_for(made(1.0))
    for lr in (1.0, 2.0**-7):
        group, at_one = (made(value)([nn.Parameter(torch.zeros(3))]).param_groups[0] for value in (lr, 1.0))
        if group["lr"] != lr:
            raise NotVectorizable(
                f"the optimizer trains at another learning rate than it is given: {group['lr']}, not {lr}"
            )
        if other := [name for name in group if name not in ("params", "lr") and group[name] != at_one[name]]:
            raise NotVectorizable(f"the optimizer has another {other[0]} at another learning rate")
    return rule


def rule_for(make_optimizer: MakeOptimizer) -> UpdateRule:
    """Return the rule that updates each replica of a stack as the user's optimizer updates it alone.

    SGD, Adam and AdamW of ``torch.optim`` (not their subclasses) have rules of their own. Any other is probed first.
    """
    parameters = [nn.Parameter(torch.zeros(shape)) for shape in ((3,), (2, 3), (2, 3, 1, 1))]
    with not_vectorizable("the optimizer cannot be made for parameters of 1, 2 and 4 dimensions"):
        optimizer = make_optimizer(parameters)
    if not isinstance(optimizer, Optimizer):
        raise NotVectorizable(f"a pack needs a torch.optim.Optimizer, got {type(optimizer).__name__}")
    kind = type(optimizer)
    is_public = getattr(torch.optim, kind.__name__, None) is kind
    name = f"torch.optim.{kind.__name__}" if is_public else f"{kind.__module__}.{kind.__qualname__}"
    if obstacle := _obstacle(optimizer, parameters):
        raise NotVectorizable(f"{name} {obstacle}")
    options: dict[str, Any] = optimizer.param_groups[0]
    if kind is SGD:
        names = ("momentum", "dampening", "weight_decay", "nesterov", "maximize")
        return SGDRule(**{option: options[option] for option in names})
    if kind in (Adam, AdamW):
        names = ("betas", "eps", "weight_decay", "amsgrad", "maximize")
        decoupled = kind is AdamW or options.get("decoupled_weight_decay", False)  # older versions have no such option
        return AdamRule(**{option: options[option] for option in names}, decoupled_weight_decay=decoupled)
    check_linear(make_optimizer, name)
    return DeltaRule(make_optimizer)


def _obstacle(optimizer: Optimizer, parameters: list[nn.Parameter]) -> str | None:
    if len(optimizer.param_groups) != 1:
        return f"has {len(optimizer.param_groups)} parameter groups; a pack needs one"
    options: dict[str, Any] = optimizer.param_groups[0]
    if [id(p) for p in options["params"]] != [id(p) for p in parameters]:
        return "does not hold the parameters of the model in their order; a pack needs them all"
    if optimizer._optimizer_step_pre_hooks or optimizer._optimizer_step_post_hooks:
        return "has hooks on its step, which a pack would not call"
    if "step" in vars(optimizer):
        return "has a step that was replaced, which a pack would not call"
    if "lr" not in options:
        return "has no option lr; a pack sets it for each replica"
    for option, value in options.items():
        values = value if isinstance(value, tuple | list) else (value,)
        if option != "params" and any(isinstance(v, Tensor) for v in values):
            return f"has a tensor for {option}; a pack needs a number"
    return "is differentiable=True, which a pack is not" if options.get("differentiable") else None
