"""The final loss against the learning rate: the best, whether it lies on an edge, and where training breaks."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from .._checks import check_confidence_level
from .._metrics import Direction, quantity
from .._page import Table, to_html, to_text
from .._text import loss_text
from ..readers.runs import called
from ..sweep.results import SweepResult
from ._selection import LossBlock, loss_block

Array = NDArray[np.float64]

# A cliff multiplies the excess loss by more than this, and by more than the fourth power of the step in learning rate.
# Noise alone lets the loss grow about with the learning rate (convex theory) to its square (measured on the digits),
# and an optimum that lies between two learning rates makes the first steps above it look steeper.
CLIFF_FACTOR = 10.0
CLIFF_POWER = 4.0


@dataclass(frozen=True, eq=False, repr=False)
class LearningRateProfile:
    """Loss against learning rate under one schedule.

    Attributes:
        schedule: name of the schedule.
        learning_rates: ascending, shape (L,).
        loss: shape (L, K), +inf where diverged.
        mean: over the seeds, shape (L,), +inf where any diverged; a missing seed is allowed for.
        interval: of each mean, shape (L, 2), without what a seed adds at all learning rates alike, since that decides
            no comparison; NaN if nothing shows the noise, or where any seed diverged.
        n_seeds: results at each learning rate, shape (L,).
        noise: standard deviation of one trial at the best learning rate around that shared part; NaN if unknown.
        best_lr: learning rate with the lowest mean, and `best_loss`, that mean (chosen and scored on the same seeds).
        edge: "lower" or "upper" if the best is the last learning rate on that side, "both" if it is the only one,
            else None.
        cliff: the first learning rate above the best at which training breaks: it diverges, or the loss jumps by far
            more than its growth before; None if the loss only grows.
        before_cliff: the learning rate below the cliff, which still trains.
        direction: that of the sweep.
        failed_above: higher learning rates, at which trials failed; they may have diverged.
    """

    schedule: str
    learning_rates: Array
    loss: Array
    mean: Array
    interval: Array
    n_seeds: NDArray[np.intp]
    noise: float
    best_lr: float
    best_loss: float
    edge: Literal["lower", "upper", "both"] | None
    cliff: float | None
    before_cliff: float | None
    direction: Direction = "minimize"
    failed_above: tuple[float, ...] = ()

    def shown(self, loss: float, *, named: bool = False) -> str:
        """Return a loss as people read it, a score if a larger value is better; with its name: "loss 0.3"."""
        text = loss_text(-loss if self.direction == "maximize" else loss)
        return f"{quantity(self.direction)} {text}" if named else text

    def __repr__(self) -> str:
        cliff = "" if self.cliff is None else f", cliff={self.cliff:g}"
        return (
            f"LearningRateProfile({self.schedule!r}, best_lr={self.best_lr:g}, best_loss={self.best_loss:.4g}{cliff})"
        )

    def __str__(self) -> str:
        """The profile as a table: the mean loss at each learning rate, and its interval."""
        return to_text([self._table()])

    def _repr_html_(self) -> str:
        return to_html([self._table()])

    def _table(self) -> Table:
        rows = []
        for lr, loss, mean, (low, high) in zip(self.learning_rates, self.loss, self.mean, self.interval, strict=True):
            n_diverged = int(np.isinf(loss).sum())
            text = f"{n_diverged} of {len(loss)} diverged" if n_diverged else self.shown(mean)
            ends = (high, low) if self.direction == "maximize" else (low, high)
            interval = "-" if math.isnan(low) else f"[{', '.join(map(self.shown, ends))}]"
            remark = "best" if lr == self.best_lr else "cliff" if lr == self.cliff else ""
            rows.append([f"{lr:g}", text, interval, remark])
        return Table(
            f"{called(self.schedule)}: final {quantity(self.direction)}",
            ["learning rate", "mean", "interval", ""],
            rows,
        )


def learning_rate_profile(
    sweep: SweepResult, schedule: str, *, confidence_level: float = 0.95, noise: float | None = None
) -> LearningRateProfile:
    """Return the loss against the learning rate under one schedule.

    Raises:
        InsufficientDataError: when there is no result, or every run diverged.
        DataError: no schedule of that name.
        OptionError: a confidence level out of range.

    Example:
        >>> sweep = SweepResult(("cosine",), [0.1, 0.2, 0.4, 0.8], (0,), [[[1.3], [1.0], [1.1], [9.0]]])
        >>> profile = learning_rate_profile(sweep, "cosine")
        >>> profile.best_lr, profile.edge, profile.cliff
        (0.2, None, 0.8)
    """
    check_confidence_level(confidence_level)
    return profile_of(loss_block(sweep, schedule, noise=noise), confidence_level)


def profile_of(block: LossBlock, confidence_level: float) -> LearningRateProfile:
    """Return the profile of these losses; see `learning_rate_profile`."""
    mean = np.where(block.converged, block.mean, np.inf)
    cliff = find_cliff(block)
    half = block.fit.t_quantile(confidence_level) * block.noise / np.sqrt(block.n_seeds)
    return LearningRateProfile(
        schedule=block.schedule,
        learning_rates=block.learning_rates,
        loss=block.loss,
        mean=mean,
        interval=np.stack([mean - half, mean + half], axis=1),
        n_seeds=block.n_seeds,
        noise=float(block.noise[block.best]),
        best_lr=float(block.learning_rates[block.best]),
        best_loss=float(mean[block.best]),
        edge=_edge(block.best, len(block.learning_rates)),
        cliff=None if cliff is None else float(block.learning_rates[cliff]),
        before_cliff=None if cliff is None else float(block.learning_rates[cliff - 1]),
        direction=block.direction,
        failed_above=block.failed_above,
    )


def find_cliff(block: LossBlock) -> int | None:
    """Return the position of the first learning rate above the best at which training breaks, or None.

    Training breaks at a learning rate if a seed diverges there. It also breaks if the excess loss is at least half that
    of the worst learning rate below the best, exceeds `CLIFF_FACTOR` and ``step**CLIFF_POWER`` times that of its
    lower neighbor and that one step below the best, and does not keep growing at this rate. If the best is at the
    lower edge, only divergence counts. A learning rate is no cliff if most of those next above it train well: a random
    search has bad runs anywhere.
    """
    best, lrs = block.best, block.learning_rates
    converged = block.converged
    mean = np.where(converged, block.mean, np.inf)
    excess = mean - mean[best]
    noise = _noise_of_differences(block)
    depth = max((e for e in excess[:best] if np.isfinite(e)), default=0.0)
    # If the optimum lies between two learning rates, the first steps up start from nearly nothing; the step down
    # tells how much a step may cost without any cliff.
    step_down = excess[best - 1] if best > 0 else np.inf
    # Beyond a cliff the loss stays at chance or diverges.
    breaks, at_chance = ~converged | (excess >= 0.5 * depth), (excess >= depth) & (depth > 0)
    last = best  # the highest learning rate below i that converged
    for i in range(best + 1, len(lrs)):
        if not converged[i]:
            if _goes_on(~converged[i:] | (at_chance[i:] & (excess[i:] >= 2 * excess[last]))):
                return i
            continue
        before = max(excess[last], step_down, noise[last])
        step = min(float(lrs[i] / lrs[last]), 1e50)  # its power stays a float
        factor = max(CLIFF_FACTOR, step**CLIFF_POWER)
        if excess[i] >= 0.5 * depth and excess[i] > factor * before:
            # If the loss keeps growing at the same rate, there is no cliff.
            grows = i + 1 < len(lrs) and converged[i + 1] and min(before, excess[i + 1]) > 0
            grows = grows and 2 * np.log(excess[i + 1]) > 3 * np.log(excess[i]) - np.log(before)
            if not grows and _goes_on(breaks[i:]):
                return last + 1
        last = i
    return None


def _noise_of_differences(block: LossBlock) -> Array:
    # Standard error of each mean less that of the best; 0 where nothing is known about it.
    place = np.flatnonzero(block.converged)
    found = np.zeros(len(block.learning_rates))
    found[place] = np.nan_to_num(np.sqrt(block.fit.pair_variance[:, np.searchsorted(place, block.best)]))
    return found


def _goes_on(breaks: NDArray[np.bool_]) -> bool:
    # Whether training, which breaks at the first of these learning rates, also breaks at most of those next above it,
    # and at most of all above: bad luck breaks single runs of a random search.
    most_next = np.all(2 * np.cumsum(breaks) >= np.arange(1, len(breaks) + 1))
    return bool(most_next and 2 * np.sum(breaks[1:]) >= len(breaks) - 1)


def _edge(best: int, n: int) -> Literal["lower", "upper", "both"] | None:
    if n == 1:
        return "both"
    return "lower" if best == 0 else "upper" if best == n - 1 else None
