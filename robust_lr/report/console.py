"""An analysis in a terminal."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from rich.console import Console
from rich.text import Text

from .._page import Block, Box, Line, box_text, table_text
from .._text import printable
from ..analysis import Analysis
from ..journal._format import OF_A_SEARCH
from .answer import answer_box
from .tables import Rows
from .text import analysis_blocks

PIPED_WIDTH = 150  # piped output has no width; the tables need about this much


class _PrintableConsole(Console):
    def print(self, *objects: Any, **options: Any) -> None:
        for each in objects:
            if isinstance(each, Text):
                each.plain = printable(each.plain)
        super().print(*(printable(each) if isinstance(each, str) else each for each in objects), **options)


def make_console(*, stderr: bool = False) -> Console:
    """Return a console as wide as the terminal, or wide enough for the tables when there is none."""
    width = None if Console(stderr=stderr).is_terminal else PIPED_WIDTH
    # No markup and no emoji: names of files and schedules may look like either.
    return _PrintableConsole(stderr=stderr, highlight=False, markup=False, emoji=False, width=width)


def print_analysis(analysis: Analysis, console: Console, *, title: str = "", every_detail: bool = True) -> None:
    """Print the tables, the recommendations in words and the alerts; with `every_detail` also all other findings."""
    if title:
        console.rule(Text(title))
    if OF_A_SEARCH in analysis.sweep.notes:  # figures of coarser grids would be a guess
        print_box(answer_box(analysis), console)
        return
    print_blocks(analysis_blocks(analysis, every_detail=every_detail), console)


def print_blocks(blocks: Iterable[Block], console: Console) -> None:
    """Print boxes, lines and tables in their order."""
    after_line = True
    for block in blocks:
        if isinstance(block, Line):
            after_line = True
            text = Text("  " * block.indented + block.text, style="bold" if block.strong else "")
            console.print(text, soft_wrap=not console.is_terminal)
        elif isinstance(block, Box):
            print_box(block, console)
        else:
            console.print(end="\n" * after_line)
            after_line = False
            print_rows(console, (list(block.header), [list(row) for row in block.rows]), block.caption)


def print_box(box: Box, console: Console) -> None:
    """Print the answer."""
    console.print(Text(box_text(box, width=console.width), style="bold"), soft_wrap=True, end="\n\n")


def print_rows(console: Console, content: Rows, title: str) -> None:
    """Print a header and rows of text as a table."""
    console.print(Text(title, style="italic"), end="\n\n")
    console.print(Text(table_text(*content, width=console.width)), soft_wrap=True, end="\n\n")
