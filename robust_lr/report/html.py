"""One self-contained HTML file with an analysis: words, tables, both plots, warnings, and how to reproduce it."""

from __future__ import annotations

import base64
import io
import platform
from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from .._page import Line, table_html, to_html
from ..analysis import Analysis
from .plots import degradation_figure, learning_rate_figure
from .tables import degradation_rows, recommendation_rows
from .text import search_caption
from .words import caveats, comparison_sentences, conclusion, details, headline

if TYPE_CHECKING:
    from matplotlib.figure import Figure

STYLE = """
:root { color-scheme: light; }
body { font: 15px/1.5 system-ui, sans-serif; max-width: 62rem; margin: 2rem auto; padding: 0 1rem; color: #1b1f24; }
h1 { font-size: 1.5rem; margin-bottom: .2rem; } h2 { font-size: 1.15rem; margin-top: 2.2rem; }
.lead { border-left: 4px solid #1f5fa8; padding: .4rem 1rem; background: #f3f6fa; }
.lead p { margin: .3rem 0; }
table { border-collapse: collapse; margin: .8rem 0; font-variant-numeric: tabular-nums; font-size: .92rem; }
th, td { padding: .25rem .7rem; text-align: right; white-space: nowrap; border-bottom: 1px solid #e3e6ea; }
th:first-child, td:first-child { text-align: left; } thead th { border-bottom: 2px solid #9aa3ad; }
.wide { overflow-x: auto; }
img { width: 100%; height: auto; } code, pre { background: #f3f4f6; border-radius: 3px; padding: .1rem .3rem; }
pre { padding: .6rem .8rem; overflow-x: auto; } .small { color: #57606a; font-size: .87rem; }
"""


def write_report(
    analyses: Analysis | Sequence[tuple[str, Analysis]],
    path: str | Path,
    *,
    title: str = "Learning-rate sweep",
    reproduce: Sequence[str] = (),
    source: str = "",
) -> None:
    """Write the report of one analysis, or of several named ones, as one HTML file that needs nothing beside it.

    Args:
        analyses: an analysis, or (name, analysis) pairs, each of which becomes a part of the report.
        path: file to write.
        title: headline.
        reproduce: shell commands that reproduce the figures.
        source: where the data came from, in words.

    Raises:
        RobustLRError: when matplotlib is not installed.
    """
    parts = [("", analyses)] if isinstance(analyses, Analysis) else list(analyses)
    body = "".join(_part(name, analysis) for name, analysis in parts)
    html = (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title>'
        f'<meta name="viewport" content="width=device-width"><style>{STYLE}</style></head><body>'
        f"<h1>{escape(title)}</h1><p class='small'>{escape(source)}</p>{body}{_how(parts[0][1], reproduce)}"
        "</body></html>\n"
    )
    Path(path).write_text(html, encoding="utf-8")


def _part(name: str, analysis: Analysis) -> str:
    lead = to_html([Line(conclusion(analysis), strong=True), *(Line(headline(e)) for e in analysis.schedules)])
    sections = [f"<h2>{escape(name)}</h2>"] if name else []
    sections += [f"<div class='lead'>{lead}</div>", to_html(Line(caveat) for caveat in caveats(analysis))]
    sections.append(f"<h2>{escape(search_caption(analysis))}</h2>{table_html(*recommendation_rows(analysis))}")
    header, rows = degradation_rows(analysis, bands=True)
    if len(header) > 1:
        sections.append(
            f"<h2>What a coarser grid costs in the worst case</h2>{table_html(header, rows)}"
            "<p class='small'>How much higher the best final loss is on every k-th learning rate than on all of them, "
            f"at the worst of the k offsets; below it the {analysis.confidence_level:.0%} band. In parentheses: the "
            "sweep does not reach far enough on both sides of the best to tell.</p>"
        )
    sections.append(_image(learning_rate_figure(analysis), "Final loss against learning rate"))
    if rows:
        sections.append(_image(degradation_figure(analysis), "Excess loss against the ratio of the grid"))
        sections.append(
            "<p class='small'>The dashed guide is the worst case over convex problems (arXiv:2503.09411), scaled to "
            "the last trustworthy point: a bound, not a prediction. It knows no stability cliff.</p>"
        )
    if ends := comparison_sentences(analysis):
        sections.append("<h2>Which schedule ends lowest</h2>" + to_html(map(Line, ends)))
    sections.append("<h2>Schedule by schedule</h2>")
    for entry in analysis.schedules:
        lines = details(entry, analysis.tolerance) or ["no result"]
        sections.append(to_html([Line(entry.schedule, strong=True), *(Line(line, indented=True) for line in lines)]))
    return "".join(sections)


def _how(analysis: Analysis, reproduce: Sequence[str]) -> str:
    from .. import __version__

    sweep, lines = analysis.sweep, "\n".join(escape(line) for line in reproduce)
    commands = f"<pre>{lines}</pre>" if lines else ""
    return (
        f"<h2>How to reproduce</h2>{commands}<p class='small'>{escape(sweep.describe())}, {len(sweep.failures)} "
        f"failed. Bands: paired t bounds over the seeds (intersection-union), {analysis.confidence_level:.0%}; each "
        "learning rate is chosen on all seeds but one and scored on that one. "
        f"robust-lr {__version__}, numpy {np.__version__}, Python {platform.python_version()}.</p>"
    )


def _image(figure: Figure, alt: str) -> str:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="svg")
    data = base64.b64encode(buffer.getvalue()).decode("ascii")
    return f"<p><img alt='{escape(alt)}' src='data:image/svg+xml;base64,{data}'></p>"
