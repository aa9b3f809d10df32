"""What a function of the step promises, read from its values."""

import functools
import math

import pytest

from robust_lr.doctor.functions import promise_of_function


def promise(function, n_steps=100):
    return promise_of_function("mine", function, n_steps=n_steps)


@pytest.mark.parametrize("horizon", [20, 300, 100_000])
def test_the_end_of_a_decay_is_its_horizon(horizon):
    assert promise(lambda k: max(0.0, 1 - k / horizon)).horizon == horizon


@pytest.mark.parametrize("horizon", [70, 250])
def test_a_cosine_that_rises_again_ends_at_its_trough(horizon):
    seen = promise(lambda k: 0.5 * (1 + math.cos(math.pi * k / horizon)))
    assert (seen.horizon, seen.rises_after_end, seen.restarts) == (horizon, True, False)


def test_a_line_below_zero_ends_at_zero():
    assert promise(lambda k: 1 - k / 80).horizon == 80


def test_a_floor_is_the_rate_at_the_end():
    seen = promise(lambda k: 0.1 + 0.9 * max(0.0, 1 - k / 120))
    assert (seen.horizon, round(seen.end, 9)) == (120, 0.1)


@pytest.mark.parametrize("n_warmup", [1, 15, 4000])
def test_a_rise_to_the_peak_is_a_warmup(n_warmup):
    seen = promise(lambda k: min(1.0, (k + 1) / (n_warmup + 1)))
    assert (seen.warmup, seen.peak_at, seen.horizon) == (n_warmup, n_warmup, None)


@pytest.mark.parametrize(
    "function",
    [
        lambda k: 1.0,
        lambda k: 0.98**k,
        lambda k: (k + 1) ** -0.5,
        lambda k: 1 / (1 + 0.01 * k),
        lambda k: 0.1 ** (k // 40),
        lambda k: max(0.01, (k + 1) ** -0.5),
        lambda k: 1.05**k,
        lambda k: math.sqrt(-k),
        lambda k: float("nan"),
    ],
    ids=["constant", "exponential", "inverse square root", "inverse", "drops", "floor", "growth", "error", "nan"],
)
def test_a_function_without_an_end_has_no_horizon(function):
    assert promise(function).horizon is None


@pytest.mark.parametrize(
    "function", [lambda k: 1 - (k % 30) / 30, lambda k: abs((k % 40) / 20 - 1)], ids=["sawtooth", "triangles"]
)
def test_a_function_that_restarts_has_no_horizon(function):
    seen = promise(function)
    assert (seen.horizon, seen.restarts) == (None, True)


def test_what_the_arguments_of_a_function_declare_is_taken():
    def schedule(step, *, num_warmup_steps, num_training_steps):
        raise AssertionError("not called")

    seen = promise(functools.partial(schedule, num_warmup_steps=10, num_training_steps=500))
    assert (seen.horizon, seen.warmup, seen.peak_at) == (500, 10, 10)
