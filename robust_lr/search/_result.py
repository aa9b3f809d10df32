"""What a learning-rate search has found."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from ._observations import Observation

Stop = Literal[
    "tolerance", "noise-limited", "max_trials", "assumption-violation", "diverged", "edge", "resolution", "failures"
]


@dataclass(frozen=True, kw_only=True)
class SearchResult:
    """What a learning-rate search knows, at its end or on its way.

    Attributes:
        lr: the best learning rate tried; NaN while none has a finite loss.
        loss: its mean loss; +inf while there is none.
        excess_bound: `loss` exceeds the loss of any learning rate in the range by at most this much, under the
            assumption in `bound_note`; None when there is no bound.
        bound_note: what the bound rests on, or why there is none.
        n_trials: the number of results, "ok" and "diverged".
        stop: why the search stopped; None while it goes on.

            - "tolerance": nothing in the range is better by more than the tolerance;
            - "noise-limited": the noise hides what is left to gain;
            - "max_trials": all trials are used;
            - "assumption-violation": the data contradict one valley; the search tried the full coarse grid, and
              searched the valley of the best;
            - "diverged": every learning rate diverged;
            - "edge": the loss still falls at an end of the range, and nothing bounds it there;
            - "resolution": any better learning rate is too close to one already tried;
            - "failures": trials at three learning rates failed, or the failures leave nothing to try.
        reason: the same in words; empty while the search goes on.
        good_interval: (lowest, highest) learning rate around `lr` whose loss exceeds `loss` by at most the tolerance.
            Conservative: between two measured learning rates it ends where the chord between them reaches that loss,
            and a convex curve lies below its chords. None without an `lr`.
        cliff: the smallest learning rate above `lr` that diverged, or whose loss exploded; None without one.
        assumption_violation: why this is not one valley, in words; None when it may be.
        failed: the learning rates whose trials were given up, ascending.
        history: every observation, in the order in which they came. A result replaces a failure at its learning rate.
        tolerance: the tolerance as a loss; a share is taken of the best loss so far.
        lr_range: (smallest, largest) learning rate that the bound covers, extensions included.
        edge: "lower" or "upper" when the best lies on that end of the range, and one coarse step beyond it could gain
            more than the tolerance; else None.
        schedule: the spec of the schedule that was searched under, if one was given.
    """

    lr: float
    loss: float
    excess_bound: float | None
    bound_note: str
    n_trials: int
    stop: Stop | None
    reason: str
    good_interval: tuple[float, float] | None
    cliff: float | None
    assumption_violation: str | None
    failed: tuple[float, ...]
    history: tuple[Observation, ...]
    tolerance: float
    lr_range: tuple[float, float]
    edge: Literal["lower", "upper"] | None
    schedule: str | None
