"""HTML pages: one self-contained file of blocks and charts, for wide and narrow screens."""

from __future__ import annotations

import base64
import io
import platform
import re
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from html import escape
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from .._page import Block, Line, Table, to_html
from .._text import printable
from ..analysis import Analysis
from ._charts import Chart, Trace
from ._small_multiples import small_panel
from .answer import overview_box
from .figures import answer_chart, degradation_chart, learning_rate_chart
from .groups import group_rows
from .matplotlib_plots import draw_panels
from .text import analysis_blocks

if TYPE_CHECKING:
    from matplotlib.figure import Figure

STYLE = """
:root { color-scheme: light; }
* { box-sizing: border-box; }
body { font: 15px/1.5 system-ui, sans-serif; max-width: 66rem; margin: 1.5rem auto; padding: 0 1rem; color: #1b1f24;
  overflow-wrap: anywhere; }
h1 { font-size: 1.5rem; line-height: 1.25; margin-bottom: .2rem; } h2 { font-size: 1.2rem; margin-top: 2rem; }
h3 { font-size: 1rem; }
.answer { border: 2px solid #1f5fa8; border-radius: 6px; background: #f3f6fa; padding: .7rem 1rem; margin: 1rem 0; }
.answer h2 { margin: 0 0 .4rem; font-size: 1rem; color: #1f5fa8; }
.answer dl { display: grid; grid-template-columns: max-content 1fr; gap: .3rem 1.2rem; margin: 0; }
.answer dt { font-weight: 600; max-width: 16rem; } .answer dd { margin: 0; }
.lead dt:first-of-type, .lead dd:first-of-type { font-size: 1.15rem; font-weight: 600; }
table { border-collapse: collapse; margin: .5rem 0; font-variant-numeric: tabular-nums; font-size: .92rem; }
th, td { padding: .25rem .7rem; text-align: right; white-space: nowrap; border-bottom: 1px solid #e3e6ea; }
th:first-child, td:first-child { text-align: left; position: sticky; left: 0; background: #fff; }
thead th { border-bottom: 2px solid #9aa3ad; }
.wide { overflow-x: auto; }
figure { margin: 1.2rem 0; } figcaption { font-weight: 600; }
.panels { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(19rem, 100%), 1fr)); gap: .8rem 1rem; }
.panels.one { grid-template-columns: minmax(0, 40rem); }
.panels.small { grid-template-columns: repeat(auto-fill, minmax(min(11rem, 46%), 1fr)); font-size: .82rem; }
.small .panel span { font-size: .78rem; }
svg.small { display: block; width: 100%; height: auto; font: 9px system-ui, sans-serif; fill: #57606a; }
.panel p { margin: .4rem 0 0; line-height: 1.3; } .panel span { color: #57606a; font-size: .9rem; }
img { display: block; width: 100%; height: auto; }
.keys { display: flex; flex-wrap: wrap; gap: .1rem 1rem; font-size: .85rem; margin-top: .3rem; }
.keys svg { width: 26px; height: 12px; vertical-align: -1px; margin-right: .3rem; }
code, pre { background: #f3f4f6; border-radius: 3px; padding: .1rem .3rem; }
pre { padding: .6rem .8rem; overflow-x: auto; overflow-wrap: normal; } .small { color: #57606a; font-size: .87rem; }
@media (max-width: 600px) {
  body { margin: .8rem auto; padding: 0 .8rem; } .answer { padding: .6rem .7rem; }
  .answer dl { grid-template-columns: 1fr; gap: 0; } .answer dd { margin-bottom: .5rem; }
  ul { padding-left: 1.2rem; }
}
"""

_HOW_TO_READ = (
    "Excess loss of a coarser grid: how much higher the best final loss is on every k-th learning rate than on all of "
    "them, at the worst of the k offsets; below it the band. Each learning rate is chosen on all seeds but one and "
    "scored on that one."
)
_GUIDE = (
    "The dashed guide compares two bounds over all convex problems (arXiv:2503.09411), scaled to the last trustworthy "
    "point: a shape, neither a bound for this problem nor a prediction. It ignores stability cliffs."
)
# Text stays text: small, and sharp at every size.
_SVG: Any = {"svg.fonttype": "none", "svg.hashsalt": "robust-lr", "font.sans-serif": ["DejaVu Sans"]}
_SIGNS = {"circle": "\u25cf", "star": "\u2605", "x": "\u00d7", "triangle-up": "\u25b2"}
_DASHES = {"solid": "", "dash": "5 3", "dot": "1.5 2.5"}


def write_report(
    analyses: Analysis | Sequence[tuple[str, Analysis]],
    path: str | Path,
    *,
    title: str = "Learning-rate sweep",
    reproduce: Sequence[str] = (),
    source: str = "",
) -> None:
    """Write the report of one analysis, or of several named ones, as one self-contained HTML file.

    Args:
        analyses: an analysis, or (name, analysis) pairs, one for each part of the report.
        path: file to write.
        title: headline.
        reproduce: shell commands that reproduce the figures.
        source: where the data came from, in words.

    Raises:
        RobustLRError: when matplotlib is not installed.
    """
    parts = {"": analyses} if isinstance(analyses, Analysis) else dict(analyses)
    body = analyses_body(parts)
    sweep = next(iter(parts.values())).sweep
    data = f"{sweep.describe()}, {len(sweep.failures)} failed. " if len(parts) == 1 else ""
    write_page(path, body, title=title, source=source, reproduce=reproduce, data=data)


