"""The figures of many sweeps."""

from __future__ import annotations

import math

import numpy as np

from robust_lr import SweepCollection
from robust_lr.collection import analyze_collection
from robust_lr.report.matplotlib_plots import pooled_figure, valleys_figure
from robust_lr.report.pooled_figures import MOST_LINES, MOST_PANELS, pooled_chart, valleys_chart
from tests.collection.synthetic import LRS, collection, sweep, valley


def test_the_quantiles_and_the_bound_are_drawn_against_the_ratio():
    analysis = analyze_collection(collection(), tolerance=0.05)
    (panel,) = pooled_chart(analysis).panels
    traces, rows = {trace.name: trace for trace in panel.traces}, analysis.answer.ratios[1:]
    assert traces["bound for 95% of further sweeps"].y == tuple(row.bound for row in rows)
    assert traces["95% of the sweeps lose at most"].x == tuple(row.ratio for row in rows)
    assert traces["next sweep"].x == (analysis.answer.ratio,) * 2
    assert pooled_figure(analysis).axes


def test_each_cluster_has_a_small_panel_with_a_line_for_each_sweep():
    chart = valleys_chart(analyze_collection(collection(), tolerance=0.05))
    assert chart.small and [panel.name for panel in chart.panels[-2:]] == ["size 1M", "size 10M"]
    assert all(sum(trace.name == "sweep" for trace in panel.traces) == 6 for panel in chart.panels)
    assert "darker with batch" in chart.title


def test_no_more_panels_and_lines_are_drawn_than_can_be_looked_at():
    chart = valleys_chart(analyze_collection(collection(100, 2), cluster_by=["size"]))
    assert len(chart.panels) == MOST_PANELS and f"{MOST_PANELS} of 100 panels" in chart.title
    chart = valleys_chart(analyze_collection(collection(2, 100), cluster_by=["size"]))
    assert all(len(panel.traces) <= MOST_LINES + 1 for panel in chart.panels)


def test_diverged_learning_rates_end_a_line():
    losses = [np.where(LRS > 8, math.inf, valley(LRS, np.sin(i))) for i in range(8)]
    pairs = [({"kind": f"k{i}"}, sweep(loss)) for i, loss in enumerate(losses)]
    chart = valleys_chart(analyze_collection(SweepCollection.from_sweeps(pairs)))
    assert max(x for panel in chart.panels for t in panel.traces if t.name == "sweep" for x in t.x) == 8
    assert valleys_figure(analyze_collection(SweepCollection.from_sweeps(pairs))).axes
