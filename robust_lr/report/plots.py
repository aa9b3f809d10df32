"""Charts drawn by matplotlib: one panel a schedule, with the others in gray behind it, and a learning-rate search."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from ..analysis import Analysis, DegradationCurve, LearningRateProfile, Recommendation
from ..exceptions import RobustLRError
from ..search import SearchResult
from .charts import (
    Axis,
    Chart,
    Curve,
    Panel,
    degradation_chart,
    excess_axes,
    excess_panel,
    learning_rate_chart,
    loss_axes,
    loss_panel,
    search_chart,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

TITLE_LENGTH = 34  # characters that fit over a panel

_DASHES = {"solid": "-", "dash": "--", "dot": ":"}
_MARKERS = {"": "", "circle": "o", "star": "*", "x": "x", "triangle-up": "^"}


def plot_learning_rate(
    profile: LearningRateProfile, *, others: Sequence[LearningRateProfile] = (), ax: Axes | None = None
) -> Axes:
    """Draw the final loss against the learning rate and return the axes.

    Shows every seed (faint), the mean with its confidence band, the best learning rate, diverged runs as red crosses
    at the top, the stability cliff, and the end of the grid where the best lies on it.

    Args:
        profile: of the schedule to show.
        others: profiles of other schedules, drawn in gray for comparison.
        ax: axes to draw on; new ones by default.
    """
    x, y = loss_axes([profile, *others])
    return _on_axes(loss_panel(profile, x, y, others=others), x, y, ax)


def plot_degradation(
    curve: DegradationCurve,
    *,
    tolerance: float | None = None,
    recommendation: Recommendation | None = None,
    spec: str | None = None,
    others: Sequence[DegradationCurve] = (),
    ax: Axes | None = None,
) -> Axes:
    """Draw the excess loss against the ratio of the grid and return the axes.

    Shows the worst offset with its confidence band (hollow where the sweep is too narrow to tell), the mean over the
    offsets, the tolerance, the recommended ratio, and as a dashed guide the shape of the theoretical guarantee.

    Args:
        curve: of the schedule to show.
        tolerance: drawn as a line.
        recommendation: its ratio is marked.
        spec: spec of the schedule, for the guide; no guide without it, or when it cannot be parsed.
        others: curves of other schedules, drawn in gray.
        ax: axes to draw on; new ones by default.
    """
    x, y = excess_axes([curve, *others], tolerance)
    panel = excess_panel(curve, x, y, tolerance=tolerance, recommendation=recommendation, spec=spec, others=others)
    return _on_axes(panel, x, y, ax)


def learning_rate_figure(analysis: Analysis) -> Figure:
    """Return a figure with one `plot_learning_rate` panel a schedule, on shared axes."""
    return draw(learning_rate_chart(analysis))


def degradation_figure(analysis: Analysis, specs: Mapping[str, str] | None = None) -> Figure:
    """Return a figure with one `plot_degradation` panel a schedule, on shared axes.

    Args:
        analysis: of a sweep.
        specs: spec of each schedule, for the theoretical guide; the sweep's own, or the names, by default.
    """
    return draw(degradation_chart(analysis, specs))


def search_figure(result: SearchResult) -> Figure:
    """Return a figure of a search: the loss at every learning rate tried, numbered in their order, and its findings.

    Shows the mean of several trials at a learning rate and each of them, the best as a star, the learning rates within
    the tolerance of it in blue, below it the band that the excess bound leaves, diverged trials as red crosses at the
    top, and the range searched between dotted lines.

    Args:
        result: of a search, finished or not.
    """
    return draw(search_chart(result))


def draw(chart: Chart) -> Figure:
    """Return a chart as a figure of matplotlib, laid out."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a user who turns warnings into errors still gets the figure
        figure, axes = _panels(len(chart.panels))
        for ax, panel in zip(axes, chart.panels, strict=True):
            _draw_panel(panel, chart.x, chart.y, ax)
            place = ax.get_subplotspec()
            if place is not None and not place.is_first_col():
                ax.set_ylabel("")
            if not ax.xaxis.get_tick_params()["labelbottom"]:
                ax.set_xlabel("")
        shown = {label: handle for ax in axes for handle, label in zip(*ax.get_legend_handles_labels(), strict=True)}
        if shown:
            columns = 3 if len(axes) < 3 else 4
            figure.legend(
                shown.values(), shown.keys(), loc="outside lower center", ncols=columns, fontsize=7, frameon=False
            )
        figure.suptitle(chart.title, fontsize=10, parse_math=False)
        engine = figure.get_layout_engine()
        if engine is not None and axes:
            engine.execute(figure)
        figure.set_layout_engine("none")
    return figure


