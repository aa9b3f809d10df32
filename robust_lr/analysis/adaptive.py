"""Seeds where the recommendation hangs: two at every learning rate, further ones only where they can change it."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .._checks import check_number, check_whole
from .._text import count_of
from .._tolerance import read_tolerance
from ..exceptions import InsufficientDataError
from ..sweep.results import SweepResult
from ._bounds import ExcessBounds, UpperBounds
from ._selection import LossBlock, loss_block
from .comparison import ScheduleComparison, compare_schedules
from .degradation import DegradationCurve, covered_strides, curve_of
from .summary import allowed_excess

Array = NDArray[np.float64]

LEVEL = 0.95  # of the bands of the last look; the error of the earlier looks together is as large
LUCK = 1.75  # further seeds may move a difference by this many standard errors in favor of a coarser grid


@dataclass(frozen=True, kw_only=True)
class AdaptiveSeeds:
    """A plan of seeds for `run_sweep`: seeds 0 and 1 at every learning rate, then further ones where they matter.

    Before each further seed the plan analyzes the sweep so far. The seed is then trained at those learning rates on
    which the recommendation or the comparison of the schedules hangs, if more seeds could still change it. So a sweep
    is looked at ``max_seeds - 1`` times at most. It ends before the last look only if wider bands, whose level is split
    over the earlier looks, give the same recommendation. So the probability to recommend too coarse a grid is at most
    5 %, by Bonferroni: 2.5 % at the last look, as for a fixed number of seeds, and 2.5 % at all earlier ones.
    docs/how-to/adaptive-seeds.md has what was measured.

    Attributes:
        tolerance: allowed excess loss, as in `analyze_sweep`; pass the same to both.
        max_seeds: most seeds at a learning rate, at least 2.
        noise: standard deviation of the loss over seeds, if known, as in `analyze_sweep`.

    Raises:
        OptionError: when one is out of range.

    Example:
        >>> from robust_lr import GeometricGrid, run_sweep
        >>> def train(*, lr, schedule, seed):
        ...     return (lr - 0.1) ** 2 + 0.001 * (seed * 7919 % 13)
        >>> plan = AdaptiveSeeds(tolerance=0.1, max_seeds=4)
        >>> run_sweep(train, GeometricGrid(0.01, 1.0, 7), ["cosine"], plan).notes
        ('adaptive seeds: 14 trainings instead of 28 (4 seeds everywhere)',)
    """

    tolerance: float | str | None = None
    max_seeds: int = 5
    noise: float | None = None

    def __post_init__(self) -> None:
        check_whole("max_seeds", self.max_seeds, at_least=2)
        if self.tolerance is not None:
            read_tolerance(self.tolerance)
        if self.noise is not None:
            check_number("noise", self.noise, above=0)

    @property
    def seeds(self) -> Sequence[int]:
        """The seeds 0, 1, ... up to the limit."""
        return range(self.max_seeds)

    @property
    def n_first(self) -> int:
        """Two: the least that shows the noise."""
        return 2

    @property
    def _sure(self) -> float:
        return 1 - (1 - LEVEL) / max(self.max_seeds - self.n_first, 1)

    def next_cells(self, sweep: SweepResult) -> Collection[tuple[str, float]]:
        """Return the schedules and learning rates to train with the next seed; none if the results suffice."""
        blocks = _blocks(sweep, self.noise)
        curves = [curve_of(b, self._sure) for b in blocks if len(b.learning_rates) > 2 and b.fit.df > 0]
        allowed = allowed_excess(sweep, blocks, self.tolerance)
        places = {curve.schedule: _open_strides(curve, allowed, self.max_seeds) for curve in curves}
        for curve in _open_ties(curves, self.max_seeds):
            places[curve.schedule].update(ExcessBounds(curve.block, LEVEL).possible_bests.tolist())
        return {(c.schedule, float(c.block.learning_rates[place])) for c in curves for place in places[c.schedule]}

    def late_trials(self, sweep: SweepResult) -> Collection[tuple[str, float, int]]:
        """Return the seeds that diverged somewhere and that a learning rate lacks which may be the best."""
        found = set[tuple[str, float, int]]()
        for block in _blocks(sweep, self.noise):
            for place in {block.best, *ExcessBounds(block, LEVEL).possible_bests.tolist()}:
                lacks = np.isinf(block.loss).any(axis=0) & np.isnan(block.loss[place])
                lr = float(block.learning_rates[place])
                found.update((block.schedule, lr, block.seeds[k]) for k in np.flatnonzero(lacks))
        return found

    def notes(self, n_trials: int, n_full: int) -> Sequence[str]:
        """Return what the plan saved, in words."""
        everywhere = f"{n_full} ({self.max_seeds} seeds everywhere)"
        return [f"adaptive seeds: {count_of(n_trials, 'training')} instead of {everywhere}"]


def _blocks(sweep: SweepResult, noise: float | None) -> list[LossBlock]:
    evidence, unused, found = sweep.without_repeated_seeds(), sweep.unused_axes, []
    left_out = {*unused.learning_rates, *unused.repeated_schedules}
    for name in (each for each in sweep.schedules if each not in left_out):
        try:
            found.append(loss_block(evidence, name, noise=noise))
        except InsufficientDataError:
            continue
    return found


def _open_strides(curve: DegradationCurve, allowed: float, max_seeds: int) -> set[int]:
    """The learning rates on which the first strides hang that are not sure to pass and could, with more seeds."""
    block, found = curve.block, set[int]()
    usual, sure = ExcessBounds(block, LEVEL), ExcessBounds(block, curve.confidence_level)
    bests = usual.possible_bests
    reachable = np.any([covered_strides(block.learning_rates, int(b), curve.ratio) for b in bests], axis=0)
    for row, stride in enumerate(curve.stride.tolist()[1:], 1):
        if not reachable[row] or _least_bound(block, usual.upper(stride), max_seeds) > allowed:
            break
        if not curve.covered[row]:
            found.update(bests.tolist())
        found |= _deciding(sure.upper(stride), allowed)
    return found


def _least_bound(block: LossBlock, upper: UpperBounds, max_seeds: int) -> float:
    # What the bound of a stride becomes with all seeds and some luck: the fewer seeds there are, the more may change.
    n = np.minimum(block.n_seeds[upper.chosen][:, None], block.n_seeds[upper.contenders])
    share = np.minimum(n / max_seeds, 1)
    luck = LUCK / block.fit.t_quantile(LEVEL) * np.sqrt(1 - share)
    return float((upper.center + upper.half * (np.sqrt(share) - luck)).max())


def _deciding(upper: UpperBounds, allowed: float) -> set[int]:
    offsets, contenders = np.nonzero(upper.center + upper.half > allowed)
    places = np.arange(len(upper.near))
    instead = places[upper.near & np.isin(places % len(upper.chosen), offsets)]
    return {*upper.chosen[offsets].tolist(), *upper.contenders[contenders].tolist(), *instead.tolist()}


def _open_ties(curves: Sequence[DegradationCurve], max_seeds: int) -> list[DegradationCurve]:
    """The schedules that tie for the lowest loss on the finest grid, if more seeds could tell them apart."""
    if len(curves) < 2:
        return []
    comparison, n = compare_schedules(curves), max(curve.n_seeds for curve in curves)
    difference, low = comparison.difference[0], comparison.interval[0, :, 0]
    tied = (low <= 0) & (difference > (difference - low) * _shrinks(comparison, n, max_seeds))
    if tied.any():
        tied |= np.array(comparison.schedules) == comparison.lowest[0]
    return [c for c, is_open in zip(curves, tied, strict=True) if is_open]


def _shrinks(comparison: ScheduleComparison, n: int, max_seeds: int) -> Array:
    # By how much the interval of each difference shrinks with more seeds; their degrees of freedom grow like those of
    # the seeds.
    from scipy.special import stdtrit

    if n == 1:
        return np.full(len(comparison.schedules), math.inf)
    p = 0.5 + (1 - (1 - comparison.confidence_level) / max(len(comparison.schedules) - 1, 1)) / 2
    df = np.maximum(comparison.df[0], 1.0)
    return np.asarray(stdtrit(df * (max_seeds - 1) / (n - 1), p) / stdtrit(df, p) * math.sqrt(n / max_seeds))
