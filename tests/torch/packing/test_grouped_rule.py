"""Parameter groups in a pack: each replica ends where an optimizer with the same groups takes it alone."""

import math
from functools import partial

import pytest
import torch
from torch import nn
from torch.optim import SGD, Adam, AdamW, NAdam, RMSprop

from robust_lr.exceptions import DataError, NotVectorizable
from robust_lr.linear._sgd import ClosedFormPacks
from robust_lr.runners import TrialList
from robust_lr_torch.packing._grouped_rule import GroupedRule
from robust_lr_torch.packing._linear import linear_problem
from robust_lr_torch.packing._optimizers import rule_of
from tests.torch.tasks import SCHEDULES, D, K, alone, make_network, packed, task, trials

torch.set_num_threads(1)

TOLERANCES = {torch.float32: 1e-6, torch.float64: 1e-12}


class OwnSGD(SGD):
    """What a user would derive from SGD."""


def no_decay_on_biases(model, lr):
    biases = [p for name, p in model.named_parameters() if name.endswith("bias")]
    weights = [p for name, p in model.named_parameters() if not name.endswith("bias")]
    return [{"params": weights, "weight_decay": 0.3}, {"params": biases, "weight_decay": 0.0}]


def slow_first_layer(model, lr):
    first, last = model[0].parameters(), model[2].parameters()
    return [{"params": last, "lr": 3 * lr}, {"params": first, "lr": 0.1 * lr}]


def decays_matrices(parameters, lr, kind=AdamW):
    parameters = list(parameters)
    return kind(
        [
            {"params": [p for p in parameters if p.ndim > 1], "weight_decay": 0.3},
            {"params": [p for p in parameters if p.ndim < 2], "weight_decay": 0.0},
        ],
        lr=lr,
    )


def all_at_a_tenth(parameters, lr):
    return AdamW(parameters, lr=0.1 * lr)


