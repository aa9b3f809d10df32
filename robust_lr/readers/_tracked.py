"""What an experiment tracker holds of one run."""

from __future__ import annotations

import contextlib
import math
import re
from array import array
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from ._names import is_lr, is_seed

_NUMBER = r"\d*\.?\d+(?:e[+-]?\d+)?"
_END = r"(?![a-z0-9]|\.\d)"
_PAIR = re.compile(r"(?:^|[-,;_ ])([A-Za-z][\w.]*?)=(.*?)(?=[-,;_ ]+[A-Za-z][\w.]*?=|$)")
_NEXT = re.compile(r"[-,;_ ]+(?:lr|learning_?rate|seed)[-_ ]?\d.*", re.IGNORECASE)  # as in "lr=0.1_seed2"
_IN_NAME = {
    "lr": re.compile(rf"(?:^|[^a-z])(?:lr|learning_?rate)[-_ =]?({_NUMBER}){_END}", re.IGNORECASE),
    "seed": re.compile(rf"(?:^|[^a-z])seed[-_ =]?(\d+){_END}", re.IGNORECASE),
}


class History:
    """The values of each metric of a run, the last one and its step, and the highest learning rate.

    Attributes:
        last, steps: by metric.
        points: step, value, step, value, ... of each metric whose values are numbers.
        peaks: learning rates that vary.
        restarts: by metric, how far it got before its steps began again; training that is resumed goes on later.
    """

    def __init__(self) -> None:
        self.last, self.steps = dict[str, Any](), dict[str, float]()
        self.peaks, self.restarts = set[str](), dict[str, float]()
        self.points: dict[str, array[float]] = {}
        self._first = dict[str, float]()

    def add(self, name: str, value: Any, step: float) -> None:
        """Take the next value of a metric."""
        self._take_last(name, value, step)
        with contextlib.suppress(TypeError, ValueError, OverflowError):  # what a file may hold that is no number
            point = float(step), float(value)
            self.points.setdefault(name, array("d")).extend(point)

    def _take_last(self, name: str, value: Any, step: float) -> None:
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
            self._take_last(named(name), value, other.steps.get(name, math.nan))
        for name, points in other.points.items():
            self.points.setdefault(named(name), array("d")).extend(points)
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
