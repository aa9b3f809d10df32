"""From a user's optimizer to the rule that updates a stack of replicas, and gradient clipping for each replica."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import SGD, Adam, AdamW, Optimizer

from robust_lr._checks import check_number
from robust_lr.exceptions import DataError, NotVectorizable

from .delta_rule import DeltaRule, check_linear, first_line
from .rules import AdamRule, SGDRule, per_replica
from .rules import UpdateRule as UpdateRule


def rule_for(make_optimizer: Callable[[list[nn.Parameter]], Optimizer]) -> UpdateRule:
    """Return the rule that updates each replica of a stack as the user's optimizer updates it alone.

    SGD, Adam and AdamW of ``torch.optim`` (not their subclasses) have rules of their own. Any other optimizer is probed
    first: it can be used if it is elementwise and linear in the learning rate (see `DeltaRule`). How torch would step,
    ``foreach`` or ``fused``, does not matter.

    Args:
        make_optimizer: makes the optimizer of the parameters that it gets, with any learning rate.

    Raises:
        NotVectorizable: for another kind of optimizer, several parameter groups, options that are tensors,
            ``differentiable=True``, hooks on the step, or a step that was replaced.

    Example:
        >>> rule_for(lambda parameters: SGD(parameters, lr=1.0, momentum=0.9))
        SGDRule(momentum=0.9, dampening=0, weight_decay=0, nesterov=False, maximize=False)
        >>> type(rule_for(torch.optim.RMSprop)).__name__
        'DeltaRule'
        >>> rule_for(torch.optim.ASGD)
        Traceback (most recent call last):
        robust_lr.exceptions.NotVectorizable: torch.optim.ASGD is not elementwise and linear in the learning rate: ...
    """
    parameters = [nn.Parameter(torch.zeros(shape)) for shape in ((3,), (2, 3), (2, 3, 1, 1))]
    try:
        optimizer = make_optimizer(parameters)
    except Exception as error:  # the user's function may fail in any way
        reason = f"the optimizer cannot be made for parameters of 1, 2 and 4 dimensions: {first_line(error)}"
        raise NotVectorizable(reason) from error
    if not isinstance(optimizer, Optimizer):
        raise NotVectorizable(f"a pack needs a torch.optim.Optimizer, got {type(optimizer).__name__}")
    kind = type(optimizer)
    is_public = getattr(torch.optim, kind.__name__, None) is kind
    name = f"torch.optim.{kind.__name__}" if is_public else f"{kind.__module__}.{kind.__qualname__}"
    options = _only_group(optimizer, parameters, name)
    if kind is SGD:
        names = ("momentum", "dampening", "weight_decay", "nesterov", "maximize")
        return SGDRule(**{option: options[option] for option in names})
    if kind in (Adam, AdamW):
        names = ("betas", "eps", "weight_decay", "amsgrad", "maximize")
        decoupled = kind is AdamW or options.get("decoupled_weight_decay", False)  # older versions have no such option
        return AdamRule(**{option: options[option] for option in names}, decoupled_weight_decay=decoupled)
    check_linear(make_optimizer, name)
    return DeltaRule(make_optimizer)


def rule_of(optimizer: Callable[..., Optimizer], options: Mapping[str, Any]) -> UpdateRule:
    """Return the rule of ``optimizer(parameters, lr=lr, **options)``, for any learning rate.

    Raises:
        NotVectorizable: as `rule_for`; and when the optimizer takes another learning rate than it is given, or other
            options with another learning rate.
    """

    def made(lr: float) -> Callable[[list[nn.Parameter]], Optimizer]:
        return lambda parameters: optimizer(parameters, lr=lr, **options)

    rule = rule_for(made(1.0))
    for lr in (1.0, 2.0**-7):
        (group,) = made(lr)([nn.Parameter(torch.zeros(3))]).param_groups
        (at_one,) = made(1.0)([nn.Parameter(torch.zeros(3))]).param_groups
        if group["lr"] != lr:
            raise NotVectorizable(
                f"the optimizer trains at another learning rate than it is given: {group['lr']}, not {lr}"
            )
        if other := [name for name in group if name not in ("params", "lr") and group[name] != at_one[name]]:
            raise NotVectorizable(f"the optimizer has another {other[0]} at another learning rate")
    return rule


def clip_grad_norm_per_replica(grads: dict[str, Tensor], max_norm: float) -> None:
    """Clip the gradient of each replica, in place, as ``torch.nn.utils.clip_grad_norm_`` does for one model.

    Replica r is multiplied by ``min(1, max_norm / (norm_r + 1e-6))``, where norm_r is the 2-norm over its gradients.

    Args:
        grads: tensors (C, ...), replica r in row r.
        max_norm: finite and > 0.

    Raises:
        DataError: when `max_norm` is out of range.

    Example:
        >>> grads = {"w": torch.tensor([[3.0, 4.0], [0.3, 0.4], [torch.nan, 0.0]])}
        >>> clip_grad_norm_per_replica(grads, max_norm=1.0)
        >>> grads["w"].tolist()
        [[0.5999..., 0.7999...], [0.300..., 0.400...], [nan, nan]]
    """
    check_number("max_norm", max_norm, above=0, error=DataError)
    if not grads:
        return
    norms = [torch.linalg.vector_norm(grad.unsqueeze(-1).flatten(1), dim=1) for grad in grads.values()]
    total = torch.linalg.vector_norm(torch.stack(norms, dim=1), dim=1)
    factors = (max_norm / (total + 1e-6)).clamp(max=1.0)
    for grad in grads.values():
        grad.mul_(per_replica(factors, grad))


def _only_group(optimizer: Optimizer, parameters: list[nn.Parameter], name: str) -> dict[str, Any]:
    """Return the options of the optimizer; raise when there is more to it than they say."""
    if len(optimizer.param_groups) != 1:
        raise NotVectorizable(f"{name} has {len(optimizer.param_groups)} parameter groups; a pack needs one")
    options: dict[str, Any] = optimizer.param_groups[0]
    if [id(p) for p in options["params"]] != [id(p) for p in parameters]:
        raise NotVectorizable(f"{name} does not hold the parameters of the model in their order; a pack needs them all")
    if optimizer._optimizer_step_pre_hooks or optimizer._optimizer_step_post_hooks:
        raise NotVectorizable(f"{name} has hooks on its step, which a pack would not call")
    if "step" in vars(optimizer):
        raise NotVectorizable(f"{name} has a step that was replaced, which a pack would not call")
    if "lr" not in options:
        raise NotVectorizable(f"{name} has no option lr; a pack sets it for each replica")
    for option, value in options.items():
        values = value if isinstance(value, tuple | list) else (value,)
        if option != "params" and any(isinstance(v, Tensor) for v in values):
            raise NotVectorizable(f"{name} has a tensor for {option}; a pack needs a number")
    if options.get("differentiable"):
        raise NotVectorizable(f"{name} is differentiable=True, which a pack is not")
    return options
