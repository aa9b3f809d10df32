"""One trial of a sweep: what is to be run (`TrialSpec`) and what came of it (`TrialResult`)."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal, Protocol

from .schedules.closed_forms import Schedule

Status = Literal["ok", "diverged", "failed", "out_of_memory"]


class TrainFunction(Protocol):
    """What a user brings: trains once and returns the final loss (lower is better).

    Called with keywords only: ``lr``, the peak learning rate; ``schedule``, with ``schedule(step, total_steps)`` the
    multiplier of it; ``seed``. Returns the loss as a float, or a mapping with the key "loss" and further metrics.
    NaN, an infinity, or raising `TrialDiverged` mean that the trial diverged; any other exception, that it failed.
    """

    def __call__(self, *, lr: float, schedule: Schedule, seed: int) -> float | Mapping[str, float]:
        """Train with one learning rate, schedule and seed; return the final loss."""


@dataclass(frozen=True)
class TrialSpec:
    """What one trial runs. `schedule` is the schedule's name in the sweep; the three together are its identity."""

    schedule: str
    lr: float
    seed: int


@dataclass(frozen=True)
class TrialResult:
    """What came of one trial.

    Attributes:
        spec: the trial.
        loss: the final loss; +inf when it diverged, NaN when there is none.
        status: "ok"; "diverged" (a result: it counts as +inf when a learning rate is chosen); "failed" and
            "out_of_memory" (no result: it is tried again).
        seconds: how long the training function ran, NaN when unknown.
        metrics: what the training function returned beside the loss.
        error: the text of the exception, for a failed trial and for one that raised `TrialDiverged`.
    """

    spec: TrialSpec
    loss: float
    status: Status
    seconds: float = math.nan
    metrics: Mapping[str, float] = field(default_factory=dict)
    error: str | None = None

    @property
    def is_final(self) -> bool:
        """Whether this is a result, "ok" or "diverged", and not a failure that may be tried again."""
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
