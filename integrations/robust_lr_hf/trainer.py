"""A Trainer whose learning rate follows a schedule of robust-lr."""

from __future__ import annotations

import copy
import warnings
from typing import Any

from torch import Tensor, nn
from torch.optim import Optimizer
from transformers import Trainer, TrainingArguments, set_seed

from robust_lr import Schedule, parse_schedule
from robust_lr._text import listed
from robust_lr.exceptions import OptionError, RobustLRWarning, ScheduleError
from robust_lr_torch import AnnealedLR
from robust_lr_torch.lr_scheduler import OnNewHorizon, check_on_new_horizon

from .callback import RobustLRCallback


def annealed(
    trainer_class: type[Trainer], schedule: Schedule | str, *, on_new_horizon: OnNewHorizon = "error"
) -> type[Trainer]:
    """Return a subclass of `Trainer`, or of one of its subclasses, that anneals the learning rate by a schedule.

    The optimizer, its peak (``learning_rate`` of the arguments) and the number of steps stay the Trainer's. The k-th
    optimizer step, from 0, has ``learning_rate * schedule(k, number of steps)``: in an uninterrupted run, after a
    resume from any checkpoint, and on any number of ranks. The Trainer gets a `RobustLRCallback` if it has none.

    In `Trainer.hyperparameter_search`, the space may set "schedule" to the spec of another schedule. "seed" also fixes
    the initial weights of the trial; in a plain Trainer, these come from the seed of the trial before.

    Args:
        trainer_class: `transformers.Trainer` or a subclass.
        schedule: a `Schedule`, or its spec such as ``"warmup(0.05)+cosine"``.
        on_new_horizon: what to do when a checkpoint of a run with another number of steps is resumed: "error";
            "stretch" the schedule to the new number; or "keep" the old schedule, whose last rate then stays.

    Raises:
        OptionError: when an option is wrong.
        ScheduleError: when the schedule cannot be read; in training, when it does not fit into the number of steps.

    Warns:
        RobustLRWarning: when the arguments of the Trainer name another schedule or a warm-up, which are not used.

    Example:
        >>> annealed(Trainer, "warmup(0.05)+cosine")
        <class 'robust_lr_hf.trainer.AnnealedTrainer'>
    """
    if not (isinstance(trainer_class, type) and issubclass(trainer_class, Trainer)):
        call = f"annealed(Trainer, {str(schedule)!r})(model=..., args=...)"
        raise OptionError(f"annealed takes the class of a Trainer, as in {call}, got {type(trainer_class).__name__}")
    parse_schedule(schedule)
    own = {"_schedule": schedule, "_on_new_horizon": check_on_new_horizon(on_new_horizon), "__module__": __name__}
    return type(f"Annealed{trainer_class.__name__}", (_Annealed, trainer_class), own)


class _Annealed(Trainer):  # type: ignore[misc]
    _schedule: Schedule | str
    _on_new_horizon: OnNewHorizon
    args: TrainingArguments
    lr_scheduler: Any

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        _warn_of_unused(self.args)
        self.args = copy.copy(self.args)
        self.args.schedule = _as_text(self._schedule)  # which a hyperparameter search may set for each trial
        found = [each for each in self.callback_handler.callbacks if isinstance(each, RobustLRCallback)]
        self._callback = found[0] if found else RobustLRCallback()
        if not found:
            self.add_callback(self._callback)

    def create_scheduler(self, num_training_steps: int, optimizer: Optimizer | None = None) -> Any:
        if self.lr_scheduler is None:
            optimizer = optimizer or self.optimizer
            optimizer = getattr(optimizer, "optimizer", optimizer)  # Accelerate's wrapper takes no hooks
            self.lr_scheduler = AnnealedLR(
                optimizer, self.args.schedule, num_training_steps, on_new_horizon=self._on_new_horizon
            )
            self._created_lr_scheduler = True  # else the next run would continue this schedule
        return self.lr_scheduler

    def training_step(self, *args: Any, **kwargs: Any) -> Tensor:
        loss: Tensor = super().training_step(*args, **kwargs)
        self._callback.add_loss(loss)
        return loss

    def call_model_init(self, trial: Any = None) -> nn.Module:
        if trial is not None and self.hp_search_backend is not None:
            space = trial if isinstance(trial, dict) else self.hp_space(trial)
            set_seed(int(space.get("seed", self.args.seed)))
        model: nn.Module = super().call_model_init(trial)
        return model


def _as_text(schedule: Schedule | str) -> Schedule | str:
    try:
        return str(schedule) if parse_schedule(str(schedule)) == parse_schedule(schedule) else schedule
    except ScheduleError:  # a function of the script, for instance
        return schedule


def _warn_of_unused(args: TrainingArguments) -> None:
    unused = {
        "lr_scheduler_type": getattr(args.lr_scheduler_type, "value", args.lr_scheduler_type) != "linear",
        "lr_scheduler_kwargs": bool(args.lr_scheduler_kwargs),
        "warm-up": args.get_warmup_steps(10**6) > 0,
    }
    if given := [name for name, is_given in unused.items() if is_given]:
        said = f"{listed(given)} of the Trainer's arguments"
        warnings.warn(f"the schedule of annealed() replaces {said}: remove them", RobustLRWarning, stacklevel=3)
