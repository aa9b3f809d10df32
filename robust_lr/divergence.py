"""Divergence of a training run: its objective is not finite, or stays far above its start."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike

from ._checks import check_number, check_whole
from .exceptions import DataError

LARGEST_LOSS = 1e70  # a larger one is an explosion that had not yet reached infinity; its 4th power is no float


class DivergenceWatch:
    """Watches the objective of each step of one run, and reports the step at which the run diverged.

    A run has diverged at the first step whose objective is NaN or infinite, and at the first of `patience` steps in a
    row whose objective is above ``factor * abs(objective of step 0)``. The second rule is for networks that blow up
    without ever overflowing; it does not apply if the objective starts at zero.

    Args:
        factor: > 1; ``math.inf`` turns the second rule off.
        patience: steps, >= 1.

    Raises:
        DataError: when an argument is out of range.

    Example:
        >>> watch = DivergenceWatch(factor=10, patience=2)
        >>> watch.see([1.0, 20.0, 3.0]), watch.see([30.0]), watch.see([40.0, 2.0])
        (None, None, 3)
        >>> DivergenceWatch(factor=10, patience=2).see([1.0, float("nan")])
        1
    """

    def __init__(self, *, factor: float, patience: int) -> None:
        if factor != math.inf:
            check_number("divergence_factor", factor, error=DataError, above=1)
        self._factor = float(factor)
        self._patience = check_whole("divergence_patience", patience, error=DataError, at_least=1)
        self._bound = math.inf
        self._n_seen = self._n_above = 0

    def see(self, objectives: ArrayLike) -> int | None:
        """Take the objectives of the next steps, shape (n,); return the step (from 0) that diverged, or None."""
        values = np.asarray(objectives, dtype=np.float64)
        if self._n_seen == 0 and len(values) and np.isfinite(values[0]) and values[0] != 0:
            self._bound = self._factor * abs(values[0])
        start = self._n_seen
        self._n_seen += len(values)
        if np.all(np.isfinite(values) & (values <= self._bound)):  # nearly always
            self._n_above = 0 if len(values) else self._n_above
            return None
        for i, value in enumerate(values):
            if not math.isfinite(value):
                return start + i
            self._n_above = self._n_above + 1 if value > self._bound else 0
            if self._n_above == self._patience:
                return start + i + 1 - self._patience
        return None
