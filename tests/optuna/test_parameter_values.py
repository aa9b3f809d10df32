"""Values of parameters: the same up to rounding, and as an objective's distribution has them."""

from __future__ import annotations

import math

import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

from robust_lr.exceptions import GridError
from robust_lr_optuna._parameter_values import allowed_value, as_number, is_same


@pytest.mark.parametrize(("value", "number"), [(1, 1.0), ("0.5", 0.5), (None, None), ("auto", None), ([1], None)])
def test_what_is_no_number_is_none(value, number):
    assert as_number(value) == number


def test_floats_are_the_same_up_to_rounding_and_anything_else_when_it_is_equal():
    assert is_same(0.1 + 0.2, 0.3)
    assert not is_same(0.3, 0.3001)
    assert is_same("cosine", "cosine") and not is_same("cosine", 1.0)
    assert not is_same(math.nan, math.nan)


@pytest.mark.parametrize(
    ("value", "distribution", "allowed"),
    [
        (0.1 + 0.2, CategoricalDistribution([0.1, 0.3]), 0.3),
        (0.1 + 0.2, FloatDistribution(0.01, 0.3), 0.3),
        (0.1, FloatDistribution(0.01, 0.3), 0.1),
        (7, IntDistribution(0, 9), 7),
    ],
)
def test_a_value_is_the_choice_or_bound_of_the_objective_that_it_equals(value, distribution, allowed):
    assert allowed_value("lr", value, distribution) == allowed


def test_a_value_that_the_objective_does_not_allow_is_an_error():
    with pytest.raises(GridError, match=r"the grid has lr=0\.5, but the objective only allows Float"):
        allowed_value("lr", 0.5, FloatDistribution(0.01, 0.3))
