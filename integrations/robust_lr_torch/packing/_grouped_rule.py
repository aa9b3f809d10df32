"""The update rule of an optimizer with parameter groups: one rule for each, at a multiple of the learning rate."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from torch import Tensor

from ._rules import Numbers, Stack, UpdateRule


@dataclass(frozen=True)
class Group:
    names: frozenset[str]  # of its parameters
    factor: float  # its learning rate is this multiple of the trial's
    rule: UpdateRule


@dataclass(frozen=True)
class GroupedRule:
    groups: tuple[Group, ...]

    @property
    def in_phase(self) -> bool:
        return any(group.rule.in_phase for group in self.groups)

    def coefficients(self, lrs: Numbers) -> Numbers:
        return np.concatenate([group.rule.coefficients(group.factor * lrs) for group in self.groups], axis=1)

    def initial_state(self, params: Stack) -> Stack:
        return {k: v for group, own in self._with_parameters(params) for k, v in group.rule.initial_state(own).items()}

    def update(self, params: Stack, grads: Stack, state: Stack, coefficients: Tensor) -> None:
        rows = dict(zip(self.groups, coefficients.split_with_sizes(self._n_coefficients), strict=True))
        for group, own in self._with_parameters(params):
            group.rule.update(own, {name: grads[name] for name in own}, state, rows[group])

    def _with_parameters(self, params: Stack) -> Iterator[tuple[Group, Stack]]:
        for group in self.groups:
            if own := {name: param for name, param in params.items() if name in group.names}:
                yield group, own  # a group of frozen or unused parameters has none

    @cached_property
    def _n_coefficients(self) -> list[int]:
        return [group.rule.coefficients(np.zeros(1)).shape[1] for group in self.groups]
