"""Which schedule ends lower, sweep by sweep: differences between schedules on the same covariates."""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ._clusters import cluster_numbers
from ._excess import COARSER, FEWEST, SweepExcess
from .pooled import PooledRecommendation


@dataclass(frozen=True)
class PairedSchedules:
    """The lowest losses of two schedules in the sweeps that compare both.

    Attributes:
        lower, higher: the schedules, by the mean difference.
        n_sweeps: sweeps that compare both, `n_clusters` of them independent, and `n_lower`, those in which `lower` is
            lower.
        difference: mean over the clusters of what `higher` ends above `lower`, each at its best learning rate.
        interval: its confidence interval, Student's t over the clusters; infinite with one cluster.
        on_shared: whether their grids differ, so that only the learning rates which both tried count, and those beyond
            the range of the other.
    """

    lower: str
    higher: str
    n_sweeps: int
    n_clusters: int
    n_lower: int
    difference: float
    interval: tuple[float, float]
    on_shared: bool = False

    @property
    def tied(self) -> bool:
        """Whether the difference may be zero."""
        return not self.interval[0] > 0


def pair_schedules(pooled: Sequence[PooledRecommendation], share: float) -> tuple[PairedSchedules, ...]:
    """Return all pairs of schedules that at least one sweep compares.

    Args:
        pooled: one per schedule.
        share: confidence level of the intervals.
    """
    return tuple(found for a, b in itertools.combinations(pooled, 2) if (found := _pair(a, b, share)) is not None)


def _pair(a: PooledRecommendation, b: PooledRecommendation, share: float) -> PairedSchedules | None:
    of_a = {id(each.sweep): each for each in a.sweeps}
    with_both = [(of_a[id(each.sweep)], each) for each in b.sweeps if id(each.sweep) in of_a]
    on_shared = any(not np.array_equal(one.learning_rates, other.learning_rates) for one, other in with_both)
    compared = [(one.sweep, losses) for one, other in with_both if (losses := lowest_comparable([one, other]))]
    if not compared:
        return None
    above = np.array([of_b - of_a for _, (of_a, of_b) in compared])
    cluster = cluster_numbers([sweep for sweep, _ in compared], a.cluster_by or b.cluster_by)
    means = np.bincount(cluster, above) / np.bincount(cluster)
    difference = float(means.mean())
    if difference < 0:
        above, means, difference, a, b = -above, -means, -difference, b, a
    return PairedSchedules(
        a.schedule, b.schedule, len(compared), len(means), int(np.sum(above > 0)), difference,
        _interval(means, share), on_shared,
    )  # fmt: skip


def lowest_comparable(found: Sequence[SweepExcess]) -> list[float] | None:
    """Return the lowest loss of each schedule of one sweep, or None if their grids cannot be compared.

    Learning rates that only some of them tried do not count, unless they lie beyond all that the others tried: on a
    finer grid a schedule ends lower for that alone.
    """
    shared = functools.reduce(np.intersect1d, [each.learning_rates for each in found])
    if len(shared) < FEWEST:
        own = [each.own_ratio for each in found]
        return [each.best_loss for each in found] if max(own) < COARSER * min(own) else None
    losses = []
    for each in found:
        lrs, counts = each.learning_rates, np.ones(each.n_trials, dtype=bool)
        for other in found:
            counts &= (lrs < other.learning_rates[0]) | (lrs > other.learning_rates[-1]) | (other is each)
        losses.append(float(each.loss[counts | np.isin(lrs, shared)].min()))
    return losses if np.isfinite(losses).all() else None


def _interval(means: np.ndarray[tuple[int], np.dtype[np.float64]], level: float) -> tuple[float, float]:
    from scipy.special import stdtrit

    n = len(means)
    if n < 2:
        return -math.inf, math.inf
    half = float(stdtrit(n - 1, 0.5 + level / 2)) * float(means.std(ddof=1)) / math.sqrt(n)
    return float(means.mean()) - half, float(means.mean()) + half
