"""Learning rate, schedule and seed of a trial: its own parameters, or what a grid sampler noted of it."""

from __future__ import annotations

import optuna
import pytest

from robust_lr_optuna._trial_axes import TrialAxes
from robust_lr_optuna.grid_sampler import GeometricGridSampler


@pytest.fixture(autouse=True)
def quiet():
    optuna.logging.set_verbosity(optuna.logging.ERROR)


def objective(trial):
    trial.set_user_attr("machine", "a" if trial.number else "b")
    lr = trial.suggest_float("lr", 1e-3, 1e3, log=True)
    return lr + trial.suggest_int("seed", 0, 9) + trial.suggest_float("dropout", 0.0, 0.5)


def filled(n=None, **options):
    study = optuna.create_study(sampler=GeometricGridSampler([0.1, 1.0], **options))
    study.optimize(objective, n_trials=n)
    return study


def test_a_trial_without_a_learning_rate_has_no_values():
    study = filled(1)
    study.ask()
    study.add_trial(optuna.trial.create_trial(value=1.0))
    axes = TrialAxes(study.trials)
    assert not axes.has_lr(study.trials[-1])
    assert axes.values_of(study.trials[-1]) == "without 'lr'"


def test_in_a_sweep_without_seeds_a_parameter_named_seed_is_one_like_others():
    study = filled()
    axes = TrialAxes(study.trials)
    trials = [trial for trial in study.trials if axes.has_lr(trial)]
    assert [axes.values_of(trial) for trial in trials] == [
        {"lr": lr, "schedule": "sweep", "seed": None} for lr in (0.1, 1.0)
    ]
    assert all(set(axes.others(trial)) == {"dropout", "seed"} for trial in trials)


def test_trials_of_others_beside_a_grid_have_the_values_of_their_parameters():
    study = filled(seeds=2)
    study.sampler = optuna.samplers.RandomSampler(seed=0)
    study.optimize(objective, n_trials=1)
    last = study.trials[-1]
    values = TrialAxes(study.trials).values_of(last)
    assert values == {"schedule": "sweep", "lr": last.params["lr"], "seed": last.params["seed"]}


def test_a_name_that_is_given_has_the_last_word():
    study = filled(seeds=2)
    axes = TrialAxes(study.trials, schedule_name="machine")
    found = {axes.values_of(trial)["schedule"] for trial in study.trials if axes.has_lr(trial)}
    assert found and found <= {"a", "b"}


def test_a_result_from_before_the_grid_is_read_like_one_of_the_grid():
    study = optuna.create_study(sampler=optuna.samplers.GridSampler({"lr": [0.1, 1.0]}))
    study.optimize(lambda trial: trial.suggest_float("lr", 1e-3, 1e3))
    study.sampler = GeometricGridSampler([0.1, 1.0, 10.0])
    study.optimize(lambda trial: trial.suggest_float("lr", 1e-3, 1e3))
    axes = TrialAxes(study.trials)
    assert sorted(axes.values_of(trial)["lr"] for trial in study.trials) == [0.1, 1.0, 10.0]


def test_an_axis_that_no_trial_asked_for_is_none():
    """Version 0.1 took the seeds that it had handed out for those that ran."""
    claim = {"lr": 0.1, "schedule": None, "seed": 3, "number": 0}
    space = {"lr": optuna.distributions.FloatDistribution(0.01, 1.0)}
    trial = optuna.create_trial(
        params={"lr": 0.1}, distributions=space, value=0.5, system_attrs={"robust_lr:cell": claim}
    )
    assert TrialAxes([trial]).values_of(trial) == {"lr": 0.1, "schedule": "sweep", "seed": None}