class PartlyFrozen(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.unused, self.last = nn.Linear(D, D), nn.Linear(D, D), nn.Linear(D, K)
        self.first.weight.requires_grad_(False)

    def forward(self, x):
        return self.last(torch.tanh(self.first(x)))


def one_group_a_layer(model, lr):
    layers = model.unused, model.first, model.last
    return [{"params": [p for p in layer.parameters() if p.requires_grad], "weight_decay": 0.1} for layer in layers]


GROUPS = {
    "SGD, no decay on biases": {"parameter_groups": no_decay_on_biases},
    "momentum, two rates": {"parameter_groups": slow_first_layer, "optimizer_options": {"momentum": 0.9}},
    "dampening, two rates": {
        "parameter_groups": slow_first_layer,
        "optimizer_options": {"momentum": 0.9, "dampening": 0.5},
    },
    "Adam, no decay on biases": {"parameter_groups": no_decay_on_biases, "optimizer": Adam},
    "AdamW, no decay on biases": {"parameter_groups": no_decay_on_biases, "optimizer": AdamW, "clip_norm": 0.5},
    "AdamW, two rates": {"parameter_groups": slow_first_layer, "optimizer": AdamW},
    "AdamW that makes its groups": {"optimizer": decays_matrices},
    "AdamW at a tenth": {"optimizer": all_at_a_tenth},
    "RMSprop, two rates": {"parameter_groups": slow_first_layer, "optimizer": RMSprop},
    "RMSprop that makes its groups": {"optimizer": partial(decays_matrices, kind=RMSprop)},
    "NAdam, no decay on biases": {"parameter_groups": no_decay_on_biases, "optimizer": NAdam},
    "an own optimizer, two rates": {"parameter_groups": slow_first_layer, "optimizer": OwnSGD},
    "frozen and unused parameters": {"make_model": PartlyFrozen, "parameter_groups": one_group_a_layer},
    "frozen, unused, probed": {
        "make_model": PartlyFrozen,
        "parameter_groups": one_group_a_layer,
        "optimizer": RMSprop,
    },
}


@pytest.mark.parametrize(
    ("name", "dtype"), [*((name, torch.float64) for name in GROUPS), ("AdamW, no decay on biases", torch.float32)]
)
def test_each_replica_is_trained_as_by_its_own_optimizer_with_these_groups(name, dtype):
    changes = {"make_model": make_network} | GROUPS[name]
    t = task(dtype=dtype, **changes)
    assert isinstance(rule_of(t, t.initial_model(0)), GroupedRule)
    specs = trials(lrs=(0.003, 0.02), schedules=SCHEDULES)
    expected, results = alone(t, specs), packed(t, specs, slots=3)
    for spec in specs:
        assert math.isfinite(expected[spec]["loss"])
        assert abs(results[spec]["loss"] - expected[spec]["loss"]) <= TOLERANCES[dtype], spec


@pytest.mark.parametrize("kind", [SGD, AdamW, RMSprop])
def test_the_groups_matter(kind):
    def losses(**changes):
        return [figures["loss"] for figures in alone(task(optimizer=kind, **changes), trials(seeds=[0])).values()]

    plain, decayed, two_rates = (
        losses(),
        losses(parameter_groups=no_decay_on_biases),
        losses(parameter_groups=slow_first_layer),
    )
    assert all(len({round(loss, 6) for loss in row}) == 3 for row in zip(plain, decayed, two_rates, strict=True))


def test_a_replica_that_diverges_changes_no_other():
    t = task(parameter_groups=slow_first_layer)
    specs = trials(lrs=(0.003, 1e37))
    results = packed(t, specs, slots=4)
    for spec, figures in alone(t, specs).items():
        assert results[spec]["loss"] == pytest.approx(figures["loss"], rel=1e-5, abs=1e-6)
    assert math.inf in {figures["loss"] for figures in results.values()}


# The closed form


def bias_apart(model, lr, rate=1.0, momentum=0.9):
    return [
        {"params": [model.weight], "weight_decay": 0.3},
        {"params": [model.bias], "weight_decay": 0.0, "lr": rate * lr, "momentum": momentum},
    ]


def linear_task(**changes):
    return task(partial(nn.Linear, D, K), optimizer_options={"momentum": 0.9}, total_steps=30, **changes)


def test_the_closed_form_too_leaves_the_biases_without_decay():
    t, specs = linear_task(parameter_groups=bias_apart), trials()
    problem = linear_problem(t)
    assert not problem.decays_bias and problem.weight_decay == 0.3
    evaluator = ClosedFormPacks(problem=problem, schedules=SCHEDULES, slots=4)
    results = {r.spec: r.loss for r in evaluator.results(TrialList(specs))}
    assert results == pytest.approx({spec: figures["loss"] for spec, figures in alone(t, specs).items()}, abs=1e-6)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"rate": 0.1}, "another learning rate than it is given"),
        ({"momentum": 0.0}, "may differ in the weight decay of the bias only"),
    ],
)
def test_the_closed_form_refuses_other_groups(changes, reason):
    with pytest.raises(NotVectorizable, match=reason):
        linear_problem(linear_task(parameter_groups=partial(bias_apart, **changes)))


# What cannot be packed


def a_rate_of_its_own(model, lr):
    return [{"params": model[0].parameters(), "lr": 0.01}, {"params": model[2].parameters()}]


def without_the_last_layer(model, lr):
    return [{"params": model[0].parameters()}]


def more_groups_at_one(model, lr):
    return [{"params": [p]} for p in model.parameters()] if lr == 1 else model.parameters()


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"parameter_groups": a_rate_of_its_own}, "not at a fixed multiple of it: 0.01 for 0.0078125, 0.01 for 1"),
        ({"parameter_groups": without_the_last_layer}, "does not hold the parameters of the model"),
        ({"parameter_groups": more_groups_at_one}, "other parameter groups at another learning rate"),
        ({"optimizer": partial(decays_matrices, kind=OwnSGD)}, "give them by parameter_groups="),
        ({"parameter_groups": slow_first_layer, "optimizer": torch.optim.Rprop}, "Rprop is not elementwise"),
    ],
    ids=["a fixed rate", "a layer left out", "other groups", "own groups", "Rprop"],
)
def test_groups_that_a_pack_cannot_follow_are_refused_in_one_line(changes, reason):
    t = task(**changes)
    with pytest.raises(NotVectorizable, match=reason) as caught:
        rule_of(t, t.initial_model(0))
    assert "\n" not in str(caught.value)


def test_parameter_groups_that_cannot_be_called_are_refused():
    with pytest.raises(DataError, match="parameter_groups must be callable"):
        task(parameter_groups=[{"params": []}])
