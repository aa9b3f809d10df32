"""What is noted with the trials of a search: which of them runs what, and which of them nobody runs."""

from __future__ import annotations

import subprocess
import sys

import optuna
import pytest

from robust_lr_optuna.search_marks import choices_of, given_the_same, is_dead, lr_of, mark_of, write_mark
from robust_lr_optuna.workers import this_worker


@pytest.fixture
def study():
    return optuna.create_study()


def noted(study, **mark):
    trial = study.ask()
    write_mark(study, trial, {"number": trial.number, **mark})
    return study.trials[trial.number]


def test_what_was_noted_of_a_trial_is_not_taken_for_that_of_one_that_repeats_it(study):
    first = noted(study, lr=0.1, choices={})
    study.add_trial(optuna.create_trial(state=optuna.trial.TrialState.WAITING, system_attrs=first.system_attrs))
    assert mark_of(first)["lr"] == 0.1
    assert mark_of(study.trials[1]) == {}


def test_what_a_trial_was_enqueued_with_counts_before_it_is_asked_for(study):
    study.enqueue_trial({"lr": 0.5, "optimizer": "adam"})
    assert lr_of(study.trials[0], "lr") == 0.5
    assert choices_of(study.trials[0], ["optimizer"]) == {"optimizer": "adam"}


def test_a_trial_that_has_not_chosen_runs_nothing_yet(study):
    trial = noted(study)
    assert lr_of(trial, "lr") is None
    assert choices_of(trial, ["optimizer"]) is None
    assert choices_of(trial, []) == {}


def test_trials_that_were_given_the_same_have_the_learning_rate_up_to_rounding_and_the_combination(study):
    sgd, adam = {"optimizer": "sgd"}, {"optimizer": "adam"}
    given = [(0.1, sgd), (0.1 * (1 + 1e-12), sgd), (0.1, adam), (0.2, sgd), (None, sgd)]
    trials = [noted(study, lr=lr, choices=choices) for lr, choices in given]
    assert given_the_same([*trials, noted(study)], mark_of(trials[0])) == {0, 1}


def test_a_trial_is_dead_when_the_process_that_runs_it_is_known_to_have_ended(study):
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    assert is_dead(noted(study, worker={**this_worker(), "pid": ended.pid}))
    assert not is_dead(noted(study, worker=this_worker()))
    assert not is_dead(noted(study))
