"""LinearModelTask: what it trains, by a plain loop; what it returns; its name; how it is packed; what it refuses."""

import math
import pickle

import numpy as np
import pytest

from robust_lr import GeometricGrid, TrialSpec, parse_schedule, run_sweep
from robust_lr.exceptions import DataError, NotVectorizable
from robust_lr.linear._sgd import ClosedFormPacks
from robust_lr.linear.models import LinearModelTask
from robust_lr.runners import SequentialEvaluator, TrialList
from robust_lr.runners.packed import Packable, PackedRunner

KINDS = ("linear", "logistic", "softmax")
N, T, B = 60, 50, 8
SCHEDULES = {name: parse_schedule(name) for name in ("constant", "cosine")}
TRIALS = [TrialSpec(name, lr, seed) for name in SCHEDULES for lr in (0.05, 0.1, 0.2) for seed in (0, 1)]


def examples(kind, *, n=N, seed=1, dtype="float64"):
    rng = np.random.default_rng(seed)
    inputs = rng.standard_normal((n, 4)).astype(dtype)
    scores = inputs[:, 0] + 0.3 * rng.standard_normal(n)
    if kind == "softmax":
        return inputs, (scores > 0).astype(int) + (scores > 1)
    return inputs, (scores > 0).astype(int) if kind == "logistic" else scores


def task(kind="softmax", **changes):
    return LinearModelTask(
        **{"kind": kind, "train_data": examples(kind), "total_steps": T, "batch_size": B, "weight_decay": 0.01}
        | changes
    )


def mean_loss(kind, outputs, targets):
    """As the docstring says it, one row after the other."""
    total = 0.0
    for z, y in zip(outputs, targets, strict=True):
        if kind == "linear":
            total += float((z[0] - y) ** 2)
        elif kind == "logistic":
            p = 1 / (1 + math.exp(-z[0]))
            total -= y * math.log(p) + (1 - y) * math.log(1 - p)
        else:
            total -= math.log(math.exp(z[y]) / sum(math.exp(c) for c in z))
    return total / len(targets)


@pytest.mark.parametrize("kind", KINDS)
def test_the_loss_is_the_objective_over_the_training_set_and_the_validation_loss_has_no_penalty(kind):
    train, validation = examples(kind), examples(kind, seed=2, n=30)
    model = task(kind, train_data=train, validation_data=validation)
    rng = np.random.default_rng(0)
    weights, bias = (rng.standard_normal(a.shape) for a in model.initial(0))
    figures = model.evaluate(weights, bias)
    expected = mean_loss(kind, train[0] @ weights + bias, train[1]) + 0.005 * np.sum(weights**2)
    outputs = validation[0] @ weights + bias
    assert figures["loss"] == pytest.approx(expected, rel=1e-12)
    assert figures["validation_loss"] == pytest.approx(mean_loss(kind, outputs, validation[1]), rel=1e-12)
    if kind == "linear":
        assert "validation_accuracy" not in figures
    else:
        guesses = outputs.argmax(axis=1) if kind == "softmax" else outputs[:, 0] > 0
        assert figures["validation_accuracy"] == np.mean(guesses == validation[1])


def test_targets_between_0_and_1_have_no_accuracy():
    x, _ = examples("logistic")
    data = (x, np.linspace(0, 1, N))
    assert set(task("logistic", train_data=data, validation_data=data)(lr=0.1, schedule="cosine", seed=0)) == {
        "loss",
        "validation_loss",
    }


@pytest.mark.parametrize("kind", KINDS)
def test_it_learns_and_repeats(kind):
    model = task(kind)
    untrained = model.evaluate(*model.initial(0))["loss"]
    first = model(lr=0.2, schedule="cosine", seed=3)
    assert isinstance(model, Packable)
    assert first["loss"] < 0.8 * untrained
    assert model(lr=0.2, schedule=SCHEDULES["cosine"], seed=3) == first != model(lr=0.2, schedule="cosine", seed=4)


def test_one_step_is_a_step_down_the_gradient_of_the_rows_that_the_seed_draws():
    inputs, targets = examples("linear")
    model = task("linear", total_steps=1, has_bias=False)
    rows = np.random.default_rng(7).integers(0, N, size=(1, B))[0]
    np.testing.assert_array_equal(model.batches(7), [rows])
    weights = 0.1 * 2 * inputs[rows].T @ targets[rows] / B
    expected = np.mean((inputs @ weights - targets) ** 2) + 0.005 * np.sum(weights**2)
    assert model(lr=0.1, schedule="constant", seed=7)["loss"] == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("kind", KINDS)
