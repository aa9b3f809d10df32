"""Read results of any kind: a journal of `run_sweep`, a table, the files of a tracker, or a folder of these."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ..sweep.results import SweepResult
from ._kinds import find_results
from .reader import ReadOptions
from .runs import Direction, Repeats


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
    """Return the sweeps in a file or folder by group name; a single one is named "".

    Nothing in the files is run, imported or unpickled, and no link is followed.

    Args:
        path: a journal of `run_sweep`; a table (CSV, JSON, JSON lines, parquet; see `read_table`) with one run per row,
            or with the history of each run; an SQLite file of MLflow or Trackio; or a folder: mlruns, event files of
            TensorBoard, wandb, or several of one kind. Plug-ins add Optuna's storages and Ray's experiments.
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
        DataError: when the path cannot be read, or holds no sweep, or results of several kinds.
        OptionError: when an option of tables is given for a journal, or a library is missing.
    """
    found = find_results(path)
    options = ReadOptions(
        lr_name=lr_name, metric=metric, schedule_name=schedule_name, seed_name=seed_name, group_by=group_by,
        where=where, repeats=repeats, direction=direction,
    )  # fmt: skip
    return found.reader.read(found.paths, found.root, options)
