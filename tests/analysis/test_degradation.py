"""What a coarser grid costs, against plain loops over strides, offsets and seeds."""

from __future__ import annotations

import math
import statistics

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import stats

from robust_lr import GeometricGrid, SweepResult, degradation_curve
from robust_lr.exceptions import InsufficientDataError, OptionError

INF, NAN = math.inf, math.nan
COST = ("worst", "mean", "worst_interval", "mean_interval", "too_high", "too_low")

# Whole losses: sums are exact, so a tie is a tie in the loops too.
WHOLE = st.integers(-1000, 1000).map(float)
SHAPES = st.tuples(st.integers(3, 9), st.integers(1, 5))
FINITE = arrays(float, SHAPES, elements=WHOLE)
WITH_DIVERGED = arrays(float, SHAPES, elements=st.one_of(WHOLE, WHOLE, WHOLE, st.just(INF)))

# A deep valley with little noise, in which a lower bound can be above zero.
QUIET = st.builds(
    lambda base, noise: np.array(base, float)[: len(noise), None] + noise[: len(base)],
    st.lists(st.integers(0, 1000), min_size=9, max_size=9),
    arrays(float, SHAPES, elements=st.integers(-9, 9).map(float)),
)


def sweep_of(loss, lrs=None, seeds=None):
    """A sweep of one schedule with these losses (L, K)."""
    loss = np.asarray(loss, float)
    lrs = 2.0 ** np.arange(loss.shape[0]) if lrs is None else lrs
    return SweepResult(("cosine",), lrs, range(loss.shape[1]) if seeds is None else seeds, loss[None])


def curve_of(loss, lrs=None, **options):
    return degradation_curve(sweep_of(loss, lrs), "cosine", **options)


def average(values):
    return INF if any(math.isinf(v) for v in values) else math.fsum(values) / len(values)


class Slow:
    """The definitions, one loop each."""

    def __init__(self, loss, level=0.95):
        self.loss, self.level = [[float(x) for x in row] for row in loss], level
        self.n, self.k = len(self.loss), len(self.loss[0])
        self.mean = [average(row) for row in self.loss]
        self.best = self.mean.index(min(self.mean))

    def chosen(self, candidates, held_out):
        """Position chosen on the other seeds, None when all diverged."""
        others = [s for s in range(self.k) if s != held_out] or [held_out]
        found, lowest = None, INF
        for i in candidates:
            if math.isfinite(self.mean[i]) and average([self.loss[i][s] for s in others]) < lowest:
                found, lowest = i, average([self.loss[i][s] for s in others])
        return found

    def scores(self, candidates):
        picks = [self.chosen(candidates, s) for s in range(self.k)]
        return [INF if i is None else self.loss[i][s] for s, i in enumerate(picks)]

    def sub_grids(self, stride):
        return [list(range(offset, self.n, stride)) for offset in range(stride)]

    def excess(self, candidates):
        """Of a sub-grid over the full one, by cross-fit."""
        return average([a - b for a, b in zip(self.scores(candidates), self.scores(list(range(self.n))), strict=True)])

    def interval(self, values):
        if self.k < 2:
            return NAN, NAN
        half = stats.t.ppf(0.5 + self.level / 2, self.k - 1) * statistics.stdev(values) / math.sqrt(self.k)
        return average(values) - half, average(values) + half

    def alive(self):
        return [i for i in range(self.n) if math.isfinite(self.mean[i])]

    def upper(self, grid):
        """Of min_i mu_i - min_j mu_j: held-out scores against each j, 0 where j is in the sub-grid itself."""
        scores = self.scores(grid)
        pairs = [[a - b for a, b in zip(scores, self.loss[j], strict=True)] for j in self.alive() if j not in grid]
        return max((self.interval(pair)[1] for pair in pairs), default=0.0)

    def reaches_all(self, stride):
        return all(math.isfinite(score) for grid in self.sub_grids(stride) for score in self.scores(grid))

    def mean_interval(self, stride):
        """Of the average over offsets: if j is the best of all, the offset that holds j loses nothing."""
        grids = self.sub_grids(stride)
        scores = [self.scores(grid) for grid in grids]
        low = average([min(self.lower(i) for i in grid) for grid in grids])
        high = INF
        if self.reaches_all(stride):
            high = max(
                self.interval(
                    [
                        sum(
                            score[s] - self.loss[j][s]
                            for score, grid in zip(scores, grids, strict=True)
                            if j not in grid
                        )
                        / stride
                        for s in range(self.k)
                    ]
                )[1]
                for j in self.alive()
            )
        estimate = max(average([self.excess(grid) for grid in grids]), 0.0)
        return min(max(low, 0.0), estimate), max(high, estimate)

    def lower(self, i):
        """Of the same, against the best that the other seeds choose."""
        if not math.isfinite(self.mean[i]):
            return INF
        base = self.scores(list(range(self.n)))
        return self.interval([a - b for a, b in zip(self.loss[i], base, strict=True)])[0]

    def worst_interval(self, stride):
        grids = self.sub_grids(stride)
        excess = [self.excess(grid) for grid in grids]
        suspects = {excess.index(max(excess))}
        for held_out in range(self.k):
            others = [s for s in range(self.k) if s != held_out] or [held_out]
            reached = [
                min(average([self.loss[i][s] for s in others]) if i in self.alive() else INF for i in grid)
                for grid in grids
            ]
            suspects.add(reached.index(max(reached)))
        low = min(min(self.lower(i) for i in grids[o]) for o in suspects)
        high = max(self.upper(grid) for grid in grids) if self.reaches_all(stride) else INF
        estimate = max(*excess, 0.0)
        return min(max(low, 0.0), estimate), max(high, estimate)

    def shifted(self, steps):
        found = []
        for s in range(self.k):
            best = self.chosen(list(range(self.n)), s)
            if not 0 <= best + steps < self.n:
                return NAN
            found.append(self.loss[best + steps][s] - self.loss[best][s])
        return average(found)


