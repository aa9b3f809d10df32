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

from ..analysis import Analysis
from .plots import degradation_figure, learning_rate_figure
from .tables import degradation_rows, recommendation_rows
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
    body = "".join(_part(name, analysis, level=2 if name else 1) for name, analysis in parts)
    html = (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title>'
        f'<meta name="viewport" content="width=device-width"><style>{STYLE}</style></head><body>'
        f"<h1>{escape(title)}</h1><p class='small'>{escape(source)}</p>{body}{_how(parts[0][1], reproduce)}"
        "</body></html>\n"
    )
    Path(path).write_text(html, encoding="utf-8")


def _part(name: str, analysis: Analysis, *, level: int) -> str:
    sections = [f"<h2>{escape(name)}</h2>"] if level == 2 else []
    lead = "".join(f"<p>{escape(headline(entry))}</p>" for entry in analysis.schedules)
    sections.append(f"<div class='lead'><p><b>{escape(conclusion(analysis))}</b></p>{lead}</div>")
    sections.extend(f"<p>{escape(caveat)}</p>" for caveat in caveats(analysis))
    header, rows = recommendation_rows(analysis)
    sections.append(f"<h2>What to use next (tolerance {analysis.tolerance:g})</h2>{_table(header, rows)}")
    header, rows = degradation_rows(analysis, bands=True)
    if len(header) > 1:
        sections.append(
            f"<h2>What a coarser grid costs at its worst offset</h2>{_table(header, rows)}"
            "<p class='small'>Excess of the best final loss on every k-th learning rate over the best on all, largest "
            f"over the k offsets; {analysis.confidence_level:.0%} band below it. In brackets: the sweep does not reach "
            "far enough on both sides of the best to tell.</p>"
        )
    sections.append(_image(learning_rate_figure(analysis), "Final loss against learning rate"))
    if rows:
        sections.append(_image(degradation_figure(analysis), "Excess loss against the ratio of the grid"))
        sections.append(
            "<p class='small'>The dashed guide is the worst case over convex problems (arXiv:2503.09411), scaled to "
            "the last trustworthy point: bound, not prediction. It knows no stability cliff.</p>"
        )
    ends = comparison_sentences(analysis)
    if ends:
        sections.append("<h2>Which schedule ends lower</h2>" + "".join(f"<p>{escape(s)}</p>" for s in ends))
    sections.append("<h2>Schedule by schedule</h2>")
    for entry in analysis.schedules:
        lines = "".join(f"<li>{escape(line)}</li>" for line in details(entry, analysis.tolerance))
        sections.append(f"<p><b>{escape(entry.schedule)}</b></p><ul>{lines or '<li>no result</li>'}</ul>")
    return "".join(sections)


def _how(analysis: Analysis, reproduce: Sequence[str]) -> str:
    from .._version import __version__

    sweep = analysis.sweep
    lines = "\n".join(escape(line) for line in reproduce)
    commands = f"<pre>{lines}</pre>" if lines else ""
    return (
        f"<h2>How to reproduce</h2>{commands}<p class='small'>{sweep.learning_rates.size} learning rates "
        f"{sweep.learning_rates[0]:g} to {sweep.learning_rates[-1]:g}, {len(sweep.seeds)} seeds, "
        f"{sweep.n_trials} results, {int(sweep.diverged.sum())} diverged, {len(sweep.failures)} failed. "
        f"Bands: paired t bounds over the seeds (intersection-union), {analysis.confidence_level:.0%}; a learning "
        "rate is chosen on all seeds but one and scored on that one. "
        f"robust-lr {__version__}, numpy {np.__version__}, Python {platform.python_version()}.</p>"
    )


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    head = "".join(f"<th>{escape(cell).replace(chr(10), '<br>')}</th>" for cell in header)
    body = "".join(
        "<tr>" + "".join(f"<td>{escape(cell).replace(chr(10), '<br>')}</td>" for cell in row) + "</tr>" for row in rows
    )
    return f"<div class='wide'><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>"


def _image(figure: Figure, alt: str) -> str:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="svg")
    data = base64.b64encode(buffer.getvalue()).decode("ascii")
    return f"<p><img alt='{escape(alt)}' src='data:image/svg+xml;base64,{data}'></p>"
