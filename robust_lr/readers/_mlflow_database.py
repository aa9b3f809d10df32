"""MLflow's runs in an SQLite file, such as mlflow.db."""

from __future__ import annotations

import math
import sqlite3
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ._mlflow_runs import MLflowRun, as_mlflow_runs
from ._names import is_lr
from ._tracked import History
from ._tracked_tables import TrackedRuns
from .sqlite import open_sqlite, rows_of, tables_of

_INFINITY = 1.7976931348623157e308  # MLflow's stand-in, because its SQL has no infinity
_TABLES = {"runs", "params", "latest_metrics", "experiments"}


def is_mlflow_database(path: Path) -> bool:
    """Return whether an SQLite file is one of MLflow."""
    return tables_of(path) >= _TABLES


def read_mlflow_database(paths: Sequence[Path], root: Path) -> TrackedRuns:
    """Return the runs, without deleted ones; the last value of each metric counts."""
    return as_mlflow_runs([run for path in paths for run in _runs(path, _last_values)])


def read_mlflow_histories(paths: Sequence[Path], root: Path) -> TrackedRuns:
    """Return the runs with all values of their metrics, which takes longer."""
    return as_mlflow_runs([run for path in paths for run in _runs(path, _all_values)])


def _runs(path: Path, read: Callable[[sqlite3.Connection, set[str]], Mapping[str, History]]) -> list[MLflowRun]:
    tables = tables_of(path)
    with open_sqlite(path) as database:
        experiments = {each["experiment_id"]: each for each in rows_of(database, "experiments", tables)}
        params, tags = (_by_run(database, name, tables) for name in ("params", "tags"))
        histories = read(database, tables)
        return [
            MLflowRun(
                run_id=run["run_uuid"],
                name=run.get("name") or "",
                status=run["status"] or "",
                start_time=run["start_time"],
                experiment=str(experiments.get(run["experiment_id"], {}).get("name", run["experiment_id"])),
                params=params[run["run_uuid"]],
                tags=tags[run["run_uuid"]],
                history=histories.get(run["run_uuid"], History()),
            )
            for run in rows_of(database, "runs", tables)
            if _is_active(run) and _is_active(experiments.get(run["experiment_id"], {}))
        ]


def _is_active(record: dict[str, Any]) -> bool:
    return record.get("lifecycle_stage") != "deleted"


def _by_run(database: sqlite3.Connection, table: str, tables: set[str]) -> dict[str, dict[str, str]]:
    found: dict[str, dict[str, str]] = defaultdict(dict)
    for run, key, value in database.execute(f"SELECT run_uuid, key, value FROM {table}") if table in tables else ():
        found[run][key] = value
    return found


def _all_values(database: sqlite3.Connection, tables: set[str]) -> dict[str, History]:
    found: dict[str, History] = defaultdict(History)
    if "metrics" in tables:
        query = "SELECT run_uuid, key, value, is_nan, step FROM metrics ORDER BY timestamp, step"
        for run, key, value, is_nan, step in database.execute(query):
            found[run].add(key, _value(value, is_nan), step)
    return found


def _last_values(database: sqlite3.Connection, tables: set[str]) -> dict[str, History]:
    found: dict[str, History] = defaultdict(History)
    query = "SELECT run_uuid, key, value, is_nan, step FROM latest_metrics"
    for run, key, value, is_nan, step in database.execute(query):
        found[run].add(key, _value(value, is_nan), step)
    rates = sorted(filter(is_lr, {name for history in found.values() for name in history.last}))
    if rates and "metrics" in tables:
        places = ",".join("?" * len(rates))
        query = f"SELECT run_uuid, key, max(value) FROM metrics WHERE NOT is_nan AND key IN ({places}) GROUP BY 1, 2"
        for run, key, highest in database.execute(query, rates):
            found[run].add(key, highest, found[run].steps.get(key, math.nan))
    return found


def _value(value: Any, is_nan: Any) -> Any:
    if is_nan:
        return math.nan
    return math.copysign(math.inf, value) if isinstance(value, float) and abs(value) >= _INFINITY else value
