"""`LossCurve`: the losses of one training over its steps, whichever tool logged them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise

from ._checks import check_number
from .exceptions import DataError


@dataclass(frozen=True, kw_only=True)
class LossCurve:
    """The losses of one training over its steps; lower is better.

    Attributes:
        lr: learning rate, > 0.
        steps: steps at which the loss was measured, ascending.
        losses: the loss at each; NaN or infinity if it diverged.
        final: the final loss, NaN or infinite if it diverged.
        schedule: name of the schedule, if there are several.
        seed: the seed as text; "" if there is none.

    Raises:
        DataError: when the steps are not ascending, or there is not one loss for each.

    Example:
        >>> LossCurve(lr=0.1, steps=(1, 2), losses=(0.9, 0.5), final=0.5).at(1.5)
        0.9
    """

    lr: float
    steps: tuple[float, ...]
    losses: tuple[float, ...]
    final: float
    schedule: str = ""
    seed: str = ""

    def __post_init__(self) -> None:
        check_number("lr", self.lr, above=0, error=DataError)
        if not self.steps or len(self.steps) != len(self.losses):
            raise DataError(f"expected a loss for each step, got {len(self.losses)} for {len(self.steps)} steps")
        if any(not a < b for a, b in pairwise(self.steps)):
            raise DataError(f"steps must be ascending, got {self.steps!r}")

    @property
    def ended(self) -> bool:
        """Whether the final loss is finite."""
        return math.isfinite(self.final)

    def at(self, step: float) -> float:
        """Return the last loss measured up to a step; +inf if it is not finite, or none was."""
        known = [loss for own, loss in zip(self.steps, self.losses, strict=True) if own <= step]
        return known[-1] if known and math.isfinite(known[-1]) else math.inf
