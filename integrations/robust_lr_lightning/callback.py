"""A callback for Lightning: it stops a diverged run, finds faults of the schedule and prints the final metrics."""

from __future__ import annotations

import math
from typing import Any

from torch import Tensor

from robust_lr_torch.monitor import MonitoredCallback, TrainingMonitor

try:
    from lightning.pytorch import Callback, LightningModule, Trainer
except ModuleNotFoundError as error:
    if error.name != "lightning":
        raise
    from pytorch_lightning import Callback, LightningModule, Trainer  # the same under its older name


class RobustLRCallback(MonitoredCallback, Callback):  # type: ignore[misc]
    """Stops a diverged run, logs faults of the schedule, and prints the final metrics as `robust-lr run` reads them.

    The metrics are those that the module has logged (``trainer.callback_metrics``). They come in a line of JSON from
    rank 0, at the end of training, and after `Trainer.validate` and `Trainer.test`. In a diverged run they are NaN.
    The loss is what `training_step` returns.

    Args:
        check_every: steps between two looks at the losses, >= 1; see `robust_lr_torch.LossWatch`.
        divergence_factor, divergence_patience: a run has diverged if its loss is not finite, or stays above this
            multiple of the first step's for this many steps in a row.

    Raises:
        OptionError, DataError: when an argument is out of range.
    """

    def metrics(self, trainer: Trainer) -> dict[str, float]:
        """Return the metrics that the module has logged, for a training function to return; NaN if it diverged."""
        return self._monitor.judged({name: float(value) for name, value in trainer.callback_metrics.items()})

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Begin a run."""
        steps, configs = trainer.estimated_stepping_batches, trainer.lr_scheduler_configs
        is_usual = pl_module.automatic_optimization and len(trainer.optimizers) == 1
        self._last_step = trainer.global_step
        self._monitor = TrainingMonitor(
            trainer.optimizers[0] if is_usual else None,
            configs[0].scheduler if configs else None,
            total_steps=int(steps) if math.isfinite(steps) and steps >= 1 else None,
            first_step=trainer.global_step,
            is_main=trainer.is_global_zero,
            watch=self._new_watch(),
        )

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Take the loss, and stop the run if it has diverged."""
        loss = outputs.get("loss") if isinstance(outputs, dict) else outputs
        if isinstance(loss, Tensor):
            self._monitor.add_loss(loss / trainer.accumulate_grad_batches)
        has_diverged = False
        if trainer.global_step > self._last_step:
            self._last_step = trainer.global_step
            has_diverged = self._monitor.end_step()
        if trainer.is_last_batch:
            has_diverged = self._monitor.look()
        trainer.should_stop |= has_diverged

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Print the final metrics, and log what the doctor found."""
        self._monitor.end()
        self._report(trainer)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Print the metrics after `Trainer.validate`."""
        if trainer.state.fn == "validate":
            self._report(trainer)

    def on_test_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Print the metrics after `Trainer.test`."""
        self._report(trainer)

    def _report(self, trainer: Trainer) -> None:
        if found := self.metrics(trainer):
            self._monitor.report({**found, "step": trainer.global_step})
