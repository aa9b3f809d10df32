"""Optimizer updates of a stack of replicas, each with its own learning rate and step count: SGD, Adam, AdamW."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from robust_lr.exceptions import NotVectorizable


class UpdateRule(Protocol):
    """How an optimizer updates C replicas of one model at once, each as if it were alone.

    The stack holds each parameter of the model as one tensor of shape (C, ...), replica r in row r. What distinguishes
    the replicas at a step are the numbers c_r, shape (n_coefficients,): `coefficients` tabulates them for the steps of
    one replica, the caller gathers them, and `update` reads them. So replicas may be at different steps, unless
    `in_phase`; a replica takes the place of another by ``params[name][r] = ...`` and ``state[name][r] = 0``.
    """

    @property
    def traceable(self) -> bool:
        """Whether `update` may be traced (``make_fx``) and compiled: plain tensor operations, the same at each step."""

    @property
    def in_phase(self) -> bool:
        """Whether all replicas must be at the same step, from `initial_state` on, one stack at a time."""

    @property
    def n_coefficients(self) -> int:
        """Numbers that a replica has at each step."""

    def coefficients(self, lrs: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the numbers of a replica whose learning rate at its step t is ``lrs[t]``: (T, n_coefficients)."""

    def initial_state(self, params: dict[str, Tensor]) -> dict[str, Tensor]:
        """Return the state before step 0: zeros, with one row for each replica.

        Raises:
            NotVectorizable: when a parameter is neither float32 nor float64.
        """

    def update(
        self, params: dict[str, Tensor], grads: dict[str, Tensor], state: dict[str, Tensor], coefficients: Tensor
    ) -> None:
        """Make one step, in place on `params` and `state`.

        Args:
            params: plain tensors (C, ...) that record no gradients.
            grads: the gradient of each; left as it is.
            state: what `initial_state` returned.
            coefficients: floating, shape (n_coefficients, C).
        """


