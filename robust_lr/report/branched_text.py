"""A sweep over horizons and cooldowns as blocks: how long to train, how coarse the grid may be, what it cost."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

from .._page import Block, Box, Line, Table
from .._text import count_of, listed
from ..analysis import Analysis, ScheduleAnalysis
from ..schedules import Horizon
from .words import excess_text, reason

Entries = dict[int, dict[str, ScheduleAnalysis]]  # by horizon and schedule


def branched_blocks(analysis: Analysis, branches: Mapping[str, Horizon], steps: int, from_scratch: int) -> list[Block]:
    """Return the answer in a box, notes, the loss and the ratio of each branch."""
    entries: Entries = {}
    for entry in analysis.schedules:
        branch = branches[entry.schedule]
        entries.setdefault(branch.total_steps, {})[str(branch.schedule)] = entry
    schedules = list(dict.fromkeys(name for row in entries.values() for name in row))
    cost = f"{steps} steps a learning rate and seed instead of {from_scratch}: {from_scratch / steps:.3g} times fewer"
    return [
        Box(
            "Answer",
            [
                ("How long", _how_long(entries, analysis.tolerance)),
                ("How coarse", "; ".join(_how_coarse(entries, schedules))),
                ("Cost", cost),
            ],
        ),
        *(Line(f"Note: {note}.") for note in analysis.sweep.caveats),
        Table("Loss at the best learning rate", ["steps", *schedules], _rows(entries, _best)),
        Table(f"Recommended ratio, tolerance {analysis.tolerance:.4g}", ["steps", *schedules], _rows(entries, _ratio)),
        Line(f"{analysis.sweep.describe().partition('; ')[2]}."),
    ]


def _rows(entries: Entries, text: Callable[[ScheduleAnalysis], str]) -> list[list[str]]:
    return [[str(n), *map(text, row.values())] for n, row in entries.items()]


def _how_long(entries: Entries, tolerance: float) -> str:
    lowest = {
        n: min(known)
        for n, row in entries.items()
        if (known := [e.profile.best_loss for e in row.values() if e.profile])
    }
    if not lowest:
        return "no training has a finite loss"
    longest = max(lowest)
    enough = min(n for n, loss in lowest.items() if loss <= lowest[longest] + tolerance)
    if enough < longest:
        gain = lowest[enough] - lowest[longest]
        ends = f"end only {excess_text(gain)} lower" if gain > 0 else "end no lower"
        return f"{count_of(enough, 'step')}: {longest} {ends}, within the tolerance of {tolerance:.4g}"
    if len(lowest) == 1:
        return f"one horizon, {count_of(longest, 'step')}, cannot say"
    before = max(n for n in lowest if n < longest)
    falls = excess_text(lowest[before] - lowest[longest])
    return (
        f"{count_of(longest, 'step')} or more: from {before} to {longest} the loss falls by {falls}, more than the "
        f"tolerance of {tolerance:.4g}"
    )


def _how_coarse(entries: Entries, schedules: Sequence[str]) -> Iterator[str]:
    for name in schedules:
        at = {n: row[name] for n, row in entries.items()}
        known = [entry.recommendation for entry in at.values() if entry.recommendation is not None]
        if not known:
            longest = at[max(at)]
            why = f": {reason(longest.schedule, longest.missing)}" if longest.missing is not None else ""
            yield f"{name}: not known{why}"
            continue
        finest = min(known, key=lambda advice: advice.ratio)
        lacking = [str(n) for n, entry in at.items() if entry.recommendation is None]
        where = f", not known for {listed(lacking)} steps" if lacking else " at every horizon"
        yield f"{name}: ratio {finest.ratio:.3g}, {count_of(finest.n_trials, 'trial')}{where}"


def _best(entry: ScheduleAnalysis) -> str:
    profile = entry.profile
    if profile is None:
        return "-"
    return f"{profile.shown(profile.best_loss)} at {profile.best_lr:.3g}{' (edge)' if profile.edge else ''}"


def _ratio(entry: ScheduleAnalysis) -> str:
    advice = entry.recommendation
    return "-" if advice is None else f"{advice.ratio:.3g} ({count_of(advice.n_trials, 'trial')})"
