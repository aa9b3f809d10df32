"""Where a search stands, read from the trials of a study alone."""

from __future__ import annotations

import math

import optuna
import pytest
from optuna.distributions import FloatDistribution
from optuna.trial import TrialState, create_trial

from robust_lr import RobustLRError
from robust_lr.exceptions import DataError
from robust_lr.search import LearningRateSearch, SearchOptions
from robust_lr_optuna import LearningRateSampler, search_of
from robust_lr_optuna.search_marks import write_mark
from robust_lr_optuna.study_search import StudySearch
from robust_lr_optuna.workers import this_worker

LOW, HIGH, RETRIES = 1e-4, 1.0, 1
SPACE = FloatDistribution(LOW, HIGH, log=True)


def valley(lr):
    return 0.3 + 0.03 * math.log(lr / 0.02) ** 2


def search():
    return LearningRateSearch(LOW, HIGH, tolerance=0.005, options=SearchOptions(extend=False))


@pytest.fixture
def study():
    return optuna.create_study()


def add(study, lr, state=TrialState.COMPLETE, value=None, **options):
    trial = create_trial(state=state, params={"lr": lr}, distributions={"lr": SPACE}, value=value, **options)
    study.add_trial(trial)


def standing(study):
    return StudySearch("lr", RETRIES, search().to_dict()).standing(study, study.trials, {})


def test_a_search_without_trials_begins_and_guesses_the_middle_of_its_range(study):
    assert standing(study).lr == search().ask()[0]
    assert standing(study).best_guess == pytest.approx(math.sqrt(LOW * HIGH))
    assert not standing(study).is_over


def test_what_runs_is_not_asked_for_again(study):
    first, second = search().ask(2)
    add(study, first, TrialState.RUNNING)
    assert standing(study).lr == second
    assert standing(study).n_trials == 1


@pytest.mark.parametrize("direction", ["minimize", "maximize"])
def test_the_loss_is_the_objective_or_its_negative_where_that_is_maximised(direction):
    study = optuna.create_study(direction=direction)
    sign = 1 if direction == "minimize" else -1
    for lr in (0.002, 0.02, 0.2):
        add(study, lr, value=sign * valley(lr))
    assert standing(study).result.loss == valley(0.02)
    assert standing(study).best_guess == 0.02


def test_a_learning_rate_is_asked_for_again_until_it_has_failed_once_more_than_its_retries(study):
    lr = search().ask()[0]
    add(study, lr, TrialState.FAIL)
    assert (standing(study).lr, standing(study).given_up) == (lr, ())
    add(study, lr, TrialState.FAIL)
    assert standing(study).lr != lr
    assert standing(study).given_up == (lr,)


def test_what_was_pruned_is_given_up_at_once_and_what_was_interrupted_never(study):
    first, second = search().ask(2)
    add(study, first, TrialState.PRUNED)
    for _ in range(RETRIES + 1):
        add(study, second, TrialState.FAIL, system_attrs={"robust_lr:outcome": "interrupted"})
    assert standing(study).given_up == (first,)
    assert standing(study).lr == second


def test_what_was_given_up_counts_again_when_it_has_a_loss_after_all(study):
    lr = search().ask()[0]
    add(study, lr, TrialState.PRUNED)
    add(study, lr, value=valley(lr))
    assert standing(study).given_up == ()
    assert standing(study).result.lr == lr


def test_a_search_waits_for_the_trials_of_others_and_not_for_its_own(study):
    trial = study.ask({"lr": SPACE})
    write_mark(study, trial, {"number": 0, "worker": this_worker()})
    assert not standing(study).waits_for_others()
    write_mark(study, trial, {"number": 0, "worker": {**this_worker(), "machine": "another"}})
    assert standing(study).waits_for_others()


def test_search_of_tells_at_any_time_what_is_known():
    study = optuna.create_study(sampler=LearningRateSampler(tolerance=0.005))
    study.ask().suggest_float("lr", LOW, HIGH, log=True)
    assert math.isnan(search_of(study).lr)
    study.optimize(lambda trial: valley(trial.suggest_float("lr", LOW, HIGH, log=True)), n_trials=1)
    assert (search_of(study).lr, search_of(study).stop) == (study.best_params["lr"], None)


def test_search_of_says_what_there_is(study):
    with pytest.raises(DataError, match="holds no trial of a LearningRateSampler"):
        search_of(study)
    study.sampler = LearningRateSampler(tolerance=0.005, choices={"b": [1, 2]})
    study.optimize(
        lambda trial: trial.suggest_categorical("b", [1, 2]) * trial.suggest_float("lr", LOW, HIGH, log=True),
        n_trials=2,
    )
    with pytest.raises(DataError, match=r"holds 2 searches, name one of them: \[\{'b': 1\}, \{'b': 2\}\]"):
        search_of(study)
    with pytest.raises(RobustLRError, match=r"holds no search for \{'b': 3\}; it holds"):
        search_of(study, {"b": 3})
