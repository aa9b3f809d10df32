"""MLflow's runs, from wherever they are stored; their tables have the columns of `mlflow.search_runs`."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ._names import is_lr
from ._rows import number_or_nan
from ._tracked import History, TrackedRun
from ._tracked_tables import TrackedRuns

_PARENT = "mlflow.parentRunId"
_OTHER_KIND = "nested in a run with a learning rate and settings of its own, which counts instead"


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


def as_mlflow_runs(runs: Sequence[MLflowRun]) -> TrackedRuns:
    """Return the runs, and which of them count.

    A parent of runs that have a learning rate is left out if it holds the best of its children, or their mean. If it
    was trained at a learning rate of its own, its children are left out, since they are of another kind.
    """
    left_out = _on_nesting(runs)
    several = len({run.experiment for run in runs if not run.excluded}) > 1
    return TrackedRuns(
        runs=[
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
                history=_with_final_values(run),
                excluded=run.excluded or left_out.get(run.run_id, ""),
            )
            for run in runs
        ],
        config="params.",
        metrics="metrics.",
        tool="MLflow",
    )


def _on_nesting(runs: Sequence[MLflowRun]) -> dict[str, str]:
    """Why runs do not count that belong together as parent and children."""
    by_id = {run.run_id: run for run in runs}
    families: dict[str, list[MLflowRun]] = {}
    for run in runs:
        if any(map(is_lr, run.params)):
            families.setdefault(run.tags.get(_PARENT, ""), []).append(run)
    left_out = dict[str, str]()
    for name, children in families.items():
        if (parent := by_id.get(name)) is None:
            continue
        if _is_of_another_kind(parent, children):
            left_out |= {child.run_id: _OTHER_KIND for child in children}
        else:
            left_out[name] = "the parent of nested runs"
    return left_out


def _is_of_another_kind(parent: MLflowRun, children: Sequence[MLflowRun]) -> bool:
    """Whether a parent was trained itself: its learning rate is not among those of its children, which share one."""
    own, nested = _rates(parent), {rate for child in children for rate in _rates(child)}
    settings = [{name for name in run.params if not is_lr(name)} for run in (parent, *children)]
    return (
        bool(own and parent.history.last and not own & nested) and len(nested) == 1 and settings[0] not in settings[1:]
    )


def _rates(run: MLflowRun) -> set[float]:
    return {number_or_nan(text) for name, text in run.params.items() if is_lr(name)}


def _with_final_values(run: MLflowRun) -> History:
    """The metrics of a run; one that a finished run logged at step 0 only was logged without steps."""
    history = run.history
    if run.status == "FINISHED":
        history.steps |= {name: math.nan for name, step in history.steps.items() if step == 0}
    return history
