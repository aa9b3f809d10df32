"""Small multiples as SVG in a page: so many panels that a drawing library would take minutes and megabytes."""

from __future__ import annotations

import math
from html import escape

from ._charts import Axis, Chart, Panel, Trace

_WIDTH, _HEIGHT = 200.0, 124.0
_LEFT, _RIGHT, _TOP, _BOTTOM = 34.0, 4.0, 4.0, 16.0
_DASHES = {"solid": "", "dash": " stroke-dasharray='4 3'", "dot": " stroke-dasharray='1 2'"}
_N_TICKS = 3


def small_panel(panel: Panel, chart: Chart) -> str:
    """Return the lines of one panel on its axes, as an SVG element."""
    ticks = "".join(
        f"<text x='{_x(value, chart.x):.0f}' y='{_HEIGHT - 4:.0f}' text-anchor='middle'>{label}</text>"
        for value, label in _few(chart.x)
    )
    ticks += "".join(
        f"<text x='{_LEFT - 3:.0f}' y='{_y(value, chart.y) + 3:.0f}' text-anchor='end'>{label}</text>"
        f"<path d='M{_LEFT:.0f} {_y(value, chart.y):.1f}H{_WIDTH - _RIGHT:.0f}' stroke='#e3e6ea'/>"
        for value, label in _few(chart.y)
    )
    corner = f"M{_LEFT:.0f} {_TOP:.0f}V{_HEIGHT - _BOTTOM:.0f}H{_WIDTH - _RIGHT:.0f}"
    frame = f"<path d='{corner}' stroke='#9aa3ad' fill='none'/>"
    lines = "".join(_line(trace, chart) for trace in panel.traces if trace.x)
    alt = escape(f"{panel.name}: {panel.finding}", quote=True)
    size = f"viewBox='0 0 {_WIDTH:.0f} {_HEIGHT:.0f}'"
    return f"<svg class='small' {size} role='img' aria-label='{alt}'>{ticks}{frame}{lines}</svg>"


def _few(axis: Axis) -> list[tuple[float, str]]:
    # Powers of ten, at most three of them.
    exponents = range(math.ceil(math.log10(axis.low)), math.floor(math.log10(axis.high)) + 1)
    step = -(-len(exponents) // _N_TICKS) if exponents else 1
    return [(10.0**e, f"{10.0**e:g}") for e in exponents[::step]]


def _line(trace: Trace, chart: Chart) -> str:
    points = " ".join(f"{_x(x, chart.x):.1f},{_y(y, chart.y):.1f}" for x, y in zip(trace.x, trace.y, strict=True))
    style = f"stroke='{trace.color}' stroke-width='{trace.width:g}'{_DASHES[trace.dash]}"
    return f"<polyline points='{points}' fill='none' {style}/>"


def _x(value: float, axis: Axis) -> float:
    return _LEFT + (_WIDTH - _LEFT - _RIGHT) * _fraction(value, axis)


def _y(value: float, axis: Axis) -> float:
    return _HEIGHT - _BOTTOM - (_HEIGHT - _TOP - _BOTTOM) * _fraction(value, axis)


def _fraction(value: float, axis: Axis) -> float:
    return math.log(value / axis.low) / math.log(axis.high / axis.low)
