"""The figures of a comparison of two sides, and the verdict that follows from them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from .._metrics import Direction
from ._pairs import Gap, enough_pairs

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False, repr=False)
class PairFigures:
    """The figures of a `PairedComparison`, which describes them."""

    names: tuple[str, str]
    schedules: tuple[str, str]
    sweeps: tuple[str, ...]
    best_lrs: Array
    best_losses: Array
    edges: tuple[int, int]
    at_best: Gap
    at_equal: Gap
    learning_rates: Array
    at_rates: Array
    at_rates_interval: Array
    tolerance: float | None
    left_out: tuple[str, ...]
    confidence_level: float
    direction: Direction

    @property
    def verdict(self) -> Literal["A", "B", "equal", ""]:
        """The side that is better beyond the noise; "equal" if all of the interval is within the tolerance; else ""."""
        low, high = self.at_best.interval
        if low > 0 or high < 0:
            return "A" if low > 0 else "B"
        within = self.tolerance is not None and max(-low, high) <= self.tolerance
        return "equal" if within else ""

    def enough_pairs(self, difference: float | None = None, *, power: float = 0.8) -> int | None:
        """Return how many pairs would show a difference with a probability of `power`, at one learning rate each.

        Pairs are those of `n_pairs`; without shared seeds they are runs of each side. None if the noise is unknown. The
        less is known about the noise, the more pairs: the probability is that over sweeps like this one.

        Args:
            difference: its size; by default the tolerance, or else the difference as it was measured.
            power: in (0, 1).
        """
        wanted = difference if difference is not None else self.tolerance or self.at_best.difference
        return enough_pairs(self.at_best, wanted, self.confidence_level, power=power)
