"""The chart of a search: the losses that were tried, at each length of training, and the findings."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from statistics import median_low

from ..search import SearchResult
from ..search._result import gain_so_far, search_headline
from ._charts import Chart
from ._drawing import COLOR, CONTEXT, DIVERGED, LARGEST, LIMIT, OTHERS, VALLEY, Drawing, linear_axis, log_axis

# Losses above the best by more than this many tolerances may be too high to be shown.
_TOLERANCES = 100


@dataclass(frozen=True)
class _Curve:
    """What one search tried: the losses at each learning rate that trains, and the learning rates that do not."""

    losses: dict[float, list[float]]
    means: dict[float, float]
    too_high: tuple[float, ...]
    broken: tuple[float, ...]


def search_chart(result: SearchResult) -> Chart:
    """Return the chart of a search: the loss at each learning rate tried, numbered in order, and the findings."""
    shorter, curve = [(each, _curve(each)) for each in result.shorter], _curve(result)
    curves = [curve, *(own for _, own in shorter)]
    losses = [loss for own in curves for loss in chain.from_iterable(own.losses.values())]
    tried = [each.lr for search in (result, *result.shorter) for each in search.history]
    bound = result.excess_bound
    if losses and result.lr in curve.means:
        losses += [result.loss - result.tolerance, result.loss + result.tolerance]
        # The band below the best needs no more room than the losses above it.
        losses += [] if bound is None else [result.loss - min(bound, max(losses) - result.loss)]
    x, y = log_axis("peak learning rate", [*result.lr_range, *tried]), linear_axis("final loss", losses or [0.0, 1.0])
    draw = Drawing(x, y)
    for end in result.lr_range:
        draw.vertical("range searched", end)
    for number, (each, own) in enumerate(shorter):
        color = OTHERS[number % len(OTHERS)]
        draw.line(f"{each.total_steps} steps", own.means, own.means.values(), color, width=1.1, marker="circle")
    _draw_trials(draw, result, curve)
    if too_high := sorted({lr for own in curves for lr in own.too_high}):
        draw.marks("worse than shown", too_high, 0.96, LIMIT, "triangle-up")
    if broken := sorted({lr for own in curves for lr in own.broken}):
        draw.marks("diverged or exploded", broken, 0.96, DIVERGED, "x")
    _draw_findings(draw, result)
    panel = draw.panel(result.schedule or "", result.reason or "not finished")
    chart = Chart(title=search_headline(result), panels=(panel,), x=x, y=y)
    return chart.as_scores() if result.direction == "maximize" else chart


def _draw_trials(draw: Drawing, result: SearchResult, curve: _Curve) -> None:
    for lr, losses in curve.losses.items():
        if len(losses) > 1:
            draw.line("each trial", [lr] * len(losses), losses, CONTEXT, width=0, marker="circle")
    name = "mean" if result.total_steps is None else f"mean, {result.total_steps} steps"
    draw.line(name, curve.means, curve.means.values(), width=1.2, marker="circle")
    order = [each.lr for each in result.history]
    for lr, loss in curve.means.items():
        draw.write(str(order.index(lr) + 1), lr, loss)


def _draw_findings(draw: Drawing, result: SearchResult) -> None:
    best, bound = result.loss, result.excess_bound
    if result.good_interval is not None:
        draw.line("best", [result.lr], [best], width=0, marker="star", size=11)
        if result.good_interval[0] < result.good_interval[1]:
            draw.span("surely within the tolerance", *result.good_interval, COLOR, 0.12)
    if bound is not None:
        lowest = max(best - bound, draw.y.low)
        draw.band(gain_so_far(result), (draw.x.low, draw.x.high), (lowest,) * 2, (best,) * 2, LIMIT, 0.15)


def _curve(result: SearchResult) -> _Curve:
    by_lr = dict[float, list[float]]()
    for each in sorted(result.history, key=lambda each: each.lr):
        if each.status == "ok":
            by_lr.setdefault(each.lr, []).append(each.loss)
    diverged = {each.lr for each in result.history if each.status == "diverged"}
    # From the cliff on, losses are finite at most by chance.
    exploded = {lr for lr in by_lr if result.cliff is not None and lr >= result.cliff} - diverged
    means = {lr: math.fsum(losses) / len(losses) for lr, losses in by_lr.items() if lr not in diverged | exploded}
    top = _highest_shown(list(means.values()), result.tolerance)
    shown = {lr: mean for lr, mean in means.items() if mean <= top}
    losses = {lr: [loss for loss in by_lr[lr] if loss <= top] for lr in shown}
    return _Curve(losses, shown, tuple(means.keys() - shown.keys()), tuple(diverged | exploded))


def _highest_shown(means: Sequence[float], tolerance: float) -> float:
    """The height up to which the valley can be told from the axis."""
    best = min(means, default=0.0)
    typical = median_low([mean - best for mean in means] or [0.0])
    return min(best + max(VALLEY * typical, _TOLERANCES * tolerance), LARGEST)
