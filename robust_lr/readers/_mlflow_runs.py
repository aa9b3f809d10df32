"""MLflow's runs, from wherever they are stored, as a table with the columns of `mlflow.search_runs`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ._names import is_lr
from ._rows import Table
from ._tracked import History, TrackedRun, as_runs_table

_PARENT = "mlflow.parentRunId"


@dataclass(frozen=True, kw_only=True)
class MLflowRun:
    """One run; `start_time` in milliseconds since 1970, None if unknown."""

    run_id: str
    name: str = ""
    status: str = ""
    start_time: Any = None
    experiment: str = ""
    params: Mapping[str, str] = field(default_factory=dict)
    tags: Mapping[str, str] = field(default_factory=dict)
    history: History = field(default_factory=History)
    excluded: str = ""


def as_mlflow_table(runs: Sequence[MLflowRun]) -> Table:
    """Return the runs as a table.

    A parent of runs that have a learning rate is left out: it holds the best of its children, or their mean.
    """
    parents = {run.tags.get(_PARENT) for run in runs if any(map(is_lr, run.params))} - {None}
    several = len({run.experiment for run in runs if not run.excluded}) > 1
    return as_runs_table(
        [
            TrackedRun(
                run_id=run.run_id,
                name=run.name or run.tags.get("mlflow.runName", ""),
                about={
                    **({"experiment": run.experiment} if several else {}),
                    "status": run.status,
                    "start_time": run.start_time / 1000 if isinstance(run.start_time, int) else "",
                    **{f"tags.{name}": value for name, value in run.tags.items() if not name.startswith("mlflow.")},
                },
                config=run.params,
                history=run.history,
                excluded=run.excluded or ("the parent of nested runs" if run.run_id in parents else ""),
            )
            for run in runs
        ],
        config="params.",
        metrics="metrics.",
        tool="MLflow",
    )
