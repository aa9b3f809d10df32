"""Runners carry out trials: in this process, or in a pool of processes. Plug-ins bring further ones."""

from .base import Runner as Runner
from .base import evaluate_trial as evaluate_trial
from .base import failed_trial as failed_trial
from .process_pool import ProcessPoolRunner as ProcessPoolRunner
from .serial import SerialRunner as SerialRunner
