"""The figures of an analysis and of a search as plain values, which `report.plots` and the Optuna plug-in draw."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain

import numpy as np
from numpy.typing import NDArray

from .._text import count_of
from ..analysis import Analysis, DegradationCurve, LearningRateProfile, Recommendation
from ..exceptions import ScheduleError
from ..schedules.specs import parse_schedule
from ..search import SearchResult
from ..search.words import search_headline
from ..theory import resolution_for_tolerance

Array = NDArray[np.float64]
Points = tuple[float, ...]

COLOR, DIVERGED, CONTEXT, LIMIT, GUIDE = "#1f5fa8", "#c62828", "#c9ccd1", "#7a4fa3", "#555555"
SMALLEST = 1e-100  # on a logarithmic axis; what is nearer to zero has no decades
LARGEST = 1e100
VALLEY = 20.0  # losses above the lowest by more than this factor are not shown
GUIDE_STEPS = 1_000  # the shape of the guide hardly depends on it
GUIDE_LABEL = "theory, scaled: bound, not prediction"
WORST_LABEL = "worst offset (hollow: sweep too narrow to tell)"
NO_DATA = "No schedule has enough data to plot"


@dataclass(frozen=True, kw_only=True)
class Axis:
    """One axis of all panels, from `low` to `high`."""

    label: str
    low: float
    high: float
    log: bool = True

    def at(self, fraction: float) -> float:
        """Return the value at a fraction of the axis's length."""
        if self.log:
            return self.low * (self.high / self.low) ** fraction
        return self.low + (self.high - self.low) * fraction

    def ticks(self) -> list[float]:
        """Return about five values to label."""
        if self.log and self.high >= 3 * self.low:
            first, last = math.floor(math.log10(self.low)), math.ceil(math.log10(self.high))
            digits = (
                (1,) if self.high >= 1000 * self.low else (1, 2, 5) if self.high >= 6 * self.low else (1, 1.5, 2, 3, 5, 7)
            )
            step = max(1, -(-(last - first) // 7))
            values = [float(f"{d}e{e}") for e in range(first, last + 1, step) for d in digits]
        else:
            rough = (self.high - self.low) / 5
            unit = 10.0 ** math.floor(math.log10(rough))
            size = next(n * unit for n in (1, 2, 5, 10) if n * unit >= rough * 0.999)
            values = [
                float(f"{i * size:.10g}") for i in range(math.ceil(self.low / size), math.ceil(self.high / size) + 1)
            ]
        return [value for value in values if self.low <= value <= self.high]


@dataclass(frozen=True, kw_only=True)
class Curve:
    """A line through points, with markers where `marker` names one; only the markers where `width` is 0."""

    name: str
    x: Points
    y: Points
    color: str = COLOR
    width: float = 1.6
    dash: str = "solid"  # "solid", "dash" or "dot"
    marker: str = ""  # "circle", "star", "x" or "triangle-up"
    size: float = 4
    opacity: float = 1.0
    hollow: tuple[bool, ...] = ()  # which markers are
    texts: tuple[str, ...] = ()  # of the points, where there is a pointer that hovers


@dataclass(frozen=True, kw_only=True)
class Area:
    """What lies between `low` and `high`, shaded."""

    name: str
    x: Points
    low: Points
    high: Points
    color: str = COLOR
    opacity: float = 0.2


@dataclass(frozen=True, kw_only=True)
class Note:
    """A short text: above a point, or upright at the bottom of the panel where `y` is None."""

    text: str
    x: float
    y: float | None = None
    color: str = "black"


@dataclass(frozen=True, kw_only=True)
class Panel:
    """What is drawn of one schedule, under its name and what was found."""

    name: str
    finding: str
    areas: tuple[Area, ...] = ()
    curves: tuple[Curve, ...] = ()
    notes: tuple[Note, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Chart:
    """A figure: panels on shared axes."""

    title: str
    panels: tuple[Panel, ...]
    x: Axis
    y: Axis


def learning_rate_chart(analysis: Analysis) -> Chart:
    """Return the chart of the final loss against the learning rate, one panel a schedule, the others in gray."""
    entries = [(s.profile, s.recommendation) for s in analysis.schedules if s.profile is not None]
    profiles = [profile for profile, _ in entries]
    x, y = loss_axes(profiles)
    panels = [loss_panel(p, x, y, recommendation=a, others=[o for o in profiles if o is not p]) for p, a in entries]
    return Chart(title="Final loss against peak learning rate" if panels else NO_DATA, panels=tuple(panels), x=x, y=y)


def degradation_chart(analysis: Analysis, specs: Mapping[str, str] | None = None) -> Chart:
    """Return the chart of the excess loss against the ratio of the grid, one panel a schedule, the others in gray.

    Args:
        analysis: of a sweep.
        specs: spec of each schedule, for the theoretical guide; the sweep's own, or the names, by default.
    """
    entries = [(s.curve, s.recommendation) for s in analysis.schedules if s.curve is not None]
    curves = [curve for curve, _ in entries]
    x, y = excess_axes(curves, analysis.tolerance)
    known = analysis.sweep.specs if specs is None else specs
    panels = [
        excess_panel(
            curve, x, y, tolerance=analysis.tolerance, recommendation=advice,
            spec=known.get(curve.schedule) or curve.schedule, others=[c for c in curves if c is not curve],
        )
        for curve, advice in entries
    ]  # fmt: skip
    title = f"Excess loss of a coarser grid (tolerance {analysis.tolerance:.3g})" if panels else NO_DATA
    return Chart(title=title, panels=tuple(panels), x=x, y=y)


def loss_axes(profiles: Sequence[LearningRateProfile]) -> tuple[Axis, Axis]:
    """Return axes that show the valley: up to 20 times the lowest loss, or all of it where that is less."""
    rates = np.concatenate([p.learning_rates for p in profiles]) if profiles else np.array([0.1, 1.0])
    means = np.concatenate([p.mean[np.isfinite(p.mean)] for p in profiles]) if profiles else np.array([1.0, 2.0])
    low, high = float(means.min()), float(means.max())
    if low > SMALLEST:
        span = max(min(high / low * 1.1, VALLEY), 1.01)
        y = Axis(label="final loss", low=low / span**0.08, high=low * span)
    else:
        y = _linear_axis("final loss", [low, high])
    return _log_axis("peak learning rate", rates), y


def loss_panel(
    profile: LearningRateProfile,
    x: Axis,
    y: Axis,
    *,
    recommendation: Recommendation | None = None,
    others: Sequence[LearningRateProfile] = (),
) -> Panel:
    """Return one schedule's panel: mean and band, every seed, the best, what diverged, the cliff, the next grid."""
    lrs, n_seeds, (low, high) = profile.learning_rates, profile.loss.shape[1], profile.interval.T
    areas, curves, notes = list[Area](), list[Curve](), list[Note]()
    curves += [_curve("other schedules", o.learning_rates, o.mean, y, color=CONTEXT, width=1) for o in others]
    if profile.cliff is not None and profile.before_cliff is not None:
        areas.append(_span("cliff", profile.before_cliff, profile.cliff, y, DIVERGED, 0.1))
        notes.append(Note(text="cliff", x=math.sqrt(profile.before_cliff * profile.cliff), color=DIVERGED))
    if profile.edge is not None:
        edge = (profile.best_lr,) * 2
        curves.append(Curve(name="edge of the grid", x=edge, y=(y.low, y.high), color=LIMIT, width=1, dash="dot"))
        notes.append(Note(text="edge of the grid", x=profile.best_lr, color=LIMIT))
    if n_seeds > 1:
        curves += [_curve("each seed", lrs, losses, y, width=0.7, opacity=0.35) for losses in profile.loss.T]
        if y.log:
            low = np.where(low > 0, low, high)  # what reaches below zero has no place on a logarithmic axis
        areas.append(_area(f"band of the mean (n = {n_seeds})", lrs, low, high))
    curves.append(_curve("mean", lrs, profile.mean, y, marker="circle"))
    curves.append(Curve(name="best", x=(profile.best_lr,), y=(profile.best_loss,), width=0, marker="star", size=11))
    if (counts := np.isinf(profile.loss).sum(axis=1)).any():
        where, texts = lrs[counts > 0], tuple(f"{n} of {n_seeds} diverged" for n in counts[counts > 0])
        curves.append(_row_of_marks("diverged", where, y.at(0.96), DIVERGED, "x", texts))
    if recommendation is not None:
        curves.append(
            _row_of_marks("recommended grid", recommendation.learning_rates, y.at(0.03), LIMIT, "triangle-up")
        )
    finding = f"best {profile.best_loss:.4g} at {profile.best_lr:.4g}"
    return Panel(name=profile.schedule, finding=finding, areas=tuple(areas), curves=tuple(curves), notes=tuple(notes))


def excess_axes(curves: Sequence[DegradationCurve], tolerance: float | None) -> tuple[Axis, Axis]:
    """Return axes for all these curves; an excess of zero is drawn at the bottom."""
    shown = [(curve, _drawable(curve, curves)) for curve in curves]
    worst = np.array([*chain.from_iterable(c.worst[keep] for c, keep in shown), tolerance or 0.0])
    positive = worst[(worst > SMALLEST) & (worst < LARGEST)]
    low, high = (float(positive.min()), float(positive.max())) if positive.size else (1e-6, 1e-5)
    bands = np.array([*chain.from_iterable(c.worst_interval[keep, 1] for c, keep in shown), high])
    top = float(bands[np.isfinite(bands)].max())
    ratios = [float(ratio) for curve, keep in shown for ratio in curve.ratio[keep]] or [2.0, 16.0]
    y = Axis(label="excess final loss", low=max(0.3 * low, SMALLEST), high=2 * min(top, 10 * high))
    return _log_axis("ratio of the grid", ratios), y


def excess_panel(
    curve: DegradationCurve,
    x: Axis,
    y: Axis,
    *,
    tolerance: float | None = None,
    recommendation: Recommendation | None = None,
    spec: str | None = None,
    others: Sequence[DegradationCurve] = (),
) -> Panel:
    """Return one schedule's panel: the worst offset with its band, the mean over offsets, the tolerance, the guide."""
    curves = list[Curve]()
    for other in others:
        keep = _drawable(other, [curve, *others])
        curves.append(
            _curve("other schedules", other.ratio[keep], _raised(other.worst[keep], y), y, color=CONTEXT, width=1)
        )
    keep = _drawable(curve, [curve, *others])
    ratio, covered = curve.ratio[keep], curve.covered[keep]
    worst, (low, high) = _raised(curve.worst[keep], y), _raised(curve.worst_interval[keep], y).T
    areas = [_area(f"band, {curve.confidence_level:.0%}", ratio, low, high)] if curve.n_seeds > 1 else []
    curves.append(_curve(WORST_LABEL, ratio, worst, y, marker="circle", hollow=tuple(~covered)))
    curves.append(_curve("mean over offsets", ratio, _raised(curve.mean[keep], y), y, width=0.9, opacity=0.7))
    guide = None if spec is None else _guide(spec, ratio, worst, covered)
    if guide is not None:
        curves.append(_curve(GUIDE_LABEL, ratio, _raised(guide, y), y, color=GUIDE, width=0.9, dash="dash"))
    if tolerance is not None and y.low < tolerance < y.high:
        curves.append(Curve(name="tolerance", x=(x.low, x.high), y=(tolerance,) * 2, color=LIMIT, width=1))
    finding = "no recommendation"
    if recommendation is not None:
        finding = f"ratio {recommendation.ratio:.3g}, {count_of(recommendation.n_trials, 'trial')}"
        at = (recommendation.ratio,) * 2
        curves.append(Curve(name="recommended ratio", x=at, y=(y.low, y.high), color=LIMIT, width=1, dash="dot"))
    return Panel(name=curve.schedule, finding=finding, areas=tuple(areas), curves=tuple(curves))


def search_chart(result: SearchResult) -> Chart:
    """Return the chart of a search: the loss at each learning rate tried, numbered in order, and its findings."""
    first, finite, diverged = dict[float, int](), dict[float, list[float]](), set[float]()
    for number, tried in enumerate(result.history, 1):
        first.setdefault(tried.lr, number)
        if math.isfinite(tried.loss):
            finite.setdefault(tried.lr, []).append(tried.loss)
        elif tried.status == "diverged":
            diverged.add(tried.lr)
    means = {lr: math.fsum(losses) / len(losses) for lr, losses in sorted(finite.items()) if lr not in diverged}
    every = [(lr, loss) for lr, losses in finite.items() for loss in losses]
    bound = result.excess_bound
    lowest = [] if bound is None else [result.loss - bound]
    x = _log_axis("peak learning rate", [*result.lr_range, *first])
    y = _linear_axis("final loss", [*(loss for _, loss in every), *lowest] or [0.0, 1.0])
    curves = [
        Curve(name="range searched", x=(end,) * 2, y=(y.low, y.high), color=LIMIT, width=1, dash="dot")
        for end in result.lr_range
    ]
    lrs, losses = [lr for lr, _ in every], [loss for _, loss in every]
    curves.append(_curve("each trial", lrs, losses, y, color=CONTEXT, width=0, marker="circle"))
    curves.append(_curve("mean", list(means), list(means.values()), y, width=1.2, marker="circle"))
    curves.append(_row_of_marks("diverged", sorted(diverged), y.at(0.96), DIVERGED, "x"))
    notes = [Note(text=str(first[lr]), x=lr, y=loss) for lr, loss in means.items()]
    areas = list[Area]()
    if result.good_interval is not None:
        curves.append(Curve(name="best", x=(result.lr,), y=(result.loss,), width=0, marker="star", size=11))
        areas.append(_span("within the tolerance", *result.good_interval, y, COLOR, 0.12))
    if bound is not None:
        low, high = (result.loss - bound,) * 2, (result.loss,) * 2
        areas.append(Area(name="excess bound", x=(x.low, x.high), low=low, high=high, color=LIMIT, opacity=0.15))
        notes.append(Note(text=f"nothing is lower by more than {bound:.2g}", x=result.lr_range[0], color=LIMIT))
    panel = Panel(
        name=result.schedule or "", finding=result.reason or "not finished", areas=tuple(areas), curves=tuple(curves),
        notes=tuple(notes),
    )  # fmt: skip
    return Chart(title=f"Learning-rate search: {search_headline(result)}", panels=(panel,), x=x, y=y)


def _curve(name: str, xs: Iterable[float], ys: Iterable[float], y: Axis, **style: object) -> Curve:
    kept = [(float(a), float(b)) for a, b in zip(xs, ys, strict=True) if math.isfinite(b) and (b > 0 or not y.log)]
    return Curve(name=name, x=tuple(a for a, _ in kept), y=tuple(b for _, b in kept), **style)  # type: ignore[arg-type]


def _row_of_marks(
    name: str, xs: Iterable[float], at: float, color: str, marker: str, texts: tuple[str, ...] = ()
) -> Curve:
    x = tuple(float(lr) for lr in xs)
    return Curve(name=name, x=x, y=(at,) * len(x), color=color, width=0, marker=marker, size=6, texts=texts)


def _area(name: str, x: Array, low: Array, high: Array) -> Area:
    known = np.isfinite(low) & np.isfinite(high)
    columns = [tuple(map(float, values[known])) for values in (x, low, high)]
    return Area(name=name, x=columns[0], low=columns[1], high=columns[2])


def _span(name: str, left: float, right: float, y: Axis, color: str, opacity: float) -> Area:
    low, high = (y.low,) * 2, (y.high,) * 2
    return Area(name=name, x=(left, right), low=low, high=high, color=color, opacity=opacity)


def _log_axis(label: str, values: Iterable[float]) -> Axis:
    known = list(values)
    low, high = min(known), max(known)
    pad = max((high / low) ** 0.05, 1.02) if high > low else 2.0
    return Axis(label=label, low=low / pad, high=high * pad)


def _linear_axis(label: str, values: Iterable[float]) -> Axis:
    known = [min(max(value, -LARGEST), LARGEST) for value in values]
    low, high = min(known), max(known)
    margin = max(0.08 * (high - low), 1e-6 * max(abs(low), abs(high))) or 1.0
    return Axis(label=label, low=low - margin, high=high + margin, log=False)


def _raised(values: Array, y: Axis) -> Array:
    return np.maximum(values, y.low)


def _drawable(curve: DegradationCurve, curves: Sequence[DegradationCurve]) -> NDArray[np.bool_]:
    """Coarser grids with at least two points, up to two strides more than any of the curves can tell."""
    last = max((int(c.stride[c.covered][-1]) for c in curves if c.covered.any()), default=1) + 2
    is_finite = np.isfinite(curve.worst + curve.ratio)
    return np.asarray((curve.stride > 1) & (curve.stride <= last) & is_finite & (curve.n_trials > 1))


def _guide(spec: str, ratio: Array, worst: Array, covered: NDArray[np.bool_]) -> Array | None:
    """``W(ratio) - 1`` scaled to meet the measured curve at its last trustworthy point: its shape, not its height."""
    if not covered.any():
        return None
    # W is read off its inverse, which is far quicker; no schedule has W(r) > (sqrt(r) + 1/sqrt(r)) / 2.
    root = math.sqrt(float(ratio.max()))
    costs = np.geomspace(1e-9, min(root + 1 / root, 1e6), 200)
    try:
        schedule = parse_schedule(spec)
        widths = [resolution_for_tolerance(schedule, float(cost), total_steps=GUIDE_STEPS) for cost in costs]
    except ScheduleError:
        return None
    guide = np.exp(np.interp(np.log(ratio), np.log(widths), np.log(costs)))
    at = int(np.flatnonzero(covered)[-1])
    return np.asarray(guide * worst[at] / guide[at])
