"""Tables and trackers among the kinds of results: each gives a table, and all else is the same for them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from .._metrics import direction_of
from .._text import listed
from ..exceptions import DataError
from ..sweep.results import SweepResult
from ._files import read_records
from ._mixture import MixedSettings
from ._mlflow_database import is_mlflow_database, read_mlflow_database, read_mlflow_histories
from ._mlflow_folder import is_mlflow_run, read_mlflow_folders
from ._rows import Table
from ._tensorboard import is_event_file, read_event_files
from ._tracked_tables import TrackedRuns
from ._trackio import is_trackio_database, read_trackio_databases
from ._wandb import is_wandb_run, read_wandb_runs
from .reader import ReadOptions, one_each
from .runs import Run
from .table import runs_in

_SUFFIXES = (".csv", ".tsv", ".json", ".jsonl", ".ndjson", ".parquet")


@dataclass(frozen=True, kw_only=True)
class _Tracker:
    """Reads the runs of one tracker, from all its files together, as one table."""

    name: str
    looks_for: str
    recognizes: Callable[[Path], bool]
    runs: Callable[[Sequence[Path], Path], TrackedRuns]
    with_histories: Callable[[Sequence[Path], Path], TrackedRuns] | None = None  # if `runs` leaves them out

    def read(self, paths: Sequence[Path], root: Path, options: ReadOptions) -> dict[str, SweepResult]:
        return _sweeps(paths[0] if len(paths) == 1 else root, self.runs(paths, root).table(), options)

    def histories(self, paths: Sequence[Path], root: Path) -> Table:
        return (self.with_histories or self.runs)(paths, root).histories()


class _Tables:
    name = "tables"
    looks_for = f"a table ({', '.join(_SUFFIXES)})"

    def recognizes(self, path: Path) -> bool:
        return path.name.lower().removesuffix(".gz").endswith(_SUFFIXES)

    def read(self, paths: Sequence[Path], root: Path, options: ReadOptions) -> dict[str, SweepResult]:
        return one_each(paths, root, lambda path: _sweeps(path, read_records(path), options))

    def histories(self, paths: Sequence[Path], root: Path) -> Table:
        if len(paths) > 1:
            raise DataError(f"{root} holds {len(paths)} tables; give the path of one of them")
        return read_records(paths[0])


TABLES = _Tables()
TRACKERS = (
    _Tracker(
        name="MLflow's database",
        looks_for="an SQLite file of MLflow",
        recognizes=is_mlflow_database,
        runs=read_mlflow_database,
        with_histories=read_mlflow_histories,
    ),
    _Tracker(
        name="MLflow's folders",
        looks_for="folders of MLflow's runs (mlruns)",
        recognizes=is_mlflow_run,
        runs=read_mlflow_folders,
    ),
    _Tracker(name="W&B", looks_for="folders of W&B's runs (wandb)", recognizes=is_wandb_run, runs=read_wandb_runs),
    _Tracker(
        name="TensorBoard",
        looks_for="event files of TensorBoard",
        recognizes=is_event_file,
        runs=read_event_files,
    ),
    _Tracker(
        name="Trackio",
        looks_for="an SQLite file of Trackio",
        recognizes=is_trackio_database,
        runs=read_trackio_databases,
    ),
)


def _sweeps(path: Path, table: Table, options: ReadOptions) -> dict[str, SweepResult]:
    """The sweeps in a table, one for each group."""
    read = runs_in(
        path, table, lr_name=options.lr_name, metric=options.metric, schedule_name=options.schedule_name,
        seed_name=options.seed_name, group_by=options.group_by, where=options.where, direction=options.direction,
    )  # fmt: skip
    groups: dict[tuple[str, ...], list[Run]] = {}
    for run in read.runs:
        groups.setdefault(run.group, []).append(run)
    names = {
        group: ", ".join(f"{column} = {value}" for column, value in zip(read.group_by, group, strict=True))
        for group in sorted(groups, key=_natural)
    }
    empty = [name for group, name in names.items() if all(run.excluded for run in groups[group])]
    notes = [*read.notes, *direction_of(options.direction, read.metric)[1]]
    notes += [f"no run has a result where {listed(empty)}"] if empty else []
    found, mixed = dict[str, SweepResult](), list[MixedSettings]()
    for group, name in names.items():
        if name not in empty:
            try:
                found[name] = SweepResult.from_runs(
                    groups[group], repeats=options.repeats, direction=options.direction,
                    source=f"{path}, {name}" if name else str(path), notes=notes,
                )  # fmt: skip
            except MixedSettings as error:
                mixed.append(error)
    if mixed:  # one command for all groups
        columns = [column for column in table.columns if any(column in error.columns for error in mixed)]
        raise MixedSettings(str(path), columns, max(error.n_trials for error in mixed), read.group_by)
    return found


def _natural(group: tuple[str, ...]) -> list[tuple[bool, float, str]]:
    """Sort key that puts 25000 before 100000."""
    keys = []
    for value in group:
        try:
            keys.append((False, float(value), ""))
        except ValueError:
            keys.append((True, 0.0, value))
    return keys
