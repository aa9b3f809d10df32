"""Learning-rate schedules as frozen values: ``schedule(step, total_steps)`` is a multiplier of the peak learning rate.

Steps run from 0 to ``total_steps - 1``; the progress is ``u = step / total_steps``, so that the last step uses
``h(1 - 1/T)`` and never ``h(1) = 0``. From ``step = total_steps`` on, a schedule stays where it ended; none rises
again. A floor is a fraction of the peak, ``floor + (1 - floor) * h``; an absolute one would change the shape with the
learning rate.
Each schedule prints as a spec, and `parse_schedule` reads it back: ``"warmup(0.05)+cosine(floor=0.01)"``.
"""

from __future__ import annotations

import hashlib
import numbers
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from dataclasses import MISSING, dataclass, fields, replace
from functools import lru_cache
from typing import ClassVar, Protocol, runtime_checkable

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .._checks import check_number, check_whole
from .._labels import label_of
from ..exceptions import ScheduleError


@runtime_checkable
class Schedule(Protocol):
    """Anything that maps (step, total_steps) to a multiplier of the peak learning rate, vectorized over steps."""

    @property
    def degree(self) -> float | None:
        """Degree p of the decay to zero, ``h ~ (1 - u)**p`` as u -> 1; None if the schedule does not end at zero."""

    def __call__(self, step: ArrayLike, total_steps: int) -> NDArray[np.float64]:
        """Return the multiplier, in [0, 1], at each step (an array like `step`)."""


class _Composable:
    """Base of all schedules here: it prints as its spec, and accepts a warm-up or a cooldown."""

    def with_warmup(self, fraction: float | None = None, *, steps: int | None = None) -> Warmup:
        """Return this schedule after a linear warm-up; see `Warmup`."""
        return Warmup(as_schedule(self), fraction, steps=steps)

    def with_cooldown(self, fraction: float) -> Cooldown | Warmup:
        """Return this schedule annealed to zero over its last `fraction`; see `Cooldown`."""
        return Cooldown(as_schedule(self), fraction)


@dataclass(frozen=True)
class _ClosedForm(_Composable, ABC):
    """A schedule given by a formula, with a floor; subclasses give the shape."""

    name: ClassVar[str]

    @property
    @abstractmethod
    def _decay_degree(self) -> float | None: ...

    @abstractmethod
    def _shape(self, step: NDArray[np.float64], total_steps: int) -> NDArray[np.float64]: ...

    @property
    def degree(self) -> float | None:
        """Degree p of the decay to zero; None without one, or with a floor above 0."""
        return self._decay_degree if getattr(self, "floor", 0.0) == 0 else None

    def __call__(self, step: ArrayLike, total_steps: int) -> NDArray[np.float64]:
        """Return the multiplier at each step, float64 in [0, 1], shaped like `step`."""
        floor: float = getattr(self, "floor", 0.0)
        shape = self._shape(_clipped_steps(step, total_steps), int(total_steps))
        return np.asarray(floor + (1.0 - floor) * shape if floor else shape)

    def __str__(self) -> str:
        """The spec that `parse_schedule` reads back."""
        given = [
            f"{f.name}={_print_value(getattr(self, f.name))}"
            for f in fields(self)
            if f.default is MISSING or getattr(self, f.name) != f.default
        ]
        return f"{self.name}({', '.join(given)})" if given else self.name


@dataclass(frozen=True)
class Constant(_ClosedForm):
    """``h = 1``: the learning rate stays at its peak.

    Example:
        >>> Constant()([0, 50, 99], 100)
        array([1., 1., 1.])
    """

    name: ClassVar[str] = "constant"
    _decay_degree = None

    def _shape(self, step: NDArray[np.float64], total_steps: int) -> NDArray[np.float64]:
        return np.ones_like(step)


@dataclass(frozen=True)
class InverseSqrt(_ClosedForm):
    """``h = 1 / sqrt(1 + step / timescale)``: decays forever, but never to zero.

    Args:
        timescale: steps until the learning rate has fallen to ``1/sqrt(2)`` of its peak, > 0.
        floor: fraction of the peak that the decay approaches, in [0, 1).

    Example:
        >>> InverseSqrt()([0, 3, 99], 100)
        array([1. , 0.5, 0.1])
    """

    name: ClassVar[str] = "inverse-sqrt"
    _decay_degree = None
    timescale: float = 1.0
    floor: float = 0.0

    def __post_init__(self) -> None:
        check_number("timescale", self.timescale, error=ScheduleError, above=0)
        _check_floor(self.floor)

    def _shape(self, step: NDArray[np.float64], total_steps: int) -> NDArray[np.float64]:
        return np.asarray(1.0 / np.sqrt(1.0 + step / self.timescale))


