"""The charts of an analysis and of a search."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import chain
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .._text import count_of
from ..analysis import Analysis, DegradationCurve, LearningRateProfile, Recommendation
from ..exceptions import ScheduleError
from ..readers.runs import called
from ..schedules.specs import parse_schedule
from ..theory import resolution_for_tolerance
from ._charts import Axis, Chart, Panel
from ._drawing import COLOR, CONTEXT, DIVERGED, LARGEST, LIMIT, OTHERS, VALLEY, Drawing, linear_axis, log_axis
from .answer import answer_of, picture_title
from .words import as_good, how_bands_are_made

Array = NDArray[np.float64]

GUIDE, GRID = "#555555", "#0b7a3b"
LABELS = {"minimize": "loss above the best", "maximize": "score below the best"}
DASHES = ("solid", "dash", "dot")
SMALLEST = 1e-100  # on an axis; smaller values have no decades
GUIDE_STEPS = 1_000  # the shape of the guide hardly depends on it
GUIDE_LABEL = "theory, scaled: bound, not prediction"
WORST_LABEL = "worst offset (hollow: too narrow to tell)"
NO_DATA = "No schedule has enough data to plot"


def answer_chart(analysis: Analysis) -> Chart:
    """Return the chart of the answer: how far each learning rate is from the best, all schedules in one panel.

    The zero of the excess loss is the best of the recommended schedule; at the bottom lies what is no higher.
    """
    answer, tolerance = answer_of(analysis), analysis.tolerance
    profiles = [e.profile for e in analysis.schedules if e.profile is not None]
    x = log_axis("peak learning rate", [lr for p in profiles for lr in p.learning_rates] or [0.1, 1.0])
    y = Axis(label=LABELS[analysis.sweep.direction], low=tolerance / 30, high=tolerance * 300)
    if answer is None:
        return Chart(title=NO_DATA, panels=(), x=x, y=y)
    best, advice = answer.profile, answer.entry.recommendation
    excess = np.concatenate([p.mean - best.best_loss for p in profiles])
    top = float(excess[np.isfinite(excess)].max(initial=3 * tolerance))
    y = replace(y, high=min(max(top * 1.5, 3 * tolerance), 1000 * tolerance))
    draw = Drawing(x, y)
    for number, profile in enumerate([best, *(p for p in profiles if p is not best)]):
        color, dash = OTHERS[number % len(OTHERS)], DASHES[number // len(OTHERS) % len(DASHES)]
        style: dict[str, Any] = {"color": color, "dash": dash, "width": 1.1}
        style = {"width": 2.2, "marker": "circle"} if profile is best else style
        heights = np.maximum(profile.mean - best.best_loss, y.low)
        draw.line(called(profile.schedule), profile.learning_rates, heights, **style)
    for low, high in as_good(best, tolerance):
        if low <= best.best_lr <= high:
            draw.span("as good", *_widened(low, high), COLOR, 0.13)
            draw.write("as good", math.sqrt(low * high), y.at(0.9), COLOR)
    draw.line("tolerance", (x.low, x.high), (tolerance,) * 2, LIMIT, width=1, dash="dash")
    draw.write(f"tolerance {tolerance:.3g}", x.at(0.84), tolerance, LIMIT)
    if advice is not None:
        _draw_grid(advice, draw)
    diverged = best.learning_rates[np.isinf(best.loss).any(axis=1)]
    if diverged.size:
        draw.marks("diverged", diverged, 0.97, DIVERGED, "x")
    draw.line("best", [best.best_lr], [y.at(0.03)], width=0, marker="star", size=11)
    return Chart(title="", panels=(draw.panel(*picture_title(analysis)),), x=x, y=y)


def _widened(low: float, high: float) -> tuple[float, float]:
    # A single learning rate is to be seen, too.
    return (low, high) if high > low else (low / 1.08, high * 1.08)


def _draw_grid(advice: Recommendation, draw: Drawing) -> None:
    for lr in advice.learning_rates if advice.trials_saved else ():
        draw.line("next grid", (lr, lr), (draw.y.low, draw.y.high), GRID, width=1.2, dash="dot")
        draw.write(f"try {lr:g}", lr, color=GRID)
    draw.marks("next grid", advice.learning_rates, 0.03, GRID, "triangle-up")


def learning_rate_chart(analysis: Analysis) -> Chart:
    """Return the chart of the final loss against the learning rate, one panel per schedule, the others in gray."""
    entries = [(s.profile, s.recommendation) for s in analysis.schedules if s.profile is not None]
    profiles = [profile for profile, _ in entries]
    means = np.array([mean for profile in profiles for mean in profile.mean if math.isfinite(mean)] or [1.0, 2.0])
    low, high = float(means.min()), float(means.max())
    y = linear_axis("final loss", [low, high])
    if low > SMALLEST:
        span = max(min(high / low * 1.1, VALLEY), 1.01)
        y = Axis(label="final loss", low=low / span**0.08, high=low * span)
    x = log_axis("peak learning rate", [lr for profile in profiles for lr in profile.learning_rates] or [0.1, 1.0])
    panels = tuple(_loss_panel(profile, advice, profiles, Drawing(x, y)) for profile, advice in entries)
    title = "Final loss against peak learning rate" if panels else NO_DATA
    chart = Chart(title=title, note=how_bands_are_made(analysis), panels=panels, x=x, y=y)
    return chart.as_scores() if analysis.sweep.direction == "maximize" else chart


def _loss_panel(
    profile: LearningRateProfile, advice: Recommendation | None, profiles: Sequence[LearningRateProfile], draw: Drawing
) -> Panel:
    lrs, n_seeds, (low, high) = profile.learning_rates, profile.loss.shape[1], profile.interval.T
    for other in profiles:
        if other is not profile:
            draw.line("other schedules", other.learning_rates, other.mean, CONTEXT, width=1)
    if profile.cliff is not None and profile.before_cliff is not None:
        draw.span("cliff", profile.before_cliff, profile.cliff, DIVERGED, 0.1)
        draw.write("cliff", math.sqrt(profile.before_cliff * profile.cliff), color=DIVERGED)
    if profile.edge is not None:
        draw.vertical("edge of the grid", profile.best_lr)
        draw.write("edge of the grid", profile.best_lr, color=LIMIT)
    if n_seeds > 1:
        for losses in profile.loss.T:
            draw.line("each seed", lrs, losses, width=0.7, opacity=0.35)
        if draw.y.log:
            low = np.where(low > 0, low, high)  # a logarithmic axis cannot show a band that reaches below zero
        draw.band("band of the mean", lrs, low, high)
    draw.line("mean", lrs, profile.mean, marker="circle")
    draw.line("best", [profile.best_lr], [profile.best_loss], width=0, marker="star", size=11)
    n_diverged = np.isinf(profile.loss).sum(axis=1)
    if n_diverged.any():
        texts = tuple(f"{n} of {n_seeds} diverged" for n in n_diverged[n_diverged > 0])
        draw.marks("diverged", lrs[n_diverged > 0], 0.96, DIVERGED, "x", texts=texts)
    if advice is not None:
        draw.marks("recommended grid", advice.learning_rates, 0.03, LIMIT, "triangle-up")
    return draw.panel(called(profile.schedule), f"best {profile.shown(profile.best_loss)} at {profile.best_lr:.4g}")


def degradation_chart(analysis: Analysis, specs: Mapping[str, str] | None = None) -> Chart:
    """Return the chart of the excess loss against the ratio of the grid, one panel per schedule, the others in gray.

    Args:
        analysis: of a sweep.
        specs: spec of each schedule, for the theoretical guide; the sweep's own, or the names, by default.
    """
    entries = [(s.curve, s.recommendation) for s in analysis.schedules if s.curve is not None]
    curves, tolerance = [curve for curve, _ in entries], analysis.tolerance
    shown = [(curve, _drawable(curve, curves)) for curve in curves]
    worst = np.array([*chain.from_iterable(c.worst[keep] for c, keep in shown), tolerance])
    worst = worst[(worst > SMALLEST) & (worst < LARGEST)]
    low, high = float(worst.min(initial=tolerance)), float(worst.max(initial=tolerance))
    bands = np.array([*chain.from_iterable(c.worst_interval[keep, 1] for c, keep in shown), high])
    top = min(float(bands[np.isfinite(bands)].max()), 10 * high)
    y = Axis(label="excess final loss", low=max(0.3 * low, SMALLEST), high=2 * top)  # zero is drawn at the bottom
    x = log_axis("ratio of the grid", [ratio for c, keep in shown for ratio in c.ratio[keep]] or [2.0, 16.0])
    known = analysis.sweep.specs if specs is None else specs
    panels = tuple(
        _excess_panel(c, advice, tolerance, known.get(c.schedule) or c.schedule, curves, Drawing(x, y))
        for c, advice in entries
    )
    title = f"Excess loss of a coarser grid (tolerance {tolerance:.3g})" if panels else NO_DATA
    return Chart(title=title, note=how_bands_are_made(analysis), panels=panels, x=x, y=y)


def _excess_panel(
    curve: DegradationCurve, advice: Recommendation | None, tolerance: float, spec: str,
    curves: Sequence[DegradationCurve], draw: Drawing,
) -> Panel:  # fmt: skip
    floor = draw.y.low
    for other in curves:
        if other is not curve:
            keep = _drawable(other, curves)
            draw.line("other schedules", other.ratio[keep], np.maximum(other.worst[keep], floor), CONTEXT, width=1)
    keep = _drawable(curve, curves)
    ratio, covered, worst = curve.ratio[keep], curve.covered[keep], np.maximum(curve.worst[keep], floor)
    if curve.df > 0:
        draw.band(f"band, {curve.confidence_level:.0%}", ratio, *np.maximum(curve.worst_interval[keep], floor).T)
    draw.line(WORST_LABEL, ratio, worst, marker="circle", hollow=tuple(~covered))
    draw.line("mean over offsets", ratio, np.maximum(curve.mean[keep], floor), width=0.9, opacity=0.7)
    guide = _guide(spec, ratio, worst, covered)
    if guide is not None:
        draw.line(GUIDE_LABEL, ratio, np.maximum(guide, floor), GUIDE, width=0.9, dash="dash")
    draw.line("tolerance", (draw.x.low, draw.x.high), (tolerance,) * 2, LIMIT, width=1)
    if advice is None:
        return draw.panel(called(curve.schedule), "no recommendation")
    draw.vertical("recommended ratio", advice.ratio)
    return draw.panel(called(curve.schedule), f"ratio {advice.ratio:.3g}, {count_of(advice.n_trials, 'trial')}")


def _drawable(curve: DegradationCurve, curves: Sequence[DegradationCurve]) -> NDArray[np.bool_]:
    """Coarser grids with at least two points, up to two strides beyond those that any curve covers."""
    last = max((int(c.stride[c.covered][-1]) for c in curves if c.covered.any()), default=1) + 2
    is_finite = np.isfinite(curve.worst + curve.ratio)
    return np.asarray((curve.stride > 1) & (curve.stride <= last) & is_finite & (curve.n_trials > 1))


def _guide(spec: str, ratio: Array, worst: Array, covered: NDArray[np.bool_]) -> Array | None:
    """``W(ratio) - 1`` scaled to meet the measured curve at its last trustworthy point: its shape, not its height."""
    if not covered.any():
        return None
    # W is computed from its inverse, which is far quicker; no schedule has W(r) > (sqrt(r) + 1/sqrt(r)) / 2.
    root = math.sqrt(float(ratio.max()))
    costs = np.geomspace(1e-9, min(root + 1 / root, 1e6), 200)
    try:
        schedule = parse_schedule(spec, import_functions=False)
        widths = [resolution_for_tolerance(schedule, float(cost), total_steps=GUIDE_STEPS) for cost in costs]
    except ScheduleError:
        return None
    guide = np.exp(np.interp(np.log(ratio), np.log(widths), np.log(costs)))
    at = int(np.flatnonzero(covered)[-1])
    return np.asarray(guide * worst[at] / guide[at])
