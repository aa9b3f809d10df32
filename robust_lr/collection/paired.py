"""Which schedule ends lower, sweep by sweep: differences between schedules on the same covariates."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ._clusters import cluster_numbers
from .pooled import PooledRecommendation


@dataclass(frozen=True)
class PairedSchedules:
    """The lowest losses of two schedules in the sweeps that have both.

    Attributes:
        lower, higher: the schedules, by the mean difference.
        n_sweeps: sweeps with both, `n_clusters` of them independent, and `n_lower`, those in which `lower` is lower.
        difference: mean over the clusters of what `higher` ends above `lower`, each at its best learning rate.
        interval: its confidence interval, Student's t over the clusters; infinite with one cluster.
    """

    lower: str
    higher: str
    n_sweeps: int
    n_clusters: int
    n_lower: int
    difference: float
    interval: tuple[float, float]

    @property
    def tied(self) -> bool:
        """Whether the difference may be zero."""
        return not self.interval[0] > 0


def pair_schedules(pooled: Sequence[PooledRecommendation], share: float) -> tuple[PairedSchedules, ...]:
    """Return all pairs of schedules that share at least one sweep.

    Args:
        pooled: one per schedule.
        share: confidence level of the intervals.
    """
    return tuple(found for a, b in itertools.combinations(pooled, 2) if (found := _pair(a, b, share)) is not None)


def _pair(a: PooledRecommendation, b: PooledRecommendation, share: float) -> PairedSchedules | None:
    of_a = {id(each.sweep): each for each in a.sweeps}
    both = [(of_a[id(each.sweep)], each) for each in b.sweeps if id(each.sweep) in of_a]
    if not both:
        return None
    above = np.array([second.best_loss - first.best_loss for first, second in both])
    cluster = cluster_numbers([first.sweep for first, _ in both], a.cluster_by or b.cluster_by)
    means = np.bincount(cluster, above) / np.bincount(cluster)
    difference = float(means.mean())
    if difference < 0:
        above, means, difference, a, b = -above, -means, -difference, b, a
    return PairedSchedules(
        a.schedule, b.schedule, len(both), len(means), int(np.sum(above > 0)), difference, _interval(means, share)
    )  # fmt: skip


def _interval(means: np.ndarray[tuple[int], np.dtype[np.float64]], level: float) -> tuple[float, float]:
    from scipy.special import stdtrit

    n = len(means)
    if n < 2:
        return -math.inf, math.inf
    half = float(stdtrit(n - 1, 0.5 + level / 2)) * float(means.std(ddof=1)) / math.sqrt(n)
    return float(means.mean()) - half, float(means.mean()) + half
