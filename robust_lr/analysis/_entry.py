"""The analysis of one schedule, and the part of an `Analysis` that words and tables use."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from ..exceptions import InsufficientDataError
from ..sweep.results import SweepResult
from .comparison import ScheduleComparison
from .degradation import DegradationCurve
from .profile import LearningRateProfile
from .recommendation import Recommendation


@dataclass(frozen=True, eq=False)
class ScheduleAnalysis:
    """The analysis of one schedule. If the data do not suffice for a part, it is None and `missing` says why.

    Attributes:
        schedule: name of the schedule.
        profile: loss against learning rate.
        curve: degradation against ratio.
        recommendation: the grid to use next.
        missing: why one of them is None; its `estimate` is the recommendation of the point estimates alone.
    """

    schedule: str
    profile: LearningRateProfile | None
    curve: DegradationCurve | None
    recommendation: Recommendation | None
    missing: InsufficientDataError | None


class Analyzed(Protocol):
    """The part of an `Analysis` that its printing modules use."""

    @property
    def sweep(self) -> SweepResult: ...
    @property
    def tolerance(self) -> float: ...
    @property
    def confidence_level(self) -> float: ...
    @property
    def schedules(self) -> tuple[ScheduleAnalysis, ...]: ...
    @property
    def comparison(self) -> ScheduleComparison | None: ...
