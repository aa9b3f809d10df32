"""`SearchStart`: where a search begins, and how far off that may be."""

from __future__ import annotations

import math
from dataclasses import dataclass

from .._checks import check_number
from ..exceptions import GridError

# Without a spread: smaller ones save half a trial near the best, but far above it they end on a plateau.
UNKNOWN_FACTOR = 4.0
# Closer neighbors of a start tell little about the slope.
_LEAST_STEP = 1.2


@dataclass(frozen=True, kw_only=True)
class SearchStart:
    """The start of a search: the expected best learning rate, with its spread.

    Pass it on as ``SearchOptions(start=start.lr, start_factor=start.factor)``.

    Attributes:
        lr: the learning rate to begin at, > 0.
        factor: the best learning rate lies within this factor of `lr` in about two of three cases, > 1.

    Raises:
        GridError: when one of them is out of range.

    Example:
        >>> SearchStart(lr=3e-4, factor=1.4)
        SearchStart(lr=0.0003, factor=1.4)
    """

    lr: float
    factor: float

    def __post_init__(self) -> None:
        object.__setattr__(self, "lr", check_number("lr", self.lr, above=0, error=GridError))
        object.__setattr__(self, "factor", check_number("factor", self.factor, above=1, error=GridError))


def first_step(start_factor: float) -> float:
    """The first step from a start, in log(lr): half its spread (docs/explanation/search.md has the trials)."""
    return max(math.log(start_factor) / 2, math.log(_LEAST_STEP))