@given(st.one_of(WITH_DIVERGED, QUIET, QUIET))
def test_every_figure_is_that_of_the_plain_loops(loss):
    slow = Slow(loss)
    assume(slow.alive())
    curve = curve_of(loss)
    about = {"rel": 1e-9, "abs": 1e-7, "nan_ok": True}
    for row, stride in enumerate(range(1, slow.n)):
        grids = slow.sub_grids(stride)
        excess = [slow.excess(grid) for grid in grids]
        final = [average(slow.scores(grid)) for grid in grids]
        assert curve.stride[row] == stride
        assert curve.n_trials[row] == max(map(len, grids))
        assert curve.ratio[row] == 2.0**stride
        assert curve.covered[row] == (slow.best >= stride and slow.n - 1 - slow.best >= stride)
        assert curve.worst[row] == pytest.approx(max(*excess, 0.0), **about)
        assert curve.mean[row] == pytest.approx(max(average(excess), 0.0), **about)
        assert curve.final_loss[row] == pytest.approx(average(final), **about)
        assert curve.worst_final_loss[row] == pytest.approx(max(final), **about)
        assert curve.too_high[row] == pytest.approx(slow.shifted(stride), **about)
        assert curve.too_low[row] == pytest.approx(slow.shifted(-stride), **about)
        if stride > 1 and slow.k > 1:
            assert tuple(curve.worst_interval[row]) == pytest.approx(slow.worst_interval(stride), **about)
            assert tuple(curve.mean_interval[row]) == pytest.approx(slow.mean_interval(stride), **about)


@given(WITH_DIVERGED, st.floats(0.5, 0.99))
def test_the_full_grid_costs_nothing_and_every_interval_holds_its_estimate(loss, level):
    assume(np.isfinite(loss).all(axis=1).any())
    curve = curve_of(loss, confidence_level=level)
    assert curve.worst[0] == curve.mean[0] == 0
    assert curve.worst_interval[0].tolist() == curve.mean_interval[0].tolist() == [0, 0]
    assert (curve.worst >= 0).all()
    assert (curve.mean <= curve.worst).all()
    for estimate, interval in ((curve.worst, curve.worst_interval), (curve.mean, curve.mean_interval)):
        low, high = interval.T
        if curve.n_seeds == 1:
            assert np.isnan(interval[1:]).all()
        else:
            assert (low <= estimate).all()
            assert (estimate <= high).all()
            assert (low >= 0).all()


