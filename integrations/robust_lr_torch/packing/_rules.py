"""Optimizer updates of a stack of replicas, each with its own learning rate and step count: SGD, Adam, AdamW.

The stack holds each parameter of the model as one tensor of shape (C, ...), replica r in row r. At a step, the replicas
differ in a few numbers each: `coefficients` tabulates them for the steps of one replica, `update` gets those of all
replicas at their current steps. So replicas may be at different steps, unless `in_phase`; a replica replaces another by
``params[name][r] = ...`` and ``state[name][r] = 0``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from robust_lr.exceptions import NotVectorizable

Stack = dict[str, Tensor]  # tensors of all replicas by name, each of shape (C, ...)
Numbers = NDArray[np.float64]


class UpdateRule(Protocol):
    @property
    def in_phase(self) -> bool: ...  # all replicas must be at the same step, from `initial_state` on; else traceable

    def coefficients(self, lrs: Numbers) -> Numbers: ...  # of a replica with these learning rates, (T, n)

    def initial_state(self, params: Stack) -> Stack: ...  # before step 0: zeros, with one row for each replica

    def update(self, params: Stack, grads: Stack, state: Stack, coefficients: Tensor) -> None: ...  # (n, C)


@dataclass(frozen=True, kw_only=True)
class SGDRule:
    """``torch.optim.SGD``, in the order of its arithmetic. With the gradient g (plus ``weight_decay * p``), step t is::

    b <- mu b + (1 - tau) g      (b <- g at t = 0)
    p <- p - lr_t b              (p - lr_t (g + mu b) if nesterov, p - lr_t g if mu = 0)
    """

    momentum: float = 0.0
    dampening: float = 0.0
    weight_decay: float = 0.0
    nesterov: bool = False
    maximize: bool = False
    in_phase: ClassVar[bool] = False

    def coefficients(self, lrs: Numbers) -> Numbers:
        if self.momentum == 0 or self.dampening == 0:
            return lrs[:, np.newaxis]
        weights = np.full_like(lrs, 1 - self.dampening)
        weights[:1] = 1
        return np.stack([lrs, weights], axis=1)

    def initial_state(self, params: Stack) -> Stack:
        check_dtypes(params)
        return _zeros("momentum", params) if self.momentum else {}

    def update(self, params: Stack, grads: Stack, state: Stack, coefficients: Tensor) -> None:
        lr, *weight = coefficients
        for name, param in params.items():
            grad = -grads[name] if self.maximize else grads[name]
            if self.weight_decay:
                grad = grad.add(param, alpha=self.weight_decay)
            if self.momentum:
                buffer = state[f"momentum:{name}"].mul_(self.momentum)
                if weight:
                    buffer.addcmul_(grad, per_replica(weight[0], param))
                else:
                    buffer.add_(grad)
                grad = grad.add(buffer, alpha=self.momentum) if self.nesterov else buffer
            param.addcmul_(grad, per_replica(lr, param), value=-1)


@dataclass(frozen=True, kw_only=True)
class AdamRule:
    """``torch.optim.Adam`` and ``AdamW``. With the gradient g, betas (b1, b2) and k = t + 1, step t is::

        m <- b1 m + (1 - b1) g,  v <- b2 v + (1 - b2) g^2
        p <- p - lr_t / (1 - b1^k) * m / (sqrt(v / (1 - b2^k)) + eps)

    Torch multiplies m by the step size before the division; here it is after: half the memory, a third of the time.
    """

    betas: tuple[float, float] = (0.9, 0.999)
    eps: float = 1e-8
    weight_decay: float = 0.0
    decoupled_weight_decay: bool = False
    amsgrad: bool = False
    maximize: bool = False
    in_phase: ClassVar[bool] = False

    def coefficients(self, lrs: Numbers) -> Numbers:
        b1, b2 = self.betas
        steps = range(1, len(lrs) + 1)  # powers of Python's float: in float32 they would be wrong in the fifth digit
        columns = [lrs / np.array([1 - b1**k for k in steps]), np.array([(1 - b2**k) ** 0.5 for k in steps])]
        if self.decoupled_weight_decay and self.weight_decay:
            columns.append(1 - lrs * self.weight_decay)
        return np.stack(columns, axis=1)

    def initial_state(self, params: Stack) -> Stack:
        check_dtypes(params)
        state = _zeros("mean", params) | _zeros("square", params)
        return state | _zeros("largest_square", params) if self.amsgrad else state

    def update(self, params: Stack, grads: Stack, state: Stack, coefficients: Tensor) -> None:
        b1, b2 = self.betas
        step_size, correction, *decay = coefficients
        for name, param in params.items():
            grad = -grads[name] if self.maximize else grads[name]
            if decay:
                param.mul_(per_replica(decay[0], param))
            elif self.weight_decay:
                grad = grad.add(param, alpha=self.weight_decay)
            mean = state[f"mean:{name}"].lerp_(grad, 1 - b1)
            square = state[f"square:{name}"].mul_(b2).addcmul_(grad, grad, value=1 - b2)
            if self.amsgrad:
                largest = state[f"largest_square:{name}"]
                square = torch.maximum(largest, square, out=largest)
            scale = square.sqrt().div_(per_replica(correction, param)).add_(self.eps)
            direction = torch.div(mean, scale, out=scale)  # the one temporary as large as the stack
            param.addcmul_(direction, per_replica(step_size, param), value=-1)


def clip_grad_norm_per_replica(grads: Stack, max_norm: float) -> None:
    norms = [torch.linalg.vector_norm(grad.unsqueeze(-1).flatten(1), dim=1) for grad in grads.values()]
    total = torch.linalg.vector_norm(torch.stack(norms, dim=1), dim=1)
    factors = (max_norm / (total + 1e-6)).clamp(max=1.0)
    for grad in grads.values():
        grad.mul_(per_replica(factors, grad))


def per_replica(values: Tensor, param: Tensor) -> Tensor:
    """Reshape one number per replica, (C,), to multiply a stack of parameters: (C, 1, ..., 1); never less than float32.

    In half precision a learning rate would be off by up to 0.4 %. Torch computes a product of both types in float32
    and rounds the result, as it does with the number of an optimizer.
    """
    return values.to(torch.promote_types(param.dtype, torch.float32)).view(-1, *[1] * (param.ndim - 1))


def check_dtypes(params: Stack) -> None:
    for name, param in params.items():
        if not param.is_floating_point():
            raise NotVectorizable(f"a pack trains real parameters, but {name} is {param.dtype}")


def _zeros(kind: str, params: Stack) -> Stack:
    return {f"{kind}:{name}": torch.zeros_like(param) for name, param in params.items()}