def test_a_trial_that_diverges_says_when(kind):
    validated = task(kind, validation_data=examples(kind, seed=2), divergence_factor=10, divergence_patience=5)
    figures = validated(lr=1e9, schedule="constant", seed=0)
    assert set(figures) == {"loss", "diverged_at_step", "validation_loss"}
    assert figures["loss"] == figures["validation_loss"] == math.inf
    assert 0 < figures["diverged_at_step"] <= T
    assert set(task(kind)(lr=1e300, schedule="constant", seed=0)) <= {"loss", "diverged_at_step"}


def test_a_final_loss_that_overflows_is_a_divergence_after_the_last_step():
    assert task("linear", total_steps=1)(lr=1e300, schedule="constant", seed=0) == {
        "loss": math.inf,
        "diverged_at_step": 1.0,
    }


def test_single_precision_is_computed_in_single_precision():
    model = task(train_data=examples("softmax", dtype="float32"))
    assert model.train_data[0].dtype == model.initial(0)[0].dtype == np.float32
    single, double = (t(lr=0.1, schedule="cosine", seed=0)["loss"] for t in (model, task()))
    assert single == pytest.approx(double, rel=1e-6)
    assert single != double


def test_a_class_that_only_the_validation_data_have_has_an_output():
    x, y = examples("softmax")
    model = task(train_data=(x, np.minimum(y, 1)), validation_data=(x, y))
    assert model.initial(0)[0].shape == (4, 3)
    assert math.isfinite(model(lr=0.1, schedule="constant", seed=0)["validation_loss"])


def test_the_label_tells_tasks_apart_and_is_the_same_for_the_same_task():
    changes = [
        {},
        {"kind": "linear"},
        {"train_data": examples("softmax", seed=5)},
        {"train_data": examples("softmax", dtype="float32")},
        {"total_steps": T + 1},
        {"batch_size": 3},
        {"momentum": 0.5},
        {"momentum": 0.5, "dampening": 0.1},
        {"momentum": 0.5, "nesterov": True},
        {"weight_decay": 0.02},
        {"has_bias": False},
        {"validation_data": examples("softmax")},
        {"divergence_factor": 3.0},
        {"divergence_patience": 3},
    ]
    labels = [task(**change).label for change in changes]
    assert len(set(labels)) == len(labels)
    assert task(weight_decay=np.float64(0.01), total_steps=np.int64(T)).label == labels[0]
    assert labels[0].startswith("robust_lr.linear_models:LinearModelTask(softmax, sha=")


def test_the_label_is_that_of_version_0_1_whose_journals_go_on():
    x, y = np.arange(12.0).reshape(6, 2), np.array([0, 1, 0, 1, 1, 0])
    changes = {"train_data": (x, y), "total_steps": 7, "batch_size": 3, "weight_decay": 1e-3}
    assert task(**changes).label == "robust_lr.linear_models:LinearModelTask(softmax, sha=eec2002a7cf8)"


class Own(LinearModelTask):
    """A class of a user's own."""


def test_a_class_of_ones_own_is_labeled_by_its_own_name():
    own = Own(kind="softmax", train_data=examples("softmax"), total_steps=T, batch_size=B)
    assert own.label.startswith(f"{__name__}:Own(softmax, sha=")


def test_it_pickles_and_its_data_are_its_own():
    inputs, targets = examples("softmax")
    model = task(train_data=(inputs, targets))
    again = pickle.loads(pickle.dumps(model))
    inputs[:] = 0.0
    assert again.label == model.label == task().label
    assert again(lr=0.1, schedule="cosine", seed=0) == task()(lr=0.1, schedule="cosine", seed=0)
    with pytest.raises(ValueError, match="read-only"):
        model.train_data[0][0] = 0.0


def plan(model, n=100, **changes):
    trials = [TrialSpec("cosine", 0.1, seed) for seed in range(n)]
    options = {"engine": "auto", "slots": "auto", "n_workers": 1, "device": None, "memory_limit": None}
    return model.plan_packs(trials, SCHEDULES, **options | changes)


@pytest.mark.parametrize(
    "n, n_workers, slots",
    [(1, 1, 1), (8, 1, 8), (100, 1, 100), (256, 1, 256), (257, 1, 129), (560, 1, 187), (560, 2, 140), (3, 4, 1)],
)
def test_the_packs_of_all_workers_and_rounds_are_equally_full(n, n_workers, slots):
    assert plan(task(), n, n_workers=n_workers).slots == slots


def test_the_plan_names_the_engine_and_makes_evaluators_of_the_size_asked_for():
    for engine in ("auto", "closed_form"):
        packs = plan(task(), engine=engine)
        assert packs.engine == "closed_form" and packs.note == "closed form in numpy, 100 slots"
        evaluator = packs.make_evaluator(24)
        assert isinstance(evaluator, ClosedFormPacks) and evaluator.slots == 24
        pickle.loads(pickle.dumps(evaluator))
    assert plan(task(), slots=5).slots == 5
    assert plan(task(), slots=100, memory_limit=1).slots == 1
    sequential = plan(task(), engine="sequential")
    assert sequential.engine == "sequential" and isinstance(sequential.make_evaluator(1), SequentialEvaluator)


