"""A schedule as a PyTorch scheduler: the learning rate is a closed form of the step count, so any resume is exact."""

from __future__ import annotations

import math
import warnings
import weakref
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from robust_lr._checks import check_whole
from robust_lr.exceptions import RobustLRWarning, ScheduleError
from robust_lr.schedules.closed_forms import Schedule
from robust_lr.schedules.specs import parse_schedule

_STEPS_COMPARED = 32  # more than the handful of optimizer steps that a GradScaler skips while it finds its scale


class AnnealedLR(LRScheduler):
    """Anneals the learning rate of every parameter group by a schedule; call ``step()`` after each optimizer step.

    After k calls of ``step()`` each group trains with ``lr = peak * schedule(k, total_steps)``, k = 0 at the start.
    The peak is the group's ``initial_lr`` if it has one (as after loading a saved optimizer), else its initial ``lr``.
    This also holds for groups added later; they join at the next ``optimizer.step()`` or ``step()``.
    From ``k = total_steps`` on the learning rate stays where the schedule ended; it never rises again.

    To resume, rebuild the optimizer and the scheduler and load the state of each, in any order: the scheduler puts its
    peaks and learning rates into the optimizer when its own state is loaded, and again when the optimizer's is.
    To continue with another peak, horizon or schedule, pass it to `load_state_dict`.

    Args:
        optimizer: its groups may have different learning rates, as floats or as tensors (which are updated in place).
        schedule: a `Schedule`, or its spec such as ``"warmup(0.05)+cosine"``.
        total_steps: T, the number of optimizer steps that the schedule spans, >= 1.
        last_epoch: as in torch, the index of the last step done, -1 for none: after k steps, pass k - 1.

    Raises:
        ScheduleError: when the schedule cannot be read, or does not fit into `total_steps`.

    Warns:
        RobustLRWarning: once, when the scheduler is stepped twice or more for each step of the optimizer.

    Example:
        >>> weight = torch.nn.Parameter(torch.zeros(1))
        >>> optimizer = torch.optim.SGD([weight], lr=0.5)
        >>> scheduler = AnnealedLR(optimizer, "warmup(steps=2)+linear", total_steps=6)
        >>> lrs = []
        >>> for _ in range(8):
        ...     lrs += scheduler.get_last_lr()
        ...     optimizer.step()
        ...     scheduler.step()
        >>> lrs
        [0.25, 0.5, 0.5, 0.375, 0.25, 0.125, 0.0, 0.0]
        >>> scheduler.state_dict()
        {'schedule': 'warmup(steps=2)+linear', 'total_steps': 6, 'last_epoch': 8, 'base_lrs': [0.5]}
    """

    schedule: Schedule
    total_steps: int

    def __init__(self, optimizer: Optimizer, schedule: Schedule | str, total_steps: int, last_epoch: int = -1) -> None:
        check_whole("last_epoch", last_epoch, error=ScheduleError, at_least=-1)
        self.schedule, self.total_steps = _fitting(schedule, total_steps)
        if isinstance(optimizer, Optimizer):  # torch says what is wrong with anything else
            _claim_groups(optimizer)
        super().__init__(optimizer, last_epoch)
        self._watch_optimizer()

    def get_lr(self) -> list[float | torch.Tensor]:
        """Return the learning rate of each group at the current step; shape (number of groups,)."""
        if len(self.base_lrs) != len(self.optimizer.param_groups):
            self.base_lrs = list(_claim_groups(self.optimizer))
        multiplier = float(self.schedule(min(self.last_epoch, self.total_steps), self.total_steps))
        return [peak * multiplier for peak in self.base_lrs]

    def state_dict(self) -> dict[str, Any]:
        """Return the state as plain values: schedule (its spec), total_steps, last_epoch, base_lrs (peaks).

        JSON can hold it, and ``torch.load`` reads it with ``weights_only=True``.
        """
        self._welcome_groups()
        return {
            "schedule": str(self.schedule),
            "total_steps": self.total_steps,
            "last_epoch": self.last_epoch,
            "base_lrs": [float(peak) for peak in self.base_lrs],
        }

    def load_state_dict(
        self,
        state_dict: Mapping[str, Any],
        *,
        schedule: Schedule | str | None = None,
        total_steps: int | None = None,
        base_lrs: Sequence[float] | None = None,
    ) -> None:
        """Continue a run from its `state_dict`, and set the optimizer's learning rates at once.

        The state must fit: if this scheduler was built with another schedule, horizon or peak than the saved one,
        nothing is loaded. To change one of them, pass it here; it then overrides the saved and the built value. The
        step count continues, so the learning rate is that of the new run at this step.

        Args:
            state_dict: what `state_dict` returned.
            schedule: the new schedule.
            total_steps: the new horizon.
            base_lrs: the new peaks, one per group, finite and >= 0.

        Raises:
            ScheduleError: when the saved values differ and no new one was passed, or the state cannot be read.

        Example:
            >>> def build(total_steps):
            ...     optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.5)
            ...     return AnnealedLR(optimizer, "linear", total_steps)
            >>> state = {**build(10).state_dict(), "last_epoch": 5}
            >>> longer = build(20)
            >>> longer.load_state_dict(state)  # doctest: +ELLIPSIS
            Traceback (most recent call last):
            robust_lr.exceptions.ScheduleError: saved with total_steps=10, this scheduler has 20; ...
            >>> longer.load_state_dict(state, total_steps=20)
            >>> longer.get_last_lr()
            [0.375]
        """
        own = self.state_dict()
        _check_state(state_dict, own, {"schedule": schedule, "total_steps": total_steps, "base_lrs": base_lrs})
        self.schedule, self.total_steps = _fitting(
            self.schedule if schedule is None else schedule, self.total_steps if total_steps is None else total_steps
        )
        self.base_lrs = [float(peak) for peak in (own["base_lrs"] if base_lrs is None else base_lrs)]
        self.last_epoch = int(state_dict["last_epoch"])
        self._step_count = self.last_epoch + 1
        self._optimizer_steps = 0
        self._restore_groups()

    def _write_lrs(self) -> None:
        if self.last_epoch < 0:
            return  # SequentialLR sets waiting schedulers to -1
        groups = self.optimizer.param_groups
        for group, lr in zip(groups, self.get_lr(), strict=True):
            if isinstance(group["lr"], torch.Tensor):
                group["lr"].fill_(lr)
            else:
                group["lr"] = lr
        self._last_lr = [g["lr"].clone() if isinstance(g["lr"], torch.Tensor) else g["lr"] for g in groups]

    def _restore_groups(self) -> None:
        for group, peak in zip(self.optimizer.param_groups, self.base_lrs, strict=False):
            group["initial_lr"] = peak
        _claim_groups(self.optimizer)
        self._write_lrs()

    def _welcome_groups(self) -> None:
        if len(self.base_lrs) != len(self.optimizer.param_groups):
            self._write_lrs()

    def _before_optimizer_step(self) -> None:
        self._welcome_groups()
        if self._optimizer_steps == 0:
            self._compared_from = self.last_epoch
        elif self._optimizer_steps == _STEPS_COMPARED:
            stepped = self.last_epoch - self._compared_from
            if stepped >= 2 * _STEPS_COMPARED:
                warnings.warn(
                    f"the scheduler made {stepped} steps in {_STEPS_COMPARED} of the optimizer, so it will end early; "
                    "step it once for each optimizer step (Accelerate: leave it out of prepare())",
                    RobustLRWarning,
                    stacklevel=5,  # the user's optimizer.step(), under torch's two wrappers and our hook
                )
        self._optimizer_steps += 1

    def _watch_optimizer(self) -> None:
        self._optimizer_steps = 0
        if not hasattr(self.optimizer, "_optimizer_step_pre_hooks"):
            return  # a wrapper that skips Optimizer.__init__, such as Accelerate's, takes no hooks
        scheduler = weakref.ref(self)

        def before_step(optimizer: Optimizer, args: object, kwargs: object) -> None:
            if (s := scheduler()) is not None:
                s._before_optimizer_step()

        def after_load(optimizer: Optimizer) -> None:
            if (s := scheduler()) is not None:
                s._restore_groups()

        self.optimizer.register_step_pre_hook(before_step)
        self.optimizer.register_load_state_dict_post_hook(after_load)

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        # A copied optimizer has neither our hooks nor torch's wrapper of step(), which step number 1 would look for.
        self._step_count = max(self._step_count, 2)
        self._watch_optimizer()


