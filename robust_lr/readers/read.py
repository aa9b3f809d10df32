"""Read a file of results of either kind: a journal of `run_sweep`, or a table."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from .._metrics import direction_of
from .._text import listed, near_file
from ..exceptions import DataError, OptionError
from ..sweep.results import SweepResult
from .runs import Direction, Run
from .table import read_table


def read_sweeps(
    path: str | Path,
    *,
    lr_name: str = "lr",
    metric: str = "loss",
    schedule_name: str | None = None,
    seed_name: str | None = None,
    group_by: Sequence[str] = (),
    direction: Direction | None = None,
) -> dict[str, SweepResult]:
    """Return the sweeps in a file by group name; without `group_by` there is one, named "".

    Args:
        path: a journal of `run_sweep`, or a CSV file with one run per row.
        lr_name: column of the learning rate in a table.
        metric: column of the final loss in a table; in a journal, the loss or any metric of the trials.
        schedule_name: column of the schedule in a table, by default "schedule" if there is one.
        seed_name: column of the seed in a table, by default "seed" if there is one.
        group_by: columns of a table; runs with the same values in them form one sweep, named like "steps = 100".
        direction: "maximize" if a larger value is better; by default "minimize", with a note if the metric looks like
            a score.

    Raises:
        DataError: when the file cannot be read, or holds no sweep.
        OptionError: when an option of tables is given for a journal.
    """
    if _is_journal(path):
        of_tables = {
            "lr_name": lr_name != "lr",
            "schedule_name": schedule_name,
            "seed_name": seed_name,
            "group_by": group_by,
        }
        if given := [name for name, value in of_tables.items() if value]:
            raise OptionError(f"{given[0]} is for tables; {path} is a journal, which is one sweep without columns")
        return {"": SweepResult.from_journal(path, metric=metric, direction=direction)}
    runs = read_table(
        path, lr_name=lr_name, metric=metric, schedule_name=schedule_name, seed_name=seed_name, group_by=group_by
    )
    groups: dict[tuple[str, ...], list[Run]] = {}
    for run in runs:
        groups.setdefault(run.group, []).append(run)
    names = {
        group: ", ".join(f"{column} = {value}" for column, value in zip(group_by, group, strict=True))
        for group in sorted(groups, key=_natural)
    }
    empty = [name for group, name in names.items() if all(run.excluded for run in groups[group])]
    notes = [f"no run has a result where {listed(empty)}"] if empty else []
    notes += direction_of(direction, metric)[1]
    return {
        name: SweepResult.from_runs(
            groups[group], direction=direction, source=f"{path}, {name}" if name else str(path), notes=notes
        )
        for group, name in names.items()
        if name not in empty
    }


def _is_journal(path: str | Path) -> bool:
    try:
        with Path(path).open("rb") as stream:
            return stream.read(1) == b"{"
    except OSError as error:
        near = near_file(Path(path)) if isinstance(error, FileNotFoundError) else ""
        raise DataError(f"cannot read {path}: {error.strerror}{near}") from None


def _natural(group: tuple[str, ...]) -> list[tuple[bool, float, str]]:
    """Sort key that puts 25000 before 100000."""
    keys = []
    for value in group:
        try:
            keys.append((False, float(value), ""))
        except ValueError:
            keys.append((True, 0.0, value))
    return keys
