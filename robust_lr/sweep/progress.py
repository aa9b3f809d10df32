"""The progress of a sweep on stderr: a bar on a terminal, one line per trial elsewhere."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterable
from typing import TYPE_CHECKING, Self, get_args

from .._metrics import Direction, direction_of, quantity
from .._text import main_line
from ..trials import Status, TrialResult

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress


class SweepProgress:
    """A context manager that shows how many trials are done, the best loss so far, and the remaining time.

    Args:
        n_trials: number of trials in the sweep.
        finished: number of them already in the journal.
        show: True draws on a terminal and prints a line per trial to anything else; False does neither; None only
            draws on a terminal.
        direction: "maximize" if the losses are negative scores, and to be shown as such.
        console: where rich draws, stderr by default.

    Example:
        >>> with SweepProgress(80, show=False) as progress:
        ...     pass  # progress.add(result) for each result that comes in
        >>> progress.summary
        'no result yet'
    """

    def __init__(
        self,
        n_trials: int,
        *,
        finished: Iterable[TrialResult] = (),
        show: bool | None = None,
        direction: Direction | None = None,
        console: Console | None = None,
    ) -> None:
        self._n_trials, self._console = n_trials, console
        self._show = sys.stderr.isatty() if show is None else show
        self._sign, _ = direction_of(direction)
        self._direction = direction or "minimize"
        self._counts: Counter[str] = Counter()
        self._best: TrialResult | None = None
        self._bar: Progress | None = None
        for result in finished:
            self._count(result)

    @property
    def summary(self) -> str:
        """The outcomes so far, such as ``best 0.213 (cosine, lr 0.01), 2 diverged, 1 failed``."""
        parts = []
        if self._best is not None:
            parts.append(
                f"best {self._sign * self._best.loss:.4g} ({self._best.spec.schedule}, lr {self._best.spec.lr:g})"
            )
        for status in get_args(Status)[1:]:
            if self._counts[status]:
                parts.append(f"{self._counts[status]} {status.replace('_', ' ')}")
        return ", ".join(parts) or "no result yet"

    def add(self, result: TrialResult) -> None:
        """Count a result, and redraw or print a line."""
        self._count(result)
        if self._bar is None and self._console is not None:
            spec, found = result.spec, outcome_text(result, self._direction)
            trial = (
                f"trial {self._counts.total()}/{self._n_trials}: {spec.schedule}, lr {spec.lr:.4g}, seed {spec.seed}"
            )
            self._console.print(f"{trial}: {found}; {self.summary}", soft_wrap=True)
        elif self._bar is not None:
            self._bar.update(self._bar.task_ids[0], completed=self._counts.total(), summary=self.summary)

    def _count(self, result: TrialResult) -> None:
        self._counts[result.status] += 1
        if result.status == "ok" and (self._best is None or result.loss < self._best.loss):
            self._best = result

    def __enter__(self) -> Self:
        if self._show:
            from rich.console import Console

            self._console = self._console or Console(stderr=True, highlight=False, markup=False, emoji=False)
        else:
            self._console = None
        if self._console is not None and self._console.is_terminal:
            self._bar = _make_bar(self._console)
            self._bar.start()
            self._bar.add_task("", total=self._n_trials, completed=self._counts.total(), summary=self.summary)
        return self

    def __exit__(self, *exception: object) -> None:
        if self._bar is not None:
            self._bar.stop()
            self._bar = None


def outcome_text(result: TrialResult, direction: Direction = "minimize") -> str:
    """Return the outcome of a trial, such as ``loss 0.213`` or ``failed (ValueError: no such file)``."""
    if result.status == "ok":
        return f"{quantity(direction)} {-result.loss if direction == 'maximize' else result.loss:.6g}"
    return result.status.replace("_", " ") + ("" if result.is_final else f" ({main_line(result.error)})")


def _make_bar(console: Console) -> Progress:
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    return Progress(
        MofNCompleteColumn(),
        BarColumn(bar_width=20),
        TextColumn("{task.fields[summary]}", markup=False),
        TextColumn("| elapsed"),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        console=console,
        refresh_per_second=4,
        # rich forgets updates older than 30 s, and with them the speed of trials that take minutes.
        speed_estimate_period=24 * 3600.0,
    )
