"""The HTML report of a search: the answer, the picture, what was tried."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from .._metrics import quantity
from .._page import Block, Box, Line, Table
from ..search import SearchResult
from ..search._result import rounded_up, search_headline, search_sentences, tried_rows, what_next
from ._charts import Chart
from .figures import search_chart
from .html import write_page


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
    rows = [(f"{lr:.4g}", *rest) for lr, *rest in tried_rows(result)]
    tried = Table("Trials", ("learning rate", quantity(result.direction), ""), rows)
    body: list[Block | Chart] = [Box("Answer", list(_answer(result, option))), search_chart(result)]
    body += [Line(sentence) for sentence in search_sentences(result, option)]
    write_page(path, [*body, tried], title=title, reproduce=reproduce)


def _answer(result: SearchResult, option: Callable[[str], str]) -> Iterator[tuple[str, str]]:
    name, _, best = search_headline(result).partition(": ")
    yield ("Best learning rate", best or name)
    if result.good_interval is not None:
        low, high = result.good_interval
        span = f"{low:.4g} to {high:.4g}" if low != high else f"{low:.4g}"
        yield "As good", f"{span} (within {rounded_up(result.tolerance)} of it)"
    if result.excess_bound is not None:
        yield "Left to gain", f"at most {rounded_up(result.excess_bound)}, {result.bound_note}"
    else:
        yield "Left to gain", f"unknown: {result.bound_note}"
    if result.stop is not None:
        yield "For more", what_next(result, option)
