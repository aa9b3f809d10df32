"""Training under a schedule with PyTorch; the only part of robust-lr that imports torch (``robust-lr[torch]``)."""

try:
    import torch as torch
except ModuleNotFoundError as error:
    if error.name != "torch":  # an installed torch that is broken must say so itself
        raise
    raise ModuleNotFoundError("robust_lr_torch needs PyTorch: pip install 'robust-lr[torch]'", name="torch") from error

from .doctor import ScheduleDoctor as ScheduleDoctor
from .loss_watch import LossWatch as LossWatch
from .lr_scheduler import AnnealedLR as AnnealedLR
from .monitor import TrainingMonitor as TrainingMonitor
from .tabulate import tabulate_scheduler as tabulate_scheduler
from .task import SupervisedTask as SupervisedTask
