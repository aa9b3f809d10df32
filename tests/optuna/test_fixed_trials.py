"""Trials whose parameters their maker fixed: those that a user enqueues, and those that Optuna repeats."""

from __future__ import annotations

import optuna
import pytest
from optuna.storages import RetryHeartbeatStaleTrialCallback
from optuna.trial import TrialState

from robust_lr_optuna.fixed_trials import fixed_values, is_enqueued, is_fixed, repeated_by, values_of


@pytest.fixture
def study():
    return optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))


def test_a_trial_of_a_sampler_is_not_fixed(study):
    trial = study.ask()
    trial.suggest_float("lr", 0.1, 1.0)
    (frozen,) = study.trials
    assert not is_fixed(frozen) and not is_enqueued(frozen) and repeated_by(frozen) is None
    assert fixed_values(frozen) == {} and values_of(frozen) == trial.params


def test_an_enqueued_trial_has_its_values_before_they_are_asked_for(study):
    study.enqueue_trial({"lr": 0.5})
    trial = study.ask()
    trial.suggest_float("momentum", 0.0, 0.9)
    (frozen,) = study.trials
    assert is_fixed(frozen) and is_enqueued(frozen)
    assert fixed_values(frozen) == {"lr": 0.5}
    assert values_of(frozen) == {"lr": 0.5, **trial.params}


def test_a_trial_that_optuna_repeats_names_the_last_that_failed(study):
    with pytest.warns(optuna.exceptions.ExperimentalWarning):
        repeat = RetryHeartbeatStaleTrialCallback()
    for number in (0, 1):
        trial = study.ask()
        trial.suggest_float("lr", 0.1, 1.0)
        study.tell(trial, state=TrialState.FAIL)
        repeat(study, study.trials[number])
    assert [repeated_by(trial) for trial in study.trials] == [None, 0, 1]
    assert is_fixed(study.trials[2]) and not is_enqueued(study.trials[2])
