"""What `configure_optimizers` of a LightningModule returns: an optimizer under a schedule of robust-lr."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from torch.optim import Optimizer

from robust_lr import Schedule
from robust_lr.exceptions import OptionError
from robust_lr_torch import AnnealedLR
from robust_lr_torch.lr_scheduler import OnNewHorizon

if TYPE_CHECKING:
    from lightning.pytorch import LightningModule


def annealed(
    module: LightningModule,
    optimizer: Optimizer,
    schedule: Schedule | str,
    *,
    total_steps: int | None = None,
    on_new_horizon: OnNewHorizon = "error",
) -> dict[str, Any]:
    """Return an optimizer with its schedule, as `configure_optimizers` returns them.

    The k-th optimizer step, from 0, has ``lr * schedule(k, total_steps)``: in an uninterrupted run, after a resume from
    any checkpoint, and on any number of ranks. The scheduler is stepped after each optimizer step. (Lightning's default
    is once an epoch, which hardly anneals at all.)

    Args:
        module: the module whose `configure_optimizers` this is, `self`.
        optimizer: its learning rates are the peaks.
        schedule: a `Schedule`, or its spec such as ``"warmup(0.05)+cosine"``.
        total_steps: number of optimizer steps of the run; None for ``trainer.estimated_stepping_batches``.
        on_new_horizon: what to do when a checkpoint of a run with another number of steps is resumed: "error";
            "stretch" the schedule to the new number; or "keep" the old schedule, whose last rate then stays.

    Raises:
        OptionError: when the number of steps is not known, or an option is wrong.
        ScheduleError: when the schedule cannot be read, or does not fit into the number of steps.

    Example:
        >>> import torch
        >>> weight = torch.nn.Parameter(torch.zeros(1))
        >>> found = annealed(None, torch.optim.SGD([weight], lr=0.5), "cosine", total_steps=100)
        >>> found["lr_scheduler"]["interval"]
        'step'
    """
    steps = _steps_of(module) if total_steps is None else total_steps
    scheduler = AnnealedLR(optimizer, schedule, steps, on_new_horizon=on_new_horizon)
    return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step", "frequency": 1}}


def _steps_of(module: LightningModule) -> int:
    if not module.automatic_optimization:
        raise OptionError(
            "with manual optimization, Lightning does not know the number of steps: pass total_steps to annealed(), "
            "and call self.lr_schedulers().step() after each optimizer step"
        )
    if any(len(getattr(each, "scheduling", ())) > 1 for each in module.trainer.callbacks):
        raise OptionError(
            "a GradientAccumulationScheduler changes how many batches make a step, which Lightning leaves out of its "
            "count: pass total_steps to annealed()"
        )
    steps = module.trainer.estimated_stepping_batches
    if not math.isfinite(steps) or steps < 1:
        raise OptionError(
            "the Trainer does not know the number of steps of this run: give it max_steps, or max_epochs and data with "
            "a length; or pass total_steps to annealed()"
        )
    return int(steps)
