"""A panel in the making: lines, bands and marks on its axes."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import numpy as np

from ._charts import Axis, Note, Panel, Trace

COLOR, DIVERGED, CONTEXT, LIMIT = "#1f5fa8", "#c62828", "#c9ccd1", "#7a4fa3"
OTHERS = ("#e08a1e", "#5aa02c", "#8c564b", "#17a2b8", "#d16ba5", "#8a8f98")  # of the schedules that are not the answer
LARGEST = 1e100  # on an axis
VALLEY = 20.0  # losses above the lowest by more than this factor are not shown


class Drawing:
    """A panel in the making; points that the axes cannot show are left out."""

    def __init__(self, x: Axis, y: Axis) -> None:
        self.x, self.y = x, y
        self._traces, self._notes = list[Trace](), list[Note]()

    def line(self, name: str, xs: Iterable[float], ys: Iterable[float], color: str = COLOR, **style: Any) -> None:
        kept = [(float(x), float(y)) for x, y in zip(xs, ys, strict=True) if math.isfinite(y)]
        points = [(x, y) for x, y in kept if y > 0 or not self.y.log]
        x, y = (tuple(point[i] for point in points) for i in (0, 1))
        self._traces.append(Trace(name=name, x=x, y=y, color=color, **style))

    def marks(self, name: str, xs: Iterable[float], height: float, color: str, marker: str, **style: Any) -> None:
        xs = list(xs)
        self.line(name, xs, [self.y.at(height)] * len(xs), color, width=0, marker=marker, size=6, **style)

    def vertical(self, name: str, at: float) -> None:
        self.line(name, (at, at), (self.y.low, self.y.high), LIMIT, width=1, dash="dot")

    def band(
        self, name: str, xs: Iterable[float], low: Iterable[float], high: Iterable[float], color: str = COLOR,
        opacity: float = 0.2,
    ) -> None:  # fmt: skip
        kept = [(float(x), float(a), float(b)) for x, a, b in zip(xs, low, high, strict=True) if math.isfinite(a + b)]
        x, bottom, top = (tuple(point[i] for point in kept) for i in range(3))
        self._traces.append(Trace(name=name, x=x, y=top, low=bottom, color=color, opacity=opacity))

    def span(self, name: str, left: float, right: float, color: str, opacity: float) -> None:
        self.band(name, (left, right), (self.y.low,) * 2, (self.y.high,) * 2, color, opacity)

    def write(self, text: str, x: float, y: float | None = None, color: str = "black") -> None:
        self._notes.append(Note(text=text, x=x, y=y, color=color))

    def panel(self, name: str, finding: str) -> Panel:
        return Panel(name=name, finding=finding, traces=tuple(self._traces), notes=tuple(self._notes))


def log_axis(label: str, values: Iterable[float]) -> Axis:
    known = list(values)
    low, high = min(known), max(known)
    pad = max((high / low) ** 0.05, 1.02) if high > low else 2.0
    return Axis(label=label, low=low / pad, high=high * pad)


def linear_axis(label: str, values: Iterable[float]) -> Axis:
    known = np.clip(np.fromiter(values, float), -LARGEST, LARGEST)
    low, high = float(known.min()), float(known.max())
    margin = max(0.08 * (high - low), 1e-6 * max(abs(low), abs(high))) or 1.0
    return Axis(label=label, low=low - margin, high=high + margin, log=False)
