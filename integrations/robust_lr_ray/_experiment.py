"""The trials of a Ray Tune experiment in plain values, from its folder or from a ResultGrid.

A folder is read without Ray, and nothing in it is unpickled: pickled values count as absent.
"""

from __future__ import annotations

import json
import math
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from robust_lr._text import count_of
from robust_lr.exceptions import DataError

if TYPE_CHECKING:
    from ray.tune import Result, ResultGrid

STATES = "experiment_state-*.json"
_PICKLED = "CLOUDPICKLE_FALLBACK"  # "_type" of Tune's JSON for objects that JSON lacks
_COLORS = re.compile(r"\x1b\[[0-9;]*m")


@dataclass(frozen=True)
class TuneTrial:
    """One trial of an experiment. Nested values are flattened, their names joined by "/"."""

    name: str  # in errors
    config: Mapping[str, Any]  # empty if it never started
    reports: tuple[Mapping[str, Any], ...]  # oldest first, those before a retry too; the last one without a log
    has_ended: bool  # by itself, or because Tune stopped it
    has_returned: bool  # by itself; False without a log to tell
    error: str | None = None

    @property
    def n_reports(self) -> int:
        """Number of reports in its last run, which is Tune's training iteration."""
        count = self.reports[-1].get("training_iteration", 0) if self.reports else 0
        return int(count) if isinstance(count, int) else 0


def read_experiment(source: ResultGrid | str | os.PathLike[str]) -> tuple[str, list[TuneTrial], list[str]]:
    """Return an experiment's name, its trials, finished or not, in the order of the search, and notes.

    The newest snapshot in a folder counts; the folders of the trials hold later reports.
    """
    if not isinstance(source, (str, os.PathLike)):
        results = [_trial_of_result(source[i]) for i in range(len(source))]
        in_order = sorted(results, key=lambda trial: _number(trial.reports[-1] if trial.reports else {}))
        return Path(source.experiment_path).name, in_order, []
    folder = _checked(source)
    newest_first = map(_state, sorted(folder.glob(STATES), reverse=True))
    states = [state for state in newest_first if state is not None]
    if not states:
        raise DataError(f"cannot read {source}: its {STATES} is damaged")
    newest, *older = states
    folders = {name for state in states for _, name, _ in state.values()}
    began_later = [each for each in sorted(folder.iterdir()) if each.name not in folders and _params(each)]
    trials = [_trial(folder / name if name else None, known, status) for known, name, status in newest.values()]
    trials += [_trial(each, {}, "RUNNING") for each in began_later]
    n_earlier = len({name for state in older for name in state} - set(newest))
    why = "only in an older snapshot, of what was run again or of another experiment in the same folder"
    notes = [f"{count_of(n_earlier, 'trial')} left out: {why}"] if n_earlier else []
    return folder.resolve().name, trials, notes


def _checked(path: str | os.PathLike[str]) -> Path:
    text, folder = os.fspath(path), Path(path)
    if "://" in text:
        raise DataError(f"{text} is not on this machine: copy the folder, or use sweep_from_result_grid")
    if not folder.is_dir():
        raise DataError(f"cannot read {text}: {'not a folder' if folder.exists() else 'no such folder'}")
    try:
        inside = sorted({file.parent.name for file in folder.glob(f"*/{STATES}")})
        if next(folder.glob(STATES), None) is None:
            more = f"; its folder {inside[0]} is one" if inside else ""
            raise DataError(f"{text} is no experiment of Ray Tune, it holds no {STATES}{more}")
    except OSError as error:
        raise DataError(f"cannot read {text}: {error.strerror}") from None
    return folder


_State = dict[str, tuple[Mapping[str, Any], str | None, str]]