@pytest.mark.parametrize("change", [{"engine": "packed"}, {"engine": "compiled"}, {"device": "cuda"}])
def test_another_engine_or_device_is_refused_with_the_reason(change):
    with pytest.raises(NotVectorizable, match=f"closed.form.*{next(iter(change.values()))}"):
        plan(task(), **change)


def test_a_pack_gives_what_one_trial_after_the_other_gives():
    model = task("logistic", momentum=0.9)
    in_packs = {r.spec: r.loss for r in plan(model).make_evaluator(8).results(TrialList(TRIALS))}
    alone = {r.spec: r.loss for r in SequentialEvaluator(model, SCHEDULES).results(TrialList(TRIALS))}
    assert in_packs == pytest.approx(alone, rel=1e-12)


@pytest.mark.parametrize("n_workers", [1, 2])
def test_a_sweep_by_a_packed_runner_is_that_of_any_other_runner(n_workers):
    grid, model = GeometricGrid(0.01, 10.0, 4), task(validation_data=examples("softmax", seed=2))
    packed = run_sweep(model, grid, ["constant", "cosine"], 3, runner=PackedRunner(n_workers))
    serial = run_sweep(model, grid, ["constant", "cosine"], 3)
    np.testing.assert_allclose(packed.loss, serial.loss, rtol=1e-10)
    assert packed.metrics.keys() == serial.metrics.keys()
    for name in serial.metrics:
        np.testing.assert_allclose(packed.metrics[name], serial.metrics[name], rtol=1e-10)


X, Y = examples("softmax")


@pytest.mark.parametrize(
    "change, message",
    [
        ({"kind": "ridge"}, "kind must be one of linear, logistic, softmax, got 'ridge'"),
        ({"total_steps": 0}, "total_steps must be a whole number of at least 1, got 0"),
        ({"batch_size": 2.5}, "batch_size must be a whole number of at least 1, got 2.5"),
        ({"momentum": -0.1}, "momentum must be a finite number >= 0, got -0.1"),
        ({"weight_decay": math.inf}, "weight_decay must be a finite number >= 0, got inf"),
        ({"dampening": 2}, "dampening must be a finite number >= 0 and <= 1, got 2"),
        ({"nesterov": True}, "nesterov needs momentum > 0 and dampening 0, got momentum=0.0, dampening=0.0"),
        ({"divergence_factor": 1.0}, "divergence_factor must be a finite number > 1"),
        ({"divergence_patience": 0}, "divergence_patience must be a whole number of at least 1"),
        ({"train_data": X}, "train_data must be a pair of arrays"),
        ({"train_data": (X.astype(int), Y)}, "the inputs of train_data must be float32 or float64 of shape (n, d)"),
        ({"train_data": (X[:, 0], Y)}, "the inputs of train_data must be float32 or float64 of shape (n, d)"),
        ({"train_data": (X, Y[:-1])}, "as many targets as inputs, 60; got targets int64 of shape (59,)"),
        ({"train_data": (X, Y.astype(float))}, "must be whole class numbers >= 0, one per row, got float64"),
        ({"train_data": (X, Y - 1)}, "whole class numbers >= 0, one per row, got int64 of shape (60,), least -1"),
        ({"train_data": (X, Y[:, None])}, "whole class numbers >= 0, one per row, got int64 of shape (60, 1)"),
        ({"kind": "logistic", "train_data": (X, Y)}, "the targets of train_data must be in [0, 1], got 0 to 2"),
        ({"kind": "linear", "train_data": (X, Y.astype(str))}, "the targets of train_data must be numbers"),
        ({"validation_data": (X[:, :2], Y)}, "validation_data must have the columns and types of train_data"),
        ({"validation_data": (X[:3], Y)}, "validation_data must have as many targets as inputs, 3"),
    ],
    ids=str,
)
def test_what_is_wrong_is_refused_in_one_line(change, message):
    with pytest.raises(DataError) as error:
        task(**change)
    assert message in str(error.value) and "\n" not in str(error.value)


def test_a_learning_rate_or_seed_out_of_range_is_refused():
    with pytest.raises(DataError, match="lr must be a finite number > 0, got 0"):
        task()(lr=0.0, schedule="constant", seed=0)
    with pytest.raises(DataError, match="seed must be a whole number of at least 0, got -1"):
        task()(lr=0.1, schedule="constant", seed=-1)
