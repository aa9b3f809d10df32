"""Any elementwise optimizer on a stack of replicas: one step at one learning rate, scaled for each replica."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from robust_lr.exceptions import NotVectorizable

from ._not_vectorizable import not_vectorizable
from ._rules import Numbers, Stack, check_dtypes, per_replica

MakeOptimizer = Callable[[list[nn.Parameter]], Optimizer]

# A power of two, so that it adds no rounding, and above any learning rate that works: the larger it is, the smaller
# the error in q - p. With the largest learning rate of the stack, results would depend on the other replicas.
_REFERENCE = 1024.0
_STEPS = 20  # of the probe: RAdam changes its rule at step 6, most that restart or look ahead do so every 5 or 10
_SHAPES = ((5,), (4, 3), (2, 3, 2, 2))
_PEAKS = (0.5, 0.05, 0.005, 0.1)
_MAGNITUDES = (1.0, 30.0, 0.0, float("nan"))  # of the gradients of each replica; the last tests the others


class DeltaRule:
    """An optimizer whose update is elementwise and linear in the learning rate, on a stack of replicas.

    One optimizer steps the whole stack at a reference learning rate, from p to q; replica r, with lr_r, is given
    ``p + (q - p) * lr_r / reference``. The step count is the optimizer's own, so all replicas are in phase.
    """

    in_phase: ClassVar[bool] = True

    def __init__(self, make_optimizer: MakeOptimizer) -> None:
        self._make_optimizer = make_optimizer

    def coefficients(self, lrs: Numbers) -> Numbers:
        return lrs[:, np.newaxis]

    def initial_state(self, params: Stack) -> Stack:
        check_dtypes(params)
        with torch.inference_mode(mode=False):
            self._stepped = {name: nn.Parameter(param.detach().clone()) for name, param in params.items()}
            self._optimizer = self._make_optimizer(list(self._stepped.values()))
        return {}

    @torch.no_grad()
    def update(self, params: Stack, grads: Stack, state: Stack, coefficients: Tensor) -> None:
        for name, stepped in self._stepped.items():
            stepped.copy_(params[name])
            stepped.grad = grads[name]
        self._optimizer.param_groups[0]["lr"] = _REFERENCE
        self._optimizer.step()
        for name, stepped in self._stepped.items():
            params[name].addcmul_(stepped.sub_(params[name]), per_replica(coefficients[0] / _REFERENCE, stepped))
            stepped.grad = None


def check_linear(make_optimizer: MakeOptimizer, name: str) -> None:
    """Reject an optimizer unless a `DeltaRule` trains each replica of a small stack as it would alone.

    One of the replicas has no gradient, and one has only NaN, which must not spread.
    """
    with not_vectorizable(f"{name} cannot step a stack of replicas"), torch.random.fork_rng(devices=[]):
        step = _first_difference(make_optimizer)
    if step is not None:
        raise NotVectorizable(
            f"{name} is not elementwise and linear in the learning rate: at step {step} a replica in a pack is not "
            "what it is alone, so its replicas have to be trained one after the other"
        )


def _first_difference(make_optimizer: MakeOptimizer) -> int | None:
    generator = torch.Generator().manual_seed(0)

    def draw() -> Stack:
        shapes = {str(shape): (len(_PEAKS), *shape) for shape in _SHAPES}
        return {k: torch.randn(shape, generator=generator, dtype=torch.float64) for k, shape in shapes.items()}

    stack = draw()
    rule = DeltaRule(make_optimizer)
    state = rule.initial_state(stack)
    alone = [[nn.Parameter(param[r].clone()) for param in stack.values()] for r in range(len(_PEAKS) - 1)]
    optimizers = [make_optimizer(parameters) for parameters in alone]
    peaks, magnitudes = torch.tensor([_PEAKS, _MAGNITUDES], dtype=torch.float64)
    for step in range(_STEPS):
        # Each replica has a schedule of another shape, which reveals a state that accumulates learning rates.
        lrs = peaks * (1.1 + torch.sin(step + torch.arange(len(_PEAKS), dtype=torch.float64)))
        grads = {k: grad * per_replica(magnitudes, grad) for k, grad in draw().items()}
        rule.update(stack, grads, state, lrs[None])
        for r, (parameters, optimizer) in enumerate(zip(alone, optimizers, strict=True)):
            for parameter, grad in zip(parameters, grads.values(), strict=True):
                parameter.grad = grad[r]
            optimizer.param_groups[0]["lr"] = float(lrs[r])
            optimizer.step()
            for parameter, param in zip(parameters, stack.values(), strict=True):
                if not torch.allclose(param[r], parameter, rtol=1e-9, atol=1e-12, equal_nan=True):
                    return step
    return None
