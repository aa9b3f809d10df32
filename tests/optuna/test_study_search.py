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
from robust_lr_optuna import LearningRateSampler, search_of, search_result
from robust_lr_optuna._study_search import (
    choices_of,
    lr_of,
    rivals_of,
    search_note,
    standing_of,
    write_search_note,
)
from robust_lr_optuna._workers import this_worker

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
    noted = {"name": "lr", "retries": RETRIES, "search": search().to_dict()}
    return standing_of(noted, study, study.trials, {})


def test_a_search_without_trials_begins_and_guesses_the_middle_of_its_range(study):
    assert standing(study).lr == search().ask()[0]
    assert standing(study).best_guess == pytest.approx(math.sqrt(LOW * HIGH))
    assert not standing(study).search.done


def test_what_runs_is_not_asked_for_again(study):
    first, second = search().ask(2)
    add(study, first, TrialState.RUNNING)
    assert standing(study).lr == second
    assert standing(study).n_trials == 1


@pytest.mark.parametrize("direction", ["minimize", "maximize"])
def test_the_loss_is_the_objective_or_its_negative_where_that_is_maximized(direction):
    study = optuna.create_study(direction=direction)
    sign = 1 if direction == "minimize" else -1
    for lr in (0.002, 0.02, 0.2):
        add(study, lr, value=sign * valley(lr))
    assert standing(study).search.result.loss == valley(0.02)
    assert standing(study).best_guess == 0.02


def test_the_result_of_a_study_that_maximizes_shows_its_scores():
    study = optuna.create_study(direction="maximize", sampler=LearningRateSampler(tolerance=0.005))
    study.optimize(lambda trial: -valley(trial.suggest_float("lr", LOW, HIGH, log=True)))
    result = search_result(study)
    assert result.direction == "maximize"
    assert f"(score {study.best_value:.6g}, " in str(result)


def test_a_learning_rate_is_asked_for_again_until_it_has_failed_once_more_than_its_retries(study):
    lr = search().ask()[0]
    add(study, lr, TrialState.FAIL)
    assert (standing(study).lr, standing(study).search.result.failed) == (lr, ())
    add(study, lr, TrialState.FAIL)
    assert standing(study).lr != lr
    assert standing(study).search.result.failed == (lr,)


def test_what_was_pruned_is_given_up_at_once_and_what_was_interrupted_never(study):
    first, second = search().ask(2)
    add(study, first, TrialState.PRUNED)
    for _ in range(RETRIES + 1):
        add(study, second, TrialState.FAIL, system_attrs={"robust_lr:outcome": "interrupted"})
    assert standing(study).search.result.failed == (first,)
    assert standing(study).lr == second


def test_what_was_given_up_counts_again_when_it_has_a_loss_after_all(study):
    lr = search().ask()[0]
    add(study, lr, TrialState.PRUNED)
    add(study, lr, value=valley(lr))
    assert standing(study).search.result.failed == ()
    assert standing(study).search.result.lr == lr


def test_a_search_waits_for_the_trials_of_others_and_not_for_its_own(study):
    trial = study.ask({"lr": SPACE})
    write_search_note(study, trial, {"number": 0, "worker": this_worker()})
    assert not standing(study).waits_for_others()
    write_search_note(study, trial, {"number": 0, "worker": {**this_worker(), "machine": "another"}})
    assert standing(study).waits_for_others()


def test_search_result_tells_at_any_time_what_is_known():
    study = optuna.create_study(sampler=LearningRateSampler(tolerance=0.005))
    study.ask().suggest_float("lr", LOW, HIGH, log=True)
    assert math.isnan(search_result(study).lr)
    study.optimize(lambda trial: valley(trial.suggest_float("lr", LOW, HIGH, log=True)), n_trials=1)
    assert (search_result(study).lr, search_result(study).stop) == (study.best_params["lr"], None)


def test_search_result_says_what_there_is(study):
    with pytest.raises(DataError, match="holds no trial of a LearningRateSampler"):
        search_result(study)
    study.sampler = LearningRateSampler(tolerance=0.005, choices={"b": [1, 2]})
    study.optimize(
        lambda trial: trial.suggest_categorical("b", [1, 2]) * trial.suggest_float("lr", LOW, HIGH, log=True),
        n_trials=2,
    )
    with pytest.raises(DataError, match=r"holds 2 searches, name one of them: \[\{'b': 1\}, \{'b': 2\}\]"):
        search_result(study)
    with pytest.raises(RobustLRError, match=r"holds no search for \{'b': 3\}; it holds"):
        search_result(study, {"b": 3})


def test_the_old_name_of_search_result_still_works_and_says_what_it_is_now():
    study = optuna.create_study(sampler=LearningRateSampler(tolerance=0.005))
    study.optimize(lambda trial: valley(trial.suggest_float("lr", LOW, HIGH, log=True)))
    with pytest.warns(DeprecationWarning, match="search_of is now search_result"):
        assert search_of(study) == search_result(study)


# What is noted with its trials


def noted(study, **note):
    trial = study.ask()
    write_search_note(study, trial, {"number": trial.number, **note})
    return study.trials[trial.number]


def test_what_a_trial_was_enqueued_with_counts_before_it_is_asked_for(study):
    study.enqueue_trial({"lr": 0.5, "optimizer": "adam"})
    assert lr_of(study.trials[0], "lr") == 0.5
    assert choices_of(study.trials[0], ["optimizer"]) == {"optimizer": "adam"}


def test_a_trial_that_has_not_chosen_runs_nothing_yet(study):
    trial = noted(study)
    assert lr_of(trial, "lr") is None
    assert choices_of(trial, ["optimizer"]) is None
    assert choices_of(trial, []) == {}


def test_rivals_have_the_learning_rate_up_to_rounding_and_the_combination_and_were_not_seen_before(study):
    sgd, adam = {"optimizer": "sgd"}, {"optimizer": "adam"}
    given = [(0.1, sgd), (0.1 * (1 + 1e-12), sgd), (0.1, adam), (0.2, sgd), (None, sgd)]
    trials = [noted(study, lr=lr, choices=choices) for lr, choices in given]
    noted(study)
    assert rivals_of(study, trials[0], [], search_note(trials[0])) == {1}
    assert rivals_of(study, trials[0], trials[1:], search_note(trials[0])) == set()
    assert rivals_of(study, trials[0], [], {"choices": sgd}) == set()
