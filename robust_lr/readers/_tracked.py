"""Runs of an experiment tracker, and the table that they make."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

from .._text import count_of
from ..exceptions import DataError
from ._json_records import flat
from ._names import is_config, is_lr, is_seed
from ._rows import Row, Table, read_time

_MOST_SETTINGS = 10_000
_NUMBER = r"\d*\.?\d+(?:e[+-]?\d+)?"
_END = r"(?![a-z0-9]|\.\d)"
_PAIR = re.compile(r"(?:^|[-,;_ ])([A-Za-z][\w.]*?)=(.*?)(?=[-,;_ ]+[A-Za-z][\w.]*?=|$)")
_NEXT = re.compile(r"[-,;_ ]+(?:lr|learning_?rate|seed)[-_ ]?\d.*", re.IGNORECASE)  # as in "lr=0.1_seed2"
_IN_NAME = {
    "lr": re.compile(rf"(?:^|[^a-z])(?:lr|learning_?rate)[-_ =]?({_NUMBER}){_END}", re.IGNORECASE),
    "seed": re.compile(rf"(?:^|[^a-z])seed[-_ =]?(\d+){_END}", re.IGNORECASE),
}


class History:
    """The last value of each metric of a run, its step, and the highest learning rate.

    Attributes:
        last, steps: by metric.
        peaks: learning rates that vary.
        restarts: by metric, how far it got before its steps began again; training that is resumed goes on later.
    """

    def __init__(self) -> None:
        self.last, self.steps = dict[str, Any](), dict[str, float]()
        self.peaks, self.restarts = set[str](), dict[str, float]()
        self._first = dict[str, float]()

    def add(self, name: str, value: Any, step: float) -> None:
        """Take the next value of a metric."""
        before = self.last.get(name)
        if is_lr(name) and isinstance(value, float | int) and isinstance(before, float | int) and value != before:
            self.peaks.add(name)  # it varies, as under a schedule
            value = max(value, before)
        if self._first.setdefault(name, step) < self.steps.get(name, step):
            self.begin_again(name, step)
        self.last[name], self.steps[name] = value, step

    def begin_again(self, name: str, step: float) -> None:
        """Take note that a metric goes on at this step, which is a restart unless it is later than the first."""
        if step <= self._first[name]:
            self.restarts[name] = max(self.steps[name], self.restarts.get(name, step))

    def take(self, other: History, named: Callable[[str], str] = str) -> None:
        """Take what another history holds, its metrics named anew."""
        for name, value in other.last.items():
            self.add(named(name), value, other.steps.get(name, math.nan))
        self.peaks |= {named(name) for name in other.peaks}
        self.restarts |= {named(name): step for name, step in other.restarts.items()}


@dataclass(frozen=True, kw_only=True)
class TrackedRun:
    """What a tracker holds of one run.

    Attributes:
        run_id: names it.
        name: for people; learning rate and seed may stand in it.
        about: state, start_time and the like.
        config: its settings, nested or not.
        history: its metrics.
        excluded: why it does not count.
    """

    run_id: str
    name: str = ""
    about: Mapping[str, Any] = field(default_factory=dict)
    config: Mapping[str, Any] = field(default_factory=dict)
    history: History = field(default_factory=History)
    excluded: str = ""


def as_runs_table(runs: Sequence[TrackedRun], *, config: str = "config/", metrics: str = "", tool: str) -> Table:
    """Return a table with one row for each run.

    Args:
        runs: of one tracker.
        config, metrics: what stands before the names of settings and metrics in the columns.
        tool: name of the tracker.

    Raises:
        DataError: when a run has too many settings.
    """
    runs = _in_order(runs)
    cells = [_cells(run, config, metrics) for run in runs]
    named, on_names = _from_names(runs, {name for each in cells for name in each})
    for each, settings in zip(cells, named, strict=True):
        each.update({f"{config}{key}": text for key, text in settings.items()})
    notes = [f"{count_of(len(runs), 'run')} of {tool}", *on_names]
    columns = tuple(dict.fromkeys(name for each in cells for name in each))
    blank = dict.fromkeys(columns, "")
    rows = tuple(
        Row(
            f"run {run.run_id}",
            blank | each,
            run.excluded,
            {f"{metrics}{name}": step for name, step in run.history.steps.items()},
            {f"{metrics}{name}": step for name, step in run.history.restarts.items()},
        )
        for run, each in zip(runs, cells, strict=True)
    )
    peaks = frozenset(f"{metrics}{name}" for run in runs for name in run.history.peaks)
    return Table(columns, rows, notes=tuple(notes), peaks=peaks)


def _cells(run: TrackedRun, config: str, metrics: str) -> dict[str, str]:
    about = {"run_id": run.run_id, "name": run.name, **run.about}
    parts = (("", about), (metrics, run.history.last), (config, run.config))
    found = dict[str, str]()
    for prefix, values in parts:
        found.update(islice(flat(values, prefix), _MOST_SETTINGS + 1))
    if len(found) > _MOST_SETTINGS:
        raise DataError(f"run {run.run_id} has more than {_MOST_SETTINGS} settings and metrics")
    return found


def _from_names(runs: Sequence[TrackedRun], columns: set[str]) -> tuple[list[dict[str, str]], list[str]]:
    """Settings that only the names of the runs tell, and a note on them."""
    named = [settings_in(run.name) for run in runs]
    unknown = set() if any(run.config for run in runs) else {key for each in named for key in each}
    # A logged learning rate may be that of a step; the one in each run's name is the one that was set.
    of_lr = [name for name in columns if is_lr(name)]
    if any(map(is_config, of_lr)) or (of_lr and not all("lr" in each for each in named)):
        unknown.discard("lr")
    else:
        unknown.add("lr")
    (unknown.discard if any(map(is_seed, columns)) else unknown.add)("seed")
    found = [{key: text for key, text in each.items() if key in unknown} for each in named]
    keys = [key for key in ("lr", "seed") if any(key in each for each in found)]
    return found, [f"{' and '.join(keys)} as in the names of the runs"] if keys else []


def settings_in(name: str) -> dict[str, str]:
    """Return the settings in the name of a run or folder.

    Example:
        >>> settings_in("cnn/lr_1e-3_seed2"), settings_in("batch_size=32,lr=0.1")
        ({'lr': '1e-3', 'seed': '2'}, {'batch_size': '32', 'lr': '0.1'})
    """
    found = dict[str, str]()
    for part in re.split(r"[/\\]", name):
        pairs = {key: _value(key, text) for key, text in _PAIR.findall(part)}
        found |= pairs
        for key, pattern in _IN_NAME.items():
            known = any(is_lr(name) if key == "lr" else is_seed(name) for name in pairs)
            if not known and (match := pattern.search(part)):
                found[key] = match[1]
    return {key: value for key, value in found.items() if value}


def _value(key: str, text: str) -> str:
    text = _NEXT.sub("", text)
    number = re.match(rf"{_NUMBER}{_END}", text, re.IGNORECASE) if is_lr(key) or is_seed(key) else None
    return number[0] if number else text


def _in_order(runs: Sequence[TrackedRun]) -> list[TrackedRun]:
    """The runs by their start; those of one id, which was resumed or copied, as one."""
    starts = [read_time(str(run.about.get("start_time", ""))) for run in runs]
    if not any(map(math.isnan, starts)):
        runs = [runs[i] for i in sorted(range(len(runs)), key=lambda i: starts[i])]
    by_id: dict[str, TrackedRun] = {}
    for run in runs:
        before = by_id.pop(run.run_id, None)
        if before is not None:
            history = History()
            for each in (before.history, run.history):
                history.take(each)
            run = TrackedRun(
                run_id=run.run_id,
                name=run.name or before.name,
                about={**before.about, **run.about},
                config={**before.config, **run.config},
                history=history,
                excluded=run.excluded,
            )
        by_id[run.run_id] = run
    return list(by_id.values())
