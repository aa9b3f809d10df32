"""What a learning-rate search has found."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from .observations import Tell

Stop = Literal["tolerance", "noise-limited", "max_trials", "doubt", "diverged", "edge", "resolution", "failures"]


@dataclass(frozen=True, kw_only=True)
class SearchResult:
    """What a learning-rate search has found; it may be asked for at any time.

    Attributes:
        lr: the best learning rate that was tried; NaN while none has a finite loss.
        loss: its loss, the mean of its tells; +inf while there is none.
        excess_bound: by how much `loss` can exceed the loss of any learning rate in the range at most, under the
            assumption in `bound_note`; None when there is no bound.
        bound_note: what the bound rests on, or why there is none.
        n_trials: the number of tells.
        stop: why the search stopped; None while it has not.

            - "tolerance": nothing in the range is better by more, as `excess_bound` says;
            - "noise-limited": what is left to gain is below what the noise lets one see;
            - "max_trials": so many were told;
            - "doubt": this is not one valley; the full coarse grid has been tried, and the valley of the best searched;
            - "diverged": so did every learning rate;
            - "edge": the loss still falls at an end of the range, and nothing bounds it there;
            - "resolution": what could be better is too near to what was tried;
            - "failures": too many learning rates gave no loss; only who runs the trials can say so, as
              `robust_lr_optuna.search_of` and `robust_lr_ray.LearningRateSearcher.result` do.
        reason: the same in words; empty while it has not.
        good_interval: (lowest, highest) learning rate around `lr` whose loss exceeds `loss` by at most the tolerance.
            Conservative: between two measured learning rates it ends where the chord between them reaches that loss,
            and a convex curve lies below its chords. None without an `lr`.
        cliff: the smallest learning rate above `lr` that diverged, or whose loss exploded, as a multiple of `lr`; None
            when none did.
        doubt: why this is not one valley, in words; None when it may be.
        history: every tell, in the order in which they came.
        tolerance: the tolerance as a loss; with `relative` that of this best loss.
        lr_range: (smallest, largest) learning rate that the bound speaks of, extensions included.
        edge: "lower" or "upper" when the best lies on that end of the range, and a coarse step beyond it could gain
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
    doubt: str | None
    history: tuple[Tell, ...]
    tolerance: float
    lr_range: tuple[float, float]
    edge: Literal["lower", "upper"] | None
    schedule: str | None