@dataclass(frozen=True, kw_only=True)
class SGDRule:
    """``torch.optim.SGD`` on a stack, in the order of its arithmetic, so that on a CPU it agrees to the bit.

    With the gradient g (plus ``weight_decay * p``), momentum mu and dampening tau, step t of a replica is::

        b <- mu b + (1 - tau) g      (b <- g at t = 0)
        p <- p - lr_t b              (p - lr_t (g + mu b) if nesterov, p - lr_t g if mu = 0)

    Args:
        momentum: mu >= 0.
        dampening: tau.
        weight_decay: >= 0.
        nesterov: look ahead.
        maximize: ascend.

    Example:
        >>> rule, params = SGDRule(), {"w": torch.ones(2, 1)}
        >>> lrs = torch.tensor([rule.coefficients(np.array([lr]))[0, 0] for lr in (0.5, 0.25)])
        >>> rule.update(params, {"w": torch.ones(2, 1)}, rule.initial_state(params), lrs.view(1, 2))
        >>> params["w"].tolist()
        [[0.5], [0.75]]
    """

    momentum: float = 0.0
    dampening: float = 0.0
    weight_decay: float = 0.0
    nesterov: bool = False
    maximize: bool = False

    traceable: ClassVar[bool] = True
    in_phase: ClassVar[bool] = False

    @property
    def n_coefficients(self) -> int:
        """One, the learning rate; with dampening also the weight of the gradient in the momentum."""
        return 2 if self._is_dampened else 1

    @property
    def _is_dampened(self) -> bool:
        return self.momentum != 0 and self.dampening != 0

    def coefficients(self, lrs: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return ``(lr_t,)``, or ``(lr_t, 1 - tau)`` with 1 in the place of the first ``1 - tau``."""
        if not self._is_dampened:
            return lrs[:, np.newaxis]
        weights = np.full_like(lrs, 1 - self.dampening)
        weights[:1] = 1
        return np.stack([lrs, weights], axis=1)

    def initial_state(self, params: dict[str, Tensor]) -> dict[str, Tensor]:
        """Return ``momentum:<name>`` for each parameter; nothing without momentum."""
        check_dtypes(params)
        return _zeros("momentum", params) if self.momentum else {}

    def update(
        self, params: dict[str, Tensor], grads: dict[str, Tensor], state: dict[str, Tensor], coefficients: Tensor
    ) -> None:
        """Make one step, in place on `params` and `state`."""
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
    """``torch.optim.Adam`` and ``AdamW`` on a stack, in the order of their arithmetic but for one rounding.

    With the gradient g, betas (b1, b2) and k = t + 1, step t of a replica is::

        m <- b1 m + (1 - b1) g
        v <- b2 v + (1 - b2) g^2
        p <- p - lr_t / (1 - b1^k) * m / (sqrt(v / (1 - b2^k)) + eps)

    after ``p <- (1 - lr_t weight_decay) p`` where the weight decay is decoupled (AdamW), else with ``weight_decay * p``
    added to g. With amsgrad the largest v so far stands in the place of v. Torch multiplies m by the step size before
    the division and not after it; as it is here, the update needs half of the memory and a third of the time.

    Args:
        betas: (b1, b2), each in [0, 1).
        eps: >= 0.
        weight_decay: >= 0.
        decoupled_weight_decay: as in AdamW.
        amsgrad: never let the step size grow again.
        maximize: ascend.

    Example:
        >>> rule, params = AdamRule(), {"w": torch.ones(2, 1)}
        >>> numbers = [rule.coefficients(np.array([lr]))[0] for lr in (0.5, 0.25)]
        >>> coefficients = torch.tensor(np.stack(numbers, axis=1))
        >>> rule.update(params, {"w": torch.ones(2, 1)}, rule.initial_state(params), coefficients)
        >>> [round(w, 6) for w in params["w"].flatten().tolist()]
        [0.5, 0.75]
    """

    betas: tuple[float, float] = (0.9, 0.999)
    eps: float = 1e-8
    weight_decay: float = 0.0
    decoupled_weight_decay: bool = False
    amsgrad: bool = False
    maximize: bool = False

    traceable: ClassVar[bool] = True
    in_phase: ClassVar[bool] = False

    @property
    def n_coefficients(self) -> int:
        """Two; three with a decoupled weight decay."""
        return 3 if self._decays else 2

    @property
    def _decays(self) -> bool:
        return self.decoupled_weight_decay and self.weight_decay != 0

    def coefficients(self, lrs: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return ``(lr_t / (1 - b1^k), sqrt(1 - b2^k))``, then ``1 - lr_t weight_decay`` if it is decoupled.

        The powers are those of Python's float, as in torch: in float32 they would be wrong in the fifth digit.
        """
        b1, b2 = self.betas
        steps = range(1, len(lrs) + 1)
        columns = [lrs / np.array([1 - b1**k for k in steps]), np.array([(1 - b2**k) ** 0.5 for k in steps])]
        if self._decays:
            columns.append(1 - lrs * self.weight_decay)
        return np.stack(columns, axis=1)

    def initial_state(self, params: dict[str, Tensor]) -> dict[str, Tensor]:
        """Return ``mean:<name>`` (m) and ``square:<name>`` (v), with amsgrad also ``largest_square:<name>``."""
        check_dtypes(params)
        state = _zeros("mean", params) | _zeros("square", params)
        return state | _zeros("largest_square", params) if self.amsgrad else state

    def update(
        self, params: dict[str, Tensor], grads: dict[str, Tensor], state: dict[str, Tensor], coefficients: Tensor
    ) -> None:
        """Make one step, in place on `params` and `state`."""
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


def per_replica(values: Tensor, param: Tensor) -> Tensor:
    """Return one number a replica, shape (C,), as it multiplies a parameter of the stack: (C, 1, ..., 1).

    Example:
        >>> per_replica(torch.tensor([1.0, 2.0]), torch.zeros(2, 5, 3)).shape
        torch.Size([2, 1, 1])
    """
    return values.to(param.dtype).view(-1, *[1] * (param.ndim - 1))


def check_dtypes(params: dict[str, Tensor]) -> None:
    """Raise `NotVectorizable` for a parameter in which the learning rate of a replica would be rounded too much."""
    for name, param in params.items():
        if param.dtype not in (torch.float32, torch.float64):
            raise NotVectorizable(f"a pack trains parameters of float32 or float64, but {name} is {param.dtype}")


def _zeros(kind: str, params: dict[str, Tensor]) -> dict[str, Tensor]:
    return {f"{kind}:{name}": torch.zeros_like(param) for name, param in params.items()}
