"""The demo's training function: the same run every time, on the same batches at every learning rate."""

from __future__ import annotations

import math

import numpy as np
import pytest

from robust_lr import GeometricGrid, parse_schedule, run_sweep
from robust_lr.cli.demo import DEMO_RANGE, DEMO_SCHEDULES, DEMO_SEEDS, demo_task
from robust_lr.runners.packed import PackedRunner


@pytest.fixture(scope="module")
def train():
    return demo_task()


def plain_loop(train, *, lr, schedule, seed):
    """The demo written out: softmax regression, one trial, one step at a time."""
    x, labels = train.train_data
    weights, bias = np.zeros((x.shape[1], 10)), np.zeros(10)
    one_hot = np.eye(10)[labels]
    batches = np.random.default_rng(seed).integers(0, len(x), size=(1500, 16))
    for step, batch in enumerate(batches):
        rate = lr * float(parse_schedule(schedule)(step, 1500))
        residual = (softmax(x[batch] @ weights + bias) - one_hot[batch]) / 16
        weights -= rate * (x[batch].T @ residual + 1e-3 * weights)
        bias -= rate * residual.sum(axis=0)
    log_likelihood = np.log(softmax(x @ weights + bias)[np.arange(len(x)), labels])
    x_val, labels_val = train.validation_data
    validation = softmax(x_val @ weights + bias)
    return {
        "loss": -log_likelihood.mean() + 0.5e-3 * np.sum(weights**2),
        "validation_loss": -np.log(validation[np.arange(len(x_val)), labels_val]).mean(),
        "validation_accuracy": np.mean(validation.argmax(axis=1) == labels_val),
    }


def softmax(logits):
    exp = np.exp(logits - logits.max(axis=1, keepdims=True))
    return exp / exp.sum(axis=1, keepdims=True)


@pytest.mark.parametrize("lr, schedule, seed", [(2.0, "cosine", 0), (0.5, "constant", 1), (16.0, "inverse-sqrt", 2)])
def test_it_ends_where_a_plain_loop_ends(train, lr, schedule, seed):
    expected = plain_loop(train, lr=lr, schedule=schedule, seed=seed)
    assert train(lr=lr, schedule=schedule, seed=seed) == pytest.approx(expected, rel=1e-9)


def test_a_run_repeats_to_the_last_digit(train):
    first = train(lr=1.0, schedule=parse_schedule("cosine"), seed=3)
    assert train(lr=1.0, schedule=parse_schedule("cosine"), seed=3) == first
    assert train(lr=1.0, schedule=parse_schedule("cosine"), seed=4) != first


def test_it_learns_the_digits(train):
    result = train(lr=2.0, schedule=parse_schedule("cosine"), seed=0)
    assert set(result) == {"loss", "validation_loss", "validation_accuracy"}
    assert result["loss"] == pytest.approx(0.263, abs=0.005)
    assert result["validation_accuracy"] > 0.9


def test_the_batches_depend_on_the_seed_alone(train):
    batches = train.batches(0)
    assert batches.shape == (1500, 16)
    np.testing.assert_array_equal(batches, np.random.default_rng(0).integers(0, 1500, size=(1500, 16)))
    assert (batches != train.batches(1)).any()


def test_a_learning_rate_of_almost_nothing_leaves_the_weights_at_chance(train):
    assert train(lr=1e-12, schedule="constant", seed=0)["loss"] == pytest.approx(math.log(10))


def test_a_small_sweep_has_its_best_inside_and_annealing_forgives_overshoot(train):
    sweep = run_sweep(train, GeometricGrid(2.0**-3, 2.0**7, 3), ["constant", "cosine"], 1, runner=PackedRunner())
    assert sweep.loss[:, :, 0].argmin(axis=1).tolist() == [1, 1]
    overshoot = sweep.loss[:, 2, 0] - sweep.loss[:, 1, 0]
    assert overshoot[1] < 0.1 * overshoot[0]
    assert set(sweep.metrics) == {"validation_loss", "validation_accuracy"}


def test_the_demo_asks_for_the_schedules_and_learning_rates_that_it_names():
    assert GeometricGrid(*DEMO_RANGE).values.tolist() == [2.0**i for i in range(-7, 9)]
    assert [str(parse_schedule(spec)) for spec in DEMO_SCHEDULES][:4] == [
        "constant",
        "inverse-sqrt",
        "linear",
        "cosine",
    ]
    assert DEMO_SEEDS == 3