def _on_axes(panel: Panel, x: Axis, y: Axis, ax: Axes | None) -> Axes:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        ax = ax if ax is not None else _panels(1)[1][0]
        _draw_panel(panel, x, y, ax)
    return ax


def _panels(n: int) -> tuple[Figure, list[Axes]]:
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ModuleNotFoundError as error:
        if error.name != "matplotlib":
            raise
        raise RobustLRError("plots need matplotlib: pip install 'robust-lr[report]'") from error
    columns = min(max(n, 1), 4)
    rows = max(-(-n // columns), 1)
    figure = Figure(figsize=(max(3.1 * columns, 5.0), 2.8 * rows + 1.0), layout="constrained")
    FigureCanvasAgg(figure)
    axes = list(figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False).flat)
    for unused in axes[n:]:
        unused.remove()
    # With shared axes only the outer panels carry labels; a panel above a removed one has become an outer one.
    for i, ax in enumerate(axes[:n]):
        ax.xaxis.set_tick_params(labelbottom=i + columns >= n)
    return figure, axes[:n]


def _draw_panel(panel: Panel, x: Axis, y: Axis, ax: Axes) -> None:
    for area in panel.areas:
        ax.fill_between(
            area.x, area.low, area.high, color=area.color, alpha=area.opacity, lw=0, zorder=1, label=area.name
        )
    for order, curve in enumerate(panel.curves):
        _draw_curve(curve, ax, order)
    for note in panel.notes:
        upright = note.y is None
        ax.annotate(
            note.text, (note.x, 0.03 if note.y is None else note.y), (0, 0 if upright else 4),
            xycoords=("data", "axes fraction") if upright else "data", textcoords="offset points",
            rotation=90 if upright else 0, fontsize=7, color=note.color, ha="right" if upright else "center",
            va="bottom",
        )  # fmt: skip
    for axis, scale, limits, ticks in (
        (x, ax.set_xscale, ax.set_xlim, ax.set_xticks),
        (y, ax.set_yscale, ax.set_ylim, ax.set_yticks),
    ):
        scale("log" if axis.log else "linear")
        limits(axis.low, axis.high)
        ticks([], minor=True)
        values = axis.ticks()
        ticks(values, labels=[f"{value:g}" for value in values])
    ax.set_xlabel(x.label, fontsize=8)
    ax.set_ylabel(y.label, fontsize=8)
    ax.tick_params(labelsize=8)
    ax.grid(True, which="major", lw=0.4, alpha=0.5)
    name = panel.name
    if len(name) > TITLE_LENGTH:
        name = f"{name[: TITLE_LENGTH - 12]} … {name[-9:]}"
    ax.set_title(f"{name}\n{panel.finding}", fontsize=9, y=1.0, parse_math=False)


def _draw_curve(curve: Curve, ax: Axes, order: int) -> None:
    marker = _MARKERS[curve.marker]
    line = _DASHES[curve.dash] if curve.width else ""
    together = marker if not any(curve.hollow) else ""
    ax.plot(
        curve.x, curve.y, linestyle=line, lw=curve.width, color=curve.color, alpha=curve.opacity, marker=together,
        ms=curve.size, mew=1.6 if marker == "x" else 1, zorder=2 + order / 100, label=curve.name,
    )  # fmt: skip
    if together != marker:
        for hollow in (False, True):
            points = [(a, b) for a, b, h in zip(curve.x, curve.y, curve.hollow, strict=True) if h == hollow]
            xs, ys = zip(*points, strict=True) if points else ((), ())
            face = "white" if hollow else curve.color
            ax.plot(xs, ys, linestyle="", marker=marker, ms=curve.size, mfc=face, mec=curve.color, zorder=3)
