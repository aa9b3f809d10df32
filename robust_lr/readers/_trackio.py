"""Trackio's runs, in one SQLite file for each project."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..exceptions import DataError
from ._rows import Table
from ._tracked import History, TrackedRun, as_runs_table
from .sqlite import open_sqlite, rows_of, tables_of


def is_trackio_database(path: Path) -> bool:
    """Return whether an SQLite file is one of Trackio."""
    tables = tables_of(path)
    if "metrics" not in tables:
        return False
    with open_sqlite(path) as database:
        columns = {row[1] for row in database.execute("PRAGMA table_info(metrics)")}
    return {"run_name", "step", "metrics"} <= columns


def read_trackio_databases(paths: Sequence[Path], root: Path) -> Table:
    """Return the runs; the last value of each metric counts."""
    return as_runs_table([run for path in paths for run in _runs(path, several=len(paths) > 1)], tool="Trackio")


def _runs(path: Path, *, several: bool) -> list[TrackedRun]:
    tables, project = tables_of(path), {"project": path.stem} if several else {}
    names, configs, started = dict[str, str](), dict[str, dict[str, Any]](), dict[str, Any]()
    histories: dict[str, History] = defaultdict(History)
    with open_sqlite(path) as database:
        for row in rows_of(database, "configs", tables):
            run = _run_id(row)
            names[run], started[run] = str(row["run_name"]), row.get("created_at")
            configs[run] = _content(path, run, row["config"])
        for row in rows_of(database, "metrics", tables):
            run = _run_id(row)
            names.setdefault(run, str(row["run_name"]))
            started.setdefault(run, row.get("timestamp"))
            for name, value in _content(path, run, row["metrics"]).items():
                histories[run].add(name, value, row["step"])
    return [
        TrackedRun(
            run_id=run,
            name=name,
            about={**project, "start_time": configs.get(run, {}).get("_Created") or started[run]},
            config={key: value for key, value in configs.get(run, {}).items() if not key.startswith("_")},
            history=histories[run],
        )
        for run, name in names.items()
    ]


def _run_id(row: dict[str, Any]) -> str:
    return str(row.get("run_id") or row["run_name"])  # before version 0.24 the name told runs apart


def _content(path: Path, run: str, text: Any) -> dict[str, Any]:
    try:
        found = json.loads(text)
    except (ValueError, TypeError, RecursionError) as error:
        raise DataError(f"cannot read {path}: run {run} holds no JSON ({' '.join(str(error).split())})") from None
    return found if isinstance(found, dict) else {}
