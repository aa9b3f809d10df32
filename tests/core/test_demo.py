"""The demo's training function: the same run every time, on the same batches at every learning rate."""

from __future__ import annotations

import math

import numpy as np
import pytest

from robust_lr import GeometricGrid, parse_schedule, run_sweep
from robust_lr import demo as demo_module
from robust_lr.demo import DEMO_GRID, DEMO_SCHEDULES, DEMO_SEEDS, train

CONSTANT = parse_schedule("constant")


def test_a_run_repeats_to_the_last_digit():
    first = train(lr=1.0, schedule=parse_schedule("cosine"), seed=3)
    assert train(lr=1.0, schedule=parse_schedule("cosine"), seed=3) == first
    assert train(lr=1.0, schedule=parse_schedule("cosine"), seed=4) != first


def test_it_learns_the_digits():
    result = train(lr=2.0, schedule=parse_schedule("cosine"), seed=0)
    assert set(result) == {"loss", "validation_loss", "validation_accuracy"}
    assert result["loss"] == pytest.approx(0.263, abs=0.005)
    assert result["validation_accuracy"] > 0.9


def test_the_batches_depend_on_the_seed_alone(monkeypatch):
    drawn = []
    original = np.random.default_rng

    class Recorder:
        def __init__(self, seed):
            self.rng = original(seed)

        def integers(self, *arguments, **options):
            drawn.append(self.rng.integers(*arguments, **options))
            return drawn[-1]

    demo_module._digits()
    monkeypatch.setattr(np.random, "default_rng", Recorder)
    for lr, schedule, seed in ((0.1, "constant", 0), (8.0, "cosine", 0), (0.1, "constant", 1)):
        train(lr=lr, schedule=parse_schedule(schedule), seed=seed)
    np.testing.assert_array_equal(drawn[0], drawn[1])
    assert (drawn[0] != drawn[2]).any()
    assert drawn[0].shape == (1500, 16)


def test_a_learning_rate_of_almost_nothing_leaves_the_weights_at_chance():
    assert train(lr=1e-12, schedule=CONSTANT, seed=0)["loss"] == pytest.approx(math.log(10))


def test_a_small_sweep_has_its_best_inside_and_annealing_forgives_overshoot():
    sweep = run_sweep(train, GeometricGrid(2.0**-3, 2.0**7, 3), ["constant", "cosine"], 1)
    assert sweep.loss[:, :, 0].argmin(axis=1).tolist() == [1, 1]
    overshoot = sweep.loss[:, 2, 0] - sweep.loss[:, 1, 0]
    assert overshoot[1] < 0.1 * overshoot[0]
    assert set(sweep.metrics) == {"validation_loss", "validation_accuracy"}


def test_the_demo_asks_for_the_schedules_and_learning_rates_that_it_names():
    assert DEMO_GRID.values.tolist() == [2.0**i for i in range(-7, 9)]
    assert [str(parse_schedule(spec)) for spec in DEMO_SCHEDULES][:4] == [
        "constant",
        "inverse-sqrt",
        "linear",
        "cosine",
    ]
    assert DEMO_SEEDS == 5