@given(WITH_DIVERGED, st.sampled_from([0.25, 2.0, 1024.0]))
def test_scaling_the_losses_scales_the_excess(loss, factor):
    assume(np.isfinite(loss).all(axis=1).any())
    a, b = curve_of(loss), curve_of(loss * factor)
    for name in (*COST, "final_loss"):
        np.testing.assert_allclose(getattr(b, name), getattr(a, name) * factor, rtol=1e-12, atol=1e-9)


@given(WITH_DIVERGED, st.lists(st.integers(-500, 500), min_size=5, max_size=5))
def test_a_seed_that_is_harder_at_every_learning_rate_changes_nothing(loss, shift):
    assume(np.isfinite(loss).all(axis=1).any())
    a, b = curve_of(loss), curve_of(loss + np.array(shift[: loss.shape[1]], float))
    assume(a.block.best == b.block.best)  # of learning rates with equal means rounding may name another
    for name in COST:
        np.testing.assert_allclose(getattr(b, name), getattr(a, name), rtol=1e-9, atol=1e-7)


@given(WITH_DIVERGED, st.permutations(range(5)))
def test_the_order_of_the_seeds_does_not_matter(loss, order):
    assume(np.isfinite(loss).all(axis=1).any())
    a, b = curve_of(loss), curve_of(loss[:, [k for k in order if k < loss.shape[1]]])
    for name in (*COST, "final_loss", "worst_final_loss"):
        np.testing.assert_allclose(getattr(b, name), getattr(a, name), rtol=1e-9, atol=1e-7)


@given(FINITE)
def test_equal_losses_at_all_learning_rates_cost_nothing_at_any_ratio(loss):
    curve = curve_of(np.broadcast_to(loss[:1], loss.shape))
    assert not curve.worst.any()
    assert (np.nan_to_num(curve.worst_interval) == 0).all()


def test_without_noise_the_curve_is_the_plain_definition():
    mean = [5.0, 3.0, 1.0, 0.0, 0.5, 2.0, 6.0]
    curve = curve_of([[m + s for s in (0, 10, 20)] for m in mean])
    for row, k in enumerate(range(1, 7)):
        costs = [min(mean[o::k]) for o in range(k)]
        assert curve.worst[row] == max(costs)
        assert curve.mean[row] == pytest.approx(sum(costs) / k)
    assert curve.covered.tolist() == [True, True, True, False, False, False]
    assert curve.too_high.tolist()[:3] == [0.5, 2.0, 6.0]
    assert curve.too_low.tolist()[:3] == [1.0, 3.0, 5.0]
    assert np.isnan(curve.too_high[3:]).all()


def test_every_stride_is_a_grid_that_coarsen_makes():
    grid = GeometricGrid(1e-3, 1.0, 10)
    curve = curve_of(np.abs(np.arange(10.0) - 5)[:, None] + np.zeros(2), grid.values)
    for row, k in enumerate(range(1, 10)):
        parts = [grid.coarsen(k, offset) for offset in range(k)]
        assert curve.n_trials[row] == max(map(len, parts))
        assert curve.ratio[row] == pytest.approx(grid.ratio**k)


def test_irregular_grids_are_read_by_their_largest_gap():
    curve = curve_of([[3.13], [2.98], [2.96], [2.95], [7.59]], [1e-4, 5e-4, 1e-3, 2e-3, 5e-3])
    assert curve.ratio == pytest.approx([5, 10, 20, 50])
    assert curve.best_lr == 2e-3
    assert curve.covered.tolist() == [True, False, False, False]


def test_a_learning_rate_at_which_one_seed_diverged_is_never_chosen_and_named():
    curve = curve_of([[5, 5], [1, INF], [3, 3], [4, 4]])
    assert curve.best_lr == 4
    assert curve.worst[1] == 1  # from 3 to 4, never the 1
    assert curve.too_low[0] == INF
    assert "some seeds diverged at 2: these learning rates count as diverged" in curve.warnings


