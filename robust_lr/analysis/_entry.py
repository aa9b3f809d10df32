"""What is known of one schedule, and what words and tables need to know of an analysis."""

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
    """What is known of one schedule; None where the data are not enough, and then `missing` says why.

    Attributes:
        schedule: name of the schedule.
        profile: loss against learning rate.
        curve: degradation against ratio.
        recommendation: the grid to use next.
        missing: why one of them is None; its `estimate` is what the point estimates alone would recommend.
    """

    schedule: str
    profile: LearningRateProfile | None
    curve: DegradationCurve | None
    recommendation: Recommendation | None
    missing: InsufficientDataError | None


class Analyzed(Protocol):
    """An `Analysis`, for the modules that it is printed by."""

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
