"""What the author of an objective is told that never asks for the parameter of a sampler."""

from __future__ import annotations

import optuna
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution

from robust_lr_optuna._never_asked import may_be_conditional, never_asked

KINDS = {"opt": CategoricalDistribution(["sgd", "lion"])}


def a_trial(*names):
    kinds = {name: KINDS.get(name, FloatDistribution(0.0, 1.0)) for name in names}
    return optuna.create_trial(params={n: "sgd" if n in KINDS else 0.5 for n in names}, distributions=kinds, value=0.0)


@pytest.mark.parametrize(
    ("axis", "asked", "way_out"),
    [
        ("lr", ["learning_rate", "wd"], "pass lr_name='learning_rate'"),
        ("lr", ["eta", "opt"], "pass lr_name='eta'"),
        ("lr", ["step"], "pass lr_name='step'"),
        ("lr", ["beta", "wd"], "ask for it with trial.suggest_float('lr', ..., log=True), or pass lr_name=..."),
        ("lr", ["lr_head", "lr_body"], "ask for it with trial.suggest_float('lr', ..., log=True), or pass lr_name=..."),
        ("seed", ["lr", "rng"], "pass seed_name='rng'"),
        ("schedule", ["lr", "lr_scheduler_type"], "pass schedule_name='lr_scheduler_type'"),
        ("seed", ["lr"], "ask for it with trial.suggest_int('seed', ...), pass seed_name=..., or leave out seeds"),
    ],
)
def test_the_way_out_is_the_name_that_it_asked_for_if_there_is_one(axis, asked, way_out):
    assert never_asked(axis, axis, a_trial(*asked), ["lr"]).endswith(f": {way_out}")


def test_only_a_choice_can_be_why_there_is_no_learning_rate():
    assert may_be_conditional("lr", a_trial("opt", "wd"), ["lr"])
    assert not may_be_conditional("lr", a_trial("wd"), ["lr"])
    assert not may_be_conditional("lr", a_trial("opt", "learning_rate"), ["lr"])
    assert not may_be_conditional("lr", a_trial("schedule", "opt"), ["lr", "opt"])
    assert not may_be_conditional("seed", a_trial("opt"), ["lr", "seed"])
