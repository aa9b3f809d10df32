"""Samples of what an optimizer's steps do to its parameters, a few values of each group."""

from __future__ import annotations

import gc
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from robust_lr.doctor import Move

_VALUES = 64  # of a parameter
_CANDIDATES = 2  # parameters of a group
_GROUPS = 8
_FEWEST = 3  # samples, for a conclusion
_BECAUSE_OF_THE_TENSOR = (RuntimeError, NotImplementedError, TypeError, AttributeError)  # sharded, say


class ParameterMoves:
    """Compares a few values of each group before and after some steps: the first ones, then ever fewer."""

    def __init__(self) -> None:
        self._next = 0
        self._before: list[tuple[int, float, list[tuple[Tensor, Tensor]]]] = []
        self._seen: list[tuple[int, float, Tensor, Tensor]] = []
        self._n_backward = 0
        self._counted: Any = None
        self._given: list[Tensor] = []  # what the first backward passes gave
        self._has_lost = False

    def before_step(self, optimizer: Optimizer, step: int, rates: tuple[float, ...]) -> None:
        """Note the values before a step."""
        if step < self._next:
            return
        self._next = step + max(1, step // 32)
        self._before = []
        for number, group in enumerate(optimizer.param_groups[:_GROUPS]):
            try:
                chosen = [p for p in group["params"] if p.requires_grad and p.is_floating_point()][:_CANDIDATES]
                self._before.append((number, rates[number], [(p, _sample(p).clone()) for p in chosen]))
            except _BECAUSE_OF_THE_TENSOR:
                self._next = 1 << 62

    def after_step(self) -> None:
        """Note what the step did, without waiting for the device."""
        before, self._before = self._before, []
        for number, rate, values in before:
            try:
                known = [(p, old, p.grad) for p, old in values if p.grad is not None]
                moved = [torch.linalg.vector_norm((_sample(p) - old).double()) for p, old, _ in known]
                slopes = [torch.linalg.vector_norm(_sample(gradient).double()) for *_, gradient in known]
                zero = torch.zeros((), dtype=torch.float64)
                self._seen.append((number, rate, _largest(moved, zero), _largest(slopes, zero)))
            except _BECAUSE_OF_THE_TENSOR:
                self._next = 1 << 62

    def count_backward(self, optimizer: Optimizer) -> None:
        """Count backward passes from now on, by the first parameter that is trained."""
        parameters = (p for group in optimizer.param_groups for p in group["params"])
        first = next((p for p in parameters if p.requires_grad and p.is_leaf), None)

        def count(parameter: Tensor) -> None:
            self._n_backward += 1
            if len(self._given) < _FEWEST and parameter.grad is not None:
                self._given.append(parameter.grad.detach().count_nonzero())

        if first is not None and self._counted is None:
            self._counted = first.register_post_accumulate_grad_hook(count)

    def take_n_backward(self) -> int:
        """Return the number of backward passes since the last call."""
        n, self._n_backward = self._n_backward, 0
        return n

    def taken(self) -> list[Move]:
        """Return all samples."""
        return [Move(number, rate, float(moved), float(slope) > 0) for number, rate, moved, slope in self._seen]

    @property
    def has_no_gradients(self) -> bool:
        """Whether no sample had a gradient."""
        return len(self._seen) >= _FEWEST and not any(float(slope) > 0 for *_, slope in self._seen)

    def look_for_gradients(self, optimizer: Optimizer) -> None:
        """Note whether a step is about to be taken without any of the gradients that backward passes gave."""
        left = (p.grad for group in optimizer.param_groups for p in group["params"] if p.grad is not None)
        given = len(self._given) == _FEWEST and all(bool(each) for each in self._given)
        self._has_lost = given and not any(bool(each.count_nonzero()) for each in left)

    @property
    def has_lost_gradients(self) -> bool:
        """Whether no sample had a gradient, and none was left at the last look either, though backward gave some."""
        return self._has_lost and self.has_no_gradients

    def close(self) -> None:
        """Remove the counter of backward passes."""
        if self._counted is not None:
            self._counted.remove()


def _sample(tensor: Tensor) -> Tensor:
    flat = tensor.detach().reshape(-1)
    return flat[:: max(1, flat.shape[0] // _VALUES)][:_VALUES]


def _largest(values: list[Tensor], zero: Tensor) -> Tensor:
    return torch.stack([v.reshape(()) for v in values]).max() if values else zero


def gradients_elsewhere(optimizer: Optimizer) -> dict[int, tuple[int, int]]:
    """Return the state of each gradient of parameters that are shaped like those of the optimizer, but not in it."""
    own = {id(p) for group in optimizer.param_groups for p in group["params"]}
    shapes = {p.shape for group in optimizer.param_groups for p in group["params"] if p.requires_grad}
    others = [p for p in gc.get_objects() if issubclass(type(p), nn.Parameter) and p.grad is not None]
    return {id(p): (id(p.grad), p.grad._version) for p in others if p.shape in shapes and id(p) not in own}
