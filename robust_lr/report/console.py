"""What an analysis looks like in a terminal."""

from __future__ import annotations

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from ..analysis import Analysis
from .tables import Rows, degradation_rows, recommendation_rows
from .words import alerts, caveats, comparison_sentences, conclusion, details, headline

# Piped output has no width of its own; the tables need about this much.
PIPED_WIDTH = 150


def make_console(*, stderr: bool = False) -> Console:
    """Return a console as wide as the terminal, or wide enough for the tables when there is none."""
    width = None if Console(stderr=stderr).is_terminal else PIPED_WIDTH
    # No markup and no emoji: what is printed holds the names of files and schedules, which may look like either.
    return Console(stderr=stderr, highlight=False, markup=False, emoji=False, width=width)


def print_analysis(analysis: Analysis, console: Console, *, title: str = "", every_detail: bool = True) -> None:
    """Print the tables, the recommendations in words and the alerts; with `every_detail` all that is known besides."""
    sweep = analysis.sweep
    if title:
        console.rule(Text(title))
    _say(console, f"{sweep!r}")
    for caveat in caveats(analysis):
        _say(console, caveat)
    for failure in sweep.failures[:3]:
        last_line = (failure.error or "").strip().rpartition("\n")[2]
        _say(console, f"Failed: {failure.spec.schedule}, lr {failure.spec.lr:g}, seed {failure.spec.seed}: {last_line}")
    if len(sweep.failures) > 3:
        _say(console, f"and {len(sweep.failures) - 3} more")
    header, rows = degradation_rows(analysis, bands=False)
    if len(header) > 1:
        print_rows(
            console,
            (header, rows),
            "Excess loss of a coarser grid at its worst offset; (in brackets: the sweep is too narrow to tell)",
        )
    print_rows(console, recommendation_rows(analysis), f"Grid for the next search, tolerance {analysis.tolerance:.3g}")
    for entry in analysis.schedules:
        console.print(Text(headline(entry), style="bold"))
        for line in details(entry, analysis.tolerance) if every_detail else alerts(entry):
            _say(console, f"  {line}")
    for sentence in comparison_sentences(analysis):
        _say(console, sentence)
    console.print(Text(conclusion(analysis), style="bold"), soft_wrap=not console.is_terminal)


def print_rows(console: Console, content: Rows, title: str) -> None:
    """Print a header and rows of text as a table."""
    header, rows = content
    console.print(Text(title, style="italic"))
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    for i, name in enumerate(header):
        table.add_column(Text(name), justify="left" if i == 0 else "right", no_wrap=i == 0)
    for row in rows:
        table.add_row(*(Text(cell) for cell in row))
    console.print(table)


def _say(console: Console, line: str) -> None:
    console.print(Text(line), soft_wrap=not console.is_terminal)