@dataclass(frozen=True)
class PolynomialDecay(_ClosedForm):
    """``h = (1 - u)**power``: degree `power`. A learning rate too large by rho costs rho**(1/(2 power + 1)).

    Args:
        power: the degree p, > 0.
        floor: fraction of the peak that is left at the end, in [0, 1); above 0, the robustness is lost.

    Example:
        >>> PolynomialDecay(2)([0, 50, 100, 130], 100)
        array([1.  , 0.25, 0.  , 0.  ])
    """

    name: ClassVar[str] = "polynomial"
    power: float
    floor: float = 0.0

    def __post_init__(self) -> None:
        check_number("power", self.power, error=ScheduleError, above=0)
        _check_floor(self.floor)

    @property
    def _decay_degree(self) -> float:
        return float(self.power)

    def _shape(self, step: NDArray[np.float64], total_steps: int) -> NDArray[np.float64]:
        return np.asarray((1.0 - step / total_steps) ** self.power)


@dataclass(frozen=True)
class LinearDecay(_ClosedForm):
    """``h = 1 - u``: polynomial decay of degree 1.

    Args:
        floor: fraction of the peak that is left at the end, in [0, 1).

    Example:
        >>> LinearDecay()([0, 50, 100], 100)
        array([1. , 0.5, 0. ])
    """

    name: ClassVar[str] = "linear"
    _decay_degree = 1.0
    floor: float = 0.0

    def __post_init__(self) -> None:
        _check_floor(self.floor)

    def _shape(self, step: NDArray[np.float64], total_steps: int) -> NDArray[np.float64]:
        return np.asarray(1.0 - step / total_steps)


@dataclass(frozen=True)
class CosineDecay(_ClosedForm):
    """``h = (1 + cos(pi u)) / 2``: degree 2, for near the end it is ``(pi (1 - u) / 2)**2``.

    Args:
        floor: fraction of the peak that is left at the end, in [0, 1).

    Example:
        >>> CosineDecay(floor=0.1)([0, 50, 100, 200], 100)
        array([1.  , 0.55, 0.1 , 0.1 ])
    """

    name: ClassVar[str] = "cosine"
    _decay_degree = 2.0
    floor: float = 0.0

    def __post_init__(self) -> None:
        _check_floor(self.floor)

    def _shape(self, step: NDArray[np.float64], total_steps: int) -> NDArray[np.float64]:
        # The half-angle form of (1 + cos(pi u)) / 2 keeps its relative precision where h is tiny.
        return np.asarray(np.sin(0.5 * np.pi * (1.0 - step / total_steps)) ** 2)


@dataclass(frozen=True)
class WarmupStableDecay(_ClosedForm):
    """Constant at the peak, then a cooldown to zero over the last fraction (WSD; put a warm-up before it).

    With ``v = min(1, (1 - u) / cooldown)``, which falls from 1 to 0 during the cooldown, the shapes are
    linear ``h = v``, 1-sqrt ``h = 1 - sqrt(1 - v)`` and cosine ``h = (1 - cos(pi v)) / 2``.

    Args:
        cooldown: fraction of the steps that the cooldown takes, in (0, 1].
        shape: "linear", "1-sqrt" (both of degree 1) or "cosine" (degree 2).
        floor: fraction of the peak that is left at the end, in [0, 1).

    Example:
        >>> WarmupStableDecay(0.2)([0, 80, 90, 100], 100)
        array([1. , 1. , 0.5, 0. ])
    """

    name: ClassVar[str] = "wsd"
    cooldown: float
    shape: str = "linear"
    floor: float = 0.0

    def __post_init__(self) -> None:
        check_number("cooldown", self.cooldown, error=ScheduleError, above=0, at_most=1)
        if self.shape not in _COOLDOWN_SHAPES:
            raise ScheduleError(f"shape must be one of {', '.join(_COOLDOWN_SHAPES)}, got {self.shape!r}")
        _check_floor(self.floor)

    @property
    def _decay_degree(self) -> float:
        return _COOLDOWN_SHAPES[self.shape][1]

    def _shape(self, step: NDArray[np.float64], total_steps: int) -> NDArray[np.float64]:
        return _COOLDOWN_SHAPES[self.shape][0](_cooldown_left(step, total_steps, self.cooldown))


_COOLDOWN_SHAPES: dict[str, tuple[Callable[[NDArray[np.float64]], NDArray[np.float64]], float]] = {
    "linear": (lambda v: v, 1.0),
    # 1 - sqrt(1 - v) = v / (1 + sqrt(1 - v)), which does not cancel as v -> 0.
    "1-sqrt": (lambda v: v / (1.0 + np.sqrt(1.0 - v)), 1.0),
    "cosine": (lambda v: np.sin(0.5 * np.pi * v) ** 2, 2.0),
}


def _cooldown_left(step: NDArray[np.float64], total_steps: int, fraction: float) -> NDArray[np.float64]:
    return np.asarray(np.minimum(1.0, (total_steps - step) / (fraction * total_steps)))


