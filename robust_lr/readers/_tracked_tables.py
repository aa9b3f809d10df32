"""The runs of a tracker as tables: one row for each run, or one for each step."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import islice

from .._text import count_of
from ..exceptions import DataError
from ._json_records import flat
from ._names import is_config, is_lr, is_seed
from ._rows import Row, Table, read_time
from ._tracked import History, TrackedRun, settings_in

_MOST_SETTINGS = 10_000
_STEP = "step"


@dataclass(frozen=True, kw_only=True)
class TrackedRuns:
    """Runs of one tracker.

    Attributes:
        runs: each of them.
        tool: name of the tracker.
        config, metrics: what stands before the names of settings and metrics in the columns of a table.
    """

    runs: Sequence[TrackedRun]
    tool: str
    config: str = "config/"
    metrics: str = ""

    def table(self) -> Table:
        """Return a table with one row for each run, with the last value of each metric.

        Raises:
            DataError: when a run has too many settings.
        """
        runs = _in_order(self.runs)
        cells = [_cells(run, self.config, self.metrics) for run in runs]
        named, on_names = _from_names(runs, {name for each in cells for name in each})
        for each, settings in zip(cells, named, strict=True):
            each.update({f"{self.config}{key}": text for key, text in settings.items()})
        notes = (f"{count_of(len(runs), 'run')} of {self.tool}", *on_names)
        columns = tuple(dict.fromkeys(name for each in cells for name in each))
        blank = dict.fromkeys(columns, "")
        rows = tuple(
            Row(
                f"run {run.run_id}",
                blank | each,
                run.excluded,
                {f"{self.metrics}{name}": step for name, step in run.history.steps.items()},
                {f"{self.metrics}{name}": step for name, step in run.history.restarts.items()},
            )
            for run, each in zip(runs, cells, strict=True)
        )
        peaks = frozenset(f"{self.metrics}{name}" for run in runs for name in run.history.peaks)
        return Table(columns, rows, notes=notes, peaks=peaks)

    def histories(self) -> Table:
        """Return a table with one row for each step of each run that counts, in the order in which they were logged.

        Raises:
            DataError: when a run has too many settings.
        """
        runs = _in_order([run for run in self.runs if not run.excluded])
        settings = replace(self, runs=[replace(run, history=History()) for run in runs]).table()
        metrics = dict.fromkeys(f"{self.metrics}{name}" for run in runs for name in run.history.points)
        blank = dict.fromkeys((*settings.columns, *metrics, _STEP), "")
        rows = [
            Row(f"{row.where}, step {step:.15g}", {**blank, **row.cells, **values, _STEP: f"{step:.15g}"})
            for row, run in zip(settings.rows, runs, strict=True)
            for step, values in _by_step(run.history, self.metrics)
        ]
        return Table(tuple(blank), tuple(rows), notes=settings.notes)


def _by_step(history: History, prefix: str) -> list[tuple[float, dict[str, str]]]:
    """The metrics that were logged at each step; a step that comes again, after a resume, comes later too."""
    found: dict[tuple[int, float], dict[str, str]] = {}
    for name, points in history.points.items():
        n_resumes, before = 0, -math.inf
        for step, value in zip(points[::2], points[1::2], strict=True):
            n_resumes += step < before
            before = step
            if not math.isnan(step):
                found.setdefault((n_resumes, step), {})[f"{prefix}{name}"] = repr(value)
    return [(step, found[n, step]) for n, step in sorted(found)]


def _cells(run: TrackedRun, config: str, metrics: str) -> dict[str, str]:
    about = {"run_id": run.run_id, "name": run.name, **run.about}
    parts = (("", about), (metrics, run.history.last), (config, run.config))
    found = dict[str, str]()
    for prefix, values in parts:
        found.update(islice(flat(values, prefix), _MOST_SETTINGS + 1))
    if len(found) > _MOST_SETTINGS:
        raise DataError(f"run {run.run_id} has more than {_MOST_SETTINGS} settings and metrics")
    return found


def _from_names(runs: Sequence[TrackedRun], columns: set[str]) -> tuple[list[dict[str, str]], list[str]]:
    """Settings that only the names of the runs tell, and a note on them."""
    named = [settings_in(run.name) for run in runs]
    unknown = set() if any(run.config for run in runs) else {key for each in named for key in each}
    # A logged learning rate may be that of a step; the one in each run's name is the one that was set.
    of_lr = [name for name in columns if is_lr(name)]
    if any(map(is_config, of_lr)) or (of_lr and not all("lr" in each for each in named)):
        unknown.discard("lr")
    else:
        unknown.add("lr")
    (unknown.discard if any(map(is_seed, columns)) else unknown.add)("seed")
    found = [{key: text for key, text in each.items() if key in unknown} for each in named]
    keys = [key for key in ("lr", "seed") if any(key in each for each in found)]
    return found, [f"{' and '.join(keys)} as in the names of the runs"] if keys else []


def _in_order(runs: Sequence[TrackedRun]) -> list[TrackedRun]:
    """The runs by their start; those of one id, which was resumed or copied, as one."""
    starts = [read_time(str(run.about.get("start_time", ""))) for run in runs]
    if not any(map(math.isnan, starts)):
        runs = [runs[i] for i in sorted(range(len(runs)), key=lambda i: starts[i])]
    by_id: dict[str, TrackedRun] = {}
    for run in runs:
        before = by_id.pop(run.run_id, None)
        if before is not None:
            history = History()
            for each in (before.history, run.history):
                history.take(each)
            run = TrackedRun(
                run_id=run.run_id,
                name=run.name or before.name,
                about={**before.about, **run.about},
                config={**before.config, **run.config},
                history=history,
                excluded=run.excluded,
            )
        by_id[run.run_id] = run
    return list(by_id.values())
