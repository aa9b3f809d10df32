"""Watches the losses of a training loop for divergence, on all ranks together."""

from __future__ import annotations

import torch
from torch import Tensor

from robust_lr._checks import check_whole
from robust_lr.divergence import DivergenceWatch


class LossWatch:
    """Watches the loss of each optimizer step of one run; the rule is that of `robust_lr.DivergenceWatch`.

    Reading a loss waits for the device, so the watch looks every `check_every` steps. What it reports does not depend
    on that. Where torch.distributed is initialized, it takes the mean of the loss over all ranks, so that they stop
    together; each rank must then make the same calls.

    Args:
        check_every: steps between two looks, >= 1.
        divergence_factor, divergence_patience: a run has diverged if its loss is not finite, or stays above this
            multiple of the first step's for this many steps in a row.

    Attributes:
        diverged_at: the step (from 0) at which the run diverged, as of the last look, or None.

    Raises:
        OptionError, DataError: when an argument is out of range.

    Example:
        >>> watch = LossWatch(check_every=2)
        >>> for loss in (1.0, float("nan")):
        ...     watch.add(torch.tensor(loss))
        ...     watch.end_step()
        >>> watch.diverged_at
        1
    """

    diverged_at: int | None = None

    def __init__(
        self, *, check_every: int = 10, divergence_factor: float = 1e6, divergence_patience: int = 100
    ) -> None:
        self._check_every = check_whole("check_every", check_every, at_least=1)
        self._watch = DivergenceWatch(factor=divergence_factor, patience=divergence_patience)
        self._parts, self._steps = list[Tensor](), list[Tensor]()

    def add(self, loss: Tensor) -> None:
        """Take the loss of a batch. The loss of a step is the sum over its batches, so pass their shares."""
        self._parts.append(loss.detach().float())

    def end_step(self) -> None:
        """Say that the optimizer has made a step, and look if it is time."""
        if self._parts:
            self._steps.append(torch.stack(self._parts).sum())
            self._parts = []
        if len(self._steps) >= self._check_every:
            self.look()

    def look(self) -> None:
        """Look at all steps so far: before an evaluation, and at the end of the run."""
        if not self._steps:
            return
        losses = torch.stack(self._steps)
        self._steps = []
        if torch.distributed.is_available() and torch.distributed.is_initialized():
            torch.distributed.all_reduce(losses)
            losses /= torch.distributed.get_world_size()
        found = self._watch.see(losses.cpu().numpy())
        if self.diverged_at is None:
            self.diverged_at = found
