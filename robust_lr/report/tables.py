"""The tables of an analysis as rows of text, for terminal and report."""

from __future__ import annotations

import math

import numpy as np

from .._metrics import quantity
from ..analysis._entry import Analyzed
from ..analysis.degradation import DegradationCurve
from ..readers.runs import called

Rows = tuple[list[str], list[list[str]]]
MAX_STRIDE = 6  # with these columns the table fits into a terminal

_LIMITS = {
    "too low": "rates below the best", "too high": "rates above the best", "cliff": "divergence above the best",
    "noise": "noise", "grid": "the range of the sweep", "none": "nothing",
}  # fmt: skip


def degradation_rows(analysis: Analyzed, *, bands: bool) -> Rows:
    """Return header and rows of the worst-offset excess loss by grid coarseness, one row per schedule.

    The columns are strides, up to the largest that leaves two learning rates. For a cell in parentheses, the sweep is
    too narrow under that schedule.

    Args:
        analysis: of a sweep.
        bands: put the confidence band on a second line of each cell.
    """
    curves = [entry.curve for entry in analysis.schedules if entry.curve is not None]
    if not curves:
        return [], []
    longest = max(curves, key=lambda curve: len(curve.stride))
    widest = max((int(c.stride[c.covered][-1]) for c in curves if c.covered.any()), default=1)
    strides = [k for k in range(2, min(widest, MAX_STRIDE) + 1) if k <= len(longest.stride)]
    same = all(np.array_equal(c.block.learning_rates, longest.block.learning_rates) for c in curves)
    header = ["schedule"]
    for k in strides:
        header.append(f"ratio {longest.ratio[k - 1]:.3g}\n{longest.n_trials[k - 1]} trials" if same else _every(k))
    return header, [[called(curve.schedule), *(_cell(curve, k - 1, bands) for k in strides)] for curve in curves]


def recommendation_rows(analysis: Analyzed) -> Rows:
    """Return header and rows of the recommended grids, one row per schedule."""
    what = quantity(analysis.sweep.direction)
    header = ["schedule", "best lr", what, "ratio", "trials", "excess", "at most", "limited by"]
    rows = []
    for entry in analysis.schedules:
        advice, profile = entry.recommendation, entry.profile
        best = ["-", "-"] if profile is None else [f"{profile.best_lr:.4g}", profile.shown(profile.best_loss)]
        if advice is None:
            why = entry.missing.needed if entry.missing is not None else ""
            why = "the trials left" if analysis.sweep.n_left else why
            rows.append([called(entry.schedule), *best, "-", "-", "-", "-", f"needs {why}"])
            continue
        rows.append([
            called(entry.schedule), *best, f"{advice.ratio:.4g}", str(advice.n_trials), f"{advice.excess_loss:.4f}",
            f"{advice.confidence_interval[1]:.4f}", _LIMITS[advice.limited_by],
        ])  # fmt: skip
    return header, rows


def _cell(curve: DegradationCurve, row: int, bands: bool) -> str:
    if row >= len(curve.worst):
        return ""
    if math.isinf(curve.worst[row]):
        return "diverged"
    low, high = curve.worst_interval[row]
    text = f"{curve.worst[row]:.4f}" if curve.covered[row] else f"({curve.worst[row]:.4f})"
    return f"{text}\n[{low:.4f}, {high:.4f}]" if bands and not math.isnan(low) else text


def _every(k: int) -> str:
    return "every " + {2: "2nd", 3: "3rd"}.get(k, f"{k}th")
