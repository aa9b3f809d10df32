"""The HTML report of a search: the answer, the picture, what was tried."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from .._metrics import quantity
from .._page import Box, Line, Table
from ..search import SearchResult
from ..search._result import search_headline, search_sentences, tried_rows
from .html import write_page
from .search_figures import search_chart


def write_search_report(
    result: SearchResult,
    path: str | Path,
    *,
    title: str = "Learning-rate search",
    reproduce: Sequence[str] = (),
    option: Callable[[str], str] = str,
) -> None:
    """Write the report of a search as one self-contained HTML file.

    Args:
        result: the result of the search, final or so far.
        path: file to write.
        title: headline.
        reproduce: shell commands that reproduce the report.
        option: writes the name of an option, as in Python by default.

    Raises:
        RobustLRError: when matplotlib is not installed.
    """
    sentences = search_sentences(result, option)
    bound, *others = sorted(sentences, key=lambda sentence: sentence.startswith("Note: "))
    label, found, best = search_headline(result).partition(": ")
    answer = Box("Answer", [(label, best) if found else ("Best", label), ("What others could gain", bound)])
    tables = map(_trials, (result, *reversed(result.shorter)))
    write_page(path, [answer, *map(Line, others), search_chart(result), *tables], title=title, reproduce=reproduce)


def _trials(result: SearchResult) -> Table:
    caption = "Trials" if result.total_steps is None else f"Trials of {result.total_steps} steps"
    header = ("learning rate", quantity(result.direction), "")
    return Table(caption, header, [(f"{lr:.4g}", losses, mark) for lr, losses, mark in tried_rows(result)])
