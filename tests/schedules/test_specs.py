"""A schedule is read from its spec, and what cannot be read is said in one line."""

import re

import pytest

from robust_lr import CosineDecay, InverseSqrt, PolynomialDecay, Warmup, WarmupStableDecay, parse_schedule
from robust_lr.exceptions import ScheduleError


def test_a_schedule_is_returned_as_it_is():
    schedule = Warmup(CosineDecay(), 0.1)
    assert parse_schedule(schedule) is schedule


def test_numbers_spelled_in_other_ways_are_the_same_schedule():
    assert parse_schedule("polynomial(2)") == parse_schedule(" Polynomial( power = 2.0 ) ") == PolynomialDecay(2)
    assert parse_schedule("inverse_sqrt(1e+2)") == InverseSqrt(100)
    assert parse_schedule("wsd(0.2)") == parse_schedule("wsd(20%)") == WarmupStableDecay(0.2)
    assert parse_schedule("warmup(5%)+cosine(floor=0.1%)") == Warmup(CosineDecay(0.001), 0.05)


@pytest.mark.parametrize(
    "spec, says",
    [
        ("cosin", "unknown schedule 'cosin'"),
        ("cosin", "did you mean 'cosine'?"),
        ("polynomail(2)", "did you mean 'polynomial'?"),
        ("constant_with_warmup", "write warmup(0.05)+constant, or warmup(steps=100)+constant"),
        ("get_cosine_schedule_with_warmup", "write warmup(0.05)+cosine"),
        ("CosineAnnealingLR", "write cosine"),
        ("warmup_stable_decay", "write warmup(0.05)+wsd(0.2)"),
        ("step", "any other is function(module:name)"),
        ("", "cannot read"),
        ("cosine(flor=0.1)", "there is no argument 'flor'; did you mean 'floor'?"),
        ("cosine(min_lr=0.1)", "there is no argument 'min_lr'; it takes floor"),
        ("constant(x=1)", "it takes none"),
        ("warmup(step=100)+cosine", "did you mean 'steps'?"),
        ("cosine+cooldown(frac=0.1)", "did you mean 'fraction'?"),
        ("cosine(0.1, 0.2)", "it takes floor, got 0.1 and 0.2"),
        ("warmup(100)", "for 100 steps, write warmup(steps=100)"),
        ("warmup(100)+cosine", "for 100 steps, write warmup(steps=100)"),
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
    with pytest.raises(ScheduleError, match=re.escape(says)) as caught:
        parse_schedule(spec)
    assert "\n" not in str(caught.value)
