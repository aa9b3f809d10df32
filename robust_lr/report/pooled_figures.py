"""The charts of an analysis of many sweeps."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import numpy as np

from .._text import count_of, listed
from ..collection._analyzed import AnalyzedCollection
from ..collection._covariates import Value, covariate_text
from ..collection._excess import SweepExcess
from ..collection.pooled import PooledRecommendation
from ..readers.runs import called
from ._charts import Axis, Chart, Note, Panel, Trace

COLOR, LIMIT, TYPICAL = "#1f5fa8", "#7a4fa3", "#8a8f98"
MOST_PANELS, MOST_LINES = 48, 24  # of the small multiples; more would not be looked at
MOST_SCHEDULES = 12
_SHADES = ((0xA9, 0xC8, 0xEA), (0x12, 0x3F, 0x73))  # from the first sweep of a panel to the last


def pooled_chart(analysis: AnalyzedCollection) -> Chart:
    """Return the chart of what coarser grids lose over all sweeps, against the ratio, one panel per schedule."""
    judged = [each for each in analysis.pooled if any(row.n_sweeps for row in each.ratios[1:])]
    values = [value for each in judged for row in each.ratios[1:] for value in (row.median, row.high, row.bound)]
    tolerance = analysis.answer.tolerance
    shown = [value for value in [*values, tolerance] if 0 < value < math.inf]
    ratios = [row.ratio for each in judged for row in each.ratios[1:]] or [2.0, 4.0]
    what = "excess final loss" + (" (share of the lowest)" if analysis.answer.relative else "")
    y = Axis(label=what, low=max(min(shown) / 2, max(shown) / 1e4), high=max(shown) * 1.6)
    x = Axis(label="ratio of the grid", low=min(ratios) / 1.1, high=max(ratios) * 1.1)
    panels = tuple(_pooled_panel(each, x, y) for each in judged[:MOST_SCHEDULES])
    return Chart(title=f"What coarser grids lose over {len(analysis.collection)} sweeps", panels=panels, x=x, y=y)


def _pooled_panel(pooled: PooledRecommendation, x: Axis, y: Axis) -> Panel:
    rows = [row for row in pooled.ratios[1:] if row.n_sweeps]

    def line(name: str, values: Iterable[float], color: str, dash: str, marker: str = "circle") -> Trace:
        points = [(row.ratio, max(value, y.low)) for row, value in zip(rows, values, strict=True) if value < math.inf]
        xs, ys = (tuple(point[i] for point in points) for i in (0, 1))
        return Trace(name=name, x=xs, y=ys, color=color, dash=dash, marker=marker)

    share = f"{pooled.share:.0%}"
    traces = [
        line("half of the sweeps lose at most", (row.median for row in rows), TYPICAL, "dot"),
        line(f"{share} of the sweeps lose at most", (row.high for row in rows), COLOR, "solid"),
        line(f"bound for {share} of further sweeps", (row.bound for row in rows), COLOR, "dash", "triangle-up"),
        Trace(name="tolerance", x=(x.low, x.high), y=(pooled.tolerance,) * 2, color=LIMIT, width=1),
    ]
    notes = [
        Note(text=f"tolerance {pooled.excess_text(pooled.tolerance)}", x=x.at(0.84), y=pooled.tolerance, color=LIMIT)
    ]
    if not pooled.keeps_the_grid:
        traces.append(
            Trace(name="next sweep", x=(pooled.ratio,) * 2, y=(y.low, y.high), color=LIMIT, width=1, dash="dot")
        )
    found = f"ratio {pooled.ratio:.3g}, {count_of(pooled.n_trials, 'trial')}"
    return Panel(name=called(pooled.schedule), finding=found, traces=tuple(traces), notes=tuple(notes))


def valleys_chart(analysis: AnalyzedCollection) -> Chart:
    """Return the chart of all valleys under the schedule of the answer, one small panel per cluster of sweeps.

    Each line is a sweep: how far each learning rate ends above the best of that sweep. If there are more clusters than
    `MOST_PANELS`, the chart shows those that lose most.
    """
    answer = analysis.answer
    groups: dict[tuple[Value, ...], list[SweepExcess]] = {}
    for each in answer.sweeps:
        covariates = each.sweep.covariates
        key = tuple(covariates[name] for name in answer.cluster_by or covariates)
        groups.setdefault(key, []).append(each)
    low, high = (end(each.learning_rates[i] for each in answer.sweeps) for end, i in ((min, 0), (max, -1)))
    x = Axis(label="peak learning rate", low=float(low) / 1.1, high=float(high) * 1.1)
    floor = answer.tolerance * (1.0 if not answer.relative else abs(answer.sweeps[0].best_loss) or 1.0)
    y = Axis(label="loss above the best", low=floor / 10, high=floor * 100)
    ratio = next((row.ratio for row in answer.ratios[1:]), answer.ratio)
    shown = list(groups.items())
    if len(shown) > MOST_PANELS:
        shown = sorted(shown, key=lambda item: -max(answer.excess_of(each, ratio) for each in item[1]))[:MOST_PANELS]
    within = [name for name in analysis.collection.covariates if name not in answer.cluster_by]
    panels = tuple(_valley_panel(answer, key, group, within, floor, x, y) for key, group in shown)
    lines = "each line one sweep" + (f", darker with {within[0]}" if len(within) == 1 and answer.cluster_by else "")
    some = f"{len(shown)} of {len(groups)} " if len(shown) < len(groups) else ""
    by = f"{some}panels by {listed(answer.cluster_by)}" if answer.cluster_by else f"{some}sweeps"
    title = f"Loss above the best of the sweep, against the peak learning rate: {by}, {lines}; dashed: the tolerance"
    return Chart(title=title, panels=panels, x=x, y=y, small=True)


def _valley_panel(
    answer: PooledRecommendation, key: tuple[Value, ...], group: list[SweepExcess], within: Sequence[str],
    floor: float, x: Axis, y: Axis,
) -> Panel:  # fmt: skip
    names = answer.cluster_by or tuple(group[0].sweep.covariates)
    name = ", ".join(f"{column} {_short(value)}" for column, value in zip(names, key, strict=True)) or "all"
    ordered = sorted(group, key=lambda each: [_order(each.sweep.covariates[column]) for column in within])
    step = -(-len(ordered) // MOST_LINES)
    lines = ordered[::step]
    traces = [
        Trace(name="tolerance", x=(x.low, x.high), y=(floor, floor), color=LIMIT, width=0.8, dash="dash"),
        *(_valley(each, i / max(len(lines) - 1, 1), y) for i, each in enumerate(lines)),
    ]
    best = sorted(each.best_lr for each in group)
    finding = f"best {best[0]:.3g}" + (f" to {best[-1]:.3g}" if best[-1] > best[0] else "")
    return Panel(name=name, finding=finding, traces=tuple(traces))


def _valley(each: SweepExcess, shade: float, y: Axis) -> Trace:
    above = np.clip(each.loss - each.best_loss, y.low, None)
    points = [
        (float(lr), float(value)) for lr, value in zip(each.learning_rates, above, strict=True) if value <= y.high
    ]
    color = "#" + "".join(f"{round(a + (b - a) * shade):02x}" for a, b in zip(*_SHADES, strict=True))
    xs, ys = (tuple(point[i] for point in points) for i in (0, 1))
    return Trace(name="sweep", x=xs, y=ys, color=color, width=1.2)


def _order(value: Value) -> tuple[bool, float, str]:
    return (True, 0.0, value) if isinstance(value, str) else (False, value, "")


def _short(value: Value) -> str:
    """A covariate for the name of a panel: 215M for 214663680."""
    if isinstance(value, float) and abs(value) >= 1e6:
        for size, letter in ((1e12, "T"), (1e9, "B"), (1e6, "M")):
            if abs(value) >= size:
                return f"{value / size:.3g}{letter}"
    return covariate_text(value)
