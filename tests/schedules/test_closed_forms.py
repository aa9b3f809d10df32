"""Every schedule keeps the contract; values at the steps where things change, and what cannot be parsed."""

from __future__ import annotations

import numpy as np
import pytest

from robust_lr import (
    Constant,
    Cooldown,
    CosineDecay,
    FunctionSchedule,
    LinearDecay,
    Schedule,
    TableSchedule,
    Warmup,
    parse_schedule,
)
from robust_lr.exceptions import ScheduleError
from robust_lr.testing import ScheduleContract


def halving(step, total_steps):
    return 0.5 ** np.floor(4 * np.minimum(step / total_steps, 0.99))


def cubic(step, total_steps):
    return (1 - step / total_steps) ** 3


class TestSchedules(ScheduleContract):
    @pytest.fixture(
        params=[
            "constant",
            "inverse-sqrt",
            "inverse-sqrt(timescale=100, floor=0.1)",
            "linear",
            "linear(floor=0.1)",
            "polynomial(0.5)",
            "polynomial(power=3, floor=0.01)",
            "cosine",
            "cosine(floor=0.1)",
            "wsd(0.2)",
            "wsd(0.2, shape=1-sqrt)",
            "wsd(1, shape=cosine, floor=0.05)",
            "warmup(0.05)+cosine",
            "warmup(steps=10)+linear(floor=0.1)",
            "inverse-sqrt+cooldown(0.2)",
            "warmup(0.1)+cosine+cooldown(0.5)",
        ]
    )
    def schedule(self, request):
        return parse_schedule(request.param)


class TestFunctionSchedules(ScheduleContract):
    @pytest.fixture(
        params=[
            FunctionSchedule(halving),
            FunctionSchedule(cubic, degree=3),
            Warmup(FunctionSchedule(cubic, degree=3), 0.1),
            Cooldown(FunctionSchedule(halving), 0.3),
        ],
        ids=str,
    )
    def schedule(self, request):
        return request.param


class TestTableSchedules(ScheduleContract):
    has_spec = False

    @pytest.fixture(params=[TableSchedule([1.0]), TableSchedule([0.1, 1.0, 0.5, 0.25])], ids=str)
    def schedule(self, request):
        return request.param


