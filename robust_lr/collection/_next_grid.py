"""The learning rates of the next sweep, over the range of those before it."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ._excess import SweepExcess

Array = NDArray[np.float64]


def usual_range(found: Sequence[SweepExcess]) -> tuple[float, float]:
    """Return the range of the typical sweep, widened to the best learning rates of all."""
    low, high = (float(np.median([each.learning_rates[end] for each in found])) for end in (0, -1))
    best = [each.best_lr for each in found]
    return min(low, *best), max(high, *best)


def next_grid(found: Sequence[SweepExcess], ratio: float, own_ratio: float, n_trials: int) -> Array:
    """Return the learning rates of a grid of this ratio over the usual range.

    What the range leaves over is shared by both ends, so that neither loses more than half a step; any offset would be
    within the bound. The grid lies on that of the sweeps, if that begins where the range does.

    Args:
        found: the sweeps.
        ratio: factor between neighbors, and `own_ratio`, that of the sweeps themselves.
        n_trials: learning rates at least.
    """
    low, high = usual_range(found)
    n = max(n_trials, math.floor(math.log(high / low) / math.log(ratio) + 0.01) + 1)
    over = (math.log(high / low) - (n - 1) * math.log(ratio)) / 2
    if over > 0:
        over = math.floor(over / math.log(own_ratio) + 0.01) * math.log(own_ratio)
    return np.asarray(low * math.exp(over) * ratio ** np.arange(n))
