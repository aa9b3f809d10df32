"""What the callbacks of all trainers do: stop at divergence, ask the doctor, report the final metrics."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping
from functools import partial
from typing import Any

from torch import Tensor
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from robust_lr.commands import report_metrics
from robust_lr.doctor import Finding
from robust_lr.exceptions import OptionError

from .doctor import ScheduleDoctor
from .loss_watch import LossWatch

_LOG = logging.getLogger(__name__)
_NOT_OF_THE_MODEL = ("step", "epoch", "total_flos", "learning_rate")
_ENDS_OF_TIMES = ("_runtime", "_per_second")


class TrainingMonitor:
    """Watches one run of a training loop: its losses for divergence, and its learning rates for faults.

    It logs a divergence and each finding of the `ScheduleDoctor` as a warning of the logger "robust_lr_torch.monitor".

    Args:
        optimizer, scheduler: of the loop; None for no doctor.
        total_steps: optimizer steps of the whole run; None if unknown.
        first_step: optimizer steps that were done before, as after a resume.
        is_main: whether this process logs and prints; one of them should.
        watch: watches the losses.

    Example:
        >>> import torch
        >>> monitor = TrainingMonitor(watch=LossWatch(check_every=1), is_main=False)
        >>> monitor.add_loss(torch.tensor(math.nan))
        >>> monitor.end_step(), monitor.diverged_at
        (True, 0)
        >>> monitor.judged({"eval_loss": 0.5, "eval_runtime": 2.0})
        {'eval_loss': nan, 'eval_runtime': 2.0}
    """

    def __init__(
        self,
        optimizer: Optimizer | None = None,
        scheduler: LRScheduler | None = None,
        *,
        total_steps: int | None = None,
        first_step: int = 0,
        is_main: bool = True,
        watch: LossWatch | None = None,
    ) -> None:
        self._watch, self._first_step, self._is_main = watch or LossWatch(), first_step, is_main
        self._said = set[str]()
        self._has_logged = False
        self._doctor = self._call_doctor(optimizer, scheduler, total_steps) if is_main else None

    @property
    def diverged_at(self) -> int | None:
        """The step of the run (from 0) at which it diverged, as of the last look, or None."""
        found = self._watch.diverged_at
        return None if found is None else found + self._first_step

    def add_loss(self, loss: Tensor) -> None:
        """Take the loss of a batch: with gradient accumulation, its share of the step's loss."""
        self._watch.add(loss)

    def end_step(self) -> bool:
        """Say that the optimizer has made a step; return whether the run has diverged and should stop."""
        self._watch.end_step()
        return self._has_diverged()

    def look(self) -> bool:
        """Look at all losses so far, as before an evaluation; return whether the run has diverged and should stop."""
        self._watch.look()
        return self._has_diverged()

    def judged(self, metrics: Mapping[str, Any]) -> dict[str, Any]:
        """Return the metrics; those of the model are NaN if the run has diverged."""
        if self.diverged_at is None:
            return dict(metrics)
        return {name: math.nan if _is_of_the_model(name) else value for name, value in metrics.items()}

    def report(self, metrics: Mapping[str, Any]) -> None:
        """Print the metrics, as judged, in a line of JSON that `robust-lr run --command` reads."""
        if self._is_main and metrics:
            report_metrics(self.judged(metrics))

    def end(self) -> None:
        """End the run: look a last time, and log what the doctor found."""
        self.look()
        if self._doctor is not None:
            self._doctor.close()
            if self.diverged_at is None:  # else the run ended early on purpose
                for finding in self._doctor.findings():
                    self._say(finding)
            self._doctor = None

    def _call_doctor(
        self, optimizer: Optimizer | None, scheduler: LRScheduler | None, total_steps: int | None
    ) -> ScheduleDoctor | None:
        if optimizer is None:
            return None
        try:
            return ScheduleDoctor(optimizer, scheduler, total_steps=total_steps, on_finding=self._say)
        except OptionError:  # an engine's own kind of optimizer or scheduler: train without a doctor
            return None

    def _say(self, finding: Finding) -> None:
        if finding.code not in self._said:
            self._said.add(finding.code)
            _LOG.warning("Schedule doctor: %s", finding)

    def _has_diverged(self) -> bool:
        if self.diverged_at is None:
            return False
        if self._is_main and not self._has_logged:
            self._has_logged = True
            _LOG.warning("The loss diverged at step %d, so training stops.", self.diverged_at)
        return True


class MonitoredCallback:
    """What the callbacks of all trainers are: the rule for divergence, and the monitor of the run."""

    def __init__(
        self, *, check_every: int = 10, divergence_factor: float = 1e6, divergence_patience: int = 100
    ) -> None:
        super().__init__()
        self._new_watch = partial(
            LossWatch,
            check_every=check_every,
            divergence_factor=divergence_factor,
            divergence_patience=divergence_patience,
        )
        self._monitor = TrainingMonitor(watch=self._new_watch())

    @property
    def diverged_at(self) -> int | None:
        """The step (from 0) at which the last run diverged, or None."""
        return self._monitor.diverged_at


def _is_of_the_model(name: str) -> bool:
    return name not in _NOT_OF_THE_MODEL and not name.endswith(_ENDS_OF_TIMES)