@pytest.mark.parametrize(
    "spec, steps, expected",
    [
        ("constant", [0, 99, 500], [1, 1, 1]),
        ("linear", [0, 1, 99, 100, 101], [1, 0.99, 0.01, 0, 0]),
        ("cosine", [0, 50, 100, 200], [1, 0.5, 0, 0]),
        ("polynomial(2)", [0, 50, 100], [1, 0.25, 0]),
        ("inverse-sqrt(timescale=33)", [0, 99, 100, 1000], [1, 0.5, (1 + 100 / 33) ** -0.5, (1 + 100 / 33) ** -0.5]),
        ("wsd(0.2)", [79, 80, 90, 99, 100], [1, 1, 0.5, 0.05, 0]),
        ("wsd(0.2, shape=1-sqrt)", [80, 85, 100], [1, 0.5, 0]),
        ("wsd(0.2, shape=cosine)", [80, 90, 100], [1, 0.5, 0]),
        ("warmup(0.1)+linear", [0, 8, 9, 10, 55, 100], [0.1, 0.9, 1, 1, 0.5, 0]),
        ("warmup(steps=1)+constant", [0, 1], [1, 1]),
        ("warmup(0)+linear", [0, 50], [1, 0.5]),
        ("constant+cooldown(0.1)", [90, 95, 100], [1, 0.5, 0]),
        ("warmup(steps=20)+linear+cooldown(0.5)", [19, 20, 60, 80, 100], [1, 1, 0.5, 0.125, 0]),
    ],
)
def test_values_at_the_boundaries(spec, steps, expected):
    np.testing.assert_allclose(parse_schedule(spec)(steps, 100), expected, rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize(
    "bare, floored",
    [
        ("linear", "linear(floor=0.1)"),
        ("cosine", "cosine(floor=0.1)"),
        ("polynomial(2)", "polynomial(2, floor=0.1)"),
        ("wsd(0.2)", "wsd(0.2, floor=0.1)"),
        ("warmup(0.1)+cosine", "warmup(0.1)+cosine(floor=0.1)"),
    ],
)
def test_a_floor_is_a_fraction_of_the_peak_and_holds_after_the_end(bare, floored):
    schedule, bare = parse_schedule(floored), parse_schedule(bare)
    steps = np.arange(10, 100)
    np.testing.assert_allclose(schedule(steps, 100), 0.1 + 0.9 * bare(steps, 100))
    np.testing.assert_array_equal(schedule([100, 101, 10**6], 100), [0.1] * 3)


def test_the_last_step_still_trains():
    for spec in ("linear", "cosine", "polynomial(2)", "wsd(0.2)", "constant+cooldown(0.1)"):
        assert parse_schedule(spec)(99, 100) > 0


def test_methods_compose_like_specs():
    assert str(LinearDecay().with_cooldown(0.2).with_warmup(0.1)) == "warmup(0.1)+linear+cooldown(0.2)"
    assert Constant().with_warmup(steps=5) == parse_schedule("warmup(steps=5)+constant")
    assert Constant().with_warmup(0.1).with_cooldown(0.2) == Constant().with_cooldown(0.2).with_warmup(0.1)
    assert str(Warmup(Warmup(Constant(), 0.1), steps=3).with_cooldown(0.2)).endswith(
        "warmup(0.1)+constant+cooldown(0.2)"
    )
    assert Cooldown(CosineDecay(), 0.5).degree == 3 and Cooldown(Constant(), 0.5).degree == 1


def test_a_table_with_one_entry_a_step_is_that_table():
    table = np.linspace(1, 0.1, 37)
    np.testing.assert_allclose(TableSchedule(table)(np.arange(37), 37), table)
    assert str(TableSchedule(table)) == str(TableSchedule(list(table))) != str(TableSchedule(table[:-1]))


@pytest.mark.parametrize("schedule", [Constant, 1.0, None, halving, ["cosine"]])
def test_what_is_no_schedule_is_refused(schedule):
    with pytest.raises(ScheduleError, match="expected a schedule"):
        parse_schedule(schedule)


@pytest.mark.parametrize("total_steps", [0, -1, 1.5, True])
def test_total_steps_is_a_whole_number_from_1(total_steps):
    with pytest.raises(ScheduleError, match="total_steps"):
        CosineDecay()(0, total_steps)


def test_wrong_steps_and_warmups_are_refused():
    with pytest.raises(ScheduleError, match="step must be >= 0"):
        CosineDecay()([-1, 0], 10)
    with pytest.raises(ScheduleError, match="leaves nothing"):
        Constant().with_warmup(steps=10)(0, 10)
    with pytest.raises(ScheduleError, match="one of the two"):
        Warmup(Constant(), 0.1, steps=3)
    with pytest.raises(ScheduleError, match="cooldown on the schedule first"):
        Cooldown(Warmup(Constant(), 0.1), 0.2)


@pytest.mark.parametrize("values", [[], [1.0, np.nan], [-1.0], ["a"], 3])
def test_wrong_tables_are_refused(values):
    with pytest.raises(ScheduleError, match="table"):
        TableSchedule(values)


@pytest.mark.parametrize(
    "function, says", [(lambda step, total: 1.0, "one multiplier per step"), (lambda step, total: step - 1, ">= 0")]
)
def test_wrong_functions_are_told_what_they_returned(function, says):
    with pytest.raises(ScheduleError, match=says):
        FunctionSchedule(function)([0, 1, 2], 3)
    with pytest.raises(ScheduleError, match="callable"):
        FunctionSchedule(3)


def test_a_class_of_ones_own_is_a_schedule():
    class Mine:
        degree = None

        def __call__(self, step, total_steps):
            return np.ones(np.shape(step))

    assert isinstance(Mine(), Schedule) and parse_schedule(Mine()) is not None
