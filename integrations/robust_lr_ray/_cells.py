"""A trial in plain values: the config sent to a worker, the report that returns, and its name on disk."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from numbers import Real
from typing import Any, get_args

from robust_lr import Schedule, parse_schedule
from robust_lr.exceptions import ScheduleError
from robust_lr.trials import Status, TrialResult, TrialSpec

_DIGEST_DIGITS = 16
_OURS = frozenset(("loss", "status", "error", "seconds"))
_OF_TUNE = frozenset(  # keys that Tune adds to a report or interprets in one
    ("__duplicate__", "checkpoint_dir_name", "config", "date", "done", "episodes_this_iter", "episodes_total")
    + ("experiment_id", "experiment_tag", "hostname", "iterations_since_restore", "node_ip", "pid", "should_checkpoint")
    + ("time_since_restore", "time_this_iter_s", "time_total_s", "timestamp", "timesteps_since_restore")
    + ("timesteps_this_iter", "timesteps_total", "training_iteration", "trial_id")
)
_METRIC = "metric_"  # prefix of a metric whose own name is taken


def cell_config(spec: TrialSpec, schedule: Schedule) -> dict[str, Any]:
    """Return the Tune config of a trial; it has "schedule_name" only if the name differs from the text.

    Example:
        >>> from robust_lr import CosineDecay
        >>> cell_config(TrialSpec("cosine", 0.1, 0), CosineDecay())
        {'lr': 0.1, 'schedule': 'cosine', 'seed': 0}
    """
    text = schedule_text(schedule)
    config = {"lr": float(spec.lr), "schedule": text, "seed": int(spec.seed)}
    return config if spec.schedule == text else config | {"schedule_name": spec.schedule}


def spec_of(config: Mapping[str, Any]) -> TrialSpec:
    name = config.get("schedule_name", config["schedule"])
    return TrialSpec(str(name), float(config["lr"]), int(config["seed"]))


def cell_digest(spec: TrialSpec, schedule: Schedule, label: str = "") -> str:
    """Return 16 hexadecimal digits that identify a trial of the experiment `label`, the same in every process.

    Example:
        >>> from robust_lr import CosineDecay
        >>> cell_digest(TrialSpec("cosine", 0.1, 0), CosineDecay())
        '3a47b2f5d1781ad1'
    """
    known = {"label": label, "schedule_name": spec.schedule} | cell_config(spec, schedule)
    return hashlib.sha256(json.dumps(known, sort_keys=True).encode()).hexdigest()[:_DIGEST_DIGITS]


def schedule_text(schedule: Schedule) -> str:
    """Return the text from which any process can read the schedule back.

    Raises a ScheduleError if there is none: for a table, a lambda, or a function that only the running script has.
    """
    text = str(schedule)
    try:
        is_readable = "__main__:" not in text and parse_schedule(text) == schedule
    except ScheduleError:
        is_readable = False
    if not is_readable:
        raise ScheduleError(
            f"a schedule travels to the cluster as its text, and {text} cannot be read back there: use one of "
            "robust_lr's, or FunctionSchedule of a function in a module that the workers can import"
        )
    return text


def to_list(spec: TrialSpec) -> list[Any]:
    return [spec.schedule, spec.lr, spec.seed]


def from_list(cell: Sequence[Any]) -> TrialSpec:
    schedule, lr, seed = cell
    return TrialSpec(str(schedule), float(lr), int(seed))


def report_of(result: TrialResult) -> dict[str, Any]:
    """Return a finished trial's report to Tune; a metric whose name is taken gets a prefix.

    Example:
        >>> report_of(TrialResult(TrialSpec("cosine", 0.1, 0), 0.5, "ok", 2.0, {"error": 0.25}))
        {'loss': 0.5, 'status': 'ok', 'seconds': 2.0, 'metric_error': 0.25}
    """
    report: dict[str, Any] = {"loss": result.loss, "status": result.status, "seconds": result.seconds}
    if result.error is not None:
        report["error"] = result.error
    return report | {_key_of(name): value for name, value in result.metrics.items()}


def is_ours(report: Mapping[str, Any]) -> bool:
    """Return whether `report_of` made this report."""
    return report.get("status") in get_args(Status) and "seconds" in report


def result_of(spec: TrialSpec, report: Mapping[str, Any], *, loss: str = "loss", maximize: bool = False) -> TrialResult:
    """Return the result of a trial from its last report: one of `report_of`, or of any other trainable.

    In any other report, a finite loss is "ok" and everything else "diverged".

    Example:
        >>> spec = TrialSpec("cosine", 0.1, 0)
        >>> result_of(spec, {"accuracy": 0.75, "done": True}, loss="accuracy", maximize=True).loss
        -0.75
    """
    value = -float(report[loss]) if maximize else float(report[loss])
    status: Status = "ok" if math.isfinite(value) else "diverged"
    error, seconds, taken = None, report.get("time_total_s", math.nan), _OF_TUNE | {loss}
    ours = is_ours(report)
    if ours:
        status, error, seconds, taken = report["status"], report.get("error"), report["seconds"], taken | _OURS
    value = value if status == "ok" else math.inf if status == "diverged" else math.nan
    metrics = {
        name.removeprefix(_METRIC) if ours else name: float(number)
        for name, number in report.items()
        if isinstance(number, Real) and not isinstance(number, bool)
        if name not in taken and not name.startswith("config/")
    }
    return TrialResult(spec, value, status, float(seconds), metrics, error)


def _key_of(name: str) -> str:
    return _METRIC + name if name in _OURS | _OF_TUNE or name.startswith(_METRIC) else name
