"""Trackio's runs, in one SQLite file for each project."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ._tracked import History, TrackedRun
from ._tracked_tables import TrackedRuns
from .sqlite import open_sqlite, rows_of, tables_of


def is_trackio_database(path: Path) -> bool:
    """Return whether an SQLite file is one of Trackio."""
    tables = tables_of(path)
    if "metrics" not in tables:
        return False
    with open_sqlite(path) as database:
        columns = {row[1] for row in database.execute("PRAGMA table_info(metrics)")}
    return {"run_name", "step", "metrics"} <= columns


def read_trackio_databases(paths: Sequence[Path], root: Path) -> TrackedRuns:
    """Return the runs; the last value of each metric counts."""
    return TrackedRuns(runs=[run for path in paths for run in _runs(path, several=len(paths) > 1)], tool="Trackio")


def _runs(path: Path, *, several: bool) -> list[TrackedRun]:
    tables, project = tables_of(path), {"project": path.stem} if several else {}
    runs: dict[str, _Run] = defaultdict(_Run)
    with open_sqlite(path) as database:
        for row in rows_of(database, "configs", tables):
            run = runs[_run_id(path, row)]
            run.name, run.start = str(row["run_name"]), row.get("created_at")
            run.config = run.content(row["config"])
        for row in rows_of(database, "metrics", tables):
            run = runs[_run_id(path, row)]
            run.name, run.start = run.name or str(row["run_name"]), run.start or row.get("timestamp")
            for name, value in run.content(row["metrics"]).items():
                run.history.add(name, value, row["step"])
    return [
        TrackedRun(
            run_id=run_id,
            name=run.name,
            about={**project, "start_time": run.config.get("_Created") or run.start},
            config={key: value for key, value in run.config.items() if not key.startswith("_")},
            history=run.history,
            excluded=run.problem,
        )
        for run_id, run in runs.items()
    ]


class _Run:
    def __init__(self) -> None:
        self.name, self.start, self.problem = "", None, ""
        self.config, self.history = dict[str, Any](), History()

    def content(self, text: Any) -> dict[str, Any]:
        try:
            found = json.loads(text)
        except (ValueError, TypeError, RecursionError) as error:
            self.problem = f"no JSON ({' '.join(str(error).split())})"
            return {}
        return found if isinstance(found, dict) else {}


def _run_id(path: Path, row: dict[str, Any]) -> str:
    return str(row.get("run_id") or f"{path.stem}/{row['run_name']}")  # before version 0.24 the name told runs apart
