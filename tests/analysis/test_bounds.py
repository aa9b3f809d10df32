"""Bounds of the best of sub-grids, against plain loops over offsets and learning rates."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from scipy import stats

from robust_lr import SweepResult
from robust_lr.analysis._bounds import NEAR, ExcessBounds, by_offset, widening
from robust_lr.analysis._selection import loss_block

INF, NAN = math.inf, math.nan


def block_of(loss):
    loss = np.asarray(loss, float)
    return loss_block(SweepResult(("a",), 2.0 ** np.arange(len(loss)), range(loss.shape[1]), loss[None]), "a")


class Slow:
    """The definitions, one loop each."""

    def __init__(self, block, level):
        self.level, self.mean, self.n = level, block.mean.tolist(), len(block.mean)
        trains = [i for i in range(self.n) if math.isfinite(self.mean[i])]
        pairs = [(a, b, i, j) for a, i in enumerate(trains) for b, j in enumerate(trains)]
        self.variance = {(i, j): block.fit.pair_variance[a, b] for a, b, i, j in pairs}
        t = {(i, j): stats.t.ppf(0.5 + level / 2, max(block.fit.pair_df[a, b], 1)) for a, b, i, j in pairs}
        self.half = {pair: t[pair] * math.sqrt(self.variance[pair]) for pair in t}
        self.trains, self.best = trains, min(trains, key=self.mean.__getitem__)

    def wide(self, n):
        tail = (1 - self.level) / 2
        return stats.norm.isf(tail / n) / stats.norm.isf(tail)

    def near(self, i, others):
        return sum(self.mean[j] <= self.mean[i] + NEAR * self.half[i, j] for j in others)

    def chosen(self, grid):
        grid = [i for i in grid if i in self.trains]
        return min(grid, key=self.mean.__getitem__, default=None)

    def left(self, rows, other):
        """What is left of the errors in the average of the differences to another, of those at other offsets."""
        rows = [i for offset, i in enumerate(rows) if offset != other % len(rows)]
        deviations = sum(math.sqrt(self.variance[i, other]) for i in rows)
        covariance = sum(
            (self.variance[a, other] + self.variance[b, other] - self.variance[a, b]) / 2 for a in rows for b in rows
        )
        left = math.sqrt(max(covariance, sum(self.variance[i, other] for i in rows)))
        return min(left / deviations, 1) if deviations else 1

    def of_mean(self, grids, chosen, contenders, high):
        """Bounds of the mean over offsets."""
        if None in chosen:
            return INF, INF
        n_near = [self.near(c, [i for i in grid if i in self.trains]) for c, grid in zip(chosen, grids, strict=True)]
        tops = []
        for j in contenders:
            center = sum(self.mean[c] - self.mean[j] for c, grid in zip(chosen, grids, strict=True) if j not in grid)
            n_combinations = math.prod(n for n, grid in zip(n_near, grids, strict=True) if j not in grid)
            half = sum(self.half[c, j] for c, grid in zip(chosen, grids, strict=True) if j not in grid)
            at_once = (center + self.wide(n_combinations) * half * self.left(chosen, j)) / len(grids)
            tops.append(min(at_once, sum(high[o, j] for o in range(len(grids))) / len(grids)))
        wide, ends = self.wide(self.near(self.best, self.trains)), []
        for width in (0, self.wide(self.near(self.best, self.trains))):
            rows = [
                min((self.mean[i] - width * self.half[self.best, i], i) for i in grid if i in self.trains)[1]
                for grid in grids
            ]
            half = sum(self.half[i, self.best] for i in rows) * self.left(rows, self.best)
            ends.append((sum(self.mean[i] - self.mean[self.best] for i in rows) - wide * half) / len(grids))
        return min(ends), max(tops)

    def bounds(self, stride):
        grids = [range(offset, self.n, stride) for offset in range(stride)]
        chosen = [self.chosen(grid) for grid in grids]
        contenders = [
            j for j in self.trains if self.mean[j] <= self.mean[self.best] + self.wide(self.n) * self.half[self.best, j]
        ]
        high = {
            (o, j): 0.0 if j in grid
            else INF if c is None
            else self.mean[c] - self.mean[j]
            + self.wide(self.near(c, [i for i in grid if i in self.trains])) * self.half[c, j]
            for o, (grid, c) in enumerate(zip(grids, chosen, strict=True)) for j in contenders
        }  # fmt: skip
        n_best = self.near(self.best, self.trains)

        def low(grid, n):
            return min(
                (
                    self.mean[i] - self.mean[self.best] - self.wide(n) * self.half[self.best, i]
                    for i in grid if i in self.trains
                ),
                default=INF,
            )  # fmt: skip

        if None in chosen:
            low_of_worst = INF
        else:
            o = max(range(stride), key=lambda o: self.mean[chosen[o]])
            n_worst = sum(self.mean[c] >= self.mean[chosen[o]] - NEAR * self.half[chosen[o], c] for c in chosen)
            low_of_worst = low(grids[o], n_best * n_worst)
        return (low_of_worst, max(high.values())), self.of_mean(grids, chosen, contenders, high)


@given(st.integers(0, 10**6), st.integers(3, 9), st.integers(2, 4), st.floats(0.5, 0.99), st.booleans())
def test_every_bound_is_that_of_the_plain_loops(seed, n, k, level, diverges):
    rng = np.random.default_rng(seed)
    loss = 0.3 * (np.arange(n)[:, None] - rng.uniform(0, n)) ** 2 + rng.normal(size=(n, k)) + rng.normal(size=k)
    if diverges:
        loss[rng.random(n) < 0.3, 0] = INF
    assume(np.isfinite(loss).all(axis=1).sum() > 1)
    block = block_of(loss)
    bounds, slow = ExcessBounds(block, level), Slow(block, level)
    for stride in range(2, n):
        for got, expected in zip(bounds.of_stride(stride), slow.bounds(stride), strict=True):
            assert got == pytest.approx(expected, rel=1e-6, abs=1e-7)


def test_without_a_replicate_there_are_no_bounds():
    assert np.isnan(ExcessBounds(block_of([[1.0], [2.0], [3.0]]), 0.95).of_stride(2)).all()


@pytest.mark.parametrize(("n", "factor"), [(1, 1.0), (2, 2.2414 / 1.96), (8, 2.7344 / 1.96)])
def test_a_choice_of_several_widens_the_band_as_bonferroni_says(n, factor):
    assert widening(0.95, n) == pytest.approx(factor, rel=1e-3)


def test_the_columns_are_the_sub_grids():
    assert by_offset(np.arange(5.0), 2).tolist() == [[0, 1], [2, 3], [4, INF]]


def test_a_learning_rate_that_exploded_is_not_taken_for_the_best():
    """Two runs at 200 and at 2000 would leave any mean possible, by a t interval."""
    rng = np.random.default_rng(0)
    loss = 0.1 * np.abs(np.arange(16.0) - 8)[:, None] + 0.01 * rng.normal(size=(16, 2))
    bounded = ExcessBounds(block_of(loss), 0.95).of_stride(3)[0][1]
    loss[14:] = [[200.0, 2000.0], [9000.0, 1000.0]]
    assert ExcessBounds(block_of(loss), 0.95).of_stride(3)[0][1] < 2 * bounded
