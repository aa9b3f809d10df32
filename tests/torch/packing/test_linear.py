"""Which tasks the closed-form engine takes, and that it gives what they give alone."""

from __future__ import annotations

import math
from functools import partial

import pytest
import torch
from torch import nn
from torch.nn import functional

from robust_lr.exceptions import NotVectorizable
from robust_lr.linear._sgd import ClosedFormPacks
from robust_lr.runners import TrialList
from robust_lr_torch.packing._linear import linear_problem
from tests.torch.tasks import SCHEDULES, D, In64, K, N, alone, examples, make_network, task, trials

torch.set_num_threads(1)

X, LABELS = examples()
NUMBERS = torch.stack([X[:, 0] + 1, X[:, 1] - X[:, 2]], dim=1)
TASKS = {
    "softmax": {},
    "linear": {"loss": functional.mse_loss, "train_data": (X, NUMBERS), "make_model": partial(nn.Linear, D, 2)},
    "logistic": {
        "loss": nn.BCEWithLogitsLoss(),
        "train_data": (X, NUMBERS.sigmoid().round()),
        "make_model": partial(nn.Linear, D, 2, bias=False),
    },
}
SGD_OPTIONS = (
    {},
    {"momentum": 0.9, "nesterov": True, "weight_decay": 0.1},
    {"momentum": 0.9, "dampening": 0.5},
)


def linear_task(kind="softmax", dtype=torch.float32, **changes):
    options = {"make_model": partial(nn.Linear, D, K), "train_data": (X, LABELS), **TASKS[kind], **changes}
    if dtype == torch.float64:
        x, y = options["train_data"]
        options["train_data"] = x.double(), y.double() if y.is_floating_point() else y
        options["make_model"] = In64(options["make_model"])
    return task(**options)


def closed_form(t, specs, slots=8):
    evaluator = ClosedFormPacks(problem=linear_problem(t), schedules=SCHEDULES, slots=slots)
    return {r.spec: {"loss": r.loss, **r.metrics} for r in evaluator.results(TrialList(specs))}


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("options", SGD_OPTIONS, ids=["SGD", "Nesterov", "dampening"])
@pytest.mark.parametrize("kind", TASKS)
def test_the_closed_form_gives_what_the_task_gives_alone(kind, options, dtype):
    t = linear_task(kind, dtype, optimizer_options=options, total_steps=30, check_every=7)
    specs = trials(lrs=(0.01, 0.1), schedules=SCHEDULES)
    expected, results = alone(t, specs), closed_form(t, specs)
    assert t.optimizer_options == options and linear_problem(t).kind == kind
    for spec in specs:
        assert math.isfinite(expected[spec]["loss"])
        assert results[spec]["loss"] == pytest.approx(
            expected[spec]["loss"], rel=1e-5 if dtype == torch.float32 else 1e-11
        )


def test_what_diverges_diverges_at_the_same_step_and_gives_the_same_figures():
    t = linear_task("linear", total_steps=60, check_every=9, validation_data=(X, NUMBERS))
    specs = trials(lrs=(0.01, 30.0, 1e38), schedules=SCHEDULES)
    expected, results = alone(t, specs), closed_form(t, specs)
    diverged = [spec for spec in specs if expected[spec]["loss"] == math.inf]
    assert len(diverged) == 8 and all(results[spec] == expected[spec] for spec in diverged)
    for spec in set(specs) - set(diverged):
        assert results[spec] == pytest.approx(expected[spec], rel=1e-5)


def with_flatten():
    return nn.Sequential(nn.Flatten(), nn.Linear(D, K))


@pytest.mark.parametrize(
    "changes",
    [
        {"loss": nn.CrossEntropyLoss()},
        {"loss": functional.cross_entropy},
        {"make_model": with_flatten, "train_data": (X.unflatten(1, (2, 4)), LABELS)},
        {"make_model": partial(nn.Linear, D, K, bias=False)},
    ],
    ids=["a module for the loss", "a function for the loss", "images", "no bias"],
)
def test_a_softmax_regression_is_recognized(changes):
    t = linear_task(**changes)
    assert linear_problem(t).kind == "softmax"
    specs = trials()
    expected = alone(t, specs)
    assert {s: f["loss"] for s, f in closed_form(t, specs).items()} == pytest.approx(
        {s: f["loss"] for s, f in expected.items()}, abs=1e-6
    )


class Doubles(nn.Linear):
    def forward(self, x):
        return 2 * super().forward(x)


def hooked():
    layer = nn.Linear(D, K)
    layer.register_forward_hook(lambda module, inputs, output: 2 * output)
    return layer


def frozen():
    layer = nn.Linear(D, K)
    layer.bias.requires_grad_(False)
    return layer


def square(outputs, targets):
    return outputs.square().mean()


class Rows(list):
    def __getitem__(self, rows):
        return torch.stack([super(Rows, self).__getitem__(int(r)) for r in rows])


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"make_model": make_network}, "the model must be one nn.Linear, perhaps after nn.Flatten"),
        ({"make_model": partial(Doubles, D, K)}, "the model must be one nn.Linear"),
        ({"make_model": hooked}, "the model must be one nn.Linear"),
        ({"make_model": frozen}, "the model must be one nn.Linear"),
        ({"loss": square}, "the loss must be mse_loss, binary_cross_entropy_with_logits or cross_entropy"),
        ({"loss": nn.CrossEntropyLoss(label_smoothing=0.1)}, "with its defaults"),
        ({"loss": nn.CrossEntropyLoss(weight=torch.ones(K))}, "with its defaults"),
        ({"optimizer": torch.optim.Adam}, "the optimizer must be torch.optim.SGD"),
        ({"optimizer_options": {"maximize": True}}, "the optimizer must be torch.optim.SGD"),
        ({"autocast": torch.bfloat16}, "it has no penalty, no clipping and no autocast"),
        ({"clip_norm": 1.0}, "it has no penalty, no clipping and no autocast"),
        ({"penalty": lambda model: model.weight.square().sum()}, "it has no penalty, no clipping and no autocast"),
        ({"train_data": (X.double(), LABELS)}, "must both be float32 or float64"),
        ({"train_data": (Rows(X), Rows(LABELS))}, "the data are not tensors"),
        ({"loss": functional.mse_loss}, rf"the targets must have shape \({N}, {K}\), not \({N},\)"),
        ({"train_data": (X, LABELS - 100)}, "must be class numbers"),  # -100 is what torch's loss ignores
        ({"train_data": (X, functional.one_hot(LABELS, K).float())}, "the targets must have shape"),
    ],
)
def test_another_task_is_refused_with_the_reason(changes, reason):
    with pytest.raises(NotVectorizable, match=f"the closed-form engine does not fit: .*{reason}") as error:
        linear_problem(linear_task(**changes))
    assert "\n" not in str(error.value)
