"""Find out how coarse a learning-rate grid may be under each schedule, and tune with the fewest trials."""

from typing import TYPE_CHECKING

from ._lazy import lazy_names
from ._version import __version__ as __version__

if TYPE_CHECKING:
    from .analysis import Analysis as Analysis
    from .analysis import DegradationCurve as DegradationCurve
    from .analysis import LearningRateProfile as LearningRateProfile
    from .analysis import Recommendation as Recommendation
    from .analysis import ScheduleComparison as ScheduleComparison
    from .analysis import analyze_sweep as analyze_sweep
    from .analysis import compare_schedules as compare_schedules
    from .analysis import degradation_curve as degradation_curve
    from .analysis import learning_rate_profile as learning_rate_profile
    from .analysis import recommend as recommend
    from .collection import SweepCollection as SweepCollection
    from .commands import CommandTask as CommandTask
    from .divergence import DivergenceWatch as DivergenceWatch
    from .exceptions import RobustLRError as RobustLRError
    from .exceptions import TrialDiverged as TrialDiverged
    from .exceptions import TrialPreempted as TrialPreempted
    from .grids import GeometricGrid as GeometricGrid
    from .linear.models import LinearModelTask as LinearModelTask
    from .runners import PackedRunner as PackedRunner
    from .runners import ProcessPoolRunner as ProcessPoolRunner
    from .runners import SerialRunner as SerialRunner
    from .runners import preempted as preempted
    from .schedules import Constant as Constant
    from .schedules import Cooldown as Cooldown
    from .schedules import CosineDecay as CosineDecay
    from .schedules import FunctionSchedule as FunctionSchedule
    from .schedules import InverseSqrt as InverseSqrt
    from .schedules import LinearDecay as LinearDecay
    from .schedules import PolynomialDecay as PolynomialDecay
    from .schedules import Schedule as Schedule
    from .schedules import TableSchedule as TableSchedule
    from .schedules import Warmup as Warmup
    from .schedules import WarmupStableDecay as WarmupStableDecay
    from .schedules import parse_schedule as parse_schedule
    from .search import LearningRateSearch as LearningRateSearch
    from .search import SearchOptions as SearchOptions
    from .search import SearchResult as SearchResult
    from .search.run import search_learning_rate as search_learning_rate
    from .search.transfer import transfer_learning_rate as transfer_learning_rate
    from .sweep import BranchedSweep as BranchedSweep
    from .sweep import SweepResult as SweepResult
    from .sweep import run_sweep as run_sweep
    from .trials import TrainFunction as TrainFunction
    from .trials import TrialResult as TrialResult
    from .trials import TrialSpec as TrialSpec
else:
    __getattr__, __dir__, __all__ = lazy_names(
        __name__,
        {
            "analysis": "Analysis DegradationCurve LearningRateProfile Recommendation ScheduleComparison analyze_sweep "
            "compare_schedules degradation_curve learning_rate_profile recommend",
            "collection": "SweepCollection",
            "commands": "CommandTask",
            "divergence": "DivergenceWatch",
            "exceptions": "RobustLRError TrialDiverged TrialPreempted",
            "grids": "GeometricGrid",
            "linear.models": "LinearModelTask",
            "runners": "PackedRunner ProcessPoolRunner SerialRunner preempted",
            "schedules": "Constant Cooldown CosineDecay FunctionSchedule InverseSqrt LinearDecay PolynomialDecay "
            "Schedule TableSchedule Warmup WarmupStableDecay parse_schedule",
            "search": "LearningRateSearch SearchOptions SearchResult",
            "search.run": "search_learning_rate",
            "search.transfer": "transfer_learning_rate",
            "sweep": "BranchedSweep SweepResult run_sweep",
            "trials": "TrainFunction TrialResult TrialSpec",
        },
        moved={
            "robust_lr.exceptions": "DataError GridError InsufficientDataError JournalError NotVectorisable "
            "NotVectorizable RobustLRWarning ScheduleError TrialError",
            "robust_lr.runners": "Runner evaluate_trial",
            "robust_lr.theory": "GridGuarantee SuffixBounds TunedBound asymptotic_exponent grid_guarantee "
            "last_iterate_bound misspecification_curve resolution_for_tolerance robustness_exponent suffix_bounds "
            "transfer_ratio tuned_bound",
        },
    )
