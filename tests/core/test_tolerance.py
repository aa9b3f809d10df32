from __future__ import annotations

import math

import pytest

from robust_lr._tolerance import Tolerance, read_tolerance
from robust_lr.exceptions import OptionError


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (0.003, Tolerance(0.003)),
        (1, Tolerance(1.0)),
        ("0.003", Tolerance(0.003)),
        ("1%", Tolerance(0.01, True)),
        (" 2.5 % ", Tolerance(0.025, True)),
        (Tolerance(0.5, True), Tolerance(0.5, True)),
    ],
)
def test_a_tolerance_is_a_loss_or_a_share_of_the_best(given, expected):
    assert read_tolerance(given) == expected


@pytest.mark.parametrize("given", [0, -1, math.nan, math.inf, True, None, "", "%", "1%%", "one", [0.1], 10**400, "0%"])
def test_anything_else_is_refused_in_one_line(given):
    with pytest.raises(
        OptionError, match=r"^tolerance must be a positive number such as 0.003, or a share such as '1%', got"
    ):
        read_tolerance(given)


@pytest.mark.parametrize(("best", "expected"), [(2.0, 0.02), (-2.0, 0.02), (0.0, 0.01), (math.inf, 0.01)])
def test_a_share_is_of_the_best_loss_where_that_has_a_meaning(best, expected):
    assert read_tolerance("1%").of(best) == pytest.approx(expected)


def test_it_prints_as_it_is_given():
    assert [str(read_tolerance(t)) for t in (0.003, "1%", "2.5%", "0.5")] == ["0.003", "1%", "2.5%", "0.5"]
