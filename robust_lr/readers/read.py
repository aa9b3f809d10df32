"""Read a file of results of any kind: a journal of `run_sweep`, or a table."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from .._metrics import direction_of
from .._text import listed
from ..exceptions import OptionError
from ..sweep.results import SweepResult
from ._files import is_journal
from .runs import Direction, Repeats, Run
from .table import read_table


def read_sweeps(
    path: str | Path,
    *,
    lr_name: str | None = None,
    metric: str | None = None,
    schedule_name: str | None = None,
    seed_name: str | None = None,
    group_by: Sequence[str] = (),
    where: Sequence[str] = (),
    repeats: Repeats = "refuse",
    direction: Direction | None = None,
) -> dict[str, SweepResult]:
    """Return the sweeps in a file by group name; without `group_by` there is one, named "".

    Args:
        path: a journal of `run_sweep`; or a table (CSV, JSON, JSON lines, parquet; see `read_table`) with one run per
            row, or with the history of each run.
        lr_name: column of the learning rate in a table; by default found by its name.
        metric: column of the final loss in a table, by default found by its name; in a journal, the loss or any metric
            of the trials.
        schedule_name: column of the schedule in a table, by default found by its name, if there is one.
        seed_name: column of the seed in a table, likewise.
        group_by: columns of a table; runs with the same values in them form one sweep, named like "steps = 100".
        where: conditions on the rows of a table, such as "State=finished" or "model!=small".
        repeats: which of several runs with the same learning rate, schedule and seed counts, if their losses differ:
            "refuse" takes the latest if the table says when each began, and else raises; or "first" or "last".
        direction: "maximize" if a larger value is better; by default "minimize", with a note if the metric looks like
            a score.

    Raises:
        DataError: when the file cannot be read, or holds no sweep.
        OptionError: when an option of tables is given for a journal.
    """
    if is_journal(path):
        of_tables = {
            "lr_name": lr_name, "schedule_name": schedule_name, "seed_name": seed_name, "group_by": group_by,
            "where": where,
        }  # fmt: skip
        if given := [name for name, value in of_tables.items() if value]:
            raise OptionError(f"{given[0]} is for tables; {path} is a journal, which is one sweep without columns")
        return {"": SweepResult.from_journal(path, metric=metric or "loss", direction=direction)}
    table = read_table(
        path, lr_name=lr_name, metric=metric, schedule_name=schedule_name, seed_name=seed_name, group_by=group_by,
        where=where, direction=direction,
    )  # fmt: skip
    groups: dict[tuple[str, ...], list[Run]] = {}
    for run in table.runs:
        groups.setdefault(run.group, []).append(run)
    names = {
        group: ", ".join(f"{column} = {value}" for column, value in zip(table.group_by, group, strict=True))
        for group in sorted(groups, key=_natural)
    }
    empty = [name for group, name in names.items() if all(run.excluded for run in groups[group])]
    notes = [*table.notes, *direction_of(direction, table.metric)[1]]
    notes += [f"no run has a result where {listed(empty)}"] if empty else []
    return {
        name: SweepResult.from_runs(
            groups[group], repeats=repeats, direction=direction,
            source=f"{path}, {name}" if name else str(path), notes=notes,
        )
        for group, name in names.items()
        if name not in empty
    }  # fmt: skip


def _natural(group: tuple[str, ...]) -> list[tuple[bool, float, str]]:
    """Sort key that puts 25000 before 100000."""
    keys = []
    for value in group:
        try:
            keys.append((False, float(value), ""))
        except ValueError:
            keys.append((True, 0.0, value))
    return keys
