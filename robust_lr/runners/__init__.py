"""Runners carry out trials: in this process or a pool, one at a time or in packs. Plug-ins add further runners."""

from .base import Evaluator as Evaluator
from .base import Runner as Runner
from .base import TrialSource as TrialSource
from .base import evaluate_trial as evaluate_trial
from .base import failed_trial as failed_trial
from .base import is_out_of_memory as is_out_of_memory
from .packed import Packable as Packable
from .packed import PackedRunner as PackedRunner
from .packed import PackPlan as PackPlan
from .preemption import preempted as preempted
from .process_pool import ProcessPoolRunner as ProcessPoolRunner
from .serial import SequentialEvaluator as SequentialEvaluator
from .serial import SerialRunner as SerialRunner
from .serial import read_runner as read_runner
from .trial_sources import TrialList as TrialList
from .trial_sources import TrialQueue as TrialQueue
from .worker_slots import Slot as Slot
from .worker_slots import fair_share as fair_share