def _fitting(schedule: Schedule | str, total_steps: int) -> tuple[Schedule, int]:
    check_whole("total_steps", total_steps, error=ScheduleError, at_least=1)
    parsed = parse_schedule(schedule)
    parsed(0, total_steps)  # raises when a warm-up is longer than the run
    return parsed, int(total_steps)


def _claim_groups(optimizer: Optimizer) -> list[float]:
    """Store each group's peak in the group and return the peaks; make each tensor learning rate the group's own."""
    owned: set[int] = set()
    for group in optimizer.param_groups:
        lr: Any = group["lr"]
        group["initial_lr"] = float(group.get("initial_lr", lr))
        if isinstance(lr, torch.Tensor):
            if optimizer.defaults.get("lr") is lr:  # else annealing would change the default of later groups
                optimizer.defaults["lr"] = group["lr"].clone()
            if id(lr) in owned:
                group["lr"] = group["lr"].clone()
            owned.add(id(group["lr"]))
    return [group["initial_lr"] for group in optimizer.param_groups]


def _check_state(state: Mapping[str, Any], own: Mapping[str, Any], asked: Mapping[str, Any]) -> None:
    if missing := [name for name in own if name not in state]:
        raise ScheduleError(f"not the state of an AnnealedLR, it lacks {', '.join(missing)}")
    check_whole("last_epoch", state["last_epoch"], error=ScheduleError, at_least=-1)
    n_groups, n_saved = len(own["base_lrs"]), len(state["base_lrs"])
    if n_saved != n_groups:
        raise ScheduleError(f"saved with {n_saved} parameter groups, this optimizer has {n_groups}; add the same first")
    peaks = asked["base_lrs"]
    if peaks is not None and not (len(peaks) == n_groups and all(math.isfinite(p) and p >= 0 for p in peaks)):
        raise ScheduleError(f"base_lrs must be {n_groups} finite numbers >= 0, one a parameter group, got {peaks!r}")
    for name, value in asked.items():
        saved = list(state[name]) if name == "base_lrs" else state[name]
        if value is None and saved != own[name]:
            raise ScheduleError(
                f"saved with {name}={saved!r}, this scheduler has {own[name]!r}; "
                f"build it with the saved value, or pass {name}={own[name]!r} to load_state_dict to change it"
            )
