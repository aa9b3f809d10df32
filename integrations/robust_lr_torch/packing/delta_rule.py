"""Any elementwise optimizer on a stack of replicas: one step at one learning rate, scaled for each replica."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.optim import Optimizer

from robust_lr.exceptions import NotVectorizable

from .rules import check_dtypes, per_replica

# A power of two, so that it adds no rounding, and above any learning rate that works: the larger it is, the smaller is
# the error in q - p. It is not the largest learning rate of the stack, for then results would depend on the company.
_REFERENCE = 1024.0
_STEPS = 20  # of the probe: RAdam changes its rule at step 6, most that restart or look ahead do so every 5 or 10
_SHAPES = ((5,), (4, 3), (2, 3, 2, 2))
_PEAKS = (0.5, 0.05, 0.005, 0.1)
_MAGNITUDES = (1.0, 30.0, 0.0, float("nan"))  # of the gradients of each replica; the last is there for the others


class DeltaRule:
    """An optimizer whose update is elementwise and linear in the learning rate, on a stack of replicas.

    One optimizer steps the whole stack at a reference learning rate, from p to q; replica r, with lr_r, is given
    ``p + (q - p) * lr_r / reference``. The step count is the optimizer's own, so all replicas are in phase, and a rule
    trains one stack at a time: `initial_state` starts the next. `check_linear` says if an optimizer is such a one.

    Args:
        make_optimizer: makes the optimizer of the parameters that it gets.

    Example:
        >>> rule, params = DeltaRule(torch.optim.RMSprop), {"w": torch.zeros(3, 1)}
        >>> state = rule.initial_state(params)
        >>> rule.update(params, {"w": torch.ones(3, 1)}, state, torch.tensor([[0.1, 0.01, 0.0]]))
        >>> [round(w, 6) for w in params["w"].flatten().tolist()]
        [-1.0, -0.1, 0.0]
    """

    traceable: ClassVar[bool] = False
    in_phase: ClassVar[bool] = True
    n_coefficients: ClassVar[int] = 1

    def __init__(self, make_optimizer: Callable[[list[nn.Parameter]], Optimizer]) -> None:
        self._make_optimizer = make_optimizer

    def coefficients(self, lrs: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return ``(lr_t,)``."""
        return lrs[:, np.newaxis]

    def initial_state(self, params: dict[str, Tensor]) -> dict[str, Tensor]:
        """Make a new optimizer, which keeps the state to itself; return an empty state."""
        check_dtypes(params)
        with torch.inference_mode(mode=False):
            self._stepped = {name: nn.Parameter(param.detach().clone()) for name, param in params.items()}
            self._optimizer = self._make_optimizer(list(self._stepped.values()))
        return {}

    @torch.no_grad()
    def update(
        self, params: dict[str, Tensor], grads: dict[str, Tensor], state: dict[str, Tensor], coefficients: Tensor
    ) -> None:
        """Make one step, in place on `params`."""
        fractions = coefficients[0] / _REFERENCE
        for name, stepped in self._stepped.items():
            stepped.copy_(params[name])
            stepped.grad = grads[name]
        self._optimizer.param_groups[0]["lr"] = _REFERENCE
        self._optimizer.step()
        for name, stepped in self._stepped.items():
            params[name].lerp_(stepped, per_replica(fractions, stepped))
            stepped.grad = None


def check_linear(make_optimizer: Callable[[list[nn.Parameter]], Optimizer], name: str) -> None:
    """Raise `NotVectorizable` unless a `DeltaRule` trains each replica of a small stack as if it were alone.

    Replicas with different gradients, and learning rates that change from step to step, make 20 steps in float64 both
    ways; one has no gradient, and one has only NaN, which must not spread. What an optimizer does only after 20 steps
    is not seen. The random state of the caller is left as it was.

    Args:
        make_optimizer: makes the optimizer of the parameters that it gets.
        name: of the optimizer, for the error.

    Raises:
        NotVectorizable: when a replica in the stack and alone differ by more than 1e-9 of a value, or a step fails.

    Example:
        >>> check_linear(torch.optim.RMSprop, "RMSprop")
        >>> check_linear(torch.optim.ASGD, "ASGD")
        Traceback (most recent call last):
        robust_lr.exceptions.NotVectorizable: ASGD is not elementwise and linear in the learning rate: at step 0 ...
    """
    with torch.random.fork_rng(devices=[]):
        try:
            step = _first_difference(make_optimizer)
        except Exception as error:  # what an optimizer raises is its own affair
            raise NotVectorizable(f"{name} cannot step a stack of replicas: {first_line(error)}") from error
    if step is not None:
        raise NotVectorizable(
            f"{name} is not elementwise and linear in the learning rate: at step {step} a replica in a pack is not "
            "what it is alone, so its replicas have to be trained one after the other"
        )


def first_line(error: Exception) -> str:
    """Return the first line of what an error says, its type when it says nothing."""
    return (str(error).splitlines() or [type(error).__name__])[0]


def _first_difference(make_optimizer: Callable[[list[nn.Parameter]], Optimizer]) -> int | None:
    """Return the first step (from 0) of the probe after which a replica in the stack is not what it is alone."""
    generator = torch.Generator().manual_seed(0)

    def draw() -> dict[str, Tensor]:
        shapes = {str(shape): (len(_PEAKS), *shape) for shape in _SHAPES}
        return {k: torch.randn(shape, generator=generator, dtype=torch.float64) for k, shape in shapes.items()}

    stack = draw()
    rule = DeltaRule(make_optimizer)
    state = rule.initial_state(stack)
    alone = [[nn.Parameter(param[r].clone()) for param in stack.values()] for r in range(len(_PEAKS) - 1)]
    optimizers = [make_optimizer(parameters) for parameters in alone]
    peaks, magnitudes = torch.tensor([_PEAKS, _MAGNITUDES], dtype=torch.float64)
    for step in range(_STEPS):
        # Each replica has a schedule of another shape, so that a state in which learning rates add up shows.
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
