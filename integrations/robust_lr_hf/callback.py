"""A callback for the Trainer: it stops a diverged run and prints the final metrics."""

from __future__ import annotations

import logging
import math
from typing import Any

from torch import Tensor
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from robust_lr.commands import report_metrics
from robust_lr_torch import LossWatch

_LOG = logging.getLogger(__name__)
_NOT_OF_THE_MODEL = ("epoch", "total_flos", "learning_rate")
_ENDS_OF_TIMES = ("_runtime", "_per_second")


class RobustLRCallback(TrainerCallback):  # type: ignore[misc]
    """Stops a diverged run, and prints the final metrics in a line of JSON that `robust-lr run --command` reads.

    The line comes at the end of training, and again after each later evaluation, from rank 0. It holds the latest value
    of each metric, under the names of the Trainer: "eval_loss", "train_loss". In a diverged run they are all NaN, also
    for `Trainer.evaluate` and `Trainer.hyperparameter_search`.

    `annealed` adds this callback. Add it yourself to change the rule for divergence, or to report the metrics of a
    Trainer with a scheduler of its own. Only an annealed Trainer stops: others show callbacks no loss.

    Args:
        check_every: steps between two looks at the losses, >= 1; see `robust_lr_torch.LossWatch`.
        divergence_factor, divergence_patience: a run has diverged if its loss is not finite, or stays above this
            multiple of the first step's for this many steps in a row.

    Attributes:
        diverged_at: the step of the run (from 0) at which it diverged, or None.

    Raises:
        OptionError, DataError: when an argument is out of range.
    """

    def __init__(
        self, *, check_every: int = 10, divergence_factor: float = 1e6, divergence_patience: int = 100
    ) -> None:
        self._rule = {
            "check_every": check_every,
            "divergence_factor": divergence_factor,
            "divergence_patience": divergence_patience,
        }
        self._begin()
        self._is_training = False

    @property
    def diverged_at(self) -> int | None:
        """The step of the run (from 0) at which it diverged, or None."""
        found = self._watch.diverged_at
        return None if found is None else found + self._first_step

    def add_loss(self, loss: Tensor) -> None:
        """Take the loss of a batch, as `Trainer.training_step` returns it."""
        self._watch.add(loss)

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Begin a run."""
        self._begin(state.global_step)

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> TrainerControl:
        """Stop the run if it has diverged."""
        self._watch.end_step()
        if control.should_evaluate or control.should_training_stop:
            self._watch.look()
        return self._stop_if_diverged(control)

    def on_epoch_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> TrainerControl:
        """Look before the evaluation of the epoch."""
        self._watch.look()
        return self._stop_if_diverged(control)

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, Any],
        **kwargs: Any,
    ) -> None:
        """Note what is logged."""
        self._metrics |= logs

    def on_evaluate(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        metrics: dict[str, Any],
        **kwargs: Any,
    ) -> None:
        """Note the metrics; in a diverged run, they become NaN."""
        if self.diverged_at is not None:
            metrics |= {name: math.nan for name in metrics if _is_of_the_model(name)}
        self._metrics |= metrics
        if not self._is_training:
            self._report(state)

    def on_train_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Print the final metrics."""
        self._is_training = False
        self._report(state)

    def _begin(self, first_step: int = 0) -> None:
        self._watch, self._first_step = LossWatch(**self._rule), first_step  # type: ignore[arg-type]
        self._metrics = dict[str, Any]()
        self._is_training = True

    def _stop_if_diverged(self, control: TrainerControl) -> TrainerControl:
        if self.diverged_at is not None and not control.should_training_stop:
            _LOG.warning("The loss diverged at step %d, so training stops.", self.diverged_at)
            control.should_training_stop = True
        return control

    def _report(self, state: TrainerState) -> None:
        if self.diverged_at is not None:
            self._metrics |= {name: math.nan for name in self._metrics if _is_of_the_model(name)}
        if state.is_world_process_zero and self._metrics:
            report_metrics({**self._metrics, "step": state.global_step})


def _is_of_the_model(name: str) -> bool:
    return name not in _NOT_OF_THE_MODEL and not name.endswith(_ENDS_OF_TIMES)
