"""A schedule with its own number of steps."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .._checks import check_whole
from .._text import count_of
from ..exceptions import ScheduleError
from .closed_forms import Schedule, as_schedule, tabulated


@dataclass(frozen=True)
class Horizon:
    """A schedule over its own number of steps, for a sweep whose trainings differ in length.

    Args:
        schedule: the schedule.
        total_steps: the steps that it spans, >= 1.

    Example:
        >>> from robust_lr import Constant
        >>> str(Horizon(Constant(), 3)), Horizon(Constant(), 3).multipliers
        ('constant for 3 steps', [1.0, 1.0, 1.0])
    """

    schedule: Schedule
    total_steps: int

    def __post_init__(self) -> None:
        as_schedule(self.schedule)
        check_whole("total_steps", self.total_steps, error=ScheduleError, at_least=1)

    @property
    def degree(self) -> float | None:
        """That of the schedule."""
        return self.schedule.degree

    @property
    def multipliers(self) -> list[float]:
        """The multiplier of each of its steps."""
        table: list[float] = tabulated(self.schedule, self.total_steps).tolist()
        return table

    def __call__(self, step: ArrayLike, total_steps: int) -> NDArray[np.float64]:
        """Return the multiplier at each step, like the schedule; raises `ScheduleError` for a run of another length."""
        if total_steps != self.total_steps:
            raise ScheduleError(f"{self} is for a training of that length, and this one has {total_steps}")
        return self.schedule(step, total_steps)

    def __str__(self) -> str:
        """The spec that `parse_schedule` reads back."""
        return f"{self.schedule} for {count_of(self.total_steps, 'step')}"
