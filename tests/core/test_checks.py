"""What is out of range is refused in one line that says what was expected and what came."""

import math
from fractions import Fraction

import numpy as np
import pytest

from robust_lr._checks import check_flag, check_number, check_whole
from robust_lr.exceptions import GridError


@pytest.mark.parametrize("value", [2, np.int64(2)])
def test_whole_numbers_of_any_library_pass_as_ints(value):
    found = check_whole("n_points", value, at_least=1, error=GridError)
    assert (found, type(found)) == (2, int)


@pytest.mark.parametrize("value", [0, -1, 1.0, True, "2", None])
def test_what_is_no_whole_number_in_range_is_refused(value):
    with pytest.raises(GridError) as caught:
        check_whole("n_points", value, at_least=1, error=GridError)
    assert str(caught.value) == f"n_points must be a whole number of at least 1, got {value!r}"


@pytest.mark.parametrize("value", [0.5, 1, np.float32(0.25)])
def test_numbers_of_any_library_pass_as_floats(value):
    found = check_number("fraction", value, above=0, at_most=1, error=GridError)
    assert (found, type(found)) == (float(value), float)


@pytest.mark.parametrize("value", [0, 1.5, -1, math.nan, math.inf, True, "1", None, 1j])
def test_what_is_no_number_in_range_is_refused(value):
    with pytest.raises(GridError) as caught:
        check_number("fraction", value, above=0, at_most=1, error=GridError)
    assert str(caught.value) == f"fraction must be a finite number > 0 and <= 1, got {value!r}"


@pytest.mark.parametrize("value", [10**400, -(10**5000), Fraction(10**400)], ids=["int", "negative", "fraction"])
def test_a_number_that_no_float_can_hold_is_refused_without_its_thousand_digits(value):
    with pytest.raises(GridError) as caught:
        check_number("lr_max", value, above=0, error=GridError)
    assert str(caught.value) == "lr_max must be a finite number > 0, got a number too large for a float"


@pytest.mark.parametrize("value", [True, False, np.True_, np.False_])
def test_flags_of_any_library_pass_as_bools(value):
    found = check_flag("relative", value, error=GridError)
    assert (found, type(found)) == (bool(value), bool)


@pytest.mark.parametrize("value", ["no", "", 0, 1, None, math.nan])
def test_what_is_only_taken_for_true_or_false_is_no_flag(value):
    with pytest.raises(GridError) as caught:
        check_flag("relative", value, error=GridError)
    assert str(caught.value) == f"relative must be True or False, got {value!r}"
