"""Why a recommended grid is not coarser, and what would make it so, in words."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import numpy as np

from .._text import count_of, listed
from .degradation import ROUNDED, DegradationCurve
from .profile import find_cliff

Limit = Literal["too low", "too high", "cliff", "noise", "grid", "none"]


def limit_of(curve: DegradationCurve, row: int, tolerance: float) -> tuple[Limit, str]:
    if row >= len(curve.stride):
        return "none", "a coarser grid would have only one learning rate"
    if not curve.covered[row]:
        more = extension(curve, row + 1) or _reach(curve, row)
        return "grid", f"the sweep is too narrow to measure ratio {curve.ratio[row]:.4g}: add {more}"
    grid = f"{count_of(int(curve.n_trials[row]), 'trial')} (ratio {curve.ratio[row]:.4g})"
    if curve.worst[row] <= tolerance:
        return "noise", (
            f"{grid} may be enough, but their band {band(curve, row)} exceeds the tolerance; "
            f"{_what_decides(curve, row)} would decide"
        )
    block, steps = curve.block, int(curve.stride[row])
    cliff = find_cliff(block)
    if cliff is not None and cliff - block.best <= steps and not curve.too_low[row] > curve.too_high[row]:
        lrs = block.learning_rates
        return "cliff", f"training breaks between {lrs[cliff - 1]:g} and {lrs[cliff]:g}, close above the best"
    high, low = curve.too_high[row], curve.too_low[row]
    side: Limit = "too low" if low >= high or math.isnan(high) else "too high"
    if math.isinf(curve.worst[row]):
        return side, f"{grid} may all diverge"
    top = float(curve.worst_interval[row, 1])
    allow = f"; a tolerance of {_rounded_up(top)} would allow it" if math.isfinite(top) else ""
    return side, f"{grid} could lose {curve.worst[row]:.4f}, more than the tolerance {tolerance:.4g}{allow}"


def cheapest_replicates(curve: DegradationCurve) -> str:
    # Each learning rate that is trained with a second seed, beyond the first, is one degree of freedom of the noise.
    lrs, best = curve.block.learning_rates[curve.block.converged], curve.best_lr
    first = min(max(int(np.searchsorted(lrs, best)) - 1, 0), max(len(lrs) - 3, 0))
    names = listed([f"{lr:g}" for lr in lrs[first : first + 3]])
    return f"a second seed at {names} or everywhere (or --noise, if you know it)"


def on_the_edge(curve: DegradationCurve) -> str:
    side = "highest" if curve.block.best > 0 else "lowest"
    where = "with a result" if side == "highest" and curve.block.failed_above else "in the sweep"
    return f"the best learning rate, {curve.best_lr:g}, is the {side} {where}; the optimum may lie beyond it"


def extension(curve: DegradationCurve, steps: int) -> str:
    # What to add so that the sweep has `steps` points on both sides of its best.
    best, n = curve.block.best, len(curve.block.learning_rates)
    above, below = max(steps - (n - 1 - best), 0), max(steps - best, 0)
    ends = ((above, "above", curve.block.learning_rates[-1]), (below, "below", curve.block.learning_rates[0]))
    parts = [f"{count_of(count, 'learning rate')} {side} {end:g}" for count, side, end in ends if count]
    if above and curve.block.failed_above:
        parts[0] = why_not_above(curve.block.failed_above)
    return " and ".join(parts)


def why_not_above(failed: Sequence[float]) -> str:
    """What is missing above a sweep whose trials failed there; beyond them, nothing is advised."""
    lrs = listed((f"{lr:g}" for lr in failed), at_most=4)
    return f"results at {lrs}, where trials failed (if they diverged: --failed-as-diverged)"


def _reach(curve: DegradationCurve, row: int) -> str:
    # The same if there are enough points but they lie too close together, on a grid that is not geometric.
    lrs, best, ratio = curve.block.learning_rates, curve.best_lr, curve.ratio[row]
    is_short = lrs[-1] * ROUNDED < best * ratio
    if curve.block.failed_above and is_short:
        return why_not_above(curve.block.failed_above)
    parts = [f"up to {best * ratio:.4g}"] if is_short else []
    parts += [f"down to {best / ratio:.4g}"] if lrs[0] > best / ratio * ROUNDED else []
    return f"learning rates {' and '.join(parts)}"


def band(curve: DegradationCurve, row: int) -> str:
    low, high = curve.worst_interval[row]
    return f"[{low:.4f}, {high:.4f}]"


def _what_decides(curve: DegradationCurve, row: int) -> str:
    # No number of seeds: it depends on how far the true excess is below the tolerance, which is just what is unknown.
    high = float(curve.worst_interval[row, 1])
    return f"more seeds, or a tolerance of {_rounded_up(high)}," if math.isfinite(high) else "more seeds"


def _rounded_up(value: float) -> str:
    if not (math.isfinite(value) and value > 0):
        return f"{value:g}"
    unit = 10.0 ** (math.floor(math.log10(value)) - 1)
    return f"{math.ceil(value / unit) * unit:.3g}"
