"""One trial of a sweep: its identity (`TrialSpec`) and its result (`TrialResult`)."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal, Protocol

from .schedules.closed_forms import Schedule

Status = Literal["ok", "diverged", "failed", "out_of_memory"]


class TrainFunction(Protocol):
    """The user's training function: trains once and returns the final loss (lower is better).

    It is called with keywords only: ``lr``, the peak learning rate; ``schedule``, whose ``schedule(step, total_steps)``
    multiplies the peak; ``seed``. It returns the loss as a float, or a mapping with the key "loss" and further metrics;
    "loss" may be missing if the sweep or the search optimizes another metric.
    To report divergence, it returns NaN or an infinity, or raises `TrialDiverged`; any other exception is a failure.
    """

    def __call__(self, *, lr: float, schedule: Schedule, seed: int) -> float | Mapping[str, float]:
        """Train with one learning rate, schedule and seed; return the final loss."""


@dataclass(frozen=True)
class TrialSpec:
    """The identity of one trial: the schedule by its name in the sweep, the learning rate and the seed."""

    schedule: str
    lr: float
    seed: int


@dataclass(frozen=True)
class TrialResult:
    """The result of one trial.

    Attributes:
        spec: the trial.
        loss: the final loss; +inf if it diverged, NaN if there is none.
        status: "ok"; "diverged" (a result: it counts as +inf when a learning rate is chosen); "failed" or
            "out_of_memory" (not a result: the trial is retried).
        seconds: how long the training function ran, NaN if unknown.
        metrics: further values that the training function returned.
        error: the traceback of a failed trial, or the message of `TrialDiverged`.
        is_worth_retrying: False for a failure that would come again, such as a return value without a loss.
    """

    spec: TrialSpec
    loss: float
    status: Status
    seconds: float = math.nan
    metrics: Mapping[str, float] = field(default_factory=dict)
    error: str | None = None
    is_worth_retrying: bool = True

    @property
    def is_final(self) -> bool:
        """Whether this is a result, "ok" or "diverged", and not a failure that may be retried."""
        return self.status in ("ok", "diverged")


def expand_trials(schedules: Iterable[str], learning_rates: Iterable[float], seeds: Iterable[int]) -> list[TrialSpec]:
    """Return every trial of schedules x learning_rates x seeds, coarse before fine.

    The learning rates come in the order of nested grids (every 2^k-th point, then those between), each with all its
    seeds and schedules, so that a sweep stopped early is a complete sweep over a coarser grid.

    Example:
        >>> [t.lr for t in expand_trials(["cosine"], [1.0, 2.0, 4.0, 8.0, 16.0], [0])]
        [1.0, 16.0, 4.0, 2.0, 8.0]
    """
    schedules, seeds, lrs = list(schedules), list(seeds), sorted(learning_rates)
    return [
        TrialSpec(schedule, lrs[i], seed) for i in coarse_to_fine(len(lrs)) for seed in seeds for schedule in schedules
    ]


def coarse_to_fine(n: int) -> list[int]:
    """Return 0..n-1 ordered by level: multiples of the largest power of two below n first, then the halves between."""
    order: list[int] = []
    stride = 1 << max(n - 1, 0).bit_length()
    while stride:
        known = set(order)
        order += [i for i in range(0, n, stride) if i not in known]
        stride //= 2
    return order
