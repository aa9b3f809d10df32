"""The doctor on a log: the learning rate of each step, in a table or in a tracker."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

from .._text import listed
from ..exceptions import DataError
from ..readers._kinds import read_histories
from ..readers._names import is_config, is_lr, is_step, run_id_rank
from ..readers._rows import Row, Table, number_or_nan
from ._diagnosis import diagnose
from .evidence import Evidence, Record
from .findings import Finding


def examine_log(path: str | Path, *, lr_name: str | None = None) -> dict[str, tuple[int, tuple[Finding, ...]]]:
    """Return the number of logged steps and the findings of each run of a log, by the run's name ("" for a single one).

    Args:
        path: a table (CSV, JSON lines, parquet, ...) with a row for each step: a column of the learning rate, or one
            for each parameter group, and, if there are any, columns of the step and of the run. Or the files of a
            tracker (MLflow, TensorBoard, Trackio, W&B) to which the learning rates were logged.
        lr_name: the column of the learning rate, if its name does not say so.

    Raises:
        DataError: when the table cannot be read, or has no learning rates.
    """
    table = read_histories(path)
    rates = _rate_columns(path, table, lr_name)
    steps = [column for column in table.columns if is_step(column)]
    step = max(steps, key=lambda column: len({row.cells[column] for row in table.rows}), default=None)
    runs: dict[str, list[Record]] = {}
    for row, name in zip(table.rows, _run_names(table), strict=True):
        records = runs.setdefault(name, [])
        values = tuple(number_or_nan(row.cells[column]) for column in rates)
        if all(map(math.isfinite, values)):
            records.append(Record(_step_of(row, step, len(records)), values))
    if not any(runs.values()):
        raise DataError(f"{path} has no learning rates in {listed(rates)}")
    return {
        name: (len(records), diagnose(Evidence(records=records, n_steps=len(records))))
        for name, records in runs.items()
        if records
    }


def _rate_columns(path: str | Path, table: Table, lr_name: str | None) -> list[str]:
    if lr_name is not None:
        if lr_name not in table.columns:
            raise DataError(f"{path} has no column {lr_name!r}; it has {listed(table.columns)}")
        return [lr_name]
    names = [column for column in table.columns if not is_config(column)]  # a setting is not what was applied
    found = [column for column in names if is_lr(column) or is_lr(column.partition("-")[0])]
    if not found:
        has = listed(table.columns)
        raise DataError(f"{path} has no column of learning rates; name it with --lr-name; it has {has}")
    return found


def _run_names(table: Table) -> Sequence[str]:
    ranked = sorted((rank, column) for column in table.columns if (rank := run_id_rank(column)) is not None)
    if not ranked:
        return [""] * len(table.rows)
    return [row.cells[ranked[0][1]] for row in table.rows]


def _step_of(row: Row, column: str | None, number: int) -> int:
    step = number_or_nan(row.cells[column]) if column is not None else math.nan
    return int(step) if math.isfinite(step) else number
