"""One table over several sweeps of the same schedules, which shows whether a finding holds for all of them."""

from __future__ import annotations

import math
from collections.abc import Mapping

from ..analysis import Analysis, ScheduleAnalysis
from ..readers.runs import called
from .tables import Rows


def group_rows(analyses: Mapping[str, Analysis]) -> Rows:
    """Return header and rows, one row per schedule, over all sweeps that have it.

    The cost of half the trials is the largest among the sweeps wide enough to measure it. The ratio for all is the
    smallest recommended one, or "-" if a sweep has no recommendation.

    Args:
        analyses: one per sweep, by its name.
    """
    header = ["schedule", "sweeps", "best lr", "lowest in", "best at the edge", "half the trials cost", "ratio for all"]
    by_schedule: dict[str, list[ScheduleAnalysis]] = {}
    wins: dict[str, int] = {}
    for analysis in analyses.values():
        for entry in analysis.schedules:
            by_schedule.setdefault(entry.schedule, []).append(entry)
        known = [e.profile for e in analysis.schedules if e.profile is not None]
        if known:
            lowest = min(known, key=lambda profile: profile.best_loss).schedule
            wins[lowest] = wins.get(lowest, 0) + 1
    return header, [_row(name, entries, wins.get(name, 0)) for name, entries in by_schedule.items()]


def _row(name: str, entries: list[ScheduleAnalysis], wins: int) -> list[str]:
    profiles = [e.profile for e in entries if e.profile is not None]
    best = sorted(p.best_lr for p in profiles)
    span = "-" if not best else f"{best[0]:g}" if best[0] == best[-1] else f"{best[0]:g} to {best[-1]:g}"
    costs = [e.curve.worst[1] for e in entries if e.curve is not None and e.curve.covered[1]]
    ratios = [e.recommendation.ratio for e in entries if e.recommendation is not None]
    edges = sum(p.edge is not None for p in profiles)
    return [
        called(name),
        str(len(entries)),
        span,
        f"{wins} of {len(entries)}",
        f"{edges} of {len(profiles)}",
        _worst(costs) if costs else "-",
        f"{min(ratios):.4g}" if len(ratios) == len(entries) else "-",
    ]


def _worst(costs: list[float]) -> str:
    worst = max(costs)
    text = f"at most {worst:.4f}" if math.isfinite(worst) else "diverged"
    return f"{text} ({len(costs)} measured)"
