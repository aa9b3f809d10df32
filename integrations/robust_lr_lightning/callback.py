"""A callback for Lightning's Trainer: it stops a diverged run and prints the final metrics."""

from __future__ import annotations

import logging
import math
from typing import Any

from torch import Tensor

from robust_lr.commands import report_metrics
from robust_lr_torch import LossWatch

try:
    from lightning.pytorch import Callback, LightningModule, Trainer
except ModuleNotFoundError as error:
    if error.name != "lightning":
        raise
    from pytorch_lightning import Callback, LightningModule, Trainer  # the same under its older name

_LOG = logging.getLogger(__name__)


class RobustLRCallback(Callback):  # type: ignore[misc]
    """Stops a diverged run, and prints the final metrics in a line of JSON that `robust-lr run --command` reads.

    The line comes at the end of training, and again after `Trainer.validate` and `Trainer.test`, from rank 0. It holds
    the metrics that the module has logged (``trainer.callback_metrics``). In a diverged run they are all NaN.

    The loss is what `training_step` returns. With manual optimization there is none, and the callback only reports.

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
        super().__init__()
        self._rule = {
            "check_every": check_every,
            "divergence_factor": divergence_factor,
            "divergence_patience": divergence_patience,
        }
        self._begin()

    @property
    def diverged_at(self) -> int | None:
        """The step of the run (from 0) at which it diverged, or None."""
        found = self._watch.diverged_at
        return None if found is None else found + self._first_step

    def metrics(self, trainer: Trainer) -> dict[str, float]:
        """Return the metrics that the module has logged, as a training function returns them; NaN if it diverged."""
        numbers = {name: float(value) for name, value in trainer.callback_metrics.items()}
        return numbers if self.diverged_at is None else dict.fromkeys(numbers, math.nan)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Begin a run."""
        self._begin(trainer.global_step)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Take the loss, and stop the run if it has diverged."""
        loss = outputs.get("loss") if isinstance(outputs, dict) else outputs
        if not isinstance(loss, Tensor):
            return
        self._watch.add(loss / trainer.accumulate_grad_batches)
        if trainer.global_step > self._last_step:
            self._last_step = trainer.global_step
            self._watch.end_step()
        if trainer.is_last_batch:
            self._watch.look()
        if self.diverged_at is not None and not trainer.should_stop:
            _LOG.warning("The loss diverged at step %d, so training stops.", self.diverged_at)
            trainer.should_stop = True

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Print the final metrics."""
        self._report(trainer)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Print the metrics after `Trainer.validate`."""
        if trainer.state.fn == "validate":
            self._report(trainer)

    def on_test_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Print the metrics after `Trainer.test`."""
        self._report(trainer)

    def _begin(self, first_step: int = 0) -> None:
        self._watch = LossWatch(**self._rule)  # type: ignore[arg-type]
        self._first_step = self._last_step = first_step

    def _report(self, trainer: Trainer) -> None:
        found = self.metrics(trainer)
        if trainer.is_global_zero and found:
            report_metrics({**found, "step": trainer.global_step})
