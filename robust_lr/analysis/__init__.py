"""The analysis of a sweep: degradation curves, recommendations, learning-rate profiles, schedule comparisons."""

from .adaptive import AdaptiveSeeds as AdaptiveSeeds
from .check import LearningRateCheck as LearningRateCheck
from .check import check_learning_rate as check_learning_rate
from .comparison import ScheduleComparison as ScheduleComparison
from .comparison import compare_schedules as compare_schedules
from .degradation import DegradationCurve as DegradationCurve
from .degradation import degradation_curve as degradation_curve
from .noise import NoiseFloor as NoiseFloor
from .noise import noise_floor as noise_floor
from .paired import PairedComparison as PairedComparison
from .paired import compare_sweeps as compare_sweeps
from .profile import LearningRateProfile as LearningRateProfile
from .profile import learning_rate_profile as learning_rate_profile
from .recommendation import Recommendation as Recommendation
from .recommendation import recommend as recommend
from .summary import Analysis as Analysis
from .summary import ScheduleAnalysis as ScheduleAnalysis
from .summary import analyze_sweep as analyze_sweep
