"""A scheduler for `Accelerator.prepare` that makes one step for each step of the optimizer."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from torch.optim import Optimizer

from robust_lr import Schedule
from robust_lr._checks import check_whole
from robust_lr_torch import AnnealedLR
from robust_lr_torch.lr_scheduler import OnNewHorizon

if TYPE_CHECKING:
    from accelerate import Accelerator


class AcceleratedLR(AnnealedLR):
    """An `AnnealedLR` for a training loop of Accelerate; `Accelerator.prepare` and `save_state` know it.

    Call ``step()`` wherever the loop calls it, also for batches that only accumulate gradients: it counts the steps of
    the optimizer. (Accelerate steps other schedulers once for each process, and so n times as fast on n of them.)

    Args:
        accelerator: the `Accelerator` of the loop.
        optimizer: before or after `Accelerator.prepare`; its learning rates are the peaks.
        schedule: a `Schedule`, or its spec such as ``"warmup(0.05)+cosine"``.
        total_steps: number of optimizer steps of the run; see `count_steps`.
        on_new_horizon: as in `AnnealedLR`.

    Raises:
        ScheduleError, OptionError: as `AnnealedLR`.

    Example:
        >>> import torch
        >>> from accelerate import Accelerator
        >>> accelerator, weight = Accelerator(cpu=True), torch.nn.Parameter(torch.zeros(1))
        >>> optimizer = torch.optim.SGD([weight], lr=0.5)
        >>> scheduler = AcceleratedLR(accelerator, optimizer, "linear", total_steps=10)
        >>> optimizer, scheduler = accelerator.prepare(optimizer, scheduler)
        >>> optimizer.step(), scheduler.step(), scheduler.get_last_lr()
        (None, None, [0.45])
    """

    _is_accelerate_prepared = True  # so that prepare() registers it for checkpoints and does not wrap it
    _accelerator: Accelerator | None = None

    def __init__(
        self,
        accelerator: Accelerator,
        optimizer: Optimizer,
        schedule: Schedule | str,
        total_steps: int,
        *,
        on_new_horizon: OnNewHorizon = "error",
    ) -> None:
        optimizer = getattr(optimizer, "optimizer", optimizer)  # Accelerate's wrapper takes no hooks
        super().__init__(optimizer, schedule, total_steps, on_new_horizon=on_new_horizon)
        self._accelerator = accelerator

    def step(self, epoch: int | None = None) -> None:
        """Go to the next step of the schedule if the optimizer has made a step."""
        accelerator = self._accelerator
        if accelerator is None or (accelerator.sync_gradients and not accelerator.optimizer_step_was_skipped):
            super().step(epoch)


def count_steps(accelerator: Accelerator, train_dataloader: Any, num_epochs: int) -> int:
    """Return the number of optimizer steps of a run, over all processes and with gradient accumulation.

    Args:
        accelerator: the `Accelerator` of the loop.
        train_dataloader: a DataLoader with a length, before or after `Accelerator.prepare`.
        num_epochs: number of passes over the data, >= 1.

    Example:
        >>> from accelerate import Accelerator
        >>> count_steps(Accelerator(cpu=True, gradient_accumulation_steps=4), range(10), num_epochs=2)
        6
    """
    check_whole("num_epochs", num_epochs, at_least=1)
    n_batches = len(train_dataloader)
    if not (getattr(train_dataloader, "_is_accelerate_prepared", False) or accelerator.split_batches):
        share = n_batches / accelerator.num_processes
        n_batches = math.floor(share) if getattr(train_dataloader, "drop_last", False) else math.ceil(share)
    accumulated: int = accelerator.gradient_accumulation_steps
    return num_epochs * math.ceil(n_batches / accumulated)
