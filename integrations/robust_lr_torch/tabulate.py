"""Any PyTorch scheduler as a schedule: it runs on a dummy parameter, and its learning rates become a table."""

from __future__ import annotations

import inspect
from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch.optim import SGD, Optimizer
from torch.optim.lr_scheduler import LRScheduler

from robust_lr._checks import check_whole
from robust_lr.exceptions import ScheduleError
from robust_lr.schedules.closed_forms import TableSchedule

_PEAKS = (1.0, 2.0**-10)  # powers of two, so that a multiplier is the same float under both


def tabulate_scheduler(
    make_scheduler: Callable[[Optimizer], LRScheduler], total_steps: int, *, degree: float | None = None
) -> TableSchedule:
    """Return the multipliers of a PyTorch scheduler as a schedule, one entry per step.

    Entry k is ``lr_k / peak``, where ``lr_k`` is the learning rate after k calls of ``scheduler.step()``, k = 0..T-1:
    the scheduler is stepped once for each step of the optimizer, so its milestones count steps and not epochs.

    Args:
        make_scheduler: gets an optimizer (SGD with one parameter group) and returns its scheduler.
        total_steps: T, >= 1, the number of entries; the table is exact for a run of this many steps.
        degree: degree of its decay to zero, if it has one.

    Raises:
        ScheduleError: when the scheduler is not a table of multipliers for every peak: it changes more than the
            learning rate, has absolute learning rates such as ``eta_min``, needs a metric, has more than one parameter
            group, or has learning rates that are negative or not finite.

    Example:
        >>> from torch.optim.lr_scheduler import StepLR
        >>> tabulate_scheduler(lambda optimizer: StepLR(optimizer, step_size=2, gamma=0.5), 6).values
        (1.0, 1.0, 0.5, 0.5, 0.25, 0.25)
    """
    if not callable(make_scheduler):
        raise ScheduleError(f"make_scheduler must be callable as make_scheduler(optimizer), got {make_scheduler!r}")
    check_whole("total_steps", total_steps, error=ScheduleError, at_least=1)
    multipliers, at_another_peak = (_run(make_scheduler, total_steps, peak) for peak in _PEAKS)
    if not np.allclose(multipliers, at_another_peak, rtol=1e-9, atol=1e-12):
        k = int(np.argmax(np.abs(multipliers - at_another_peak)))
        raise ScheduleError(
            f"the scheduler has a learning rate of its own: at step {k} it multiplies a peak of {_PEAKS[0]:g} by "
            f"{multipliers[k]:g}, one of {_PEAKS[1]:g} by {at_another_peak[k]:g}; give it eta_min=0, "
            "or use a schedule whose floor is a fraction of the peak"
        )
    return TableSchedule(multipliers, degree)


def _run(make_scheduler: Callable[[Optimizer], LRScheduler], total_steps: int, peak: float) -> NDArray[np.float64]:
    """Return the multiplier of each step at a peak, shape (total_steps,)."""
    optimizer = SGD([torch.nn.Parameter(torch.zeros(1))], lr=peak, momentum=0.9)
    other = {name: value for name, value in optimizer.param_groups[0].items() if name not in ("params", "lr")}
    try:
        scheduler = make_scheduler(optimizer)
    except ValueError as error:  # such as two functions in a LambdaLR
        raise ScheduleError(f"make_scheduler must take an optimizer with one parameter group: {error}") from error
    _check_scheduler(scheduler, optimizer)
    multipliers = np.empty(total_steps)
    for k in range(total_steps):
        if k:
            optimizer.step()  # does nothing, but torch warns if a scheduler steps first
            scheduler.step()
        if (n_groups := len(optimizer.param_groups)) != 1:
            raise ScheduleError(f"a schedule is of one parameter group, make_scheduler made {n_groups}")
        group = optimizer.param_groups[0]
        if changed := [name for name, value in other.items() if group[name] != value]:
            raise ScheduleError(
                f"the scheduler changes {', '.join(changed)} as well as the learning rate: such a run is not a "
                "multiple of the learning rate alone; OneCycleLR and CyclicLR leave it with cycle_momentum=False"
            )
        multipliers[k] = float(group["lr"]) / peak
        if not (np.isfinite(multipliers[k]) and multipliers[k] >= 0):
            raise ScheduleError(f"multipliers must be finite and >= 0, at step {k} the scheduler's is {multipliers[k]}")
    return multipliers


def _check_scheduler(scheduler: object, optimizer: Optimizer) -> None:
    if not isinstance(scheduler, LRScheduler) or scheduler.optimizer is not optimizer:
        raise ScheduleError(
            f"make_scheduler must return a torch LRScheduler of the optimizer it is given, it returned {scheduler!r}"
        )
    try:
        inspect.signature(scheduler.step).bind()
    except TypeError:
        raise ScheduleError(
            f"{type(scheduler).__name__} needs a metric at each step, so it has no table of multipliers"
        ) from None
