"""Cells and axes: every combination once, coarse learning rates first, floats equal up to rounding."""

from __future__ import annotations

import math
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from robust_lr_optuna._cells import Axes, Cell, as_axes, find_lr
from robust_lr_optuna._parameter_values import SAME

LRS = tuple(10.0**-i for i in range(6, -1, -1))
axes = st.builds(
    as_axes,
    st.lists(st.sampled_from(LRS), max_size=4, unique=True),
    st.lists(st.sampled_from(["cosine", "linear", "constant"]), max_size=2, unique=True),
    st.lists(st.integers(0, 3), max_size=2, unique=True),
)


@given(axes, axes)
def test_grown_axes_have_all_cells_of_both_whose_axes_both_have(one, other):
    grown = one.grown(other)
    assert set(grown.lrs) == {*one.lrs, *other.lrs} and list(grown.lrs) == sorted(grown.lrs)
    cells = product(grown.lrs, grown.schedules or [None], grown.seeds or [None])
    assert sorted(map(str, grown.cells())) == sorted(str(Cell(*cell)) for cell in cells)
    assert grown.grown(one) == grown.grown(other) == grown


@given(axes)
def test_a_cell_is_found_by_its_values_and_nothing_else_is(axes):
    for cell in axes.cells():
        values = {"lr": cell.lr * (1 + 1e-12), "schedule": cell.schedule, "seed": cell.seed}
        assert axes.cell_at(values) == cell
        assert axes.cell_at({**values, "lr": cell.lr * 1.01}) is None
        if axes.seeds:
            assert axes.cell_at({**values, "seed": 77}) is axes.cell_at({"lr": cell.lr}) is None


def test_coarse_learning_rates_come_first_each_with_all_its_seeds():
    cells = as_axes(LRS[:5], [], range(2)).cells()
    assert cells[:6] == [Cell(lr, None, seed) for lr in (LRS[0], LRS[4], LRS[2]) for seed in (0, 1)]


def test_values_that_are_no_learning_rate_have_no_cell():
    assert all(Axes((0.1,)).cell_at({"lr": lr}) is None for lr in (None, "auto", math.nan, -0.1, 0.2))


def test_a_cell_is_printed_as_its_values():
    assert str(Cell(0.001, "cosine", 3)) == "lr=0.001, schedule=cosine, seed=3" and str(Cell(0.1)) == "lr=0.1"


@pytest.mark.parametrize("factor, found", [(1 + SAME / 2, True), (1 - SAME / 2, True), (1 + 3 * SAME, False)])
def test_learning_rates_are_one_up_to_rounding(factor, found):
    assert find_lr((0.01, 0.1, 1.0), 0.1 * factor) == (0.1 if found else None)
