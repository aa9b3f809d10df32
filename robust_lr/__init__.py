"""Find out how coarse a learning-rate grid may be under each schedule, and so tune with the fewest trials."""

from .exceptions import DataError as DataError
from .exceptions import GridError as GridError
from .exceptions import InsufficientDataError as InsufficientDataError
from .exceptions import JournalError as JournalError
from .exceptions import RobustLRError as RobustLRError
from .exceptions import RobustLRWarning as RobustLRWarning
from .exceptions import ScheduleError as ScheduleError
from .exceptions import TrialDiverged as TrialDiverged
from .exceptions import TrialError as TrialError
from .grids import GeometricGrid as GeometricGrid
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
from .trials import TrainFunction as TrainFunction
from .trials import TrialResult as TrialResult
from .trials import TrialSpec as TrialSpec

__version__ = "0.1.0"
