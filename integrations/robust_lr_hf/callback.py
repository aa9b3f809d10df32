"""A callback for the Trainer: it stops a diverged run, finds faults of the schedule and prints the final metrics."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from torch import Tensor
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from robust_lr_torch.monitor import MonitoredCallback, TrainingMonitor


class RobustLRCallback(MonitoredCallback, TrainerCallback):  # type: ignore[misc]
    """Stops a diverged run, logs faults of the schedule, and prints the final metrics as `robust-lr run` reads them.

    The metrics come in a line of JSON from rank 0, at the end of training and after each later evaluation. It holds the
    latest value of each, under the names of the Trainer: "eval_loss", "train_loss". In a diverged run they are NaN,
    also for `Trainer.evaluate` and `Trainer.hyperparameter_search`.

    `annealed` adds this callback. Add it yourself to change the rule for divergence, or to a Trainer with a scheduler
    of its own; there it stops no run, because a plain Trainer shows callbacks no losses.

    Args:
        check_every: steps between two looks at the losses, >= 1; see `robust_lr_torch.LossWatch`.
        divergence_factor, divergence_patience: a run has diverged if its loss is not finite, or stays above this
            multiple of the first step's for this many steps in a row.

    Raises:
        OptionError, DataError: when an argument is out of range.
    """

    _metrics: Mapping[str, Any] = MappingProxyType({})
    _is_training = False

    def add_loss(self, loss: Tensor) -> None:
        """Take the loss of a batch, as `Trainer.training_step` returns it."""
        self._monitor.add_loss(loss)

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Begin a run."""
        self._metrics, self._is_training = {}, True
        self._monitor = TrainingMonitor(
            kwargs.get("optimizer"),
            kwargs.get("lr_scheduler"),
            total_steps=state.max_steps,
            first_step=state.global_step,
            is_main=state.is_world_process_zero,
            watch=self._new_watch(),
        )

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> TrainerControl:
        """Stop the run if it has diverged."""
        has_diverged = self._monitor.end_step()
        if control.should_evaluate or control.should_training_stop:
            has_diverged = self._monitor.look()
        control.should_training_stop |= has_diverged
        return control

    def on_epoch_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> TrainerControl:
        """Look before the evaluation of the epoch."""
        control.should_training_stop |= self._monitor.look()
        return control

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, Any],
        **kwargs: Any,
    ) -> None:
        """Note what is logged."""
        self._metrics = {**self._metrics, **logs}

    def on_evaluate(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        metrics: dict[str, Any],
        **kwargs: Any,
    ) -> None:
        """Note the metrics; in a diverged run, they become NaN."""
        metrics.update(self._monitor.judged(metrics))
        self._metrics = {**self._metrics, **metrics}
        if not self._is_training:
            self._monitor.report({**self._metrics, "step": state.global_step})

    def on_train_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Print the final metrics, and log what the doctor found."""
        self._is_training = False
        self._monitor.end()
        self._monitor.report({**self._metrics, "step": state.global_step})
