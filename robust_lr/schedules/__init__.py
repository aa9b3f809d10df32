"""Learning-rate schedules: closed forms ``(step, total_steps) -> multiplier``, and their specs as text."""

from .closed_forms import Constant as Constant
from .closed_forms import Cooldown as Cooldown
from .closed_forms import CosineDecay as CosineDecay
from .closed_forms import FunctionSchedule as FunctionSchedule
from .closed_forms import InverseSqrt as InverseSqrt
from .closed_forms import LinearDecay as LinearDecay
from .closed_forms import PolynomialDecay as PolynomialDecay
from .closed_forms import Schedule as Schedule
from .closed_forms import TableSchedule as TableSchedule
from .closed_forms import Warmup as Warmup
from .closed_forms import WarmupStableDecay as WarmupStableDecay
from .horizon import Horizon as Horizon
from .specs import parse_schedule as parse_schedule
