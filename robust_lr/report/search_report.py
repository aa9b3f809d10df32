"""The HTML report of a search: the answer, the picture, what was tried."""

from __future__ import annotations

import platform
from collections.abc import Callable, Sequence
from html import escape
from pathlib import Path

from .._metrics import quantity
from .._page import Line, Table, to_html
from ..search import SearchResult
from ..search._result import search_headline, search_sentences, tried_rows
from .html import STYLE, _image
from .matplotlib_plots import search_figure


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
    from .._version import __version__

    answer = [Line(search_headline(result), strong=True), *map(Line, search_sentences(result, option))]
    tried = Table(
        "Trials",
        ("learning rate", quantity(result.direction), ""),
        [(f"{lr:.4g}", *rest) for lr, *rest in tried_rows(result)],
    )
    commands = "".join(f"<pre>{escape(line)}</pre>" for line in reproduce)
    Path(path).write_text(
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title>'
        f'<meta name="viewport" content="width=device-width"><style>{STYLE}</style></head><body>'
        f"<h1>{escape(title)}</h1><div class='lead'>{to_html(answer)}</div>"
        f"{_image(search_figure(result), 'Loss at each learning rate tried')}{to_html([tried])}"
        f"{commands}<p class='small'>robust-lr {__version__}, Python {platform.python_version()}.</p></body></html>\n",
        encoding="utf-8",
    )
