"""Grids: what a user relies on when a sweep grows, shrinks, or is named in a journal."""

from __future__ import annotations

import copy
import math
import pickle

import numpy as np
import pytest

from robust_lr import GeometricGrid
from robust_lr.exceptions import GridError


def test_the_ends_are_the_very_numbers_that_were_asked_for():
    for low, high, n in [(1e-4, 1.0, 17), (3e-5, 0.7, 6), (0.1, 0.3, 2), (2.0**-7, 2.0**8, 16), (1e-300, 1e300, 3)]:
        values = GeometricGrid(low, high, n).values
        assert (values[0], values[-1], len(values)) == (low, high, n)


def test_neighbors_are_one_ratio_apart():
    grid = GeometricGrid(1e-4, 0.3, 23)
    np.testing.assert_allclose(grid.values[1:] / grid.values[:-1], grid.ratio, rtol=1e-11)


def test_values_print_as_people_write_them():
    assert GeometricGrid(1e-4, 1.0, 5).values.tolist() == [0.0001, 0.001, 0.01, 0.1, 1.0]
    assert GeometricGrid(1e-6, 1e-1, 6).values.tolist() == [1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 1e-1]


def test_ends_stay_inside_the_range_for_a_thousand_random_ranges_and_ratios():
    rng = np.random.default_rng(0)
    for _ in range(1000):
        low, high = np.sort(10.0 ** rng.uniform(-9, 3, 2)).tolist()
        ratio = 1 + 10.0 ** rng.uniform(-2, 2)
        values = GeometricGrid.from_ratio(low, high, ratio).values
        assert values[0] == low
        assert values[-1] == high
        assert (np.diff(values) > 0).all()


def test_from_ratio_takes_the_fewest_points_that_keep_the_ratio():
    rng = np.random.default_rng(1)
    for _ in range(300):
        low, high = np.sort(10.0 ** rng.uniform(-6, 2, 2)).tolist()
        wanted = 1 + 10.0 ** rng.uniform(-1.5, 2)
        grid = GeometricGrid.from_ratio(low, high, wanted)
        assert grid.ratio <= wanted * (1 + 1e-8)
        if len(grid) > 2:
            assert (high / low) ** (1 / (len(grid) - 2)) > wanted * (1 - 1e-8)


@pytest.mark.parametrize(
    ("low", "high", "ratio", "n"),
    [(1e-4, 1.0, 10, 5), (1e-4, 1.0, 1e9, 2), (1e-5, 2.56e-3, 2, 9), (1e-3, 4e-3, 2, 3), (1e-4, 1e-4, 2, 1)],
)
def test_from_ratio_adds_no_point_for_a_ratio_that_divides_the_range(low, high, ratio, n):
    assert len(GeometricGrid.from_ratio(low, high, ratio)) == n


def test_coarsening_twice_is_coarsening_once_by_the_product():
    grid = GeometricGrid(1e-5, 3.0, 61)
    for a in (1, 2, 3):
        for b in (1, 2, 4):
            for first in range(a):
                for second in range(b):
                    assert grid.coarsen(a, first).coarsen(b, second) == grid.coarsen(a * b, first + a * second)


def test_the_offsets_of_a_stride_share_out_the_grid():
    grid = GeometricGrid(1e-5, 3.0, 11)
    for stride in (1, 2, 3, 7, 11):
        parts = [grid.coarsen(stride, offset) for offset in range(stride)]
        assert sorted(lr for part in parts for lr in part.values) == grid.values.tolist()
        assert all(p.ratio == pytest.approx(grid.ratio**stride) for p in parts if len(p) > 1)


def test_refining_keeps_every_old_learning_rate_as_the_same_float():
    grid = GeometricGrid(1e-4, 0.7, 9)
    for _ in range(5):
        finer = grid.refine()
        assert finer.values[::2].tolist() == grid.values.tolist()
        assert finer.ratio == pytest.approx(math.sqrt(grid.ratio))
        grid = finer


def test_extending_keeps_the_old_points_and_the_ratio():
    grid = GeometricGrid(1e-3, 0.1, 5)
    wider = grid.extend(below=3, above=2)
    assert wider.values[3:-2].tolist() == grid.values.tolist()
    assert wider.ratio == grid.ratio
    assert grid.extend() == grid


def test_a_grid_refined_and_coarsened_again_is_the_old_one():
    grid = GeometricGrid(7e-5, 0.9, 8)
    assert grid.refine().coarsen(2) == grid
    assert grid.extend(below=1, above=4).coarsen(1).refine().coarsen(2) == grid.extend(below=1, above=4)


def test_a_grid_reads_back_from_its_repr_and_survives_pickling():
    grid = GeometricGrid(1e-4, 0.3, 7)
    assert repr(grid) == "GeometricGrid(lr_min=0.0001, lr_max=0.3, n_points=7)"
    assert eval(repr(grid)) == grid
    for same in (pickle.loads(pickle.dumps(grid)), copy.deepcopy(grid)):
        assert same == grid
        assert same.refine() == grid.refine()


def test_grids_with_the_same_learning_rates_are_equal_however_they_were_made():
    made, reached = GeometricGrid(1.0, 16.0, 3), GeometricGrid(1.0, 16.0, 5).coarsen(2)
    assert made == reached
    assert hash(made) == hash(reached)
    assert len({made, reached, GeometricGrid(1.0, 16.0, 5)}) == 2
    assert made != GeometricGrid(1.0, 15.0, 3)


