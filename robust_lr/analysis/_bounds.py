"""Confidence bounds for the best of a set of learning rates, from the means of a two-way fit.

The quantities of this package are minima and maxima of differences ``mu_i - mu_j`` between learning rates. For one
pair, ``m_i - m_j -+ t * se_ij`` holds. For the best of several:

- ``min_i mu_i`` of a sub-grid is bounded from above at the candidate with the lowest mean. That one was chosen by
  its luck, so the quantile is widened for the number of candidates that could have been chosen instead (moment
  selection, D. W. K. Andrews and G. Soares, Econometrica 2010; Bonferroni over those within half a band).
- ``max_j`` needs no such correction: the bound of the true maximizer is among those whose largest is taken
  (intersection-union, R. L. Berger, Technometrics 1982).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ._selection import LossBlock

Array = NDArray[np.float64]

NEAR = 0.5  # candidates within this share of a band of the lowest mean could have been chosen instead
SOME = 24  # offsets that show how far the errors of an average cancel
MOST = 300.0  # logarithm of the most combinations of choices that are told apart from infinity


@dataclass(frozen=True, eq=False)
class UpperBounds:
    """Upper bounds of ``min_{i in sub-grid o} mu_i - mu_j`` for each offset o and each contender j.

    Attributes:
        chosen: the learning rate with the lowest mean in each sub-grid, shape (stride,).
        near: whether a learning rate could have been chosen in its sub-grid instead, shape (L,).
        contenders: the learning rates j that may be the best of all, shape (J,).
        center: the differences of the means, shape (stride, J); +inf where a sub-grid has diverged.
        half: what the bounds add to them, likewise.
    """

    chosen: NDArray[np.intp]
    near: NDArray[np.bool_]
    contenders: NDArray[np.intp]
    center: Array
    half: Array


@dataclass(frozen=True, eq=False)
class SubGrids:
    """The choices of a stride, as in `UpperBounds`.

    Attributes:
        n_near: how many learning rates could have been chosen in each sub-grid, shape (stride,).
        wide: the factor on its bounds for that.
    """

    chosen: NDArray[np.intp]
    near: NDArray[np.bool_]
    n_near: Array
    wide: Array


@dataclass(frozen=True, eq=False)
class ExcessBounds:
    """Bounds of ``D_o = min_{i in sub-grid o} mu_i - min_j mu_j`` for the sub-grids of any stride.

    Attributes:
        block: the losses.
        level: confidence level, two-sided.
    """

    block: LossBlock
    level: float

    def of_stride(self, stride: int) -> tuple[tuple[float, float], tuple[float, float]]:
        """Return the bounds of ``max_o D_o`` and of ``mean_o D_o``; NaN without a replicate."""
        if math.isnan(self._t):
            return (math.nan, math.nan), (math.nan, math.nan)
        grids = self._grids(stride)
        lowest = self._mean[grids.chosen]
        # The worst offset is itself a choice among those that come near.
        worst = int(lowest.argmax())
        n_worst = (
            int((lowest >= lowest[worst] - NEAR * self._half[grids.chosen[worst], grids.chosen]).sum())
            if np.isfinite(lowest).all()
            else 1
        )
        low = self._low_of_mean(stride), self._low(n_worst, slice(worst, None, stride)).min()
        return (float(low[1]), self._high_of_worst(grids)), (float(low[0]), self._high_of_mean(grids))

    def of_learning_rate(self, place: int) -> tuple[float, float]:
        """Return the bounds of ``mu_i - min_j mu_j`` for one learning rate; NaN without a replicate."""
        if math.isnan(self._t) or not self.block.converged[place]:
            return (math.nan, math.nan) if self.block.converged[place] else (math.inf, math.inf)
        center = self._mean[place] - self._mean[self._contenders]
        half = np.where(self._contenders == place, 0.0, self._half_of_contenders[place])
        return max(float(self._lowest_ends[place]), 0.0), float((center + half).max())

    def _high_of_worst(self, grids: SubGrids) -> float:
        # No contender makes an offset lose more than this. So most offsets need no second look.
        most = self._mean[grids.chosen] - self._lowest + grids.wide * self._most_of_contenders[grids.chosen]
        center, half = self._bounds_of(grids, np.array([most.argmax()]))
        center, half = self._bounds_of(grids, np.flatnonzero(most >= (center + half).max()))
        return float((center + half).max())

    def _high_of_mean(self, grids: SubGrids) -> float:
        chosen, contenders = grids.chosen, self._contenders
        lowest = self._mean[chosen] - self._lowest
        if not np.isfinite(lowest).all():
            return math.inf
        # The band holds for all combinations of choices at once, or offset by offset, whichever is narrower.
        stride, own = len(chosen), contenders % len(chosen)
        wide, log = grids.wide, np.log(grids.n_near)
        factors = np.zeros((2, len(self._mean)))
        factors[:, chosen] = np.ones(stride), wide
        half = factors @ self._half_of_contenders
        own_half = self._half[chosen[own], contenders]
        at_once, each = half[0] - own_half, half[1] - wide[own] * own_half
        at_once *= widening(self.level, np.exp(np.minimum(log.sum() - log[own], MOST)))
        at_once *= self._left_on_average(chosen, contenders)
        center = lowest.sum() - lowest[own] - (stride - 1) * (self._mean[contenders] - self._lowest)
        return float((center + np.minimum(at_once, each)).max()) / stride

    def _low_of_mean(self, stride: int) -> float:
        # Any learning rate may be the best of its sub-grid: neither the lowest means nor the lowest ends are left out.
        best, found = self.block.best, math.inf
        for values in (self._mean, self._lowest_ends):
            rows = by_offset(values, stride).argmin(axis=0) * stride + self._places[:stride]
            center = float(self._mean[rows].sum()) / stride - self._lowest
            if math.isfinite(center):
                left = float(self._left_on_average(rows, np.array([best]))[0])
                found = min(found, center - self._wide_of_best * float(self._half_of_best[rows].sum()) / stride * left)
        return found

    def _left_on_average(self, rows: NDArray[np.intp], others: NDArray[np.intp]) -> Array:
        """The part of the errors that is left in the average over offsets of the differences to another learning rate.

        Shape of others, at most 1. The difference is zero at the offset of the other one. `SOME` offsets suffice.
        """
        some = np.arange(0, len(rows), -(-len(rows) // SOME))
        shown = rows[some][:, None]
        variance = self._pair_variance[shown, others]
        used = (some[:, None] != others % len(rows)).astype(float)
        alone, single = (used * variance).sum(axis=0), (used * np.sqrt(variance)).sum(axis=0)
        among = (used * (self._pair_variance[shown, shown.T] @ used)).sum(axis=0)
        # Cov(a - c, b - c) = (Var(a - c) + Var(b - c) - Var(a - b)) / 2. Errors of opposite signs are not counted on.
        together = np.sqrt(np.maximum(used.sum(axis=0) * alone - among / 2, alone))
        return np.asarray(np.minimum(np.divide(together, single, out=np.ones_like(single), where=single > 0), 1.0))

    def upper(self, stride: int) -> UpperBounds:
        """Return the upper bounds of which `of_stride` takes the largest; none without a replicate."""
        grids = self._grids(stride)
        return UpperBounds(grids.chosen, grids.near, self._contenders, *self._bounds_of(grids, np.arange(stride)))

    def _grids(self, stride: int) -> SubGrids:
        offset = self._places % stride
        chosen = by_offset(self._mean, stride).argmin(axis=0) * stride + self._places[:stride]
        beside = chosen[offset]
        near = self._mean <= self._mean[beside] + NEAR * self._half[self._places, beside]
        n_near = np.bincount(offset, near, minlength=stride).astype(float)
        return SubGrids(chosen, near, n_near, widening(self.level, n_near))

    def _bounds_of(self, grids: SubGrids, offsets: NDArray[np.intp]) -> tuple[Array, Array]:
        # The differences at some offsets to each contender, and what the bounds add.
        chosen, contenders = grids.chosen[offsets], self._contenders
        center = self._mean[chosen][:, None] - self._mean[contenders]
        half = grids.wide[offsets][:, None] * self._half_of_contenders[chosen]
        # The sub-grid that holds the best loses nothing.
        own = offsets[:, None] == contenders % len(grids.chosen)
        center[own] = half[own] = 0.0
        return center, half

    def _low(self, n_worst: int, places: slice) -> Array:
        # Of mu_i - min_j mu_j: any j would do, and the best one was chosen.
        wide = float(widening(self.level, len(self.possible_bests) * n_worst))
        return np.asarray(self._mean[places] - self._lowest - wide * self._half_of_best[places])

    @cached_property
    def _lowest_ends(self) -> Array:
        return self._low(1, slice(None))

    @cached_property
    def _half_of_best(self) -> Array:
        return np.asarray(self._half[self.block.best])

    @cached_property
    def _wide_of_best(self) -> float:
        return float(widening(self.level, len(self.possible_bests)))

    @cached_property
    def _mean(self) -> Array:
        return self.block.mean

    @cached_property
    def _lowest(self) -> float:
        return float(self._mean.min())

    @cached_property
    def possible_bests(self) -> NDArray[np.intp]:
        """The learning rates that could have had the lowest mean instead of the one that has it, and that one."""
        return np.flatnonzero(self._may_be_best & (self._mean <= self._lowest + NEAR * self._half_of_best))

    @cached_property
    def _places(self) -> NDArray[np.intp]:
        return np.arange(len(self._mean))

    @cached_property
    def _t(self) -> float:
        return self.block.fit.t_quantile(self.level)

    @cached_property
    def _half(self) -> Array:
        # Half the width of the band of each difference, shape (L, L); 0 for learning rates that diverged.
        return self._everywhere(self.block.fit.half_widths(self.level))

    def _everywhere(self, values: Array) -> Array:
        if self.block.converged.all():
            return values
        found, trains = np.zeros((len(self._mean), len(self._mean))), np.flatnonzero(self.block.converged)
        found[np.ix_(trains, trains)] = values
        return found

    @cached_property
    def _pair_variance(self) -> Array:
        return self._everywhere(self.block.fit.pair_variance)

    @cached_property
    def _half_of_contenders(self) -> Array:
        return self._half[:, self._contenders]

    @cached_property
    def _most_of_contenders(self) -> Array:
        return np.asarray(self._half_of_contenders.max(axis=1))

    @cached_property
    def _contenders(self) -> NDArray[np.intp]:
        # The learning rates that may be the best of all, by a band that holds for all of them at once.
        wide = widening(self.level, len(self._mean))
        return np.flatnonzero(self._may_be_best & (self._mean <= self._lowest + wide * self._half_of_best))

    @cached_property
    def _may_be_best(self) -> NDArray[np.bool_]:
        found = np.zeros(len(self._mean), dtype=bool)
        found[self.block.converged] = ~self.block.fit.exploded
        return found


def widening(level: float, n_candidates: Array | float) -> Any:
    """Return the factor on a quantile that makes it hold for all of n candidates at once, by Bonferroni.

    All candidates share the estimate of the noise, so the factor is that of normal quantiles.
    """
    from scipy.special import ndtri

    tail = (1 - level) / 2
    return ndtri(1 - tail / np.maximum(n_candidates, 1)) / ndtri(1 - tail)


def by_offset(values: Array, stride: int) -> Array:
    """Return values of shape (L, ...) as (rows, stride, ...): column o is sub-grid o, filled up with +inf."""
    rows = -(-len(values) // stride)
    missing = np.full((rows * stride - len(values), *values.shape[1:]), math.inf)
    return np.concatenate([values, missing]).reshape(rows, stride, *values.shape[1:])
