"""When a run has diverged, by the objectives of its steps, in blocks of any length."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from robust_lr.divergence import DivergenceWatch
from robust_lr.exceptions import DataError


def by_hand(objectives, factor, patience):
    """The slow obvious twin: one step after the other."""
    bound = factor * abs(objectives[0]) if math.isfinite(objectives[0]) and objectives[0] != 0 else math.inf
    row = 0
    for step, value in enumerate(objectives):
        if not math.isfinite(value):
            return step
        row = row + 1 if value > bound else 0
        if row == patience:
            return step + 1 - patience
    return None


values = st.one_of(st.floats(0.1, 50.0), st.sampled_from([0.0, -3.0, 1e9, math.inf, -math.inf, math.nan]))


@given(
    st.lists(values, min_size=1, max_size=30),
    st.sampled_from([2.0, 10.0, math.inf]),
    st.integers(1, 4),
    st.lists(st.integers(0, 30), max_size=4),
)
def test_it_is_the_first_step_that_diverged_however_the_run_is_cut_into_blocks(objectives, factor, patience, cuts):
    watch = DivergenceWatch(factor=factor, patience=patience)
    found = None
    for block in np.split(np.array(objectives), sorted(min(c, len(objectives)) for c in cuts)):
        if (found := watch.see(block)) is not None:
            break
    assert found == by_hand(objectives, factor, patience)


@pytest.mark.parametrize("objectives", [[1.0, math.inf], [0.0, math.inf], [math.inf, 1.0], [1.0, -math.inf]])
@pytest.mark.parametrize("factor", [1e6, math.inf])
def test_infinity_has_diverged_whatever_the_factor(objectives, factor):
    assert DivergenceWatch(factor=factor, patience=3).see(objectives) == objectives.index(max(objectives, key=abs))


@pytest.mark.parametrize(("factor", "patience"), [(1.0, 3), (math.nan, 3), (10.0, 0), (10.0, 2.5)])
def test_a_factor_of_at_most_1_and_a_patience_of_none_are_refused(factor, patience):
    with pytest.raises(DataError, match="divergence_"):
        DivergenceWatch(factor=factor, patience=patience)
