"""Read learning-rate results out of a CSV file, each row one run; say what is wrong with a row by its line number."""

from __future__ import annotations

import csv
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..exceptions import DataError
from ..grids import SIGNIFICANT_DIGITS

DEFAULT_SCHEDULE = "sweep"
_WHOLE_NUMBER = re.compile(r"-?[0-9]{1,100}")


@dataclass(frozen=True)
class TableRow:
    """One run of a table: `loss` is +inf where it diverged; `seed` is the text of the seed column, None without one."""

    line: int
    group: tuple[str, ...]
    schedule: str
    lr: float
    seed: str | None
    loss: float


@dataclass(frozen=True)
class Table:
    """The rows of a CSV file that hold a result, and what was passed over."""

    rows: tuple[TableRow, ...]
    notes: tuple[str, ...]


def read_table(
    path: str | Path,
    *,
    lr_column: str = "lr",
    loss_column: str = "loss",
    schedule_column: str | None = None,
    seed_column: str | None = None,
    group_by: Sequence[str] = (),
) -> Table:
    """Read one run a row.

    A loss of nan, inf or -inf is a run that diverged. A row whose loss is empty has no result and is passed over, with
    a note. Without `schedule_column` the column "schedule" is used where there is one, else all rows are one schedule;
    without `seed_column` the column "seed" where there is one. Learning rates are rounded to 12 significant digits, so
    that 0.3 and 0.30000000000000004 are one.

    Raises:
        DataError: when the file cannot be read, a column is missing, or a row is malformed; the text names the line.
    """
    try:
        with Path(path).open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file, skipinitialspace=True)
            header = list(reader.fieldnames or [])
            records = [(reader.line_num, record) for record in reader]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"cannot read {path} as CSV: {getattr(error, 'strerror', None) or error}") from None
    schedule_column = schedule_column or ("schedule" if "schedule" in header else None)
    seed_column = seed_column or ("seed" if "seed" in header else None)
    wanted = [lr_column, loss_column, *group_by, *filter(None, (schedule_column, seed_column))]
    missing = [column for column in wanted if column not in header]
    if missing:
        raise DataError(
            f"{path} has no column {', '.join(map(repr, missing))}; its columns are {', '.join(header) or 'none'}"
        )
    twice = [column for column in wanted if header.count(column) > 1]
    if twice:
        raise DataError(f"{path} has more than one column {', '.join(map(repr, twice))}")
    rows, empty = [], 0
    for line, record in records:
        if not (record[loss_column] or "").strip():
            empty += 1
            continue
        loss = _number(path, line, loss_column, record[loss_column])
        lr = _number(path, line, lr_column, record[lr_column])
        if not 1e-100 <= lr <= 1e100:
            raise DataError(f"{path}, line {line}: {lr_column} must be positive (1e-100 to 1e100), got {lr!r}")
        rows.append(
            TableRow(
                line=line,
                group=tuple((record[column] or "").strip() for column in group_by),
                schedule=_text(path, line, schedule_column, record) if schedule_column else DEFAULT_SCHEDULE,
                lr=float(f"{lr:.{SIGNIFICANT_DIGITS}g}"),
                seed=_text(path, line, seed_column, record) if seed_column else None,
                loss=loss if math.isfinite(loss) else math.inf,
            )
        )
    if not rows:
        raise DataError(f"{path} holds no row with a value in {loss_column!r}")
    notes: tuple[str, ...] = ()
    if empty:
        runs = "1 row has" if empty == 1 else f"{empty} rows have"
        notes = (f"{runs} no loss and no part in the figures (a diverged run is written as nan or inf)",)
    return Table(tuple(rows), notes)


def _number(path: str | Path, line: int, column: str, text: str | None) -> float:
    try:
        return float((text or "").strip())
    except ValueError:
        raise DataError(f"{path}, line {line}: {column} must be a number, got {text!r}") from None


def _text(path: str | Path, line: int, column: str, record: Mapping[str, str | None]) -> str:
    text = (record[column] or "").strip()
    if not text:
        raise DataError(f"{path}, line {line}: {column} is empty")
    return text


def replicate_seeds(rows: Sequence[TableRow]) -> Iterator[tuple[TableRow, int]]:
    """Yield each row with a whole number for its seed; repeats of a run without a seed column count 0, 1, 2, ...

    Without a seed column, a schedule whose every learning rate is repeated with the same loss is taken for one whose
    rows were duplicated, not for one with replicates: its repeats are dropped.

    Raises:
        DataError: when two rows give one trial different losses; rows that repeat it exactly are dropped.
    """
    names = sorted({row.seed for row in rows if row.seed is not None})
    whole = all(_WHOLE_NUMBER.fullmatch(name) for name in names)
    number = {name: int(name) if whole else position for position, name in enumerate(names)}
    seen: dict[tuple[str, float, int], TableRow] = {}
    counts: dict[tuple[str, float], int] = {}
    duplicated = _duplicated_schedules(rows)
    for row in rows:
        if row.seed is None:
            seed = 0 if row.schedule in duplicated else counts.get((row.schedule, row.lr), 0)
            counts[row.schedule, row.lr] = seed + 1
        else:
            seed = number[row.seed]
        earlier = seen.setdefault((row.schedule, row.lr, seed), row)
        if earlier is row:
            yield row, seed
        elif earlier.loss != row.loss:
            raise DataError(
                f"lines {earlier.line} and {row.line} give {row.schedule}, lr {row.lr:g}, seed {row.seed} two losses, "
                f"{earlier.loss:g} and {row.loss:g}; name the column that tells them apart (--seed-column, --group-by)"
            )


def _duplicated_schedules(rows: Sequence[TableRow]) -> set[str]:
    """The schedules that repeat every learning rate, each with one loss, not all of them diverged."""
    found: dict[str, dict[float, list[float]]] = {}
    for row in rows:
        if row.seed is None:
            found.setdefault(row.schedule, {}).setdefault(row.lr, []).append(row.loss)
    return {
        schedule
        for schedule, losses in found.items()
        if all(len(repeats) > 1 and len(set(repeats)) == 1 for repeats in losses.values())
        and any(math.isfinite(repeats[0]) for repeats in losses.values())
    }
