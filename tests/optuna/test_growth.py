"""What was added to a study's grid: the union of all that any worker added, until it is taken back."""

from __future__ import annotations

import optuna

from robust_lr_optuna._cells import Axes
from robust_lr_optuna._growth import add_growth, growth_before, growth_of, take_back_growth

NAMES = {"lr": "lr", "schedule": "schedule", "seed": "seed"}


def test_growth_of_several_workers_is_the_union_and_belongs_to_the_names_of_the_parameters():
    study = optuna.create_study()
    add_growth(study, Axes((0.1, 1.0)), NAMES)
    add_growth(study, Axes((0.5,), ("cosine",), (7,)), NAMES)
    add_growth(study, Axes((3.0,)), {**NAMES, "lr": "learning_rate"})
    assert growth_of(study, NAMES) == Axes((0.1, 0.5, 1.0), ("cosine",), (7,))
    assert growth_of(study, {**NAMES, "lr": "learning_rate"}) == Axes((3.0,))
    take_back_growth(study)
    assert growth_of(study, NAMES) == Axes()


def test_growth_that_version_0_1_noted_in_trials_counts_until_it_is_taken_back():
    study = optuna.create_study()
    entry = {"lrs": [0.1], "schedules": [], "seeds": [0, 1], "serve": [], "again": [], "void": [], "doubt": []}
    trial = optuna.create_trial(state=optuna.trial.TrialState.FAIL, system_attrs={"robust_lr:order": entry})
    study.add_trial(trial)
    assert growth_before(study, study.trials) == Axes((0.1,), (), (0, 1))
    take_back_growth(study)
    assert growth_before(study, study.trials) == Axes()
