"""The axes of a sweep, read from user input: learning rates, schedules and seeds."""

from __future__ import annotations

import math
import numbers
from collections.abc import Iterable, Mapping
from typing import Any

from .._labels import spec_text
from ..exceptions import GridError, RobustLRError, ScheduleError
from ..grids import GeometricGrid
from ..schedules.closed_forms import Schedule
from ..schedules.specs import parse_schedule

MAX_SEEDS = 10_000  # more are a mistake


def read_learning_rates(grid: GeometricGrid | Iterable[float]) -> list[float]:
    """Return the learning rates of a sweep, ascending.

    Args:
        grid: a grid, or distinct positive learning rates.

    Raises:
        GridError: when they are not.

    Example:
        >>> read_learning_rates([0.1, 0.01])
        [0.01, 0.1]
    """
    values = list(grid.values) if isinstance(grid, GeometricGrid) else _as_list("grid", grid, GridError)
    for value in values:
        if isinstance(value, bool) or not isinstance(value, numbers.Real) or not 0 < float(value) < math.inf:
            raise GridError(f"learning rates must be positive finite numbers, got {value!r}")
    lrs = sorted(float(value) for value in values)
    if not lrs or len(set(lrs)) < len(lrs):
        raise GridError(f"the learning rates must be distinct, and at least one, got {lrs}")
    return lrs


def read_schedules(schedules: Mapping[str, Schedule | str] | Iterable[Schedule | str]) -> dict[str, Schedule]:
    """Return the schedules of a sweep by name.

    Args:
        schedules: schedules or their specs, by name or with the spec as the name.

    Raises:
        ScheduleError: when one cannot be read, two have one name, or there is none.

    Example:
        >>> read_schedules(["cosine", "constant"])
        {'cosine': CosineDecay(floor=0.0), 'constant': Constant()}
    """
    if isinstance(schedules, Mapping):
        named = {str(name): parse_schedule(schedule) for name, schedule in schedules.items()}
        n_given = len(schedules)
    else:
        parsed = [parse_schedule(schedule) for schedule in _as_list("schedules", schedules, ScheduleError)]
        named = {spec_text(schedule): schedule for schedule in parsed}
        n_given = len(parsed)
    if not named or len(named) < n_given:
        raise ScheduleError(f"the schedules must be distinct, and at least one, got {', '.join(named) or 'none'}")
    return named


def read_seeds(seeds: int | Iterable[int]) -> list[int]:
    """Return the seeds of a sweep.

    Args:
        seeds: distinct whole numbers; a number n means ``range(n)``.

    Raises:
        RobustLRError: when they are not.

    Example:
        >>> read_seeds(3), read_seeds([5, 8])
        ([0, 1, 2], [5, 8])
    """
    if isinstance(seeds, numbers.Integral) and not isinstance(seeds, bool):
        if seeds < 1:
            raise RobustLRError(f"a number of seeds must be at least 1, got {seeds}")
        if int(seeds) > MAX_SEEDS:
            raise RobustLRError(f"a number of seeds must be at most {MAX_SEEDS}")
        return list(range(int(seeds)))
    values = _as_list("seeds", seeds, RobustLRError)
    if any(isinstance(s, bool) or not isinstance(s, numbers.Integral) for s in values):
        raise RobustLRError(f"seeds must be whole numbers, got {values}")
    if not values or len(set(values)) < len(values):
        raise RobustLRError(f"the seeds must be distinct, and at least one, got {values}")
    return [int(s) for s in values]


def _as_list(name: str, values: object, error: type[RobustLRError]) -> list[Any]:
    if isinstance(values, (str, bytes)) or not isinstance(values, Iterable):
        raise error(f"{name} must be a sequence, got {values!r}")
    try:
        return list(values)
    except TypeError:  # an array of no dimension
        raise error(f"{name} must be a sequence, got {values!r}") from None
