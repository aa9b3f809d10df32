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
        upper = self.upper(stride)
        chosen, lowest, high = upper.chosen, self._mean[upper.chosen], upper.center + upper.half
        # The worst offset is itself a choice among those that come near.
        worst = int(lowest.argmax())
        n_worst = (
            int((lowest >= lowest[worst] - NEAR * self._half[chosen[worst], chosen]).sum())
            if np.isfinite(lowest).all()
            else 1
        )
        low = by_offset(self._low(1), stride).min(axis=0).mean(), self._low(n_worst)[worst::stride].min()
        return (float(low[1]), float(high.max())), (float(low[0]), float(high.mean(axis=0).max()))

    def upper(self, stride: int) -> UpperBounds:
        """Return the upper bounds of which `of_stride` takes the largest; none without a replicate."""
        chosen = by_offset(self._mean, stride).argmin(axis=0) * stride + np.arange(stride)
        reached, lowest = np.isfinite(self._mean[chosen]), self._mean[chosen]
        beside = chosen[self._places % stride]
        near = self._mean <= self._mean[beside] + NEAR * self._half[self._places, beside]
        n_near = np.bincount(self._places % stride, near, minlength=stride)
        c, j = chosen[reached], self._contenders
        center, half = np.full((stride, len(j)), math.inf), np.zeros((stride, len(j)))
        center[reached] = lowest[reached, None] - self._mean[j]
        half[reached] = widening(self.level, n_near[reached])[:, None] * self._half_of_contenders[c]
        # The sub-grid that holds the best loses nothing.
        center[j % stride, np.arange(len(j))] = half[j % stride, np.arange(len(j))] = 0.0
        return UpperBounds(chosen, near, j, center, half)

    def _low(self, n_worst: int) -> Array:
        # Of mu_i - min_j mu_j: any j would do, and the best one was chosen.
        wide = float(widening(self.level, len(self.possible_bests) * n_worst))
        return np.asarray(self._mean - self._lowest - wide * self._half[self.block.best])

    @cached_property
    def _mean(self) -> Array:
        return self.block.mean

    @cached_property
    def _lowest(self) -> float:
        return float(self._mean.min())

    @cached_property
    def possible_bests(self) -> NDArray[np.intp]:
        """The learning rates that could have had the lowest mean instead of the one that has it, and that one."""
        return np.flatnonzero(self._mean <= self._lowest + NEAR * self._half[self.block.best])

    @cached_property
    def _places(self) -> NDArray[np.intp]:
        return np.arange(len(self._mean))

    @cached_property
    def _t(self) -> float:
        return self.block.fit.t_quantile(self.level)

    @cached_property
    def _half(self) -> Array:
        # Half the width of the band of each difference, shape (L, L); 0 for learning rates that diverged.
        found, trains = np.zeros((len(self._mean), len(self._mean))), np.flatnonzero(self.block.converged)
        found[np.ix_(trains, trains)] = self.block.fit.half_widths(self.level)
        return found

    @cached_property
    def _half_of_contenders(self) -> Array:
        return self._half[:, self._contenders]

    @cached_property
    def _contenders(self) -> NDArray[np.intp]:
        # The learning rates that may be the best of all, by a band that holds for all of them at once.
        wide = widening(self.level, len(self._mean))
        return np.flatnonzero(self._mean <= self._lowest + wide * self._half[self.block.best])


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
