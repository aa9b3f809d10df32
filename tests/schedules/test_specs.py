"""A schedule is read from its spec, and what cannot be read is said in one line."""

import pytest

from robust_lr import CosineDecay, InverseSqrt, PolynomialDecay, Warmup, WarmupStableDecay, parse_schedule
from robust_lr.exceptions import ScheduleError


def test_a_schedule_is_returned_as_it_is():
    schedule = Warmup(CosineDecay(), 0.1)
    assert parse_schedule(schedule) is schedule


def test_numbers_spelled_in_other_ways_are_the_same_schedule():
    assert parse_schedule("polynomial(2)") == parse_schedule(" Polynomial( power = 2.0 ) ") == PolynomialDecay(2)
    assert parse_schedule("inverse_sqrt(1e+2)") == InverseSqrt(100)
    assert parse_schedule("wsd(0.2)") == WarmupStableDecay(0.2)


@pytest.mark.parametrize(
    "spec, says",
    [
        ("cosin", "unknown schedule 'cosin'"),
        ("", "cannot read"),
        ("cosine(flor=0.1)", "flor"),
        ("cosine(floor=1)", "floor must be a finite number >= 0 and < 1"),
        ("cosine(floor=-0.1)", "floor must be"),
        ("cosine(floor=nan)", "floor must be"),
        ("polynomial", "wrong arguments"),
        ("polynomial(0)", "power must be"),
        ("wsd(0)", "cooldown must be"),
        ("wsd(0.2, shape=square)", "shape must be one of"),
        ("warmup(0.1)", "one name"),
        ("warmup(1)+cosine", "warm-up fraction must be"),
        ("warmup()+cosine", "one of the two"),
        ("warmup(steps=1.5)+cosine", "whole number"),
        ("cosine+linear", "one name"),
        ("cosine(0.1", "cannot read"),
        ("table(n=3, sha=0123456789)", "TableSchedule"),
        ("function(robust_lr.nowhere:f)", "cannot import"),
    ],
)
def test_what_cannot_be_parsed_is_said_in_one_line(spec, says):
    with pytest.raises(ScheduleError, match=says.replace("(", r"\(")) as caught:
        parse_schedule(spec)
    assert "\n" not in str(caught.value)
