"""Covariates as features of a law: the logarithm of a number, their products, and one indicator for each level.

A category as rich as the data (a name for each sweep) is left out, since it tells nothing about another sweep.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations_with_replacement

import numpy as np
from numpy.typing import NDArray

from .._text import did_you_mean, listed
from ..exceptions import OptionError

Value = float | str
Array = NDArray[np.float64]
# What is plausible before any data: how the best learning rate changes with a number (the exponent), and with a level.
# And how an exponent changes with the log of a number: exponents of language models depend on the batch size.
_EXPONENT, _LEVEL, _CURVATURE = 0.5, 0.7, 0.05
# A number outside of what was seen by more than the seen range, and by more than this factor, is far from all.
_FAR = 4.0


@dataclass(frozen=True)
class Features:
    """The features of a collection.

    Attributes:
        numbers: name -> (smallest, geometric mean, largest) of a positive number.
        levels: name -> the levels of a category.
        ignored: the covariates left out.
    """

    numbers: Mapping[str, tuple[float, float, float]]
    levels: Mapping[str, tuple[str, ...]]
    ignored: tuple[str, ...] = ()

    @classmethod
    def of(cls, covariates: Sequence[Mapping[str, Value]]) -> Features:
        """Return the features of these sweeps."""
        numbers: dict[str, tuple[float, float, float]] = {}
        levels: dict[str, tuple[str, ...]] = {}
        ignored = []
        for name in covariates[0]:
            column = [each[name] for each in covariates]
            values = [value for value in column if not isinstance(value, str) and value > 0]
            known = tuple(sorted({_level(value) for value in column}))
            if len(values) == len(column):
                numbers[name] = min(values), math.exp(float(np.log(values).mean())), max(values)
            elif len(known) <= max(2, len(column) // 2):
                levels[name] = known
            else:
                ignored.append(name)
        return cls(numbers, levels, tuple(ignored))

    @cached_property
    def names(self) -> tuple[str, ...]:
        """The names of the features: a number's own, "a*b" of a product of two, "name=level" of a category."""
        levels = (f"{name}={level}" for name, levels in self.levels.items() for level in levels)
        return (*self.numbers, *self.products, *levels)

    @cached_property
    def products(self) -> tuple[str, ...]:
        """The names of the products of two numbers."""
        return tuple(f"{a}*{b}" for a, b in combinations_with_replacement(self.numbers, 2))

    @cached_property
    def plausible(self) -> Array:
        """How large each coefficient may be before any data (standard deviation), shape (K,)."""
        n, n_levels = len(self.numbers), sum(map(len, self.levels.values()))
        return np.array([_EXPONENT] * n + [_CURVATURE] * len(self.products) + [_LEVEL] * n_levels)

    @property
    def center(self) -> Array:
        """The features of the typical sweep, shape (K,)."""
        return np.zeros(len(self.names))

    def row(self, covariates: Mapping[str, Value]) -> tuple[Array, float]:
        """Return the features of one sweep, shape (K,), and the variance that unknown levels add."""
        row = [math.log(float(covariates[name]) / center) for name, (_, center, _) in self.numbers.items()]
        row += [a * b for a, b in combinations_with_replacement(row, 2)]
        unknown = 0.0
        for name, levels in self.levels.items():
            level = _level(covariates[name])
            row += [float(level == each) for each in levels]
            unknown += _LEVEL**2 * (level not in levels)
        return np.array(row), unknown

    def check(self, covariates: Mapping[str, object]) -> dict[str, Value]:
        """Return the covariates of a new sweep; raise an OptionError if one is missing, unknown or <= 0."""
        known = (*self.numbers, *self.levels)
        for name in covariates:
            if name not in known and name not in self.ignored:
                raise OptionError(
                    f"the prior has no {name!r}{did_you_mean(name, known) or f'; it knows {listed(known)}'}"
                )
        if missing := [name for name in known if name not in covariates]:
            raise OptionError(f"the prior needs {listed(known) or 'nothing'}; {listed(missing)} is missing")
        checked: dict[str, Value] = {}
        for name in known:
            value = covariates[name]
            if name in self.levels:
                checked[name] = value if isinstance(value, str) else float(value)  # type: ignore[arg-type]
                continue
            try:
                number = float(value)  # type: ignore[arg-type]
            except (TypeError, ValueError):
                number = math.nan
            if not 0 < number < math.inf or isinstance(value, bool):
                raise OptionError(f"{name} must be a number > 0, got {value!r}")
            checked[name] = number
        return checked

    def notes(self, covariates: Mapping[str, Value]) -> tuple[tuple[str, ...], bool]:
        """Return what lies outside of the known sweeps, in words, and whether it is far from all of them."""
        notes, is_far = [], False
        for name, (low, _, high) in self.numbers.items():
            value = float(covariates[name])
            factor = max(low / value, value / high)
            if factor > 1:
                far = factor > max(_FAR, high / low)
                is_far = is_far or far
                seen = f"{low:.4g}" if low == high else f"{low:.4g} to {high:.4g}"
                notes.append(f"{name} = {value:.4g} is {'far ' if far else ''}outside the earlier sweeps ({seen})")
        for name, levels in self.levels.items():
            if _level(covariates[name]) not in levels:
                shown = listed(levels, at_most=6)
                notes.append(f"{name} = {_level(covariates[name])} is unknown; the earlier sweeps have {shown}")
        return tuple(notes), is_far


def _level(value: Value) -> str:
    return value if isinstance(value, str) else f"{value:.6g}"
