"""Read runs from a CSV file, one per row; errors name the line."""

from __future__ import annotations

import csv
import math
from collections.abc import Mapping, Sequence
from pathlib import Path

from ..exceptions import DataError
from .runs import DEFAULT_SCHEDULE, Run


def read_table(
    path: str | Path,
    *,
    lr_name: str = "lr",
    metric: str = "loss",
    schedule_name: str | None = None,
    seed_name: str | None = None,
    group_by: Sequence[str] = (),
) -> list[Run]:
    """Return the runs in a table.

    A loss of nan, inf or -inf marks a diverged run. A row with an empty loss has no result and is excluded.

    Args:
        path: a CSV file with a header.
        lr_name: column of the learning rate.
        metric: column of the final loss.
        schedule_name: column of the schedule; by default "schedule" if there is one, else all runs share one.
        seed_name: column of the seed; by default "seed" if there is one.
        group_by: columns whose values put each run into a group.

    Raises:
        DataError: when the file cannot be read, a column is missing, or a row is malformed; the text names the line.
    """
    header, records = _records(path)
    schedule_name = schedule_name or ("schedule" if "schedule" in header else None)
    seed_name = seed_name or ("seed" if "seed" in header else None)
    wanted = [lr_name, metric, *group_by, *filter(None, (schedule_name, seed_name))]
    if missing := [column for column in wanted if column not in header]:
        raise DataError(
            f"{path} has no column {', '.join(map(repr, missing))}; its columns are {', '.join(header) or 'none'}"
        )
    if twice := [column for column in wanted if header.count(column) > 1]:
        raise DataError(f"{path} has more than one column {', '.join(map(repr, twice))}")
    runs = []
    for line, record in records:
        where = f"{path}, line {line}"
        group = tuple((record[column] or "").strip() for column in group_by)
        if not (record[metric] or "").strip():
            runs.append(Run(lr=math.nan, group=group, excluded="no loss (write nan or inf for a diverged run)"))
            continue
        loss = _number(where, metric, record)
        runs.append(
            Run(
                lr=_number(where, lr_name, record),
                loss=loss if math.isfinite(loss) else math.inf,
                schedule=_text(where, schedule_name, record) if schedule_name else DEFAULT_SCHEDULE,
                seed=_text(where, seed_name, record) if seed_name else None,
                group=group,
                where=where,
            )
        )
    if all(run.excluded for run in runs):
        raise DataError(f"{path} holds no row with a value in {metric!r}")
    return runs


_Record = Mapping[str, str | None]


def _records(path: str | Path) -> tuple[list[str], list[tuple[int, _Record]]]:
    try:
        with Path(path).open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file, skipinitialspace=True)
            return list(reader.fieldnames or []), [(reader.line_num, record) for record in reader]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"cannot read {path} as CSV: {getattr(error, 'strerror', None) or error}") from None


def _number(where: str, column: str, record: _Record) -> float:
    text = record[column]
    try:
        return float((text or "").strip())
    except ValueError:
        raise DataError(f"{where}: {column} must be a number, got {text!r}") from None


def _text(where: str, column: str, record: _Record) -> str:
    text = (record[column] or "").strip()
    if not text:
        raise DataError(f"{where}: {column} is empty")
    return text