def analyses_body(parts: Mapping[str, Analysis]) -> list[Block | Chart | Heading]:
    """Return one part per analysis, below a table over all if there are several."""
    body = list[Block | Chart | Heading]()
    if len(parts) > 1:
        body += [overview_box(parts), Table("Over the groups", *group_rows(parts))]
    for name, analysis in parts.items():
        body += [Heading(name)] if name else []
        body += _analysis_body(analysis)
    return body


class Heading(str):
    """The heading of a part of a page."""


def write_page(
    path: str | Path,
    body: Iterable[Block | Chart | Heading],
    *,
    title: str,
    source: str = "",
    reproduce: Sequence[str] = (),
    data: str = "",
) -> None:
    """Write blocks and charts, in this order, as one self-contained HTML file.

    Args:
        path: file to write.
        body: a `Box` first, then the main chart, tables and lines.
        title: headline.
        source: where the data came from, in words.
        reproduce: shell commands that reproduce the page.
        data: what was read, in words.

    Raises:
        RobustLRError: when matplotlib is not installed.
    """
    html = (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title>'
        f'<meta name="viewport" content="width=device-width, initial-scale=1"><style>{STYLE}</style></head><body>'
        f"<h1>{escape(title)}</h1><p class='small'>{escape(source)}</p>{''.join(_rendered(body))}"
        f"{_how(reproduce, data)}</body></html>\n"
    )
    Path(path).write_text(printable(html), encoding="utf-8")


def _analysis_body(analysis: Analysis) -> Iterator[Block | Chart]:
    box, *blocks = analysis_blocks(analysis, bands=True)
    yield from (box, answer_chart(analysis), *blocks)
    yield Line(_HOW_TO_READ)
    yield learning_rate_chart(analysis)
    if any(entry.curve is not None for entry in analysis.schedules):
        yield degradation_chart(analysis)
        yield Line(_GUIDE)


def _rendered(body: Iterable[Block | Chart | Heading]) -> Iterator[str]:
    for kind, parts in groupby(body, key=lambda part: part if isinstance(part, (Chart, Heading)) else None):
        if isinstance(kind, Heading):
            yield f"<h2>{escape(kind)}</h2>"
        elif isinstance(kind, Chart):
            yield _chart_html(kind)
        else:
            yield to_html(part for part in parts if not isinstance(part, (Chart, Heading)))


def _how(reproduce: Sequence[str], data: str) -> str:
    from .._version import __version__

    lines = "\n".join(escape(line) for line in reproduce)
    commands = f"<h2>How to reproduce</h2><pre>{lines}</pre>" if lines else ""
    return (
        f"{commands}<p class='small'>{escape(data)}robust-lr {__version__}, numpy {np.__version__}, "
        f"Python {platform.python_version()}.</p>"
    )


def _chart_html(chart: Chart) -> str:
    """Panels side by side as far as the screen allows, each with its name in HTML, and one legend for all."""
    if not chart.panels:
        return ""
    if chart.small:
        drawn = [small_panel(panel, chart) for panel in chart.panels]
    else:
        figures = zip(chart.panels, draw_panels(chart), strict=True)
        drawn = [_image(figure, f"{panel.name}: {panel.finding}") for panel, figure in figures]
    panels = "".join(
        f"<div class='panel'><p><b>{escape(panel.name)}</b><br><span>{escape(panel.finding)}</span></p>{image}</div>"
        for panel, image in zip(chart.panels, drawn, strict=True)
    )
    caption = f"<figcaption>{escape(chart.title)}</figcaption>" if chart.title else ""
    caption += f"<p class='small'>{escape(chart.note)}</p>" if chart.note else ""
    traces = {trace.name: trace for panel in chart.panels for trace in panel.traces if trace.x}
    keys = "".join(f"<span>{_key(trace)}{escape(name)}</span>" for name, trace in traces.items())
    kind = "panels small" if chart.small else "panels one" if len(chart.panels) == 1 else "panels"
    keys = "" if chart.small else keys
    return f"<figure>{caption}<div class='{kind}'>{panels}</div><div class='keys'>{keys}</div></figure>"


def _key(trace: Trace) -> str:
    drawn, color = "", trace.color
    if trace.low:
        drawn += f"<rect width='26' height='12' fill='{color}' opacity='{trace.opacity}'/>"
    elif trace.width:
        style = f"stroke='{color}' stroke-width='{trace.width}' stroke-dasharray='{_DASHES[trace.dash]}'"
        drawn += f"<path d='M0 6h26' {style} opacity='{trace.opacity}'/>"
    if trace.marker:
        sign = _SIGNS[trace.marker]
        drawn += f"<text x='13' y='10.5' font-size='12' text-anchor='middle' fill='{color}'>{sign}</text>"
    return f"<svg viewBox='0 0 26 12' aria-hidden='true'>{drawn}</svg>"


def _image(figure: Figure, alt: str) -> str:
    from matplotlib import rc_context

    buffer = io.StringIO()
    with warnings.catch_warnings(), rc_context(_SVG):
        warnings.simplefilter("ignore")  # such as a missing glyph in a schedule's name
        figure.savefig(buffer, format="svg", metadata=dict.fromkeys(("Creator", "Date", "Format", "Type")))
    svg = re.sub(r"\n\s*", " ", buffer.getvalue())
    data = base64.b64encode(svg.encode()).decode("ascii")
    return f"<img alt='{escape(alt)}' src='data:image/svg+xml;base64,{data}'>"