def _state(file: Path) -> _State | None:
    """Return a snapshot's record of each trial with its folder and status; None if the snapshot is damaged."""
    found: _State = {}
    try:
        for texts in json.loads(file.read_text(encoding="utf-8"))["trial_data"]:
            trial, run = map(json.loads, texts)
            known = {"config": _flat(trial["config"]), "last": _flat(run.get("last_result") or {})}
            number = _number({"experiment_tag": trial.get("experiment_tag")})
            found[trial["trial_id"]] = known | {"number": number}, trial.get("relative_logdir"), trial["status"]
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None
    return dict(sorted(found.items(), key=lambda item: item[1][0]["number"]))


def _trial(folder: Path | None, known: Mapping[str, Any], status: str) -> TuneTrial:
    last, reports = known.get("last", {}), tuple(_reports(folder)) if folder else ()
    n_logged = reports[-1].get("training_iteration", 0) if reports else 0
    if "training_iteration" in last and (not reports or last["training_iteration"] > n_logged):
        reports = (*reports, last)  # there is no log, or it was copied before its end
    # The log's last line tells whether Tune stopped the trial, which a returning function cannot influence.
    was_stopped = bool(reports) and reports[-1].get("done") is True
    has_ended = was_stopped or (status == "TERMINATED" and last.get("done") is True)
    return TuneTrial(
        name=folder.name if folder else "without a folder",
        config=_params(folder) | known.get("config", {}),
        reports=reports,
        has_ended=has_ended,
        has_returned=has_ended and not was_stopped,
        error=_error(folder) if status == "ERROR" else None,
    )


def _text(folder: Path | None, name: str) -> str:
    try:
        return (folder / name).read_text(encoding="utf-8", errors="replace") if folder else ""
    except OSError:
        return ""


def _reports(folder: Path) -> Iterator[dict[str, Any]]:
    for line in _text(folder, "result.json").splitlines():
        try:
            yield _flat(json.loads(line))
        except (ValueError, AttributeError, RecursionError):
            continue  # killed while it wrote


def _params(folder: Path | None) -> dict[str, Any]:
    try:
        return _flat(json.loads(_text(folder, "params.json")))
    except (ValueError, AttributeError, RecursionError):
        return {}


def _error(folder: Path | None) -> str:
    last = _text(folder, "error.txt").rpartition("Failure # ")[2].partition("\n")[2]
    return _COLORS.sub("", last).strip() or "Tune does not say why"


def _trial_of_result(result: Result) -> TuneTrial:
    metrics, frame = dict(result.metrics or {}), result.metrics_dataframe
    last = _flat(metrics)
    logged = [] if frame is None or frame.empty else [_filled(row) for row in frame.to_dict("records")]
    was_stopped = bool(logged) and bool(logged[-1].get("done"))
    has_ended = last.get("done") is True and result.error is None
    # In memory the last report has the original values, in the log their JSON form.
    reports = (*logged[:-1], last) if "training_iteration" in last else tuple(logged)
    return TuneTrial(
        name=Path(result.path).name if result.path else "without a folder",
        config=_flat(metrics.get("config") or {}),
        reports=reports,
        has_ended=has_ended,
        has_returned=has_ended and bool(logged) and not was_stopped,
        error=None if result.error is None else _COLORS.sub("", str(result.error)).strip(),
    )


def _filled(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return a table row without its empty cells, which are NaN."""
    return {name: value for name, value in row.items() if not (isinstance(value, float) and math.isnan(value))}


def _flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in values.items():
        if isinstance(value, Mapping):
            found |= {} if value.get("_type") == _PICKLED else _flat(value, f"{prefix}{name}/")
        else:  # a scalar of numpy or torch is a number
            found[f"{prefix}{name}"] = value.item() if getattr(value, "ndim", None) == 0 else value
    return found


def _number(values: Mapping[str, Any]) -> float:
    """Return the number of a trial in its experiment, taken from the start of its tag."""
    head = str(values.get("experiment_tag", "")).partition("_")[0]
    return int(head) if head.isdecimal() else math.inf
