"""A figure as plain values; `report.matplotlib_plots` draws it, and the Optuna plug-in draws it with plotly."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

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

    def ticks(self) -> dict[float, str]:
        """Return about five values to mark, and their labels."""
        low, high = self.low, self.high
        if self.log and high >= 3 * low:
            first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
            digits = (1,) if high >= 1000 * low else (1, 2, 5) if high >= 6 * low else (1, 1.5, 2, 3, 5, 7)
            step = max(1, -(-(last - first) // 7))
            values = [float(f"{d}e{e}") for e in range(first, last + 1, step) for d in digits]
        else:
            rough = (high - low) / 5
            unit = 10.0 ** math.floor(math.log10(rough))
            size = next(n * unit for n in (1, 2, 5, 10) if n * unit >= rough * 0.999)
            values = [float(f"{i * size:.14g}") for i in range(math.ceil(low / size), math.ceil(high / size) + 1)]
        shown = [value for value in values if low <= value <= high]
        precision = next((n for n in (6, 8, 10) if len({f"{value:.{n}g}" for value in shown}) == len(shown)), 17)
        return {value: f"{value:.{precision}g}" for value in shown}


@dataclass(frozen=True, kw_only=True)
class Trace:
    """A line through points, with markers if `marker` names one; only the markers if `width` is 0.

    With `low`, it is the shaded area between `low` and `y`.
    """

    name: str
    x: Points
    y: Points
    color: str
    low: Points = ()
    width: float = 1.6
    dash: str = "solid"  # "solid", "dash" or "dot"
    marker: str = ""  # "circle", "star", "x" or "triangle-up"
    size: float = 4
    opacity: float = 1.0
    hollow: tuple[bool, ...] = ()  # which markers are
    texts: tuple[str, ...] = ()  # of the points, shown on hover


@dataclass(frozen=True, kw_only=True)
class Note:
    """A short text above a point, or vertical at the bottom of the panel if `y` is None."""

    text: str
    x: float
    y: float | None = None
    color: str = "black"


@dataclass(frozen=True, kw_only=True)
class Panel:
    """The drawing of one schedule, under its name and its main finding."""

    name: str
    finding: str
    traces: tuple[Trace, ...]
    notes: tuple[Note, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Chart:
    """A figure: panels on shared axes, with a note below its title; with `small`, many, to be compared, not read."""

    title: str
    note: str = ""
    panels: tuple[Panel, ...]
    x: Axis
    y: Axis
    small: bool = False

    def as_scores(self) -> Chart:
        """Return the chart of losses with the scores whose negatives they are."""

        def turned(panel: Panel) -> Panel:
            traces = (replace(t, y=tuple(-y for y in t.y), low=tuple(-y for y in t.low)) for t in panel.traces)
            notes = (n if n.y is None else replace(n, y=-n.y) for n in panel.notes)
            return replace(panel, traces=tuple(traces), notes=tuple(notes))

        y = Axis(label=self.y.label.replace("loss", "score"), low=-self.y.high, high=-self.y.low, log=False)
        title = self.title.replace("loss", "score")
        return replace(self, title=title, panels=tuple(map(turned, self.panels)), y=y)