def test_a_sub_grid_that_diverged_everywhere_costs_infinity_with_any_number_of_seeds():
    for n_seeds in (1, 3):
        curve = curve_of(np.tile([[INF], [1.0], [INF], [2.0], [INF]], n_seeds))
        assert curve.worst[1] == curve.mean[1] == INF
        assert curve.final_loss[1] == INF
        assert curve.n_seeds == n_seeds


def test_one_seed_is_analyzed_without_interval_and_called_optimistic():
    curve = curve_of([[3.0], [1.0], [2.0], [4.0]])
    assert curve.worst.tolist() == [0, 1, 2]
    assert np.isnan(curve.worst_interval[1:]).all()
    assert any("optimistic" in warning for warning in curve.warnings)


def test_missing_cells_shrink_the_data_and_are_noted():
    curve = curve_of([[3.0, 3.1], [1.0, 1.1], [2.0, NAN], [4.0, 4.1], [5.0, 5.1], [6.0, 6.1]])
    assert curve.block.learning_rates.tolist() == [1, 2, 8, 16, 32]
    assert "learning rates left out because some of their seeds are missing: 4" in curve.warnings


@pytest.mark.parametrize(
    ("loss", "needed"), [([[1.0, 2.0]], "2 more learning rates"), ([[1.0], [2.0]], "1 more learning rate")]
)
def test_fewer_than_three_learning_rates_are_too_few_and_how_many_more_is_said(loss, needed):
    with pytest.raises(InsufficientDataError) as caught:
        curve_of(loss)
    assert caught.value.needed == needed


@pytest.mark.parametrize("level", [0.0, 1.0, 95.0, -0.1, NAN])
def test_a_confidence_level_out_of_range_is_an_error(level):
    with pytest.raises(OptionError, match="confidence_level must be a finite number > 0 and < 1"):
        curve_of([[1.0], [2.0], [3.0]], confidence_level=level)


def test_the_band_covers_the_true_cost_as_often_as_it_promises():
    rng = np.random.default_rng(3)
    x = np.arange(9.0)
    true = 0.02 * (x - 3.6) ** 2
    costs = {k: max(true[o::k].min() for o in range(k)) - true.min() for k in (2, 3, 4)}
    hits = dict.fromkeys(costs, 0)
    for _ in range(200):
        loss = true[:, None] + rng.normal(size=5) + 0.02 * rng.normal(size=(9, 5))
        curve = curve_of(loss)
        for k, cost in costs.items():
            low, high = curve.worst_interval[k - 1]
            hits[k] += low <= cost <= high
    assert min(hits.values()) >= 180  # 95 % of 200 less three standard errors


def test_a_printed_curve_is_a_table_with_one_row_for_each_ratio():
    sweep = SweepResult(("cosine",), [0.1, 0.2, 0.4, 0.8, 1.6], (0,), [[[3.0], [1.5], [1.0], [1.25], [9.0]]])
    curve = degradation_curve(sweep, "cosine")
    title, _, head, _, *rows = str(curve).splitlines()
    assert title == "cosine: excess loss of a coarser grid, best learning rate 0.4"
    assert "  ".join(head.split()[:4]) == "ratio  trials  worst  offset" and head.count("95% band") == 2
    assert rows[1].split() == ["4", "3", "0.2500", "-", "0.1250", "-", "1.1250"]
    assert rows[2].endswith("sweep too narrow")
    assert repr(curve) == "DegradationCurve('cosine', 5 learning rates, 1 seed, best_lr=0.4)"
    assert "<table>" in curve._repr_html_()


@pytest.mark.parametrize("per_decade", [1, 2, 3, 4, 6])
@pytest.mark.parametrize("best", [-3.0, -2.0])
def test_learning_rates_that_are_written_with_three_digits_reach_as_far_as_exact_ones(per_decade, best):
    exact = np.logspace(-5, 0, 5 * per_decade + 1)
    rounded = np.array([float(f"{lr:.3g}") for lr in exact])
    loss = (np.log10(exact) - best) ** 2
    sweeps = [SweepResult(("cosine",), lrs, (0,), loss[None, :, None]) for lrs in (exact, rounded)]
    one, other = (degradation_curve(sweep, "cosine").covered for sweep in sweeps)
    assert one.tolist() == other.tolist()
