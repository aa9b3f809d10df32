"""A schedule as a PyTorch scheduler: the learning rate is a closed form of the step count, so any resume is exact."""

from __future__ import annotations

import math
import warnings
import weakref
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache
from typing import Any, Literal, get_args

import torch
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from robust_lr._checks import check_whole
from robust_lr.exceptions import OptionError, RobustLRWarning, ScheduleError
from robust_lr.schedules.closed_forms import Schedule
from robust_lr.schedules.specs import parse_schedule

OnNewHorizon = Literal["error", "stretch", "keep"]

_STEPS_COMPARED = 32  # more than the handful of optimizer steps that a GradScaler skips while it finds its scale


class AnnealedLR(LRScheduler):
    """Anneals the learning rate of every parameter group by a schedule; call ``step()`` after each optimizer step.

    After k calls of ``step()`` each group trains with ``lr = peak * schedule(k, total_steps)``, k = 0 at the start.
    The peak is the group's ``initial_lr`` if it has one (as after loading a saved optimizer), else its initial ``lr``.
    This also holds for groups added later; they join at the next ``optimizer.step()`` or ``step()``.
    From ``k = total_steps`` on the learning rate stays where the schedule ended; it never rises again.

    To resume, rebuild the optimizer and the scheduler and load the state of each, in any order: the scheduler puts its
    peaks and learning rates into the optimizer when its own state is loaded, and again when the optimizer's is. Where
    another scheduler had set the learning rate last (within a `SequentialLR`, say), it leaves that rate alone.
    To continue with another peak, horizon or schedule, pass it to `load_state_dict`; where a trainer calls that, say
    in `on_new_horizon` what a longer or shorter run means.

    Args:
        optimizer: its groups may have different learning rates, as floats or as tensors (which are updated in place).
        schedule: a `Schedule`, or its spec such as ``"warmup(0.05)+cosine"``.
        total_steps: T, the number of optimizer steps that the schedule spans, >= 1.
        last_epoch: as in torch, the index of the last step done, -1 for none: after k steps, pass k - 1.
        on_new_horizon: what to do when a state is loaded that was saved with another `total_steps`: "error"; "stretch"
            the schedule to this scheduler's `total_steps`, at the saved step; or "keep" the saved `total_steps`.

    Raises:
        ScheduleError: when the schedule cannot be read, or does not fit into `total_steps`.
        OptionError: when `on_new_horizon` is none of these.

    Warns:
        RobustLRWarning: once, when the scheduler is stepped twice or more for each step of the optimizer; and once,
            when it is stepped beyond `total_steps`.

    Example:
        >>> weight = torch.nn.Parameter(torch.zeros(1))
        >>> optimizer = torch.optim.SGD([weight], lr=0.5)
        >>> scheduler = AnnealedLR(optimizer, "warmup(steps=2)+linear", total_steps=6)
        >>> lrs = []
        >>> for _ in range(6):
        ...     lrs += scheduler.get_last_lr()
        ...     optimizer.step()
        ...     scheduler.step()
        >>> lrs
        [0.25, 0.5, 0.5, 0.375, 0.25, 0.125]
        >>> scheduler.state_dict()
        {'schedule': 'warmup(steps=2)+linear', 'total_steps': 6, 'last_epoch': 6, 'base_lrs': [0.5], 'in_charge': True}
    """

    schedule: Schedule
    total_steps: int
    _in_charge = True  # of the optimizer's learning rates, as of the last state that was loaded
    _written: list[float] | None = None  # the learning rates that this scheduler set last
    _optimizers_own: list[float] | None = None  # the learning rates in the last state that the optimizer loaded
    _has_ended = False

    def __init__(
        self,
        optimizer: Optimizer,
        schedule: Schedule | str,
        total_steps: int,
        last_epoch: int = -1,
        *,
        on_new_horizon: OnNewHorizon = "error",
    ) -> None:
        check_whole("last_epoch", last_epoch, error=ScheduleError, at_least=-1)
        self.on_new_horizon = check_on_new_horizon(on_new_horizon)
        self.schedule, self.total_steps = _fitting(schedule, total_steps)
        if isinstance(optimizer, Optimizer):  # torch says what is wrong with anything else
            _claim_groups(optimizer)
        super().__init__(optimizer, last_epoch)
        self._watch_optimizer()

    def step(self, epoch: int | None = None) -> None:
        """Go to the next step of the schedule, or, as torch's `SequentialLR` does, to step `epoch`."""
        super().step() if epoch is None else super().step(epoch)
        self._in_charge, self._written = True, _current_lrs(self.optimizer)
        if self.last_epoch > self.total_steps and not self._has_ended:
            self._has_ended = True
            warnings.warn(
                f"step {self.last_epoch} of a schedule of total_steps={self.total_steps}: the learning rate stays at "
                f"{float(self.get_last_lr()[0]):.4g}; pass the number of optimizer steps of the whole run",
                RobustLRWarning,
                stacklevel=2,
            )

    def get_lr(self) -> list[float | torch.Tensor]:
        """Return the learning rate of each group at the current step; shape (number of groups,)."""
        return _never_compiled()(self)

    def state_dict(self) -> dict[str, Any]:
        """Return the state as plain values: schedule (its spec), total_steps, last_epoch, base_lrs (peaks), in_charge.

        `in_charge` says whether this scheduler, and no other, had set the learning rates. JSON can hold the state, and
        ``torch.load`` reads it with ``weights_only=True``.
        """
        self._welcome_groups()
        return {
            "schedule": str(self.schedule),
            "total_steps": self.total_steps,
            "last_epoch": self.last_epoch,
            "base_lrs": [float(peak) for peak in self.base_lrs],
            "in_charge": self._written == _current_lrs(self.optimizer),
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
        step count continues, so the learning rate is that of the new run at this step. Peaks that agree in float32 are
        the same.

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
        saved_horizon = state_dict.get("total_steps", self.total_steps)
        if total_steps is None and self.on_new_horizon != "error":
            total_steps = self.total_steps if self.on_new_horizon == "stretch" else saved_horizon
        _check_state(state_dict, own, {"schedule": schedule, "total_steps": total_steps, "base_lrs": base_lrs})
        self.schedule, self.total_steps = _fitting(
            self.schedule if schedule is None else schedule, self.total_steps if total_steps is None else total_steps
        )
        self.base_lrs = [float(peak) for peak in (own["base_lrs"] if base_lrs is None else base_lrs)]
        self.last_epoch = int(state_dict["last_epoch"])
        self._step_count = self.last_epoch + 1
        self._optimizer_steps = 0
        self._has_ended = self.last_epoch > self.total_steps
        self._in_charge = state_dict.get("in_charge", True)  # version 0.1.0 did not save it
        self._restore_groups()
        if not self._in_charge and self._optimizers_own is not None:
            self._set_lrs(self._optimizers_own)  # the optimizer's state came first, and was overwritten

    def _write_lrs(self) -> None:
        if self.last_epoch < 0:
            return  # SequentialLR sets waiting schedulers to -1
        self._set_lrs(self.get_lr())
        self._written = _current_lrs(self.optimizer)
        self._last_lr = [
            g["lr"].clone() if isinstance(g["lr"], torch.Tensor) else g["lr"] for g in self.optimizer.param_groups
        ]

    def _set_lrs(self, lrs: Sequence[float | torch.Tensor]) -> None:
        for group, lr in zip(self.optimizer.param_groups, lrs, strict=True):
            if isinstance(group["lr"], torch.Tensor):
                group["lr"].fill_(lr)
            else:
                group["lr"] = lr

    def _restore_groups(self) -> None:
        for group, peak in zip(self.optimizer.param_groups, self.base_lrs, strict=False):
            group["initial_lr"] = peak
        _claim_groups(self.optimizer)
        if self._in_charge:
            self._write_lrs()

    def _welcome_groups(self) -> None:
        if len(self.base_lrs) != len(self.optimizer.param_groups):
            self._write_lrs()

    def _before_optimizer_step(self) -> None:
        if torch.compiler.is_compiling():
            return  # a compiled step would be compiled again for each new count
        self._welcome_groups()
        if self._optimizer_steps == 0:
            self._compared_from = self.last_epoch
        elif self._optimizer_steps == _STEPS_COMPARED:
            stepped = self.last_epoch - self._compared_from
            if stepped >= 2 * _STEPS_COMPARED:
                warnings.warn(
                    f"the scheduler made {stepped} steps in {_STEPS_COMPARED} of the optimizer, so it will end early; "
                    "step it once for each optimizer step (Accelerate: use robust_lr_hf.AcceleratedLR)",
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

        def before_load(optimizer: Optimizer, state: dict[str, Any]) -> None:
            if (s := scheduler()) is not None:
                s._optimizers_own = _floats(group["lr"] for group in state["param_groups"])

        def after_load(optimizer: Optimizer) -> None:
            if (s := scheduler()) is not None:
                s._restore_groups()

        self.optimizer.register_step_pre_hook(before_step)
        self.optimizer.register_load_state_dict_pre_hook(before_load)
        self.optimizer.register_load_state_dict_post_hook(after_load)

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        # A copied optimizer has neither our hooks nor torch's wrapper of step(), which step number 1 would look for.
        self._step_count = max(self._step_count, 2)
        self._watch_optimizer()


def check_on_new_horizon(value: OnNewHorizon) -> OnNewHorizon:
    """Return the option, or raise an `OptionError`."""
    if value not in get_args(OnNewHorizon):
        raise OptionError(f'on_new_horizon must be "error", "stretch" or "keep", got {value!r}')
    return value


def _lrs_now(scheduler: AnnealedLR) -> list[float | torch.Tensor]:
    if len(scheduler.base_lrs) != len(scheduler.optimizer.param_groups):
        scheduler.base_lrs = list(_claim_groups(scheduler.optimizer))
    step, total_steps = min(scheduler.last_epoch, scheduler.total_steps), scheduler.total_steps
    multiplier = float(scheduler.schedule(step, total_steps))
    return [peak * multiplier for peak in scheduler.base_lrs]


@cache  # not a decorator of `_lrs_now`, because it imports the compiler
def _never_compiled() -> Callable[[AnnealedLR], list[float | torch.Tensor]]:
    return torch.compiler.disable(_lrs_now)  # type: ignore[no-any-return, no-untyped-call]


def _floats(lrs: Iterable[float | torch.Tensor]) -> list[float]:
    return [float(lr) for lr in lrs]


def _current_lrs(optimizer: Optimizer) -> list[float]:
    return _floats(group["lr"] for group in optimizer.param_groups)


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


def _same(saved: object, own: object) -> bool:
    """Peaks are the same if they agree in float32: a learning rate may be a float in one run, a tensor in the next."""
    return saved == own or (isinstance(saved, list) and torch.equal(torch.tensor(saved), torch.tensor(own)))


def _check_state(state: Mapping[str, Any], own: Mapping[str, Any], asked: Mapping[str, Any]) -> None:
    if missing := [name for name in own if name not in state and name != "in_charge"]:
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
        if value is None and not _same(saved, own[name]):
            raise ScheduleError(
                f"saved with {name}={saved!r}, this scheduler has {own[name]!r}; "
                f"build it with the saved value, or pass {name}={own[name]!r} to load_state_dict to change it"
            )
