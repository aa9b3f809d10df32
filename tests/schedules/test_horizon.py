"""A schedule with its own number of steps."""

from __future__ import annotations

import numpy as np
import pytest

from robust_lr import CosineDecay, PolynomialDecay, Schedule, parse_schedule
from robust_lr.exceptions import ScheduleError
from robust_lr.schedules import Horizon


@pytest.mark.parametrize("text", ["cosine for 1 step", "warmup(steps=3)+wsd(cooldown=0.2) for 1000 steps"])
def test_it_prints_as_a_spec_that_can_be_read_back(text):
    assert str(parse_schedule(text)) == text


def test_its_multipliers_are_those_of_each_of_its_steps():
    expected = [float(CosineDecay()(step, 50)) for step in range(50)]
    assert Horizon(CosineDecay(), 50).multipliers == expected
    assert np.array_equal(Horizon(CosineDecay(), 50)([0, 10, 49], 50), CosineDecay()([0, 10, 49], 50))


def test_a_training_of_another_length_is_refused_and_not_silently_of_the_wrong_one():
    with pytest.raises(
        ScheduleError, match="cosine for 50 steps is for a training of that length, and this one has 60"
    ):
        Horizon(CosineDecay(), 50)(0, 60)


def test_it_is_a_schedule_with_the_degree_of_its_own():
    assert isinstance(Horizon(PolynomialDecay(3), 50), Schedule)
    assert Horizon(PolynomialDecay(3), 50).degree == 3


@pytest.mark.parametrize(("schedule", "steps"), [(CosineDecay(), 0), (CosineDecay(), 1.5), ("cosine", 10)])
def test_what_it_refuses(schedule, steps):
    with pytest.raises(ScheduleError):
        Horizon(schedule, steps)


@pytest.mark.parametrize("text", ["cosine for 0 steps", "cosin for 10 steps", "for 10 steps"])
def test_a_spec_that_cannot_be_read_is_said(text):
    with pytest.raises(ScheduleError):
        parse_schedule(text)
