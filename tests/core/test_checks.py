"""What is out of range is refused in one line that says what was expected and what came."""

import math

import numpy as np
import pytest

from robust_lr.checks import check_number, check_whole
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
