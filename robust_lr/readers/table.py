"""Read runs from a table, one per row or with a row for each epoch; errors name the line."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from .._text import count_of, listed
from ..exceptions import DataError
from ._columns import Columns, choose_columns
from ._conditions import left_out, read_conditions
from ._files import read_records
from ._histories import last_rows, varying_rate
from ._names import flag_word
from ._rows import Row, Table, is_missing, mixed_decimals, number_or_nan, read_number, read_time, refuse, thousands
from ._states import ending, state_of_flag
from .runs import DEFAULT_SCHEDULE, Direction, Run, read_lr

_NO_LOSS = "no loss (write nan or inf for a diverged run)"


class TableRuns(NamedTuple):
    """The runs in a table; notes on how it was read; the column of the loss, and those by which it is grouped."""

    runs: list[Run]
    notes: list[str]
    metric: str
    group_by: tuple[str, ...]


def read_table(
    path: str | Path,
    *,
    lr_name: str | None = None,
    metric: str | None = None,
    schedule_name: str | None = None,
    seed_name: str | None = None,
    group_by: Sequence[str] = (),
    where: Sequence[str] = (),
    direction: Direction | None = None,
) -> TableRuns:
    """Return the runs in a file with a table: CSV with any separator, JSON, JSON lines or parquet, gzipped or not.

    Columns that are not given are found by their names, as people and trackers write them ("lr", "config/lr",
    "params.lr", "Learning rate"); a note says which were taken. A loss of nan, inf or "diverged" marks a diverged run.
    Runs without a loss or a learning rate are excluded, and so are those whose state, or a column of true and false
    such as "failed" or "ok", says that they did not finish; "diverged" makes the loss infinite. If a table holds the
    history of each run, the last row counts.

    Args:
        path: the file.
        lr_name: column of the learning rate.
        metric: column of the final loss.
        schedule_name: column of the schedule; without any, all runs share one.
        seed_name: column of the seed.
        group_by: columns whose values put each run into a group.
        where: conditions such as "State=finished" or "model!=small"; others are excluded. A condition on the column of
            the state replaces the rule above.
        direction: "maximize" to look for a score instead of a loss.

    Raises:
        DataError: when the file cannot be read, a column is missing or ambiguous, or rows are malformed; the text names
            the lines.
        OptionError: when a condition cannot be read, or a parquet file has no library.
    """
    return runs_in(
        path, read_records(path), lr_name=lr_name, metric=metric, schedule_name=schedule_name, seed_name=seed_name,
        group_by=group_by, where=where, direction=direction,
    )  # fmt: skip


def runs_in(
    path: str | Path,
    table: Table,
    *,
    lr_name: str | None,
    metric: str | None,
    schedule_name: str | None,
    seed_name: str | None,
    group_by: Sequence[str],
    where: Sequence[str],
    direction: Direction | None,
) -> TableRuns:
    """Return the runs in a table that was read from `path`; see `read_table`."""
    counted = replace(table, rows=tuple(row for row in table.rows if not row.excluded))
    columns = choose_columns(
        path, counted, lr_name=lr_name, metric=metric, schedule_name=schedule_name, seed_name=seed_name,
        group_by=group_by, maximize=direction == "maximize",
    )  # fmt: skip
    conditions = read_conditions(path, table, where)
    reasons = {id(row): row.excluded or left_out(conditions, row) for row in table.rows}
    kept, on_states = _with_divergence([row for row in table.rows if not reasons[id(row)]], columns)
    wanted, on_history = last_rows(path, kept, columns)
    if columns.lr in table.peaks:
        on_history.append(varying_rate(columns.lr))
    reader = _RowReader(columns, {condition.column for condition in conditions}, with_seeds=_with_seeds(kept, columns))
    reader.problems += table.problems
    for column in (columns.lr, columns.loss):
        reader.problems += mixed_decimals(column, [row for row, _ in wanted])
    reader.problems += thousands(columns.loss, columns.lr, [row for row, _ in wanted])
    runs = [reader.run(row, why) for row, why in wanted]
    reader.problems += _words_among_numbers(columns.seed, runs)
    refuse(path, reader.problems)
    others = Counter(why for why in reasons.values() if why)
    notes = [*table.notes, *([columns.said] if columns.said else [])]
    notes += [
        *on_history,
        *on_states,
        *reader.on_unknown_states(),
        *(f"{count_of(n, 'row')} left out: {why}" for why, n in others.items()),
    ]
    if all(run.excluded for run in runs):
        counts = Counter(run.excluded for run in runs)
        said = [*notes, *(f"{count_of(n, 'row')} left out: {why}" for why, n in counts.items())]
        raise DataError("; ".join([f"{path} holds no row with a value in {columns.loss!r}", *said]))
    return TableRuns(runs, notes, columns.loss, columns.groups)


def _with_seeds(rows: Sequence[Row], columns: Columns) -> set[tuple[str, ...]]:
    """The groups in which some run has a seed."""
    named = [row for row in rows if columns.seed and not _is_blank(row.cells[columns.seed])]
    return {tuple(row.cells[column] for column in columns.groups) for row in named}


def _is_blank(text: str) -> bool:
    return is_missing(text) or text.lower() == "nan"


def _with_divergence(rows: Sequence[Row], columns: Columns) -> tuple[list[Row], list[str]]:
    """Let the loss of a row be "diverged" if its state or a flag says so."""
    found, why = [], []
    for row in rows:
        said = [column for column, state in _states_of(row, columns) if ending(state) == "diverged"]
        if said:
            if math.isfinite(number_or_nan(row.cells[columns.loss])):
                why.append(f"{said[0]} is {row.cells[said[0]]}")
            row = row._replace(cells={**row.cells, columns.loss: "diverged"})
        found.append(row)
    return found, [f"{count_of(n, 'row')} with a loss counted as diverged: {text}" for text, n in Counter(why).items()]


def _states_of(row: Row, columns: Columns) -> list[tuple[str, str]]:
    """How the run ended, by column."""
    flags = [(column, state_of_flag(flag_word(column), row.cells[column])) for column in columns.flags]
    return [*([(columns.state, row.cells[columns.state])] if columns.state else []), *flags]


def _words_among_numbers(seed: str, runs: Sequence[Run]) -> list[str]:
    named = [(run.where, str(run.seed)) for run in runs if run.seed is not None and not run.excluded]
    texts = [(where, text) for where, text in named if math.isnan(number_or_nan(text))]
    return [
        f"{where}: {seed} is {text!r} among numbers (--where '{seed}!={text}' leaves such rows out)"
        for where, text in texts
        if len(texts) < len(named)
    ]


class _RowReader:
    """Turns rows into runs, and collects what is wrong with them."""

    def __init__(self, columns: Columns, conditioned: set[str], *, with_seeds: set[tuple[str, ...]]) -> None:
        self.columns, self.conditioned, self.with_seeds = columns, conditioned, with_seeds
        self.problems: list[str] = []
        self.unknown: dict[str, None] = {}

    def on_unknown_states(self) -> list[str]:
        """Return a note on the states that count because nothing is known of them."""
        name, texts = self.columns.state, list(self.unknown)
        if not texts:
            return []
        verb, them = ("counts", "it") if len(texts) == 1 else ("count", "each")
        leave = f"leave {them} out with --where '{name}!={texts[0]}'"
        return [f"{name} {listed(map(repr, texts))} {verb} as finished: {leave}"]

    def run(self, row: Row, why: str) -> Run:
        columns, cells = self.columns, row.cells
        group = tuple(cells[column] for column in columns.groups)
        if excluded := self._excluded(row, why):
            return Run(lr=math.nan, group=group, excluded=excluded)
        before = len(self.problems)
        loss = self._number(row, columns.loss)
        lr = self._lr(row)
        schedule = self._text(row, columns.schedule) if columns.schedule else DEFAULT_SCHEDULE
        seed = self._text(row, columns.seed) if group in self.with_seeds else None
        if len(self.problems) > before:
            return Run(lr=math.nan, group=group, excluded="malformed")
        return Run(
            lr=lr,
            loss=loss if math.isfinite(loss) else math.inf,
            schedule=schedule,
            seed=seed,
            group=group,
            params={column: cells[column] for column in columns.settings},
            started=read_time(cells[columns.time]) if columns.time else math.nan,
            where=row.where,
        )

    def _excluded(self, row: Row, why: str) -> str:
        lr, loss = row.cells[self.columns.lr], row.cells[self.columns.loss]
        for column, state in _states_of(row, self.columns):
            if column in self.conditioned or ending(state) != "unfinished" or loss == "diverged":
                continue
            text = row.cells[column]
            ended = not is_missing(loss) and not math.isfinite(number_or_nan(loss))
            keep = f"--where '{column}={text}'"
            hint = f", with a loss of {loss} (to count these as diverged, give --where for each state, such as {keep})"
            return f"{column} is {text}{hint if ended else ''}"
        if ending(loss) == "unfinished":
            return f"{self.columns.loss} is {loss}"
        if why or is_missing(loss):
            return why or _NO_LOSS
        if _is_blank(lr):
            return "no learning rate"
        state = row.cells[self.columns.state] if self.columns.state not in ("", *self.conditioned) else ""
        if not is_missing(state) and ending(state) is None:
            self.unknown[state] = None
        return ""

    def _number(self, row: Row, column: str) -> float:
        text = row.cells[column]
        try:
            return read_number(text)
        except ValueError:
            self.problems.append(f"{row.where}: {column} must be a number, got {text!r}")
            return math.nan

    def _lr(self, row: Row) -> float:
        before, lr = len(self.problems), self._number(row, self.columns.lr)
        try:
            return lr if len(self.problems) > before else read_lr(lr, row.where)
        except DataError as error:
            end = "; a schedule that ends at zero logs this: name the column of its peak" if lr == 0 else ""
            self.problems.append(f"{error}{end}")
            return lr

    def _text(self, row: Row, column: str) -> str:
        text = row.cells[column]
        if not text or (column == self.columns.seed and _is_blank(text)):
            self.problems.append(f"{row.where}: {column} is empty (--where '{column}!={text}' leaves such rows out)")
        return text
