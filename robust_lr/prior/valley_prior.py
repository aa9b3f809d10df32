"""`ValleyPrior`: what earlier sweeps expect of the next one, before its first trial."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from statistics import NormalDist
from typing import Any, Self

from .._checks import check_number
from ..exceptions import DataError

# The level of every statement about a new sweep.
LEVEL = 0.95


@dataclass(frozen=True, kw_only=True)
class ValleyPrior:
    """What earlier sweeps expect of one new sweep; pass it to a search as ``prior=``.

    `LearningRatePrior.at` makes it. Around the best learning rate, half of it costs `left_rise` and twice of it
    `right_rise`; farther away the cost grows with the powers. All spreads are standard deviations of natural
    logarithms, of Student's t with `dof` degrees of freedom.

    Attributes:
        lr: the expected best learning rate.
        lr_spread: its spread.
        left_rise: how much the loss rises at half the best learning rate.
        left_spread: its spread.
        right_rise: how much it rises at twice the best learning rate.
        right_spread: its spread.
        left_power, right_power: the powers, at least 1.
        noise: the standard deviation of one trial's loss around such a valley.
        misfit: what such a valley misses besides, as a share of the rise.
        dof: the degrees of freedom of the spreads.
        required: how probable the earlier sweeps must make a statement for it to be true in 95% of new sweeps; found
            on sweeps of left-out clusters. 1 if they are too few for any such statement.
        notes: in what respect the new sweep lies outside of the earlier ones.

    Raises:
        DataError: when a number is out of range.

    Example:
        >>> prior = ValleyPrior(lr=3e-3, lr_spread=0.3, left_rise=0.006, left_spread=0.3, right_rise=0.012,
        ...                     right_spread=0.4, noise=0.002)
        >>> [f"{lr:.2g}" for lr in prior.interval]
        ['0.0016', '0.0055']
    """

    lr: float
    lr_spread: float
    left_rise: float
    left_spread: float
    right_rise: float
    right_spread: float
    left_power: float = 1.5
    right_power: float = 2.0
    noise: float = 0.0
    misfit: float = 0.15
    dof: float = 30.0
    required: float = 0.975
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for name in ("lr", "left_rise", "right_rise"):
            value = check_number(name, getattr(self, name), at_least=1e-300, at_most=1e300, error=DataError)
            object.__setattr__(self, name, value)
        for name, low, high in (
            ("lr_spread", 1e-3, 100.0), ("left_spread", 1e-3, 100.0), ("right_spread", 1e-3, 100.0),
            ("left_power", 1.0, 10.0), ("right_power", 1.0, 10.0), ("noise", 0.0, 1e300), ("misfit", 1e-3, 1.0),
            ("dof", 1.0, 1e9), ("required", 0.5, 1.0),
        ):  # fmt: skip
            value = check_number(name, getattr(self, name), at_least=low, at_most=high, error=DataError)
            object.__setattr__(self, name, value)
        if not all(isinstance(note, str) for note in self.notes):
            raise DataError(f"notes must be texts, got {self.notes!r}")
        object.__setattr__(self, "notes", tuple(self.notes))

    @property
    def interval(self) -> tuple[float, float]:
        """The learning rates between which the best one of the new sweep lies in 95% of such sweeps."""
        # Student's t at this level, by the first terms of its expansion around the normal quantile (Fisher, Cornish).
        z, dof = NormalDist().inv_cdf((1 + LEVEL) / 2), max(self.dof, 2.0)
        t = z + (z**3 + z) / (4 * dof) + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * dof**2)
        return self.lr * math.exp(-t * self.lr_spread), self.lr * math.exp(t * self.lr_spread)

    @property
    def height(self) -> float:
        """A loss so far above the best is no part of the valley."""
        from ._valley import HEIGHT

        return HEIGHT * math.sqrt(self.left_rise * self.right_rise)

    def to_dict(self) -> dict[str, Any]:
        """Return the values as JSON values."""
        return asdict(self) | {"notes": list(self.notes)}

    @classmethod
    def from_dict(cls, values: object) -> Self:
        """Return the prior that `to_dict` wrote.

        Raises:
            DataError: when it is no such dictionary.
        """
        names = {field.name for field in fields(cls)}
        if not isinstance(values, Mapping) or set(values) != names or not isinstance(values["notes"], list | tuple):
            raise DataError(f"a prior must have the keys {', '.join(sorted(names))}, got {str(values)[:80]}")
        return cls(**{**values, "notes": tuple(values["notes"])})


def check_prior(prior: object) -> ValleyPrior | None:
    """Return a prior or None; raise an OptionError for anything else."""
    from ..exceptions import OptionError

    if prior is None or isinstance(prior, ValleyPrior):
        return prior
    way = "; call its at(...)" if hasattr(prior, "at") else ""
    raise OptionError(f"prior must be what LearningRatePrior.at returns, got {type(prior).__name__}{way}")
