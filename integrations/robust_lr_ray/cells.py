"""A cell of a sweep in plain values: what travels to a worker, what comes back, and its name on a disk."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from numbers import Real
from typing import Any, get_args

from robust_lr import Schedule, TrialResult, TrialSpec, parse_schedule
from robust_lr.exceptions import ScheduleError
from robust_lr.trials import Status

_DIGITS = 16  # of a digest
_OURS = frozenset(("loss", "status", "error", "seconds"))
_OF_TUNE = frozenset(  # what Tune puts into a report, or reads in one
    ("__duplicate__", "checkpoint_dir_name", "config", "date", "done", "episodes_this_iter", "episodes_total")
    + ("experiment_id", "experiment_tag", "hostname", "iterations_since_restore", "node_ip", "pid", "should_checkpoint")
    + ("time_since_restore", "time_this_iter_s", "time_total_s", "timestamp", "timesteps_since_restore")
    + ("timesteps_this_iter", "timesteps_total", "training_iteration", "trial_id")
)
_METRIC = "metric_"  # before a metric whose name is taken


def cell_config(spec: TrialSpec, schedule: Schedule) -> dict[str, Any]:
    """Return a trial as the config of a Tune trial, plain values that any process reads.

    Args:
        spec: the trial.
        schedule: the schedule that `spec` names; it travels as its text, which `parse_schedule` reads back.

    Returns:
        "lr", "schedule" (the text) and "seed"; and "schedule_name", where the name is not the text.

    Raises:
        ScheduleError: when the schedule has no text that any process could read it from.

    Example:
        >>> from robust_lr import CosineDecay
        >>> cell_config(TrialSpec("cosine", 0.1, 0), CosineDecay())
        {'lr': 0.1, 'schedule': 'cosine', 'seed': 0}
    """
    text = schedule_text(schedule)
    config = {"lr": float(spec.lr), "schedule": text, "seed": int(spec.seed)}
    return config if spec.schedule == text else config | {"schedule_name": spec.schedule}


def spec_of(config: Mapping[str, Any]) -> TrialSpec:
    """Return the trial of a config that `cell_config` made.

    Raises:
        KeyError: when the config is another.

    Example:
        >>> spec_of({"lr": 0.1, "schedule": "cosine", "seed": 0})
        TrialSpec(schedule='cosine', lr=0.1, seed=0)
    """
    name = config.get("schedule_name", config["schedule"])
    return TrialSpec(str(name), float(config["lr"]), int(config["seed"]))


def schedule_of(config: Mapping[str, Any]) -> Schedule:
    """Return the schedule of a config that `cell_config` made.

    Raises:
        KeyError: when the config is another.
        ScheduleError: when its text cannot be read here.

    Example:
        >>> schedule_of({"lr": 0.1, "schedule": "cosine(floor=0.1)", "seed": 0})
        CosineDecay(floor=0.1)
    """
    return parse_schedule(config["schedule"])


def cell_digest(spec: TrialSpec, schedule: Schedule, label: str = "") -> str:
    """Return a short name for a trial, the same in every process, for folders and for runs of Ray Train.

    Args:
        spec: the trial.
        schedule: the schedule that `spec` names.
        label: what else the training depends on, such as the label of the training function.

    Returns:
        16 hexadecimal digits.

    Raises:
        ScheduleError: as `cell_config`.

    Example:
        >>> from robust_lr import CosineDecay
        >>> cell_digest(TrialSpec("cosine", 0.1, 0), CosineDecay())
        '3a47b2f5d1781ad1'
    """
    known = {"label": label, "schedule_name": spec.schedule} | cell_config(spec, schedule)
    return hashlib.sha256(json.dumps(known, sort_keys=True).encode()).hexdigest()[:_DIGITS]


def schedule_text(schedule: Schedule) -> str:
    """Return the text that `parse_schedule` reads a schedule back from, in any process.

    Raises:
        ScheduleError: when there is none: of a table, of a lambda, of what only the running script can import.

    Example:
        >>> from robust_lr import LinearDecay, Warmup
        >>> schedule_text(Warmup(LinearDecay(), 0.1))
        'warmup(0.1)+linear'
    """
    text = str(schedule)
    try:
        same = "__main__:" not in text and parse_schedule(text) == schedule
    except ScheduleError:
        same = False
    if not same:
        raise ScheduleError(
            f"a schedule travels to the cluster as its text, and {text} cannot be read back there: use one of "
            "robust_lr's, or FunctionSchedule of a function in a module that the workers can import"
        )
    return text


def to_list(spec: TrialSpec) -> list[Any]:
    """Return a trial as a list that JSON can hold.

    Example:
        >>> to_list(TrialSpec("cosine", 0.1, 0))
        ['cosine', 0.1, 0]
    """
    return [spec.schedule, spec.lr, spec.seed]


def from_list(cell: Sequence[Any]) -> TrialSpec:
    """Return the trial of a list that `to_list` made.

    Raises:
        TypeError, ValueError: when it is another.

    Example:
        >>> from_list(["cosine", 0.1, 0])
        TrialSpec(schedule='cosine', lr=0.1, seed=0)
    """
    schedule, lr, seed = cell
    return TrialSpec(str(schedule), float(lr), int(seed))


def report_of(result: TrialResult) -> dict[str, Any]:
    """Return what is reported to Tune of a trial that has ended: plain values by name, for `tune.report`.

    Returns:
        "loss" (infinity where it diverged, NaN where there is none), "status", "seconds", "error" where there is one,
        and each metric under its own name; "metric_error" and the like where that name is one of ours or of Tune.

    Example:
        >>> report_of(TrialResult(TrialSpec("cosine", 0.1, 0), 0.5, "ok", 2.0, {"error": 0.25}))
        {'loss': 0.5, 'status': 'ok', 'seconds': 2.0, 'metric_error': 0.25}
    """
    report: dict[str, Any] = {"loss": result.loss, "status": result.status, "seconds": result.seconds}
    if result.error is not None:
        report["error"] = result.error
    return report | {_key_of(name): value for name, value in result.metrics.items()}


def result_of(spec: TrialSpec, report: Mapping[str, Any], *, loss: str = "loss", maximize: bool = False) -> TrialResult:
    """Return the result of a trial from its last report: one of `report_of`, or of any other trainable.

    Args:
        spec: the trial.
        report: by name, nested or flat, with what Tune adds to it.
        loss: name of the loss in it. Without a status that is one of ours, a finite loss is "ok", any other "diverged".
        maximize: whether more is better, so that the loss is its negative.

    Raises:
        KeyError: when there is no loss in it.

    Example:
        >>> spec = TrialSpec("cosine", 0.1, 0)
        >>> result_of(spec, {"accuracy": 0.75, "done": True}, loss="accuracy", maximize=True).loss
        -0.75
    """
    value = -float(report[loss]) if maximize else float(report[loss])
    status: Status = "ok" if math.isfinite(value) else "diverged"
    error, seconds, taken = None, report.get("time_total_s", math.nan), _OF_TUNE | {loss}
    is_ours = report.get("status") in get_args(Status) and "seconds" in report
    if is_ours:
        status, error, seconds, taken = report["status"], report.get("error"), report["seconds"], taken | _OURS
    value = value if status == "ok" else math.inf if status == "diverged" else math.nan
    metrics = {
        name.removeprefix(_METRIC) if is_ours else name: float(number)
        for name, number in report.items()
        if isinstance(number, Real) and not isinstance(number, bool)
        if name not in taken and not name.startswith("config/")
    }
    return TrialResult(spec, value, status, float(seconds), metrics, error)


def _key_of(name: str) -> str:
    return _METRIC + name if name in _OURS | _OF_TUNE or name.startswith(_METRIC) else name
