"""Charts drawn by matplotlib."""

from __future__ import annotations

import textwrap
import warnings
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from ..analysis import Analysis
from ..collection import CollectionAnalysis
from ..exceptions import RobustLRError
from ..search import SearchResult
from ._charts import Chart, Note, Panel, Trace
from .figures import answer_chart, degradation_chart, learning_rate_chart
from .pooled_figures import pooled_chart, valleys_chart
from .search_figures import search_chart

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

PANEL_SIZE, ONE_PANEL = (
    (3.6, 2.7),
    (4.2, 2.7),
)  # inches; a screen of 390 pixels shows the text of one panel at its own size

_DASHES = {"solid": "-", "dash": "--", "dot": ":"}
_MARKERS = {"": "", "circle": "o", "star": "*", "x": "x", "triangle-up": "^"}


def learning_rate_figure(analysis: Analysis) -> Figure:
    """Return a figure of the final loss against the learning rate, one panel per schedule, the others in gray.

    Shows every seed (faint), the mean with its confidence band, the best learning rate, diverged runs as red crosses
    at the top, the stability cliff, the edge of the grid if the best lies on it, and the recommended grid.
    """
    return draw(learning_rate_chart(analysis))


def degradation_figure(analysis: Analysis, specs: Mapping[str, str] | None = None) -> Figure:
    """Return a figure of the excess loss against the ratio of the grid, one panel per schedule, the others in gray.

    Shows the worst offset with its confidence band (hollow if the sweep is too narrow to tell), the mean over the
    offsets, the tolerance, the recommended ratio, and as a dashed guide the shape of the theoretical guarantee.

    Args:
        analysis: of a sweep.
        specs: spec of each schedule, for the guide; the sweep's own, or the names, by default. There is no guide for
            one that cannot be parsed.
    """
    return draw(degradation_chart(analysis, specs))


def search_figure(result: SearchResult) -> Figure:
    """Return a figure of a search: the loss at every learning rate tried, numbered in order, and the findings.

    Shows each trial and the mean at each learning rate, the means of shorter horizons, the best as a star, the interval
    that is surely within the tolerance of it in blue, the band of the excess bound below it, trials that diverged or
    exploded as red crosses at the top, those far above the valley as triangles there, and the searched range between
    dotted lines.

    Args:
        result: of a search, finished or not.
    """
    return draw(search_chart(result))


def answer_figure(analysis: Analysis) -> Figure:
    """Return the figure that shows the answer: how far each learning rate is from the best, all schedules in one panel.

    Shows the tolerance, the learning rates that are as good as the best (shaded), the next grid (triangles and dotted
    lines), and diverged runs as red crosses at the top.
    """
    return draw(answer_chart(analysis))


def pooled_figure(analysis: CollectionAnalysis) -> Figure:
    """Return the figure of what coarser grids lose over many sweeps, against the ratio, one panel per schedule.

    Shows the excess loss that half and 95% of the sweeps do not exceed, the bound for further sweeps, the tolerance and
    the recommended ratio.
    """
    return draw(pooled_chart(analysis))


def valleys_figure(analysis: CollectionAnalysis) -> Figure:
    """Return the figure of the valleys of many sweeps, one small panel per cluster, one line per sweep."""
    return draw(valleys_chart(analysis))


