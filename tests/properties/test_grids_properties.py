"""What holds of a grid after any chain of coarsening, refining and extending."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from robust_lr import GeometricGrid

STEPS = st.lists(
    st.one_of(
        st.just(("refine",)),
        st.tuples(st.just("coarsen"), st.integers(1, 4), st.integers(0, 3)),
        st.tuples(st.just("extend"), st.integers(0, 3), st.integers(0, 3)),
    ),
    max_size=7,
)


@st.composite
def grids(draw):
    low = draw(st.floats(1e-8, 1.0))
    ratio = draw(st.floats(1.01, 20.0))
    n = draw(st.integers(2, 9))
    return GeometricGrid(low, low * ratio ** (n - 1), n)


def walk(grid, steps):
    """Every grid on the way, with the name of the step that led there."""
    for name, *numbers in steps:
        if name == "refine" and len(grid) < 80:
            grid = grid.refine()
        elif name == "extend" and len(grid) > 1:
            grid = grid.extend(below=numbers[0], above=numbers[1])
        elif name == "coarsen":
            grid = grid.coarsen(numbers[0], min(numbers[1], numbers[0] - 1, len(grid) - 1))
        else:
            continue
        yield name, grid


@given(grids(), STEPS)
def test_every_point_that_stays_is_the_same_float(grid, steps):
    for name, new in walk(grid, steps):
        small, large = (new, grid) if name == "coarsen" else (grid, new)
        assert set(small.values) <= set(large.values)
        grid = new


@given(grids(), STEPS)
def test_grids_that_meet_again_after_different_ways_share_their_floats(grid, steps):
    pool = list(grid.values)
    for _, new in walk(grid, steps):
        pool += list(new.values)
    points = np.unique(pool)
    # Two floats of one lattice that are not the same are different points of it: never a rounding apart.
    assert (points[1:] / points[:-1] > 1 + 1e-9).all()


@given(grids(), STEPS)
def test_a_grid_stays_ascending_and_its_ratio_true(grid, steps):
    for _, new in walk(grid, steps):
        values = new.values
        assert (np.diff(values) > 0).all()
        assert (new.lr_min, new.lr_max, new.n_points) == (values[0], values[-1], len(values))
        if len(new) > 1:
            np.testing.assert_allclose(values[1:] / values[:-1], new.ratio, rtol=1e-10)


@given(grids(), STEPS)
def test_equal_grids_hash_alike_and_every_learning_rate_reads_back_from_its_text(grid, steps):
    *_, last = [grid, *(g for _, g in walk(grid, steps))]
    again = last.coarsen(1)
    assert last == again
    assert hash(last) == hash(again)
    assert [float(repr(lr)) for lr in last.values.tolist()] == last.values.tolist()
    given_ends = (grid.lr_min, grid.lr_max)  # these stay as they were typed, with all their digits
    assert all(float(f"{lr:.12g}") == lr for lr in last.values.tolist() if lr not in given_ends)


@settings(max_examples=200)
@given(st.floats(1e-12, 1e6), st.floats(1.0, 1e9), st.floats(1.001, 1e6))
def test_from_ratio_never_leaves_its_range_nor_exceeds_its_ratio(low, width, ratio):
    if width > 1 and np.log(width) / np.log(ratio) < 500 and width > 1 + 1e-6:
        grid = GeometricGrid.from_ratio(low, low * width, ratio)
        assert (grid.values >= low).all()
        assert (grid.values <= low * width).all()
        assert grid.ratio <= ratio * (1 + 1e-8)
