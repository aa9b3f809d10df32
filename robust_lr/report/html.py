"""The HTML report: one self-contained file with sentences, tables, both plots, warnings, and how to reproduce them."""

from __future__ import annotations

import base64
import io
import platform
import warnings
from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from .._page import to_html
from ..analysis import Analysis
from .matplotlib_plots import degradation_figure, learning_rate_figure
from .text import analysis_blocks

if TYPE_CHECKING:
    from matplotlib.figure import Figure

STYLE = """
:root { color-scheme: light; }
body { font: 15px/1.5 system-ui, sans-serif; max-width: 62rem; margin: 2rem auto; padding: 0 1rem; color: #1b1f24; }
h1 { font-size: 1.5rem; margin-bottom: .2rem; } h2 { font-size: 1.2rem; margin-top: 2.2rem; } h3 { font-size: 1rem; }
.lead { border-left: 4px solid #1f5fa8; padding: .4rem 1rem; background: #f3f6fa; }
.lead p { margin: .3rem 0; }
table { border-collapse: collapse; margin: .8rem 0; font-variant-numeric: tabular-nums; font-size: .92rem; }
th, td { padding: .25rem .7rem; text-align: right; white-space: nowrap; border-bottom: 1px solid #e3e6ea; }
th:first-child, td:first-child { text-align: left; } thead th { border-bottom: 2px solid #9aa3ad; }
.wide { overflow-x: auto; }
img { width: 100%; height: auto; } code, pre { background: #f3f4f6; border-radius: 3px; padding: .1rem .3rem; }
pre { padding: .6rem .8rem; overflow-x: auto; } .small { color: #57606a; font-size: .87rem; }
"""

_HOW_TO_READ = (
    "Excess loss of a coarser grid: how much higher the best final loss is on every k-th learning rate than on all of "
    "them, at the worst of the k offsets; below it the {level:.0%} band, by paired t bounds over the seeds "
    "(intersection-union). Each learning rate is chosen on all seeds but one and scored on that one."
)
_GUIDE = (
    "The dashed guide is the worst case over convex problems (arXiv:2503.09411), scaled to the last trustworthy point: "
    "a bound, not a prediction. It ignores stability cliffs."
)


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
    *blocks, last = analysis_blocks(analysis, bands=True)
    parts = [f"<h2>{escape(name)}</h2>" if name else "", f"<div class='lead'>{to_html([last])}</div>", to_html(blocks)]
    parts.append(f"<p class='small'>{_HOW_TO_READ.format(level=analysis.confidence_level)}</p>")
    parts.append(_image(learning_rate_figure(analysis), "Final loss against learning rate"))
    if any(entry.curve is not None for entry in analysis.schedules):
        parts.append(_image(degradation_figure(analysis), "Excess loss against the ratio of the grid"))
        parts.append(f"<p class='small'>{_GUIDE}</p>")
    return "".join(parts)


def _how(analysis: Analysis, reproduce: Sequence[str]) -> str:
    from .._version import __version__

    sweep, lines = analysis.sweep, "\n".join(escape(line) for line in reproduce)
    commands = f"<pre>{lines}</pre>" if lines else ""
    return (
        f"<h2>How to reproduce</h2>{commands}<p class='small'>{escape(sweep.describe())}, {len(sweep.failures)} "
        f"failed. robust-lr {__version__}, numpy {np.__version__}, Python {platform.python_version()}.</p>"
    )


def _image(figure: Figure, alt: str) -> str:
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # such as a missing glyph in a schedule's name
        figure.savefig(buffer, format="svg")
    data = base64.b64encode(buffer.getvalue()).decode("ascii")
    return f"<p><img alt='{escape(alt)}' src='data:image/svg+xml;base64,{data}'></p>"