def draw(chart: Chart, axes: Sequence[Axes] = ()) -> Figure:
    """Draw a chart, one panel on each of the axes, and return the figure; without axes, make and lay out a new one.

    Raises:
        RobustLRError: when matplotlib is not installed.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # users who turn warnings into errors still get the figure
        if axes:
            for ax, panel in zip(axes, chart.panels, strict=False):
                _draw_panel(panel, chart, ax)
                _write_title(panel, ax, characters=40)
            return axes[0].get_figure(root=True)  # type: ignore[return-value]
        figure, own = _panels(len(chart.panels))
        for ax, panel in zip(own, chart.panels, strict=True):
            _draw_panel(panel, chart, ax)
            _write_title(panel, ax, characters=int(12 * figure.get_figwidth() / min(len(own), 4)))
            place = ax.get_subplotspec()
            if place is not None and not place.is_first_col():
                ax.set_ylabel("")
            if not ax.xaxis.get_tick_params()["labelbottom"]:
                ax.set_xlabel("")
        shown = {label: handle for ax in own for handle, label in zip(*ax.get_legend_handles_labels(), strict=True)}
        if shown:
            handles, n = list(shown.values()), 2 if len(own) < 3 else 4
            figure.legend(handles, list(shown), loc="outside lower center", ncols=n, fontsize=7, frameon=False)
        if chart.title:
            title = _wrapped(f"{chart.title}\n{chart.note}", int(11 * figure.get_figwidth()))
            figure.suptitle(title, fontsize=10, parse_math=False)
        _lay_out(figure)
    return figure


def draw_panels(chart: Chart) -> list[Figure]:
    """Draw each panel on a small figure of its own, without title and legend, for a page that places them itself."""
    figures = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for panel in chart.panels:
            figure = _figure(*(ONE_PANEL if len(chart.panels) == 1 else PANEL_SIZE))
            _draw_panel(panel, chart, figure.subplots())
            _lay_out(figure)
            figures.append(figure)
    return figures


def _lay_out(figure: Figure) -> None:
    engine = figure.get_layout_engine()
    if engine is not None and figure.axes:
        engine.execute(figure)
    figure.set_layout_engine("none")


def _wrapped(text: str, characters: int) -> str:
    return "\n".join(line for part in text.splitlines() for line in textwrap.wrap(part, max(characters, 12)))


def _write_title(panel: Panel, ax: Axes, characters: int) -> None:
    title = f"{_wrapped(panel.name, characters)}\n{_wrapped(panel.finding, characters)}"
    ax.set_title(title, fontsize=9, y=1.0, parse_math=False)


def _figure(width: float, height: float) -> Figure:
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ModuleNotFoundError as error:
        if error.name != "matplotlib":
            raise
        raise RobustLRError("plots need matplotlib: pip install 'robust-lr[report]'") from error
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def _panels(n: int) -> tuple[Figure, list[Axes]]:
    columns = min(max(n, 1), 4)
    rows = max(-(-n // columns), 1)
    figure = _figure(max(3.1 * columns, 7.0), 2.8 * rows + 1.4)
    axes = list(figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False).flat)
    for unused in axes[n:]:
        unused.remove()
    # With shared axes only the outer panels carry labels; removing a panel makes the one above it an outer one.
    for i, ax in enumerate(axes[:n]):
        ax.xaxis.set_tick_params(labelbottom=i + columns >= n)
    return figure, axes[:n]


def _draw_panel(panel: Panel, chart: Chart, ax: Axes) -> None:
    for trace in panel.traces:
        _draw_trace(trace, ax)
    for note in panel.notes:
        _write(note, is_left=note.x < chart.x.at(0.5), ax=ax)
    ax.set_xscale("log" if chart.x.log else "linear")
    ax.set_yscale("log" if chart.y.log else "linear")
    ax.set_xlim(chart.x.low, chart.x.high)
    ax.set_ylim(chart.y.low, chart.y.high)
    for axis, ticks in ((chart.x, ax.set_xticks), (chart.y, ax.set_yticks)):
        ticks([], minor=True)
        ticks(list(axis.ticks()), labels=list(axis.ticks().values()))
    ax.set_xlabel(chart.x.label, fontsize=8)
    ax.set_ylabel(chart.y.label, fontsize=8)
    ax.tick_params(labelsize=8)
    ax.grid(True, which="major", lw=0.4, alpha=0.5)


def _draw_trace(trace: Trace, ax: Axes) -> None:
    if trace.low:
        shade = ax.fill_between(trace.x, trace.low, trace.y, color=trace.color, alpha=trace.opacity, lw=0)
        shade.set(zorder=1, label=trace.name)
        return
    marker, line = _MARKERS[trace.marker], _DASHES[trace.dash] if trace.width else ""
    ax.plot(
        trace.x, trace.y, linestyle=line, lw=trace.width, color=trace.color, alpha=trace.opacity, label=trace.name,
        marker="" if any(trace.hollow) else marker, ms=trace.size, mew=1.6 if marker == "x" else 1, zorder=2,
    )  # fmt: skip
    if any(trace.hollow):
        for face, is_hollow in ((trace.color, False), ("white", True)):
            points = [(a, b) for a, b, h in zip(trace.x, trace.y, trace.hollow, strict=True) if h == is_hollow]
            xs, ys = [a for a, _ in points], [b for _, b in points]
            ax.plot(xs, ys, linestyle="", marker=marker, ms=trace.size, mfc=face, mec=trace.color, zorder=3)


def _write(note: Note, *, is_left: bool, ax: Axes) -> None:
    upright = note.y is None
    ax.annotate(
        note.text, (note.x, 0.08 if note.y is None else note.y), (0 if not upright else 3 if is_left else -3, 4),
        xycoords=("data", "axes fraction") if upright else "data", textcoords="offset points", fontsize=7,
        rotation=90 if upright else 0, color=note.color, va="bottom",
        ha="center" if not upright else "left" if is_left else "right", zorder=4,
        bbox={"facecolor": "white", "alpha": 0.7, "linewidth": 0, "pad": 0.6},
    )  # fmt: skip
