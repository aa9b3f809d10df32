"""The charts of an analysis as plotly figures in Optuna's style, one panel per schedule, the others in gray."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from optuna.study import Study

from robust_lr import Analysis, RobustLRError, analyze_sweep
from robust_lr.report._charts import Axis, Chart, Trace
from robust_lr.report.figures import degradation_chart, learning_rate_chart

from .results import sweep_from_study

if TYPE_CHECKING:
    import plotly.graph_objects as go

_COLUMNS = 3


def analyze_study(
    study: Study, *, tolerance: float | str = "1%", confidence_level: float = 0.95, **options: Any
) -> Analysis:
    """Return the analysis of the sweep in a study.

    Args:
        study: any study.
        tolerance: how much worse than the best loss you accept from a coarser grid: in units of the loss, or a share
            such as "1%" of the lowest.
        confidence_level: in (0, 1).
        options: options of `sweep_from_study`.

    Raises:
        DataError: when the study holds no sweep.
        OptionError: when an option is wrong.

    Example:
        >>> import optuna
        >>> study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
        >>> study.optimize(lambda trial: (trial.suggest_float("lr", 1e-3, 1.0, log=True) - 0.1) ** 2 + 1, n_trials=9)
        >>> analyze_study(study).tolerance
        0.01...
    """
    sweep = sweep_from_study(study, **options)
    return analyze_sweep(sweep, tolerance=tolerance, confidence_level=confidence_level)


def plot_learning_rate(study: Study | Analysis, **options: Any) -> go.Figure:
    """Return a figure of the final loss against the learning rate, as in the report.

    If losses are not all positive, as in a study that maximizes, their axis is linear.

    Args:
        study: any study, or an analysis.
        options: options of `analyze_study`, for a study.

    Raises:
        RobustLRError: when plotly is not installed.
        DataError: when the study holds no sweep.

    Example:
        >>> import optuna
        >>> study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
        >>> study.optimize(lambda trial: (trial.suggest_float("lr", 1e-3, 1.0, log=True) - 0.1) ** 2, n_trials=9)
        >>> plot_learning_rate(study).layout.xaxis.title.text, plot_degradation(study).layout.xaxis.title.text
        ('peak learning rate', 'ratio of the grid')
    """
    return draw(learning_rate_chart(_analysis(study, options)))


def plot_degradation(study: Study | Analysis, **options: Any) -> go.Figure:
    """Return a figure of the excess loss of coarser grids: `robust_lr.report.matplotlib_plots.degradation_figure`.

    Arguments and exceptions are those of `plot_learning_rate`.
    """
    return draw(degradation_chart(_analysis(study, options)))


def draw(chart: Chart) -> go.Figure:
    """Return a chart as a plotly figure, with one legend for all panels.

    Raises:
        RobustLRError: when plotly is not installed.
    """
    n = len(chart.panels)
    columns = 2 if n == 4 else min(max(n, 1), _COLUMNS)
    rows = max(-(-n // columns), 1)
    figure: go.Figure = _import_plotly().make_subplots(
        rows=rows,
        cols=columns,
        subplot_titles=[f"{panel.name}<br>{panel.finding}" for panel in chart.panels],
        shared_xaxes="all",
        shared_yaxes="all",
        horizontal_spacing=0.04,
        vertical_spacing=0.4 / (rows + 1),
    )
    known = set[str]()
    for i, panel in enumerate(chart.panels):
        for trace in (trace for trace in panel.traces if trace.x):
            name, place = trace.name, {"row": i // columns + 1, "col": i % columns + 1}
            figure.add_scatter(**_scatter(trace), name=name, legendgroup=name, showlegend=name not in known, **place)
            known.add(name)
    figure.update_layout(
        title=f"{chart.title}<br><sup>{chart.note}</sup>" if chart.note else chart.title,
        height=130 + 330 * rows,
        legend={"orientation": "h", "y": -0.25 / rows, "yanchor": "top"},
    )
    figure.update_annotations(font_size=12)
    figure.update_xaxes(**_axis(chart.x))
    figure.update_yaxes(**_axis(chart.y))
    for column in range(1, columns + 1):
        last = rows if (rows - 1) * columns + column <= n else max(rows - 1, 1)
        figure.update_xaxes(title=chart.x.label, title_standoff=4, showticklabels=True, row=last, col=column)
    figure.update_yaxes(title=chart.y.label, col=1)
    return figure


def _analysis(study: Study | Analysis, options: dict[str, Any]) -> Analysis:
    if not isinstance(study, Analysis):
        return analyze_study(study, **options)
    if options:
        raise RobustLRError(f"an analysis takes no options, got {', '.join(options)}")
    return study


def _scatter(trace: Trace) -> dict[str, Any]:
    # Lists of plain numbers, because arrays would become base64, which not every plotly.js can read.
    if trace.low:
        red, green, blue = (int(trace.color[i : i + 2], 16) for i in (1, 3, 5))
        outline = {"x": [*trace.x, *trace.x[::-1]], "y": [*trace.low, *trace.y[::-1]], "mode": "lines"}
        fill = f"rgba({red},{green},{blue},{trace.opacity})"
        return outline | {"line": {"width": 0}, "fill": "toself", "fillcolor": fill, "hoverinfo": "skip"}
    fills: str | list[str] = ["white" if hollow else trace.color for hollow in trace.hollow] or trace.color
    edge = {"color": trace.color, "width": 1.5 if any(trace.hollow) else 0}
    marker = {"symbol": trace.marker, "size": 1.4 * trace.size, "color": fills, "line": edge}
    return {
        "x": list(trace.x), "y": list(trace.y), "opacity": trace.opacity,
        "mode": "+".join(["lines"] * bool(trace.width) + ["markers"] * bool(trace.marker)),
        "line": {"color": trace.color, "width": trace.width, "dash": trace.dash},
        "marker": marker if trace.marker else None, "text": list(trace.texts) or None,
        "hoverinfo": None if trace.marker else "skip", "cliponaxis": bool(trace.width),
    }  # fmt: skip


def _axis(axis: Axis) -> dict[str, Any]:
    ends = [math.log10(axis.low), math.log10(axis.high)] if axis.log else [axis.low, axis.high]
    ticks, kind = axis.ticks(), "log" if axis.log else "linear"
    return {"type": kind, "range": ends, "tickvals": list(ticks), "ticktext": list(ticks.values())}


def _import_plotly() -> Any:
    try:
        from plotly import subplots
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] != "plotly":
            raise
        raise RobustLRError("plots of a study need plotly: pip install 'robust-lr[dashboard]'") from error
    return subplots