@dataclass(frozen=True)
class Warmup(_Composable):
    """A linear warm-up put before another schedule.

    With w warm-up steps the multiplier is ``(step + 1) / w`` while ``step < w`` (so the first step trains, and step
    ``w - 1`` is at the peak), then ``schedule(step - w, total_steps - w)``: the schedule spans the steps after it.

    Args:
        schedule: what follows the warm-up.
        fraction: warm-up as a fraction of total_steps, in [0, 1); rounded to whole steps.
        steps: warm-up in steps, >= 0, in place of `fraction`.

    Example:
        >>> Warmup(LinearDecay(), steps=2)([0, 1, 2, 6, 10], 10)
        array([0.5, 1. , 1. , 0.5, 0. ])
    """

    schedule: Schedule
    fraction: float | None = None
    steps: int | None = None

    def __post_init__(self) -> None:
        as_schedule(self.schedule)
        if (self.fraction is None) == (self.steps is None):
            raise ScheduleError("a warm-up takes either a fraction of total_steps or a number of steps, one of the two")
        if self.fraction is not None:
            check_number("warm-up fraction", self.fraction, error=ScheduleError, at_least=0, below=1)
        else:
            check_whole("warm-up steps", self.steps, error=ScheduleError, at_least=0)

    @property
    def degree(self) -> float | None:
        """Degree of the schedule that follows the warm-up."""
        return self.schedule.degree

    def with_cooldown(self, fraction: float) -> Warmup:
        """Return this warm-up followed by the annealed schedule; `fraction` counts the steps after the warm-up."""
        inner = self.schedule
        return replace(
            self, schedule=inner.with_cooldown(fraction) if isinstance(inner, Warmup) else Cooldown(inner, fraction)
        )

    def __call__(self, step: ArrayLike, total_steps: int) -> NDArray[np.float64]:
        """Return the multiplier at each step; raises `ScheduleError` when the warm-up is not shorter than the run."""
        t = _clipped_steps(step, total_steps)
        w = self.steps if self.steps is not None else round((self.fraction or 0.0) * total_steps)
        if w >= total_steps:
            raise ScheduleError(f"a warm-up of {w} steps leaves nothing of {total_steps} total_steps")
        if w == 0:
            return self.schedule(t, total_steps)
        return np.where(t < w, (t + 1.0) / w, self.schedule(np.maximum(t - w, 0.0), total_steps - w))

    def __str__(self) -> str:
        """The spec that `parse_schedule` reads back."""
        length = f"steps={self.steps}" if self.steps is not None else _print_value(self.fraction)
        return f"warmup({length})+{self.schedule}"


@dataclass(frozen=True)
class Cooldown(_Composable):
    """Any schedule, annealed to zero: multiplied by ``min(1, (1 - u) / fraction)``, a line over the last fraction.

    Args:
        schedule: the schedule to anneal.
        fraction: fraction of the steps that the cooldown takes, in (0, 1].

    Example:
        >>> Cooldown(Constant(), 0.5)([0, 50, 75, 100], 100)
        array([1. , 1. , 0.5, 0. ])
    """

    schedule: Schedule
    fraction: float

    def __post_init__(self) -> None:
        as_schedule(self.schedule)
        if isinstance(self.schedule, Warmup):
            raise ScheduleError("put the cooldown on the schedule first, then the warm-up: warmup(..)+..+cooldown(..)")
        check_number("cooldown fraction", self.fraction, error=ScheduleError, above=0, at_most=1)

    @property
    def degree(self) -> float:
        """One more than the degree of the schedule underneath, 1 if that has none."""
        return (self.schedule.degree or 0.0) + 1.0

    def __call__(self, step: ArrayLike, total_steps: int) -> NDArray[np.float64]:
        """Return the multiplier at each step."""
        t = _clipped_steps(step, total_steps)
        return self.schedule(t, total_steps) * _cooldown_left(t, total_steps, self.fraction)

    def __str__(self) -> str:
        """The spec that `parse_schedule` reads back."""
        return f"{self.schedule}+cooldown({_print_value(self.fraction)})"


