"""What a function ``step -> multiplier`` promises, read from its arguments or its values."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Mapping
from typing import Any

from .evidence import Promise

Multiplier = Callable[[int], float]

_FAR = 1 << 24  # steps; no run takes more
_MOST_VALUES = 50_000
_SLOW_END = 0.02  # of the height that is left half way: a decay that is lower there fades out, and has no end


def promise_of_function(name: str, function: Multiplier, *, n_steps: int) -> Promise:
    """Return what a function promises to a run of `n_steps`; it is called with steps from 0 to 2^24.

    Example:
        >>> promise = promise_of_function("mine", lambda step: max(0.0, 1 - step / 300), n_steps=100)
        >>> promise.horizon, promise.end
        (300, 0.0)
    """
    if isinstance(function, functools.partial):
        declared = _declared(name, function.keywords)
        if declared is not None:
            return declared
    try:
        return _Shape(function, n_steps).promise(name)
    except Exception:  # the user's function, called for steps that it may not know
        return Promise(name=name, is_closed_form=True)


def _declared(name: str, given: Mapping[str, Any]) -> Promise | None:
    """What the schedules of transformers say of themselves."""
    warmup = given.get("num_warmup_steps")
    if not isinstance(warmup, int):
        return None
    horizon = given.get("num_training_steps")
    if "num_decay_steps" in given:
        horizon = warmup + given["num_stable_steps"] + given["num_decay_steps"]
    cycles = given.get("num_cycles")
    end = given.get("min_lr_rate", given.get("min_lr_ratio")) or 0.0
    is_wave = cycles is not None and "num_training_steps" in given
    return Promise(
        name=name, horizon=horizon, peak_at=warmup, warmup=warmup or None, end=end,
        restarts=is_wave and cycles != 0.5,
        rises_after_end=is_wave and cycles == 0.5, is_closed_form=True,
    )  # fmt: skip


class _Shape:
    """A function's values: all of them where the run is, and ever fewer far beyond."""

    def __init__(self, function: Multiplier, n_steps: int) -> None:
        self._function = function
        near = min(4 * n_steps + 64, _MOST_VALUES)
        far = [round(near * 1.05**i) for i in range(400)]
        self.steps = [*range(near), *(step for step in dict.fromkeys(far) if step < _FAR), _FAR]
        self.near = near
        self.values = [float(function(step)) for step in self.steps]
        if not all(math.isfinite(v) for v in self.values):
            raise ValueError("not finite")

    def at(self, step: int) -> float:
        return float(self._function(step))

    def promise(self, name: str) -> Promise:
        peak = max(self.values)
        factor = peak if 0 < peak < math.inf else None
        first = next(i for i, v in enumerate(self.values) if v >= peak - 1e-12 * abs(peak))
        if peak <= 0 or self.steps[first] == _FAR:
            return Promise(name=name, is_closed_form=True, factor=factor)
        peak_at = self._first_where(lambda v: v >= peak * (1 - 1e-9), first)
        is_warmup = peak_at > 0 and self.values[0] < peak * (1 - 1e-9)
        end, horizon, rises, restarts = self.values[-1], None, False, False
        if end < 0:  # a line without an end; a rate below zero makes no sense
            below = next(i for i in range(first, len(self.values)) if self.values[i] <= 0)
            horizon, end = self._first_where(lambda v: v <= 0, below, after=peak_at), 0.0
        elif abs(end - self.at(_FAR // 2)) <= 1e-12 * peak:
            horizon = self._constant_from(end, peak, peak_at)
        else:
            horizon, rises, restarts = self._first_trough(peak, first)
            end = 0.0 if horizon is None else self.at(horizon)
        return Promise(
            name=name, horizon=horizon, peak_at=peak_at, warmup=peak_at if is_warmup else None, factor=factor,
            end=max(0.0, end / peak) if horizon is not None else 0.0, restarts=restarts, rises_after_end=rises,
            is_closed_form=True, is_exact=False, may_stay=True,
        )  # fmt: skip

    def _first_where(self, holds: Callable[[float], bool], index: int, *, after: int = 0) -> int:
        """The first step at which it holds, known to hold at the step of that index and not at the one before."""
        low: int = max(self.steps[index - 1] if index else -1, after)
        high: int = self.steps[index]
        while high - low > 1 and not (low < self.near and high <= self.near):
            middle = (low + high) // 2
            low, high = (low, middle) if holds(self.at(middle)) else (middle, high)
        return high

    def _constant_from(self, end: float, peak: float, peak_at: int) -> int | None:
        """The step from which the function stays at its end, if it gets there step by step and does not fade out."""
        same = [abs(v - end) <= 1e-9 * peak for v in self.values]
        index = len(same) - same[::-1].index(False) if False in same else 0
        if index == 0 or end >= peak * (1 - 1e-9):
            return None
        horizon = self._first_where(lambda v: abs(v - end) <= 1e-9 * peak, index)
        if self.at(horizon - 1) == self.at(horizon - 2) or horizon - peak_at < 2:
            return None  # a drop, such as the last milestone
        left = self.at((peak_at + horizon) // 2) - end
        return horizon if left >= _SLOW_END * (peak - end) else None

    def _first_trough(self, peak: float, first: int) -> tuple[int | None, bool, bool]:
        """The first low point where a wave rises again: its step, whether it is round, and whether it restarts."""
        v = self.values
        for i in range(first + 1, self.near - 1):
            if v[i] <= v[i - 1] and v[i + 1] > v[i]:
                if v[i + 1] - v[i] > 0.2 * peak or v[i] > 0.05 * peak:
                    return None, False, True
                slope = (peak - v[i]) / (i - first)
                is_round = v[i + 1] - v[i] < 0.7 * slope
                return (i, True, False) if is_round else (None, False, True)
        horizon = self._far_trough(peak, first)
        return horizon, horizon is not None, False

    def _far_trough(self, peak: float, first: int) -> int | None:
        """The low point of a wave that is longer than what is near."""
        v, s = self.values, self.steps
        i = next((i for i in range(max(first + 1, self.near), len(v) - 1) if v[i + 1] > v[i]), None)
        if i is None or s[i + 1] - s[i - 1] > _MOST_VALUES:
            return None
        low = min(range(s[i - 1], s[i + 1] + 1), key=self.at)
        rise, slope = self.at(low + 1) - self.at(low), (peak - self.at(low)) / max(1, low - s[first])
        return low if self.at(low) <= 0.05 * peak and rise < 0.7 * slope else None
