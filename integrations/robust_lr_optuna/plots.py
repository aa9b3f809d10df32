"""The plots of an analysis as plotly figures, in Optuna's manner: one panel a schedule, the others in grey."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from optuna.study import Study

from robust_lr import (
    Analysis,
    DegradationCurve,
    LearningRateProfile,
    Recommendation,
    RobustLRError,
    analyze_sweep,
)
from robust_lr.cli.output import absolute_tolerance
from robust_lr.report.plots import COLOUR, CONTEXT, DIVERGED, LIMIT, SMALLEST

from .results import sweep_from_study

if TYPE_CHECKING:
    import plotly.graph_objects as go

Array = NDArray[np.float64]

_BAND = "rgba(31, 95, 168, 0.2)"  # COLOUR
_SEEDS = "rgba(31, 95, 168, 0.35)"
_SPAN = 20.0  # of the losses shown, above the lowest: the valley, not what lies far up its walls
_COLUMNS = 3


def analyze_study(
    study: Study, *, tolerance: float | str = "1%", confidence_level: float = 0.95, **options: Any
) -> Analysis:
    """Return the analysis of the sweep in a study.

    Args:
        study: any study.
        tolerance: excess loss allowed when a grid is recommended: in units of the loss, or, as in "1%", of the lowest.
        confidence_level: in (0, 1).
        options: those of `sweep_from_study`.

    Raises:
        DataError: when the study holds no sweep, or an argument is wrong.

    Example:
        >>> import optuna
        >>> study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
        >>> study.optimize(lambda trial: (trial.suggest_float("lr", 1e-3, 1.0, log=True) - 0.1) ** 2 + 1, n_trials=9)
        >>> analyze_study(study).tolerance
        0.01...
    """
    sweep = sweep_from_study(study, **options)
    allowed = absolute_tolerance(tolerance, sweep) if isinstance(tolerance, str) else tolerance
    return analyze_sweep(sweep, tolerance=allowed, confidence_level=confidence_level)


def plot_learning_rate(study: Study | Analysis, **options: Any) -> go.Figure:
    """Return a figure of the final loss against the learning rate, on logarithmic axes.

    Shows every seed (faint), the mean with its confidence band, the best learning rate, diverged runs as red crosses
    at the top, the stability cliff in red, and the recommended grid as triangles at the bottom. Losses that are not
    all positive, as those of a study that maximises, have a linear axis.

    Args:
        study: any study, or an analysis.
        options: those of `analyze_study`, where it is a study.

    Raises:
        RobustLRError: when plotly is not installed.
        DataError: when the study holds no sweep.

    Example:
        >>> import optuna
        >>> study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
        >>> study.optimize(lambda trial: (trial.suggest_float("lr", 1e-3, 1.0, log=True) - 0.1) ** 2, n_trials=9)
        >>> plot_learning_rate(study).layout.xaxis.title.text
        'peak learning rate'
    """
    analysis = _analysis(study, options)
    entries = [entry for entry in analysis.schedules if entry.profile is not None]
    profiles = [entry.profile for entry in entries if entry.profile is not None]
    panels = _Panels([_titled(p.schedule, f"best {p.best_loss:.4g} at {p.best_lr:.4g}") for p in profiles])
    low, high, is_log = _loss_limits(profiles)
    for i, (entry, profile) in enumerate(zip(entries, profiles, strict=True)):
        for other in profiles:
            if other is not profile:
                panels.line(i, other.learning_rates, other.mean, "other schedules", colour=CONTEXT, hover=False)
        _draw_profile(panels, i, profile, entry.recommendation, low, high, is_log)
    y_axis: dict[str, Any] = {"title": "final loss", "type": "log" if is_log else "linear"}
    if profiles:
        y_axis["range"] = [math.log10(low), math.log10(high)] if is_log else [low, high]
    return panels.finished("Final loss against peak learning rate", "peak learning rate", y_axis)


def plot_degradation(study: Study | Analysis, **options: Any) -> go.Figure:
    """Return a figure of the excess loss of coarser grids against their ratio, on logarithmic axes.

    Shows the worst offset with its confidence band (hollow where the trials reach too little to both sides to tell),
    the mean over the offsets, the tolerance, and the recommended ratio. An excess of zero is drawn at the bottom.

    Args:
        study: any study, or an analysis.
        options: those of `analyze_study`, where it is a study.

    Raises:
        RobustLRError: when plotly is not installed.
        DataError: when the study holds no sweep.

    Example:
        >>> import optuna
        >>> study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
        >>> study.optimize(lambda trial: (trial.suggest_float("lr", 1e-3, 1.0, log=True) - 0.1) ** 2, n_trials=9)
        >>> plot_degradation(study).layout.xaxis.title.text
        'ratio of the grid'
    """
    analysis = _analysis(study, options)
    entries = [entry for entry in analysis.schedules if entry.curve is not None]
    curves = [entry.curve for entry in entries if entry.curve is not None]
    panels = _Panels([_titled(entry.schedule, _advice(entry.recommendation)) for entry in entries])
    floor = _floor(curves, analysis.tolerance)
    for i, (entry, curve) in enumerate(zip(entries, curves, strict=True)):
        for other in curves:
            if other is not curve:
                keep = _drawable(other)
                panels.line(
                    i, other.ratio[keep], np.maximum(other.worst[keep], floor), "other schedules",
                    colour=CONTEXT, hover=False,
                )  # fmt: skip
        _draw_curve(panels, i, curve, analysis.tolerance, entry.recommendation, floor)
    y_axis: dict[str, Any] = {"title": "excess final loss", "type": "log"}
    return panels.finished("Excess loss of a coarser grid", "ratio of the grid", y_axis)


def _analysis(study: Study | Analysis, options: dict[str, Any]) -> Analysis:
    if not isinstance(study, Analysis):
        return analyze_study(study, **options)
    if options:
        raise RobustLRError(f"an analysis takes no options, got {', '.join(options)}")
    return study


def _draw_profile(
    panels: _Panels,
    i: int,
    profile: LearningRateProfile,
    advice: Recommendation | None,
    low: float,
    high: float,
    is_log: bool,
) -> None:
    lrs, finite = profile.learning_rates, np.isfinite(profile.mean)
    if profile.cliff is not None and profile.before_cliff is not None:
        panels.band(i, [profile.before_cliff, profile.cliff], [low, low], [high, high], "cliff", "rgba(198,40,40,0.12)")
    if profile.loss.shape[1] > 1:
        # One trace for all seeds; None lifts the pen.
        x = [lr for _ in profile.loss.T for lr in [*lrs.tolist(), None]]
        y = [loss for losses in profile.loss.T for loss in [*losses.tolist(), None]]
        panels.line(i, x, y, "each seed", colour=_SEEDS, width=0.8, hover=False)
        bottom, top = profile.interval[finite].T
        if is_log:
            bottom = np.where(bottom > 0, bottom, top)  # what reaches below zero has no place on a logarithmic axis
        panels.band(i, lrs[finite], bottom, top, f"band of the mean (n = {profile.loss.shape[1]})", _BAND)
    panels.line(i, lrs[finite], profile.mean[finite], "mean", colour=COLOUR, marker={"size": 6})
    panels.marks(i, [profile.best_lr], [profile.best_loss], "best", symbol="star", colour=COLOUR, size=14)
    diverged = np.isinf(profile.loss).sum(axis=1)
    if diverged.any():
        texts = [f"{n} of {profile.loss.shape[1]} diverged" for n in diverged[diverged > 0]]
        top_of_panel = high * 0.93 if is_log else high - 0.03 * (high - low)
        panels.marks(
            i, lrs[diverged > 0], [top_of_panel] * len(texts), "diverged", symbol="x", colour=DIVERGED, texts=texts
        )
    if advice is not None:
        bottom_of_panel = low * 1.04 if is_log else low + 0.02 * (high - low)
        panels.marks(
            i, advice.learning_rates, [bottom_of_panel] * len(advice.learning_rates), "recommended grid",
            symbol="triangle-up", colour=LIMIT,
        )  # fmt: skip


def _draw_curve(
    panels: _Panels,
    i: int,
    curve: DegradationCurve,
    tolerance: float,
    advice: Recommendation | None,
    floor: float,
) -> None:
    keep = _drawable(curve)
    ratio, worst = curve.ratio[keep], np.maximum(curve.worst[keep], floor)
    low, high = np.maximum(curve.worst_interval[keep], floor).T
    if curve.n_seeds > 1:
        panels.band(i, ratio, low, high, f"band, {curve.confidence_level:.0%}", _BAND)
    fill = [COLOUR if covered else "white" for covered in curve.covered[keep]]
    marker = {"size": 7, "color": fill, "line": {"color": COLOUR, "width": 1.5}}
    panels.line(i, ratio, worst, "worst offset (hollow: too narrow to tell)", colour=COLOUR, marker=marker)
    panels.line(i, ratio, np.maximum(curve.mean[keep], floor), "mean over offsets", colour=COLOUR, width=1, dash="dot")
    if len(ratio):
        panels.line(i, [ratio[0], ratio[-1]], [tolerance] * 2, "tolerance", colour=LIMIT, width=1.2)
    if advice is not None and advice.ratio > 1:
        reach = [floor, max(tolerance, float(worst.max(initial=floor)))]
        panels.line(i, [advice.ratio] * 2, reach, "recommended ratio", colour=LIMIT, width=1.5, dash="dash")


class _Panels:
    """A figure with one panel a schedule on shared axes, and one legend for all of them."""

    def __init__(self, titles: Sequence[str]) -> None:
        subplots = _import_plotly()
        self._columns = 2 if len(titles) == 4 else min(max(len(titles), 1), _COLUMNS)
        self._rows = max(-(-len(titles) // self._columns), 1)
        self._n = len(titles)
        self._figure: go.Figure = subplots.make_subplots(
            rows=self._rows,
            cols=self._columns,
            subplot_titles=list(titles),
            shared_xaxes="all",
            shared_yaxes="all",
            horizontal_spacing=0.04,
            vertical_spacing=0.4 / (self._rows + 1),
        )
        self._known: set[str] = set()

    def line(
        self,
        i: int,
        x: Iterable[float | None] | Array,
        y: Iterable[float | None] | Array,
        name: str,
        *,
        colour: str,
        width: float = 2,
        dash: str = "solid",
        marker: dict[str, Any] | None = None,
        hover: bool = True,
    ) -> None:
        """Draw a line into panel `i`, with markers where there is a `marker`."""
        self._add(i, name, {
            "x": _plain(x), "y": _plain(y), "mode": "lines+markers" if marker else "lines", "marker": marker,
            "line": {"color": colour, "width": width, "dash": dash},
            "hoverinfo": None if hover else "skip",
        })  # fmt: skip

    def marks(
        self,
        i: int,
        x: Iterable[float] | Array,
        y: Iterable[float] | Array,
        name: str,
        *,
        symbol: str,
        colour: str,
        size: int = 9,
        texts: Sequence[str] | None = None,
    ) -> None:
        """Draw marks into panel `i`."""
        marker = {"symbol": symbol, "color": colour, "size": size}
        trace = {"x": _plain(x), "y": _plain(y), "mode": "markers", "marker": marker, "text": texts}
        self._add(i, name, trace | {"cliponaxis": False})

    def band(
        self,
        i: int,
        x: Iterable[float] | Array,
        low: Iterable[float] | Array,
        high: Iterable[float] | Array,
        name: str,
        colour: str,
    ) -> None:
        """Fill the area between two lines in panel `i`, where both are finite."""
        points = [p for p in zip(_plain(x), _plain(low), _plain(high), strict=True) if None not in p]
        if not points:
            return
        xs, lows, highs = (list(column) for column in zip(*points, strict=True))
        self._add(i, name, {
            "x": xs + xs[::-1], "y": lows + highs[::-1], "mode": "lines", "line": {"width": 0}, "fill": "toself",
            "fillcolor": colour, "hoverinfo": "skip",
        })  # fmt: skip

    def finished(self, title: str, x_title: str, y_axis: dict[str, Any]) -> go.Figure:
        """Return the figure with its axes and title."""
        self._figure.update_layout(
            title=title if self._n else "No schedule has enough data to plot",
            height=130 + 330 * self._rows,
            legend={"orientation": "h", "y": -0.25 / self._rows, "yanchor": "top"},
        )
        self._figure.update_annotations(font_size=12)
        y_title = y_axis.pop("title")
        self._figure.update_xaxes(type="log", minor={"showgrid": False})
        self._figure.update_yaxes(**y_axis, nticks=6)
        for column in range(1, self._columns + 1):
            on_column = self._rows if (self._rows - 1) * self._columns + column <= self._n else self._rows - 1
            self._figure.update_xaxes(
                title=x_title, title_standoff=4, showticklabels=True, row=max(on_column, 1), col=column
            )
        self._figure.update_yaxes(title=y_title, col=1)
        return self._figure

    def _add(self, i: int, name: str, trace: dict[str, Any]) -> None:
        row, column = i // self._columns + 1, i % self._columns + 1
        self._figure.add_scatter(
            **trace, name=name, legendgroup=name, showlegend=name not in self._known, row=row, col=column
        )
        self._known.add(name)


def _import_plotly() -> Any:
    try:
        from plotly import subplots
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] != "plotly":
            raise
        raise RobustLRError("plots of a study need plotly: pip install 'robust-lr[dashboard]'") from error
    return subplots


def _plain(values: Iterable[float | None] | Array) -> list[float | None]:
    """The values as JSON has them; arrays would become base64, which not every plotly.js can read."""
    return [None if value is None or not math.isfinite(value) else float(value) for value in values]


def _titled(schedule: str, finding: str) -> str:
    return f"{schedule}<br>{finding}"


def _advice(advice: Recommendation | None) -> str:
    return "no recommendation" if advice is None else f"ratio {advice.ratio:.3g}, {advice.n_trials} trials"


def _loss_limits(profiles: Sequence[LearningRateProfile]) -> tuple[float, float, bool]:
    """The lowest and highest loss to show, and whether on a logarithmic axis."""
    means = np.concatenate([p.mean[np.isfinite(p.mean)] for p in profiles]) if profiles else np.empty(0)
    if not means.size:
        return 0.0, 1.0, False
    low, high = float(means.min()), float(means.max())
    if low > SMALLEST:
        span = min(high / low * 1.1, _SPAN)
        return low / span**0.08, low * span, True
    margin = 0.05 * (high - low) or 1.0
    return low - margin, high + margin, False


def _drawable(curve: DegradationCurve) -> NDArray[np.bool_]:
    """Coarser grids with at least two points, and two strides more than the sweep can tell."""
    last = int(curve.stride[curve.covered][-1]) if curve.covered.any() else 1
    is_finite = np.isfinite(curve.worst + curve.ratio)
    return np.asarray((curve.stride > 1) & is_finite & (curve.n_trials > 1) & (curve.stride <= last + 2))


def _floor(curves: Sequence[DegradationCurve], tolerance: float) -> float:
    values = np.array([value for curve in curves for value in curve.worst[_drawable(curve)] if value > 0])
    return max(0.3 * min(float(values.min(initial=tolerance)), tolerance), SMALLEST)