@dataclass(frozen=True)
class FunctionSchedule(_Composable):
    """A schedule made from your own function ``function(step, total_steps) -> multiplier``, vectorized over steps.

    Args:
        function: gets an array of steps in [0, total_steps] and total_steps; returns finite multipliers >= 0 of the
            same shape. A module-level function prints as ``function(module:name)``, which `parse_schedule` reads back.
        degree: degree of its decay to zero, if it has one.

    Example:
        >>> def halves(step, total_steps):
        ...     return 0.5 ** np.floor(4 * step / total_steps)
        >>> FunctionSchedule(halves)([0, 30, 99, 500], 100)
        array([1.    , 0.5   , 0.125 , 0.0625])
    """

    function: Callable[[NDArray[np.float64], int], ArrayLike]
    degree: float | None = None

    def __post_init__(self) -> None:
        if not callable(self.function):
            raise ScheduleError(f"function must be callable as function(step, total_steps), got {self.function!r}")

    def __call__(self, step: ArrayLike, total_steps: int) -> NDArray[np.float64]:
        """Return the multiplier at each step; raises `ScheduleError` when the function returns something else."""
        t = _clipped_steps(step, total_steps)
        values = np.asarray(self.function(t, int(total_steps)), dtype=np.float64)
        if values.shape != t.shape:
            raise ScheduleError(
                f"{self} must return one multiplier per step, shape {t.shape}; it returned {values.shape}"
            )
        if not np.all(np.isfinite(values) & (values >= 0)):
            raise ScheduleError(f"{self} must return finite multipliers >= 0; it returned {values.min()!r}")
        return values

    def __str__(self) -> str:
        """``function(module:name)``, with the name from `label_of`."""
        where = label_of(self.function)
        return f"function({where})" if self.degree is None else f"function({where}, degree={_print_value(self.degree)})"


@dataclass(frozen=True)
class TableSchedule(_Composable):
    """A schedule made from a table of multipliers, spread evenly over the run.

    Entry i is the multiplier at progress ``i / n``, linear in between; the last entry is held to the end. With as many
    entries as steps, each step has exactly its entry.

    Args:
        values: n >= 1 finite multipliers >= 0.
        degree: degree of its decay to zero, if it has one.

    Example:
        >>> TableSchedule([1.0, 0.5, 0.25])([0, 1, 2, 3], 3)
        array([1.  , 0.5 , 0.25, 0.25])
    """

    values: tuple[float, ...]
    degree: float | None = None

    def __init__(self, values: Iterable[float], degree: float | None = None) -> None:
        try:
            table = np.array([float(v) for v in values])
        except (TypeError, ValueError):
            raise ScheduleError(f"a table must be a sequence of numbers, got {values!r}") from None
        if table.size == 0 or not np.all(np.isfinite(table) & (table >= 0)):
            raise ScheduleError("a table must hold at least one multiplier, all finite and >= 0")
        object.__setattr__(self, "values", tuple(table.tolist()))
        object.__setattr__(self, "degree", degree)

    def __call__(self, step: ArrayLike, total_steps: int) -> NDArray[np.float64]:
        """Return the multiplier at each step, interpolated in the progress."""
        t, n = _clipped_steps(step, total_steps), len(self.values)
        return np.asarray(np.interp(t * n / total_steps, np.arange(n), self.values))

    def __str__(self) -> str:
        """``table(n=.., sha=..)``: identifies the table; its values cannot be read back from it."""
        digest = hashlib.sha256(np.array(self.values).tobytes()).hexdigest()[:10]
        return f"table(n={len(self.values)}, sha={digest})"


def _print_value(value: object) -> str:
    if not isinstance(value, numbers.Real):
        return str(value)
    number = float(value)
    return str(int(number)) if number.is_integer() and abs(number) < 1e15 else repr(number)


def tabulated(schedule: Schedule, total_steps: int) -> NDArray[np.float64]:
    """Return the multiplier of each step of a run, shape (total_steps,), read-only; computed once for equal schedules.

    Computed step by step, as a training loop does: on an array, numpy's functions may differ in the last bit.
    """
    try:
        return _tabulated(schedule, total_steps)  # type: ignore[arg-type]
    except TypeError:  # a schedule that cannot be hashed
        return _tabulated.__wrapped__(schedule, total_steps)


@lru_cache(maxsize=64)
def _tabulated(schedule: Schedule, total_steps: int) -> NDArray[np.float64]:
    table = np.array([float(schedule(step, total_steps)) for step in range(total_steps)])
    table.flags.writeable = False
    return table


def as_schedule(value: object) -> Schedule:
    """Return the value unchanged if it is a schedule.

    Raises:
        ScheduleError: when it is not a schedule; the message says how to make one.
    """
    if not isinstance(value, Schedule) or isinstance(value, type):
        raise ScheduleError(
            f"expected a schedule (one of robust_lr's, or FunctionSchedule(f) around your own), got {value!r}"
        )
    return value


def _clipped_steps(step: ArrayLike, total_steps: int) -> NDArray[np.float64]:
    check_whole("total_steps", total_steps, error=ScheduleError, at_least=1)
    t = np.asarray(step, dtype=np.float64)
    if t.size and not t.min() >= 0:
        raise ScheduleError(f"step must be >= 0, got {t.min()!r}")
    return np.minimum(t, float(total_steps))


def _check_floor(value: object) -> None:
    check_number("floor", value, error=ScheduleError, at_least=0, below=1)
