"""A figure as plain values, which `report.plots` draws by matplotlib and the Optuna plug-in by plotly."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np

COLOR, DIVERGED, CONTEXT, LIMIT, GUIDE = "#1f5fa8", "#c62828", "#c9ccd1", "#7a4fa3", "#555555"
SMALLEST, LARGEST = 1e-100, 1e100  # on an axis; what is nearer to zero has no decades

Points = tuple[float, ...]


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
            return float(self.low * (self.high / self.low) ** fraction)
        return self.low + (self.high - self.low) * fraction

    def ticks(self) -> list[float]:
        """Return about five values to label."""
        if self.log and self.high >= 3 * self.low:
            first, last = math.floor(math.log10(self.low)), math.ceil(math.log10(self.high))
            digits = (
                (1,)
                if self.high >= 1000 * self.low
                else (1, 2, 5)
                if self.high >= 6 * self.low
                else (1, 1.5, 2, 3, 5, 7)
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


@dataclass(frozen=True, kw_only=True)
class Drawing:
    """A panel in the making: what lies outside of the reals, or of a logarithmic axis, is left out."""

    x: Axis
    y: Axis
    areas: list[Area] = field(default_factory=list)
    curves: list[Curve] = field(default_factory=list)
    notes: list[Note] = field(default_factory=list)

    def line(self, name: str, xs: Iterable[float], ys: Iterable[float], color: str = COLOR, width: float = 1.6,
             dash: str = "solid", marker: str = "", size: float = 4, opacity: float = 1.0,
             hollow: Iterable[bool] = (), texts: Iterable[str] = ()) -> None:  # fmt: skip
        """Add a curve."""
        kept = [
            (float(x), float(y)) for x, y in zip(xs, ys, strict=True) if math.isfinite(y) and (y > 0 or not self.y.log)
        ]
        self.curves.append(Curve(
            name=name, x=tuple(x for x, _ in kept), y=tuple(y for _, y in kept), color=color, width=width, dash=dash,
            marker=marker, size=size, opacity=opacity, hollow=tuple(hollow), texts=tuple(texts),
        ))  # fmt: skip

    def marks(
        self, name: str, xs: Iterable[float], height: float, color: str, marker: str, texts: Iterable[str] = ()
    ) -> None:
        """Add a row of marks at a fraction of the height."""
        xs = list(xs)
        self.line(name, xs, [self.y.at(height)] * len(xs), color, width=0, marker=marker, size=6, texts=texts)

    def vertical(self, name: str, at: float, *, write: bool = False) -> None:
        """Add a dotted line over the whole height, and its name beside it."""
        self.line(name, (at, at), (self.y.low, self.y.high), LIMIT, width=1, dash="dot")
        if write:
            self.notes.append(Note(text=name, x=at, color=LIMIT))

    def band(self, name: str, xs: Iterable[float], low: Iterable[float], high: Iterable[float], color: str = COLOR,
             opacity: float = 0.2) -> None:  # fmt: skip
        """Add what lies between two curves."""
        kept = [(float(x), float(a), float(b)) for x, a, b in zip(xs, low, high, strict=True) if math.isfinite(a + b)]
        x, bottom, top = (tuple(point[i] for point in kept) for i in range(3))
        self.areas.append(Area(name=name, x=x, low=bottom, high=top, color=color, opacity=opacity))

    def span(self, name: str, left: float, right: float, color: str, opacity: float) -> None:
        """Add what lies between two values of x."""
        self.band(name, (left, right), (self.y.low,) * 2, (self.y.high,) * 2, color, opacity)

    def panel(self, name: str, finding: str) -> Panel:
        """Return the panel."""
        return Panel(name=name, finding=finding, areas=(*self.areas,), curves=(*self.curves,), notes=(*self.notes,))


def log_axis(label: str, values: Iterable[float]) -> Axis:
    """Return an axis from the smallest to the largest of these positive values."""
    known = list(values)
    low, high = min(known), max(known)
    pad = max((high / low) ** 0.05, 1.02) if high > low else 2.0
    return Axis(label=label, low=low / pad, high=high * pad)


def linear_axis(label: str, values: Iterable[float]) -> Axis:
    """Return an axis from the smallest to the largest of these values."""
    known = np.clip(np.fromiter(values, float), -LARGEST, LARGEST)
    low, high = float(known.min()), float(known.max())
    margin = max(0.08 * (high - low), 1e-6 * max(abs(low), abs(high))) or 1.0
    return Axis(label=label, low=low - margin, high=high + margin, log=False)
