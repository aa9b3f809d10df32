"""The noise floor: it covers the truth, pools what it can, and says what it rests on."""

from __future__ import annotations

import json

import numpy as np
import pytest

from robust_lr import SweepResult
from robust_lr.analysis import noise_floor
from robust_lr.exceptions import InsufficientDataError, OptionError

X = np.arange(12) - 5.5


def sweep(rng, n_seeds, *, sd=0.02, shared=0.0, center=0.7):
    loss = 0.002 * (X - center)[:, None] ** 2 + sd * rng.normal(size=(12, n_seeds)) + shared * rng.normal(size=n_seeds)
    return SweepResult(("a",), 2.0**X, range(n_seeds), loss[None])


@pytest.mark.parametrize("n_seeds", [2, 3, 5])
@pytest.mark.parametrize("shared", [0.0, 0.02])
def test_repeated_runs_show_the_noise_of_one_run(n_seeds, shared):
    rng = np.random.default_rng(n_seeds)
    floors = [noise_floor(sweep(rng, n_seeds, shared=shared))[0] for _ in range(60)]
    true = np.hypot(0.02, shared)
    assert np.mean([f.interval[0] <= true <= f.interval[1] for f in floors]) >= 0.85
    assert np.median([f.sd for f in floors]) == pytest.approx(true, rel=0.25)


def test_several_sweeps_tell_it_better_than_one():
    rng = np.random.default_rng(0)
    one = noise_floor(sweep(rng, 2))[0]
    many = noise_floor({str(i): sweep(rng, 2) for i in range(20)})[0]
    assert many.n_sweeps == 20 and many.df > 10 * one.df
    assert many.interval[1] / many.interval[0] < 1.5 < one.interval[1] / one.interval[0]


def test_one_seed_sweeps_show_what_deviates_from_smooth_curves():
    rng = np.random.default_rng(0)
    floors = [noise_floor({str(i): sweep(rng, 1, center=rng.normal()) for i in range(30)})[0] for _ in range(20)]
    assert {f.source for f in floors} == {"curves"}
    assert np.median([f.sd for f in floors]) == pytest.approx(0.02, rel=0.15)
    assert np.mean([f.interval[0] <= 0.02 <= f.interval[1] for f in floors]) >= 0.85


def test_what_a_seed_adds_everywhere_is_told_apart():
    floor = noise_floor(sweep(np.random.default_rng(1), 8, sd=0.001, shared=0.02))[0]
    assert floor.shared == pytest.approx(0.02, rel=0.5) and floor.sd == pytest.approx(floor.shared, rel=0.05)


def test_one_learning_rate_is_enough_if_it_was_run_twice():
    floor = noise_floor(SweepResult(("a",), [0.1], (0, 1, 2), [[[1.0, 1.1, 0.9]]]))[0]
    assert floor.sd == pytest.approx(0.1) and floor.df == 2


def test_without_a_repeated_run_it_says_what_would_show_the_noise():
    with pytest.raises(InsufficientDataError, match="a second seed at the best learning rates, or at least 8 one-seed"):
        noise_floor(sweep(np.random.default_rng(0), 1))
    with pytest.raises(OptionError):
        noise_floor(sweep(np.random.default_rng(0), 2), confidence_level=95)


def test_seeds_without_effect_are_no_repeats():
    same = np.repeat(0.002 * X[None, :, None] ** 2, 3, axis=2)
    with pytest.raises(InsufficientDataError):
        noise_floor(SweepResult(("a",), 2.0**X, (0, 1, 2), same))


def test_its_figures_are_json():
    floor = noise_floor(SweepResult(("a",), [0.1], (0, 1, 2), [[[1.0, 1.1, 0.9]]]))[0]
    assert json.loads(json.dumps(floor.to_dict(), allow_nan=False))["shared"] is None
