"""What a study holds beside its trials: who runs them, and parameters that were fixed before."""

from __future__ import annotations

import subprocess
import sys

import optuna
import pytest
from optuna.storages import RetryHeartbeatStaleTrialCallback
from optuna.trial import TrialState

from robust_lr_optuna._cells import Cell
from robust_lr_optuna._trial_attributes import (
    CELL,
    RUN,
    SEARCH,
    cell_of,
    fail_stale_trials,
    fixed_values,
    is_dead,
    is_enqueued,
    is_fixed,
    note_of,
    values_of,
)
from robust_lr_optuna._workers import this_worker


@pytest.fixture
def study():
    return optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))


def test_a_trial_of_a_sampler_is_not_fixed(study):
    trial = study.ask()
    trial.suggest_float("lr", 0.1, 1.0)
    (frozen,) = study.trials
    assert not is_fixed(frozen) and not is_enqueued(frozen)
    assert fixed_values(frozen) == {} and values_of(frozen) == trial.params


def test_an_enqueued_trial_has_its_values_before_they_are_asked_for(study):
    study.enqueue_trial({"lr": 0.5})
    trial = study.ask()
    trial.suggest_float("momentum", 0.0, 0.9)
    (frozen,) = study.trials
    assert is_fixed(frozen) and is_enqueued(frozen)
    assert fixed_values(frozen) == {"lr": 0.5}
    assert values_of(frozen) == {"lr": 0.5, **trial.params}


def test_a_trial_that_optuna_repeats_is_fixed_and_not_enqueued(study):
    with pytest.warns(optuna.exceptions.ExperimentalWarning):
        repeat = RetryHeartbeatStaleTrialCallback()
    trial = study.ask()
    trial.suggest_float("lr", 0.1, 1.0)
    study.tell(trial, state=TrialState.FAIL)
    repeat(study, study.trials[0])
    assert is_fixed(study.trials[1]) and not is_enqueued(study.trials[1])
    assert values_of(study.trials[1]) == trial.params


CLAIM = {"number": 0, "lr": 0.1, "schedule": None, "seed": 3}


@pytest.mark.parametrize(
    ("claim", "params", "cell"),
    [
        ({**CLAIM, "names": {"lr": "eta", "seed": "rng"}}, {"eta": 0.1, "rng": 3}, Cell(0.1, None, 3)),
        ({**CLAIM, "names": {"lr": "eta", "seed": "rng"}}, {"eta": 0.1, "rng": 4}, None),
        ({**CLAIM, "names": {"lr": "eta", "seed": "rng"}}, {"eta": 0.1}, None),
        (CLAIM, {"lr": 0.1, "seed": 3}, Cell(0.1, None, 3)),  # as version 0.1 noted it
        (CLAIM, {"eta": 0.1, "rng": 3}, Cell(0.1, None, 3)),
        (CLAIM, {"lr": 0.1}, None),
        ({**CLAIM, "number": 7}, {"lr": 0.1, "seed": 3}, None),  # inherited from the trial that this one repeats
        (None, {"lr": 0.1, "seed": 3}, None),
    ],
)
def test_the_cell_of_a_trial_is_what_it_ran_and_not_what_it_should_have_run(claim, params, cell):
    kinds = {name: optuna.distributions.FloatDistribution(0.0, 10.0) for name in params}
    trial = optuna.create_trial(params=params, distributions=kinds, value=0.0, system_attrs={CELL: claim})
    trial.number = 0
    assert cell_of(trial) == cell


def noted(study, key, **note):
    trial = study.ask()
    study._storage.set_trial_system_attr(trial._trial_id, key, {"number": trial.number, **note})
    return study.trials[trial.number]


def test_what_was_noted_of_a_trial_is_not_taken_for_that_of_one_that_repeats_it(study):
    first = noted(study, SEARCH, lr=0.1, choices={})
    study.add_trial(optuna.create_trial(state=TrialState.WAITING, system_attrs=first.system_attrs))
    assert note_of(first, SEARCH)["lr"] == 0.1
    assert note_of(study.trials[1], SEARCH) is None


@pytest.mark.parametrize("key", [CELL, SEARCH, RUN])
def test_a_trial_is_dead_when_the_process_that_runs_it_is_known_to_have_ended(study, key):
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    dead = noted(study, key, worker={**this_worker(), "pid": ended.pid})
    assert is_dead(dead)
    assert not is_dead(noted(study, key, worker=this_worker()))
    assert not is_dead(noted(study, key))
    assert fail_stale_trials(study) == [dead.number]
    assert fail_stale_trials(study) == []
