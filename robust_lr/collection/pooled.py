"""How coarse the next grid may be, by what coarser grids cost in many earlier sweeps."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from .._text import count_of, loss_text
from .._tolerance import Tolerance
from ._bound import fourth_root, upper_limit
from ._clusters import cluster_numbers, find_cluster_columns
from ._excess import SweepExcess, common_ratios

Array = NDArray[np.float64]


@dataclass(frozen=True)
class PooledRatio:
    """What grids of one ratio lose against the full ones, at the worst offset, over all sweeps that can show it.

    Attributes:
        ratio: factor between neighbors.
        n_trials: learning rates of such a grid, in the typical sweep.
        n_sweeps: sweeps whose own grid is finer.
        median, high: quantiles of the excess over these sweeps, `high` at the share of the recommendation.
        bound: what that share of further sweeps of this kind does not exceed; +inf if too few sweeps can tell.
    """

    ratio: float
    n_trials: int
    n_sweeps: int
    median: float
    high: float
    bound: float


@dataclass(frozen=True, eq=False)
class PooledRecommendation:
    """A grid for the next sweep of the same kind, under one schedule.

    Attributes:
        schedule: name of the schedule.
        tolerance: allowed excess loss; a share of each sweep's lowest loss if `relative`, and so is every excess here.
        relative: whether it is.
        share: of the sweeps to which the bound applies.
        ratio: factor between neighbors of the recommended grid.
        n_trials: learning rates of such a grid, and `n_trials_full`, those of the typical sweep.
        bound: excess loss that at least `share` of further sweeps do not exceed; 0 if the recommendation is to keep the
            grid.
        ratios: the same for each ratio, from that of the sweeps themselves on.
        n_sweeps: sweeps that count, and `n_clusters`, those of sweeps that may be alike.
        cluster_by: columns whose values make the clusters; () if each sweep is one.
        sweeps: what coarser grids cost in each sweep that counts.
        left_out: number of sweeps that do not count, by the reason.
        why: why the grid is not coarser, in a sentence.
        warnings: limits of the figures, in words.
    """

    schedule: str
    tolerance: float
    relative: bool
    share: float
    ratio: float
    n_trials: int
    n_trials_full: int
    bound: float
    ratios: tuple[PooledRatio, ...]
    n_sweeps: int
    n_clusters: int
    cluster_by: tuple[str, ...]
    sweeps: tuple[SweepExcess, ...]
    left_out: Mapping[str, int]
    why: str
    warnings: tuple[str, ...]

    @property
    def keeps_the_grid(self) -> bool:
        """Whether no coarser grid is recommended."""
        return self.ratio == self.ratios[0].ratio

    def excess_of(self, sweep: SweepExcess, ratio: float) -> float:
        """Return what a grid of this ratio costs in one sweep, as a share of its lowest loss if `relative`; or NaN."""
        excess = sweep.at(ratio)[0]
        return excess / (abs(sweep.best_loss) or 1.0) if self.relative else excess

    def excess_text(self, excess: float) -> str:
        """Return an excess as people read it, in percent if it is a share."""
        return shown_excess(excess, relative=self.relative)

    @property
    def beyond(self) -> str:
        """The side, "lower" or "upper", on which more than half of the sweeps have their best at the edge; else ""."""
        return side_beyond(self.sweeps)

    def __str__(self) -> str:
        """In one line: ``cosine: ratio 2, 6 trials, excess loss at most 0.0089 in 95% of sweeps``."""
        return (
            f"{self.schedule}: ratio {self.ratio:.3g}, {count_of(self.n_trials, 'trial')}, excess loss at most "
            f"{self.excess_text(self.bound)} in {self.share:.0%} of sweeps"
        )


def pool_sweeps(
    found: Sequence[SweepExcess],
    schedule: str,
    *,
    tolerance: Tolerance,
    share: float,
    cluster_by: Sequence[str] | None = None,
    left_out: Mapping[str, int] = MappingProxyType({}),
) -> PooledRecommendation:
    """Return the recommendation under one schedule.

    Ratios are tested from fine to coarse, up to the first whose bound exceeds the tolerance; the one before it is
    recommended, perhaps that of the sweeps themselves.

    Args:
        found: what coarser grids cost in each of at least two sweeps.
        schedule: name of the schedule.
        tolerance: excess loss that is allowed.
        share: of further sweeps to which the bound applies.
        cluster_by: columns within which sweeps are alike; by default found by the data.
        left_out: sweeps that do not count, by the reason.
    """
    costs = np.array([abs(sweep.best_loss) or 1.0 for sweep in found]) if tolerance.relative else np.ones(len(found))
    ratios = common_ratios(found)
    at = [[sweep.at(ratio) for ratio in ratios[1:]] for sweep in found]
    table = np.array([[excess for excess, _ in row] for row in at]).reshape(len(found), -1) / costs[:, None]
    trials = np.array([[n for _, n in row] for row in at]).reshape(len(found), -1)
    members = [sweep.sweep for sweep in found]
    columns = find_cluster_columns(members, _narrowness(table)) if cluster_by is None else tuple(cluster_by)
    cluster = cluster_numbers(members, columns)
    n_full, n_clusters = round(float(np.median([sweep.n_trials for sweep in found]))), int(cluster.max()) + 1
    rows = [PooledRatio(float(ratios[0]), n_full, len(found), 0.0, 0.0, 0.0)]
    for ratio, excess, n_trials in zip(ratios[1:], table.T, trials.T, strict=True):
        rows.append(_row(float(ratio), excess, n_trials, cluster, share, rows[-1].bound))
    last = next((i for i, row in enumerate(rows) if not row.bound <= tolerance.value), len(rows)) - 1
    last = 0 if side_beyond(found) else last  # the optima are unknown
    return PooledRecommendation(
        schedule=schedule,
        tolerance=tolerance.value,
        relative=tolerance.relative,
        share=share,
        ratio=rows[last].ratio,
        n_trials=rows[last].n_trials,
        n_trials_full=n_full,
        bound=rows[last].bound,
        ratios=tuple(rows),
        n_sweeps=len(found),
        n_clusters=n_clusters,
        cluster_by=columns,
        sweeps=tuple(found),
        left_out=left_out,
        why=_why(rows[last + 1 :], tolerance),
        warnings=tuple(_warnings(found, columns, n_clusters)),
    )


def _narrowness(table: Array) -> Array:
    """How narrow the valley of each sweep is: the mean fourth root of its excess over the ratios that it can show."""
    root = fourth_root(np.where(np.isfinite(table), table, math.nan))
    n = np.maximum((~np.isnan(root)).sum(axis=1), 1)
    return np.asarray(np.nansum(root, axis=1) / n)


def _row(
    ratio: float, excess: Array, n_trials: NDArray[np.intp], cluster: NDArray[np.intp], share: float, finer: float
) -> PooledRatio:
    has = ~np.isnan(excess)
    if not has.any():
        return PooledRatio(ratio, 0, 0, math.nan, math.nan, math.inf)
    known = excess[has]
    median, high = np.quantile(known, [0.5, share], method="higher")
    # A coarser grid is not claimed to lose less.
    bound = max(upper_limit(known, cluster[has], share), finer)
    return PooledRatio(ratio, round(float(np.median(n_trials[has]))), len(known), float(median), float(high), bound)


def _why(coarser: Sequence[PooledRatio], tolerance: Tolerance) -> str:
    if not coarser:
        return "the sweeps are too narrow to show what a coarser one loses"
    row = coarser[0]
    if math.isinf(row.bound):
        return f"too few sweeps show what ratio {row.ratio:.3g} loses"
    could = shown_excess(row.bound, relative=tolerance.relative)
    return f"ratio {row.ratio:.3g} could lose {could}, more than your {tolerance}"


def side_beyond(sweeps: Sequence[SweepExcess]) -> str:
    """Return the side on which more than half of the sweeps have their best at the edge, or ""."""
    sides = Counter(sweep.edge for sweep in sweeps)
    return next((side for side in ("lower", "upper") if sides[side] > len(sweeps) / 2), "")


def shown_excess(excess: float, *, relative: bool) -> str:
    """Return an excess as people read it, in percent if it is a share of the lowest loss."""
    if math.isnan(excess):
        return "-"
    if math.isinf(excess):
        return "diverged"
    return f"{excess:.2%}" if relative else loss_text(excess)


def _warnings(found: Sequence[SweepExcess], columns: Sequence[str], n_clusters: int) -> list[str]:
    said, n = [], len(found)
    for edge, side in (("lower", "lowest"), ("upper", "highest")):
        if at := sum(sweep.edge == edge for sweep in found):
            said.append(
                f"in {at} of {count_of(n, 'sweep')} the best learning rate is the {side} one tried; the figures "
                "compare with it, though the optimum may lie beyond"
            )
    if uneven := sum(sweep.uneven for sweep in found):
        said.append(
            f"{uneven} of {count_of(n, 'sweep')} tried learning rates at uneven factors; their excess is that of "
            "sub-grids at least as coarse as the ratio, so it errs upwards"
        )
    if columns and n_clusters < 4:
        said.append(f"{count_of(n_clusters, 'cluster')} hardly show how clusters differ, so the bounds are wide")
    return said
