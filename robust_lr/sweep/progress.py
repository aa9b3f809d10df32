"""A progress bar for a sweep, drawn by rich on stderr."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterable
from typing import TYPE_CHECKING, Self, get_args

from .._metrics import Direction, direction_of
from ..trials import Status, TrialResult

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress


class SweepProgress:
    """A context manager that shows how many trials are done, the best loss so far, and the remaining time.

    Args:
        n_trials: number of trials in the sweep.
        finished: number of them already in the journal.
        show: True draws, False does not, None draws only if stderr is a terminal.
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

    def add(self, result: TrialResult, *, n_trials: int | None = None) -> None:
        """Count a result and redraw; `n_trials` is the new number of trials in the sweep, if it grew."""
        self._count(result)
        if self._bar is not None:
            self._bar.update(
                self._bar.task_ids[0], completed=self._counts.total(), total=n_trials, summary=self.summary
            )

    def _count(self, result: TrialResult) -> None:
        self._counts[result.status] += 1
        if result.status == "ok" and (self._best is None or result.loss < self._best.loss):
            self._best = result

    def __enter__(self) -> Self:
        if self._show:
            self._bar = _make_bar(self._console)
            self._bar.start()
            self._bar.add_task("", total=self._n_trials, completed=self._counts.total(), summary=self.summary)
        return self

    def __exit__(self, *exception: object) -> None:
        if self._bar is not None:
            self._bar.stop()
            self._bar = None


def _make_bar(console: Console | None) -> Progress:
    from rich.console import Console
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
        console=console or Console(stderr=True),
        refresh_per_second=4,
        # rich forgets updates older than 30 s, and with them the speed of trials that take minutes.
        speed_estimate_period=24 * 3600.0,
    )
