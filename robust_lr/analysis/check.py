"""Check a learning rate that was chosen before: is it still as good as the best of a sweep, within a tolerance?"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from .._checks import check_confidence_level, check_number
from .._metrics import Direction, quantity
from .._text import loss_text
from ..readers.runs import called
from ..sweep.results import SweepResult
from ._as_dict import plain_values
from ._bounds import ExcessBounds
from ._selection import LossBlock, loss_block
from .summary import allowed_excess

SAME = 0.01  # learning rates that differ by less are the same one, written with fewer digits


@dataclass(frozen=True, kw_only=True)
class LearningRateCheck:
    """Whether a learning rate is as good as the best of a sweep under one schedule; ``print`` says it in words.

    Attributes:
        schedule: name of the schedule.
        lr: the learning rate that was checked.
        measured: the learning rates of the sweep that stand for it: that one, or its two neighbors; none outside.
        verdict: "within" or "worse" than the tolerance, by the mean losses; between two learning rates, if both are.
            "unknown" if one of them is within and the other is not, or the sweep does not reach it.
        tolerance: allowed excess loss, in units of the loss.
        excess: the highest excess of their mean losses over that of the best; +inf if training diverged, NaN outside.
        interval: of that excess; NaN if nothing shows the noise.
        certain: whether this interval lies on one side of the tolerance, so that other seeds would hardly change the
            verdict.
        best_lr: learning rate with the lowest mean loss, and `best_loss`, that mean.
        direction: that of the sweep.
    """

    schedule: str
    lr: float
    measured: tuple[float, ...]
    verdict: Literal["within", "worse", "unknown"]
    tolerance: float
    excess: float
    interval: tuple[float, float]
    certain: bool
    best_lr: float
    best_loss: float
    direction: Direction = "minimize"

    def to_dict(self) -> dict[str, Any]:
        """Return the attributes as JSON-able values; a number that is not finite is None."""
        found: dict[str, Any] = plain_values(dict(vars(self)))
        return found

    def __str__(self) -> str:
        best = -self.best_loss if self.direction == "maximize" else self.best_loss
        of_best = f"the best, {self.best_lr:.4g} ({quantity(self.direction)} {loss_text(best)})"
        if not self.measured:
            beyond = f"the sweep does not reach {self.lr:.4g}; train it"
            return f"{called(self.schedule)}: {beyond}. Best: {self.best_lr:.4g}"
        where = f"{self.lr:.4g}"
        if len(self.measured) == 2:
            where += f", between {self.measured[0]:.4g} and {self.measured[1]:.4g},"
        if self.verdict == "unknown":
            return (
                f"{called(self.schedule)}: {where} may be within {self.tolerance:.3g} of {of_best}: only one of these "
                f"two is. Train it to know"
            )
        if math.isinf(self.excess):
            return f"{called(self.schedule)}: {where} is worse than allowed: training diverged. Use {self.best_lr:.4g}"
        if self.excess == 0:
            return f"{called(self.schedule)}: {where} is the best of the sweep"
        low, high = self.interval
        band = "; one seed does not show the noise" if math.isnan(low) else f" [{low:.3g}, {high:.3g}]"
        excess = f"{'up to ' * (len(self.measured) - 1)}{self.excess:.3g}{band} above {of_best}"
        if not (self.certain or math.isnan(low)):
            excess += "; the noise leaves that open, and more seeds would tell"
        if self.verdict == "within":
            return f"{called(self.schedule)}: {where} is within {self.tolerance:.3g}: {excess}"
        return f"{called(self.schedule)}: {where} is worse than allowed ({self.tolerance:.3g}): {excess}"


def check_learning_rate(
    sweep: SweepResult,
    lr: float,
    *,
    tolerance: float | str | None = None,
    confidence_level: float = 0.95,
    noise: float | None = None,
) -> tuple[LearningRateCheck, ...]:
    """Check a learning rate under each schedule of a sweep.

    Args:
        sweep: the data.
        lr: the learning rate in use, > 0; one within 1% of a learning rate of the sweep is that one.
        tolerance: how much worse than the best it may be; see `analyze_sweep`.
        confidence_level: in (0, 1).
        noise: standard deviation of the loss over seeds; see `analyze_sweep`.

    Raises:
        InsufficientDataError: when a schedule has no result, or every run diverged.
        OptionError: when an option is out of range.

    Example:
        >>> sweep = SweepResult(("cosine",), [0.1, 0.2, 0.4], (0, 1), [[[1.2, 1.1], [1.0, 0.9], [1.1, 1.05]]])
        >>> (checked,) = check_learning_rate(sweep, 0.4, tolerance=0.2)
        >>> checked.verdict, round(checked.excess, 3)
        ('within', 0.125)
    """
    check_confidence_level(confidence_level)
    lr = check_number("lr", lr, above=0)
    evidence = sweep.without_repeated_seeds()
    blocks = [loss_block(evidence, name, noise=noise) for name in sweep.schedules]
    allowed = allowed_excess(sweep, blocks, tolerance)
    return tuple(_check(block, lr, allowed, confidence_level) for block in blocks)


def _check(block: LossBlock, lr: float, tolerance: float, level: float) -> LearningRateCheck:
    places = _places(block, lr)
    excess = np.where(block.converged, block.mean, math.inf)[places] - block.mean[block.best]
    worse, worst = excess > tolerance, (math.nan, (math.nan, math.nan))
    if len(places):
        highest = int(excess.argmax())
        worst = float(excess[highest]), ExcessBounds(block, level).of_learning_rate(places[highest])
    return LearningRateCheck(
        schedule=block.schedule,
        lr=lr,
        measured=tuple(map(float, block.learning_rates[places])),
        verdict="unknown" if not len(places) or worse.any() != worse.all() else "worse" if worse.all() else "within",
        tolerance=tolerance,
        excess=worst[0],
        interval=worst[1],
        certain=bool(worst[1][1] <= tolerance or worst[1][0] > tolerance),
        best_lr=float(block.learning_rates[block.best]),
        best_loss=float(block.mean[block.best]),
        direction=block.direction,
    )


def _places(block: LossBlock, lr: float) -> list[int]:
    # Of the learning rates that stand for this one.
    away = np.abs(np.log(block.learning_rates / lr))
    nearest = int(away.argmin())
    if away[nearest] <= math.log1p(SAME):
        return [nearest]
    above = int(np.searchsorted(block.learning_rates, lr))
    return [above - 1, above] if 0 < above < len(block.learning_rates) else []