def test_nothing_about_a_grid_can_be_changed():
    grid = GeometricGrid(1.0, 16.0, 3)
    with pytest.raises(AttributeError):
        grid.lr_min = 2.0
    grid.values[0] = 5.0
    assert grid.values[0] == 1.0


def test_one_learning_rate_is_a_grid_of_ratio_one():
    grid = GeometricGrid(0.1, 0.1, 1)
    assert (grid.values.tolist(), grid.ratio, grid.max_gap, len(grid)) == ([0.1], 1.0, 1.0, 1)
    assert grid.refine() == grid == grid.coarsen(1) == grid.coarsen(5) == grid.extend()
    assert GeometricGrid(1.0, 4.0, 3).coarsen(3, 1).values.tolist() == [2.0]


def test_whole_numbers_and_numpy_numbers_are_numbers():
    assert GeometricGrid(np.float64(1), 4, np.int64(3)) == GeometricGrid(1.0, 4.0, 3)
    assert GeometricGrid(1, 4, 3).coarsen(np.int64(2), np.int64(0)).values.tolist() == [1.0, 4.0]


def test_cover_is_how_far_an_optimum_can_lie_below_a_grid_point():
    grid = GeometricGrid(1e-3, 0.5, 6)
    optima = np.geomspace(grid.lr_min, grid.lr_max, 10_001)[1:-1]
    above = grid.values[np.searchsorted(grid.values, optima)]
    assert (above / optima).max() <= grid.max_gap * (1 + 1e-12)
    assert (above / optima).max() == pytest.approx(grid.max_gap, rel=1e-2)


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: GeometricGrid(0.0, 1.0, 3), "lr_min must be a finite number > 0"),
        (lambda: GeometricGrid(-1.0, 1.0, 3), "lr_min"),
        (lambda: GeometricGrid(math.nan, 1.0, 3), "lr_min"),
        (lambda: GeometricGrid("0.1", 1.0, 3), "lr_min"),
        (lambda: GeometricGrid(True, 2.0, 3), "lr_min"),
        (lambda: GeometricGrid(0.1, math.inf, 3), "lr_max"),
        (lambda: GeometricGrid(0.1, None, 3), "lr_max"),
        (lambda: GeometricGrid(1.0, 0.1, 3), "lr_min must be below lr_max"),
        (lambda: GeometricGrid(1.0, 1.0, 3), "lr_min must be below lr_max"),
        (lambda: GeometricGrid(0.1, 1.0, 1), "one point needs lr_min == lr_max"),
        (lambda: GeometricGrid(0.1, 1.0, 0), "n_points must be a whole number of at least 1"),
        (lambda: GeometricGrid(0.1, 1.0, 2.0), "n_points"),
        (lambda: GeometricGrid(0.1, 1.0, True), "n_points"),
        (lambda: GeometricGrid(1.0, 1.0 + 1e-15, 2).refine(), "coincide"),
        (lambda: GeometricGrid(1.0, 1.0 + 1e-11, 50), "coincide"),
        (lambda: GeometricGrid.from_ratio(0.1, 1.0, 1.0), "max_ratio must be a finite number > 1"),
        (lambda: GeometricGrid.from_ratio(0.1, 1.0, 0.5), "max_ratio"),
        (lambda: GeometricGrid.from_ratio(0.1, 1.0, math.inf), "max_ratio"),
        (lambda: GeometricGrid.from_ratio(0.1, 1.0, "2"), "max_ratio"),
        (lambda: GeometricGrid.from_ratio(1.0, 0.1, 2.0), "lr_min must be below lr_max"),
        (lambda: GeometricGrid(0.1, 1.0, 3).coarsen(0), "stride must be a whole number of at least 1"),
        (lambda: GeometricGrid(0.1, 1.0, 3).coarsen(1.5), "stride"),
        (lambda: GeometricGrid(0.1, 1.0, 3).coarsen(2, 2), "offset must be below the stride, 2, and the 3 points"),
        (lambda: GeometricGrid(0.1, 1.0, 3).coarsen(9, 3), "offset must be below the stride, 9, and the 3 points"),
        (lambda: GeometricGrid(0.1, 1.0, 3).coarsen(2, -1), "offset"),
        (lambda: GeometricGrid(0.1, 1.0, 3).extend(above=-1), "above must be a whole number of at least 0"),
        (lambda: GeometricGrid(0.1, 1.0, 3).extend(below=0.5), "below"),
        (lambda: GeometricGrid(0.1, 0.1, 1).extend(above=1), "no ratio to extend by"),
        (lambda: GeometricGrid(1e-4, 1.0, 10_001), "a grid has at most 10000 points, got 10001"),
        (lambda: GeometricGrid(1e-4, 1.0, 9_000).refine(), "a grid has at most 10000 points, got 17999"),
        (lambda: GeometricGrid(1e-4, 1.0, 9_000).extend(above=1_001), "a grid has at most 10000 points"),
        (lambda: GeometricGrid.from_ratio(1e-4, 1.0, 1 + 1e-6), "from 0.0001 to 1 needs 9210346 points"),
        (lambda: GeometricGrid(1.0, 1e300, 2).extend(above=1), "leaves the range of floats"),
        (lambda: GeometricGrid(1e-300, 1.0, 2).extend(below=1), "leaves the range of floats"),
    ],
)  # fmt: skip
def test_a_grid_that_cannot_be_says_why_in_one_line(call, says):
    with pytest.raises(GridError) as caught:
        call()
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 200


def test_the_old_name_of_the_largest_gap_still_answers_with_a_warning():
    with pytest.warns(DeprecationWarning, match="max_gap"):
        assert GeometricGrid(1.0, 4.0, 3).cover == 2.0
