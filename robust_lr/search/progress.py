"""The progress of a search on stderr: a live table on a terminal, one line per trial elsewhere."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Self

from .._metrics import outcome_text, quantity
from ..trials import TrialResult, TrialSpec
from ._result import SearchResult, gain_so_far, search_headline, search_sentences, search_setting, tried_rows

if TYPE_CHECKING:
    from rich.console import Console, Group
    from rich.live import Live


class SearchProgress:
    """A context manager that shows the trials so far, the running ones, and the best with its bound.

    Args:
        show: whether to show it; None shows it only on a terminal.
        console: where rich writes, stderr by default.
    """

    def __init__(self, *, show: bool | None = None, console: Console | None = None) -> None:
        self._show = sys.stderr.isatty() if show is None else show
        self._console, self._live = console, None
        self._running: list[TrialSpec] = []
        self._has_begun = False
        self._notes = set[str]()

    _live: Live | None

    def begin(self, trials: Sequence[TrialSpec], known: SearchResult) -> None:
        """Show that these trials run next."""
        self._running = list(trials)
        if trials and self._live is None and self._console is not None and not self._has_begun:
            low, high = known.lr_range
            line = f"search from {low:.4g} to {high:.4g}: {search_setting(known)}"
            self._console.print(line, soft_wrap=True)
        if not self._has_begun:  # what is known beforehand has its place in the result
            self._notes.update(known.notes)
        self._has_begun = True
        self._draw(known)

    def add(self, result: TrialResult, known: SearchResult) -> None:
        """Show the outcome of a trial, and the best so far."""
        if self._live is not None or self._console is None:
            return
        gain = gain_so_far(known)
        best = (
            f"best so far {known.shown(known.loss):.6g} at {known.lr:.4g}{gain and f'; {gain}'}"
            if known.lr > 0
            else f"no finite {quantity(known.direction)} so far"
        )
        number, spec = known.n_trials + len(known.failed), result.spec
        line = f"trial {number}: lr {spec.lr:.4g}, seed {spec.seed}: {outcome_text(result, known.direction)}; {best}"
        self._console.print(line, soft_wrap=True)
        for note in known.notes:
            if note not in self._notes:
                self._console.print(f"note: {note}", soft_wrap=True)
        self._notes.update(known.notes)

    def _draw(self, known: SearchResult) -> None:
        if self._live is not None:
            self._live.update(_table(known, self._running), refresh=True)

    def __enter__(self) -> Self:
        if self._show:
            from rich.console import Console
            from rich.live import Live

            self._console = self._console or Console(stderr=True, highlight=False, markup=False, emoji=False)
            if self._console.is_terminal:
                self._live = Live(console=self._console, auto_refresh=False)
                self._live.start()
        else:
            self._console = None
        return self

    def __exit__(self, *exception: object) -> None:
        if self._live is not None:
            self._live.stop()
            self._live = None


def _table(known: SearchResult, running: Sequence[TrialSpec]) -> Group:
    from rich import box
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("learning rate", justify="right")
    table.add_column(quantity(known.direction), justify="right")
    table.add_column("", justify="left")
    tried = {lr: (loss, mark) for lr, loss, mark in tried_rows(known)}
    next_ones = {trial.lr for trial in running}
    for lr in sorted({*tried, *next_ones}):
        loss, mark = tried.get(lr, ("", ""))
        table.add_row(f"{lr:.4g}", loss, ", ".join(filter(None, [mark, "next" if lr in next_ones else ""])))
    words = [search_headline(known), *search_sentences(known)] if known.stop is None else []
    return Group(table, *map(Text, words))
