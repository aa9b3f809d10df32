"""LearningRateSampler: a search for each combination of choices, in whatever way a study is run, stopped and shared."""

from __future__ import annotations

import math
import pickle
import threading
import time
import warnings

import optuna
import pytest
from optuna.distributions import FloatDistribution
from optuna.testing.pytest_samplers import BasicSamplerTestCase, RelativeSamplerTestCase, SingleOnlySamplerTestCase
from optuna.trial import TrialState, create_trial

from robust_lr import search_learning_rate
from robust_lr.exceptions import DataError, GridError, OptionError, RobustLRWarning, ScheduleError, TrialDiverged
from robust_lr.search import LearningRateSearch, SearchOptions
from robust_lr_optuna import learning_rate_sampler
from robust_lr_optuna._storages import journal_storage
from robust_lr_optuna._study_search import search_result
from robust_lr_optuna._trial_attributes import fail_stale_trials
from robust_lr_optuna.learning_rate_sampler import LearningRateSampler

TOLERANCE = 0.005
NO_EXTENSION = SearchOptions(extend=False)
SPACE = FloatDistribution(1e-4, 1.0, log=True)


def valley(lr, best=0.02):
    return 0.3 + 0.03 * math.log(lr / best) ** 2


def suggest(trial):
    return trial.suggest_float("lr", SPACE.low, SPACE.high, log=True)


def objective(trial):
    return valley(suggest(trial))


def new_study(sampler=None, **options):
    return optuna.create_study(sampler=sampler or LearningRateSampler(tolerance=TOLERANCE), **options)


def lrs_of(study, *states):
    return [trial.params["lr"] for trial in study.trials if not states or trial.state in states]


def searched(loss, low=SPACE.low, high=SPACE.high):
    """The learning rates that the search itself asks for, one at a time."""
    search = LearningRateSearch(low, high, tolerance=TOLERANCE, options=NO_EXTENSION)
    asked = []
    while lrs := search.ask():
        asked += lrs
        value = loss(lrs[0])
        search.tell(lrs[0], value, status="ok" if math.isfinite(value) else "diverged")
    return asked


@pytest.fixture
def study():
    return new_study()


# One worker


def test_the_study_runs_what_the_search_asks_for_and_stops_by_itself(study):
    study.optimize(objective)
    assert lrs_of(study) == searched(valley)
    result = search_result(study)
    assert result.lr == study.best_params["lr"]
    assert result.loss == study.best_value
    assert result.loss - 0.3 <= result.excess_bound <= TOLERANCE
    assert result.stop == "tolerance"


def test_the_range_may_be_narrower_than_that_of_the_objective():
    study = new_study(LearningRateSampler(1e-3, tolerance=TOLERANCE))
    study.optimize(objective)
    assert lrs_of(study) == searched(valley, low=1e-3)


def test_the_best_on_an_end_of_the_range_is_said_and_the_range_is_kept(study):
    study.optimize(lambda trial: valley(suggest(trial), best=30.0))
    assert study.best_params == {"lr": 1.0}
    assert search_result(study).edge == "upper"


def test_where_the_study_maximizes_the_loss_is_the_negative_of_the_objective():
    study = new_study(direction="maximize")
    study.optimize(lambda trial: -objective(trial))
    assert lrs_of(study) == searched(valley)
    assert search_result(study).loss == -study.best_value


def raise_diverged():
    raise TrialDiverged("it has")


@pytest.mark.parametrize("end", [lambda: math.nan, lambda: math.inf, lambda: -math.inf, raise_diverged])
def test_what_diverged_is_the_cliff_and_is_not_run_again(study, end):
    study.optimize(lambda trial: objective(trial) if suggest(trial) < 0.1 else end(), catch=TrialDiverged)
    assert lrs_of(study) == searched(lambda lr: valley(lr) if lr < 0.1 else math.inf)
    assert 0.1 <= search_result(study).cliff <= 1


def test_what_was_pruned_for_its_divergence_is_the_cliff(study):
    def stopped(trial):
        if suggest(trial) >= 0.1:
            trial.report(math.inf, 0)
            raise optuna.TrialPruned
        return objective(trial)

    study.optimize(stopped)
    assert lrs_of(study) == searched(lambda lr: valley(lr) if lr < 0.1 else math.inf)


def test_a_failed_trial_is_run_again(study):
    def at_times(trial):
        if trial.number in (1, 3, 4):
            suggest(trial)
            raise MemoryError
        return objective(trial)

    study.optimize(at_times, catch=MemoryError)
    assert lrs_of(study, TrialState.COMPLETE) == searched(valley)
    assert len(study.trials) == len(searched(valley)) + 3


def test_a_learning_rate_that_always_fails_is_given_up_and_the_search_goes_round_it():
    study = new_study(LearningRateSampler(tolerance=TOLERANCE, max_retries=1))

    def one_fails(trial):
        if suggest(trial) == 0.01:
            raise MemoryError
        return objective(trial)

    study.optimize(one_fails, catch=MemoryError, n_trials=30)
    assert lrs_of(study, TrialState.FAIL) == [0.01, 0.01]
    assert search_result(study).stop == "tolerance"


def test_a_search_whose_trials_all_fail_ends_and_says_so(study):
    study.optimize(lambda trial: 1 / (suggest(trial) * 0), catch=ZeroDivisionError, n_trials=50)
    assert len(study.trials) == 9
    assert search_result(study).stop == "failures"
    assert search_result(study).reason == "trials at lr = 0.0004642, 0.01 and 0.2154 failed; 3 failures end a search"


def test_failures_above_a_learning_rate_end_as_those_of_search_learning_rate_do(study):
    def loss(lr):
        if lr > 0.03:
            raise MemoryError
        return valley(lr, best=0.01)

    study.optimize(lambda trial: loss(suggest(trial)), catch=MemoryError)
    options = {"tolerance": TOLERANCE, "options": NO_EXTENSION, "schedule": "constant"}
    with pytest.warns(RobustLRWarning, match="trials failed .*; the first: MemoryError"):
        plain = search_learning_rate(lambda *, lr, schedule, seed: loss(lr), SPACE.low, SPACE.high, **options)
    found = search_result(study)
    assert (found.stop, found.reason, found.failed) == (plain.stop, plain.reason, plain.failed)
    assert (found.lr, found.loss, found.history) == (plain.lr, plain.loss, plain.history)
    assert found.failed and len(study.trials) == found.n_trials + 3 * len(found.failed)


@pytest.mark.parametrize("error", [MemoryError, optuna.TrialPruned])
def test_a_search_whose_further_seeds_all_fail_ends_and_says_so(error):
    options = SearchOptions(noise=0.004, noise_trials=99)
    study = new_study(LearningRateSampler(tolerance=TOLERANCE, options=options))

    def fails_on_another_seed(trial):
        if suggest(trial) in lrs_of(study, TrialState.COMPLETE):
            raise error
        return objective(trial)

    study.optimize(fails_on_another_seed, catch=MemoryError, n_trials=50)
    assert study.sampler.is_done(study)
    assert len(study.trials) < 50
    assert search_result(study).stop == "failures"
    assert search_result(study).loss == study.best_value


def test_a_search_whose_trials_are_all_pruned_ends_and_says_so(study):
    def pruned(trial):
        suggest(trial)
        raise optuna.TrialPruned

    study.optimize(pruned, n_trials=50)
    assert len(study.trials) == 3
    assert search_result(study).stop == "failures"


def test_other_parameters_come_from_the_independent_sampler():
    tpe = optuna.samplers.TPESampler(seed=0, n_startup_trials=2)
    study = new_study(LearningRateSampler(tolerance=TOLERANCE, independent_sampler=tpe))
    study.optimize(lambda trial: objective(trial) + 0 * trial.suggest_float("momentum", 0.0, 1.0))
    assert lrs_of(study) == searched(valley)
    assert len({trial.params["momentum"] for trial in study.trials}) == len(study.trials)


def test_an_objective_that_never_asks_for_the_learning_rate_ends_after_its_first_trial(study):
    with pytest.raises(GridError) as caught:
        study.optimize(lambda trial: trial.suggest_float("learning_rate", 1e-4, 1.0, log=True))
    assert str(caught.value) == (
        "the objective never asked for 'lr'; it asked for 'learning_rate': pass lr_name='learning_rate'"
    )
    assert len(study.trials) == 1


def test_an_objective_with_choices_that_never_asks_for_the_learning_rate_is_warned_of_once(study):
    with pytest.warns(RobustLRWarning, match="trial 0: the objective never asked for 'lr'") as caught:
        study.optimize(lambda trial: len(trial.suggest_categorical("opt", ["sgd", "adam"])), n_trials=4)
    assert len(caught) == 1
    with pytest.raises(GridError, match="the objective never asked for 'lr'"):
        study.optimize(lambda trial: len(trial.suggest_categorical("opt", ["sgd", "adam"])), n_trials=100)
    assert len(study.trials) == 21


def test_a_choice_without_a_learning_rate_is_no_result_and_comes_to_an_end():
    study = new_study(LearningRateSampler(tolerance=TOLERANCE, choices={"opt": ["sgd", "lion"]}))

    def lion_has_none(trial):
        return 0.1 if trial.suggest_categorical("opt", ["sgd", "lion"]) == "lion" else objective(trial)

    with pytest.raises(GridError, match="the last 21 trials did not ask for 'lr': let the objective ask"):
        study.optimize(lion_has_none)
    assert search_result(study, {"opt": "sgd"}).loss >= 0.3


def test_an_objective_that_asks_for_the_learning_rate_only_at_times_is_warned_of_only_before_it_ever_did(study):
    def at_times(trial):
        return objective(trial) if trial.number % 2 == 0 else trial.suggest_float("x", 0.0, 1.0)

    study.optimize(at_times)
    assert [trial.params["lr"] for trial in study.trials[::2]] == searched(valley)


def test_noise_calls_for_another_seed_of_a_learning_rate_that_has_run():
    options = SearchOptions(noise=0.0021, noise_trials=99)
    study = new_study(LearningRateSampler(tolerance=TOLERANCE, options=options))
    study.optimize(lambda trial: valley(suggest(trial), best=0.3))
    assert len(set(lrs_of(study))) < len(study.trials)
    assert search_result(study).stop == "tolerance"


def test_max_trials_ends_the_search():
    study = new_study(LearningRateSampler(tolerance=TOLERANCE, options=SearchOptions(max_trials=2)))
    study.optimize(objective)
    assert len(study.trials) == 2
    assert search_result(study).stop == "max_trials"


# Choices


@pytest.mark.parametrize("lr_first", [False, True])
def test_each_combination_of_choices_has_a_search_of_its_own(lr_first):
    choices = {"optimizer": ["sgd", "adam"], "nesterov": [True, False]}
    study = new_study(LearningRateSampler(tolerance=TOLERANCE, choices=choices))

    def with_choices(trial):
        lr = suggest(trial) if lr_first else None
        adam = trial.suggest_categorical("optimizer", ["adam", "sgd"]) == "adam"
        nesterov = trial.suggest_categorical("nesterov", [False, True])
        return valley(lr or suggest(trial), best=(0.002 if adam else 0.2) * (1 + nesterov))

    study.optimize(with_choices)
    for optimizer, best in (("adam", 0.002), ("sgd", 0.2)):
        for nesterov in (False, True):
            own = {"optimizer": optimizer, "nesterov": nesterov}
            tried = [t.params["lr"] for t in study.trials if all(t.params[name] == own[name] for name in own)]
            assert tried == searched(lambda lr, best=best * (1 + nesterov): valley(lr, best))
            assert search_result(study, own).stop == "tolerance"


def test_each_choice_may_have_a_range_of_its_own():
    ranges = {"sgd": (1e-2, 10.0), "adam": (1e-5, 1e-2)}
    study = new_study(LearningRateSampler(tolerance=TOLERANCE, choices={"optimizer": ranges}))

    def with_range(trial):
        low, high = ranges[trial.suggest_categorical("optimizer", list(ranges))]
        return valley(trial.suggest_float("lr", low, high, log=True), best=math.sqrt(low * high) * 2)

    study.optimize(with_range)
    for name, (low, high) in ranges.items():
        assert search_result(study, {"optimizer": name}).lr_range == pytest.approx((low, high))


def test_a_choice_that_the_objective_does_not_allow_is_an_error():
    study = new_study(LearningRateSampler(tolerance=TOLERANCE, choices={"optimizer": ["sgd"]}))
    with pytest.raises(DataError, match="optimizer='sgd' is a choice that the objective does not allow"):
        study.optimize(lambda trial: len(trial.suggest_categorical("optimizer", ["adam", "lion"])) + suggest(trial))
    with pytest.raises(DataError, match=r"the objective ran \{'optimizer': 'adam'\}, which is not among the choices"):
        study.optimize(lambda trial: len(trial.suggest_categorical("optimizer", ["adam"])) + suggest(trial))
    with pytest.raises(DataError, match="should run optimizer='sgd', but the objective ran optimizer='adam'"):
        study.optimize(lambda trial: suggest(trial) + len(trial.suggest_categorical("optimizer", ["adam"])))


# A study that others fill, stop and continue


@pytest.mark.parametrize("k", [1, 2, 3])
def test_a_study_that_is_stopped_and_continued_runs_the_same_trials(tmp_path, k):
    for _ in range(20):
        study = optuna.create_study(
            study_name="search",
            storage=journal_storage(tmp_path / "study.log"),
            sampler=LearningRateSampler(tolerance=TOLERANCE),
            load_if_exists=True,
        )
        study.optimize(objective, n_trials=k)
        if study.sampler.is_done(study):
            break
    assert lrs_of(study) == searched(valley)


def test_a_study_that_is_over_stops_at_once(study):
    study.optimize(objective)
    n = len(study.trials)
    study.optimize(objective)
    assert [trial.state for trial in study.trials[n:]] == [TrialState.PRUNED]
    assert search_result(study).n_trials == n


def test_a_smaller_tolerance_continues_the_search(study):
    study.optimize(objective)
    first = lrs_of(study)
    study.sampler = LearningRateSampler(tolerance=TOLERANCE / 100)
    study.optimize(objective)
    assert lrs_of(study)[: len(first)] == first
    assert search_result(study).excess_bound <= TOLERANCE / 100


def test_trials_that_were_added_or_enqueued_count(study):
    lrs = searched(valley)
    study.add_trials([create_trial(params={"lr": lr}, distributions={"lr": SPACE}, value=valley(lr)) for lr in lrs[:3]])
    study.enqueue_trial({"lr": lrs[3]})
    study.optimize(objective)
    assert lrs_of(study) == lrs
    assert [tell.external for tell in search_result(study).history[:5]] == [True] * 4 + [False]


def test_added_trials_outside_of_the_range_do_not_count(study):
    wide = FloatDistribution(1e-9, 1e9, log=True)
    study.add_trial(create_trial(params={"lr": 5.0}, distributions={"lr": wide}, value=0.0))
    study.optimize(objective)
    assert lrs_of(study)[1:] == searched(valley)


def test_a_pickled_sampler_continues(study):
    study.optimize(objective, n_trials=2)
    study.sampler = pickle.loads(pickle.dumps(study.sampler))
    study.optimize(objective)
    assert lrs_of(study) == searched(valley)


# Ask and tell


def test_ask_and_tell_never_raises_and_goes_on_with_the_best(study):
    for _ in range(12):
        trial = study.ask()
        study.tell(trial, objective(trial))
    lrs = searched(valley)
    assert lrs_of(study) == lrs + [search_result(study).lr] * (12 - len(lrs))


def test_a_batch_that_is_asked_before_it_is_told_is_that_of_the_search(study):
    search = LearningRateSearch(SPACE.low, SPACE.high, tolerance=TOLERANCE, options=NO_EXTENSION)
    while not study.sampler.is_done(study):
        trials = [study.ask() for _ in range(4)]
        lrs = [suggest(trial) for trial in trials]
        wanted = search.ask(4)
        assert lrs[: len(wanted)] == wanted
        for trial, lr in zip(trials[: len(wanted)], wanted, strict=False):
            study.tell(trial, valley(lr))
            search.tell(lr, valley(lr))
        for trial in trials[len(wanted) :]:
            study.tell(trial, state=TrialState.PRUNED)
    assert search.done


def test_trials_asked_for_in_one_thread_may_choose_in_any_order(study):
    first, second = study.ask(), study.ask()
    assert suggest(second) != suggest(first)


# Several workers


def test_a_trial_that_never_chooses_is_not_waited_for(study):
    study._storage.create_new_trial(study._study_id)  # by somebody who was killed right after
    study.optimize(objective)
    assert [t.params["lr"] for t in study.trials[1:]] == searched(valley)


class Interleaved(optuna.storages.InMemoryStorage):
    """Calls back before and after a trial's choice is written."""

    def __init__(self, before=lambda: None, after=lambda: None):
        super().__init__()
        self.before, self.after = before, after

    def set_trial_system_attr(self, trial_id, key, value):
        before, after = (self.before, self.after) if "lr" in value else (lambda: None, lambda: None)
        before()
        super().set_trial_system_attr(trial_id, key, value)
        after()


@pytest.mark.parametrize("late", [0, 1])
def test_a_choice_that_another_trial_wrote_first_is_given_back(late):
    other_chooses = [lambda: suggest(trials[1 - late])]
    study = new_study(storage=Interleaved(before=lambda: other_chooses and other_chooses.pop()()))
    trials = study.ask(), study.ask()
    suggest(trials[late])
    wanted = LearningRateSearch(SPACE.low, SPACE.high, tolerance=TOLERANCE).ask(2)
    assert [trials[1 - late].params["lr"], trials[late].params["lr"]] == wanted


@pytest.mark.parametrize("n_workers", [2, 3, 8])
def test_trials_that_write_the_same_choice_at_the_same_moment_all_end_up_with_another_one(n_workers):
    all_there, met = threading.Barrier(n_workers, timeout=30), threading.local()

    def meet():  # once before it writes and once after
        met.times = getattr(met, "times", 0) + 1
        if met.times <= 2:
            all_there.wait()

    study = new_study(storage=Interleaved(before=meet, after=meet))
    trials = [study.ask() for _ in range(n_workers)]
    threads = [threading.Thread(target=suggest, args=(trial,)) for trial in trials]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({trial.params["lr"] for trial in trials}) == n_workers


def test_a_trial_is_pruned_when_another_ran_its_choice_meanwhile_and_the_search_is_over():
    def run_another():
        if len(study.trials) == 1:
            trial = study.ask()
            study.tell(trial, objective(trial))

    sampler = LearningRateSampler(tolerance=TOLERANCE, options=SearchOptions(max_trials=1))
    study = new_study(sampler, storage=Interleaved(before=run_another))
    study.optimize(objective)
    assert [trial.state for trial in study.trials] == [TrialState.PRUNED, TrialState.COMPLETE]


def test_threads_try_no_learning_rate_twice():
    study = new_study(LearningRateSampler(tolerance=TOLERANCE, options=SearchOptions(noise=0.0)))

    def slow(trial):
        value = objective(trial)
        time.sleep(0.02)
        return value

    study.optimize(slow, n_jobs=4)
    lrs = lrs_of(study, TrialState.COMPLETE)
    assert len(set(lrs)) == len(lrs) <= 14
    assert search_result(study).stop == "tolerance"


@pytest.mark.timeout(60)
def test_a_trial_that_was_asked_for_here_and_never_told_is_not_waited_for():
    study = new_study(LearningRateSampler(tolerance=TOLERANCE, options=SearchOptions(max_trials=3)))
    objective(study.ask())
    study.optimize(objective, n_jobs=2)
    assert len(lrs_of(study, TrialState.COMPLETE)) == 2


@pytest.mark.timeout(60)
def test_a_trial_of_another_worker_is_waited_for_so_long_and_named(monkeypatch):
    monkeypatch.setattr(learning_rate_sampler, "_SAY_AFTER", 0.1)
    monkeypatch.setattr(learning_rate_sampler, "_PATIENCE", 0.5)
    study = new_study(LearningRateSampler(tolerance=TOLERANCE, options=SearchOptions(max_trials=1)))
    trial = study.ask()
    suggest(trial)
    note = study.trials[0].system_attrs["robust_lr:search"]
    worker = {**note["worker"], "machine": "node3/boot/ns", "pid": 7}
    study._storage.set_trial_system_attr(trial._trial_id, "robust_lr:search", {**note, "worker": worker})
    with pytest.warns(RobustLRWarning) as caught:
        study.optimize(objective)
    assert [str(each.message).partition(":")[0] for each in caught] == [
        "trial 1 waits for trial 0 (process 7 on node3)",
        "trial 1 no longer waits for trial 0 (process 7 on node3)",
    ]
    assert study.trials[1].state == TrialState.PRUNED


def test_a_trial_of_a_machine_that_is_lost_is_run_again_once_it_is_reaped(study):
    lost = study.ask()
    lr = suggest(lost)
    fail_stale_trials(study, is_dead=lambda trial: trial.number == lost.number)
    assert suggest(study.ask()) == lr


# Bad input


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"tolerance": math.nan}, OptionError, "tolerance must be a positive number such as 0.003, .* got nan"),
        ({"lr_min": 1.0, "lr_max": 0.1}, GridError, "lr_min must be below lr_max, got 1.0 and 0.1"),
        ({"lr_min": -1.0}, GridError, "lr_min must be a finite number > 0, got -1.0"),
        ({"lr_max": "1"}, GridError, "lr_max must be a finite number > 0, got '1'"),
        (
            {"lr_min": 0.1, "options": SearchOptions(start=0.01)},
            GridError,
            r"start must be a finite number >= 0\.1, got 0\.01",
        ),
        (
            {"lr_max": 1, "options": SearchOptions(start=5)},
            GridError,
            "start must be a finite number >= 0 and <= 1, got 5",
        ),
        ({"max_retries": -1}, OptionError, "max_retries must be a whole number of at least 0, got -1"),
        ({"schedule": "cosin"}, ScheduleError, "cosin"),
        ({"choices": {"optimizer": "sgd"}}, OptionError, "choices must be lists of distinct values"),
        ({"choices": {"lr": [1, 2]}}, OptionError, "choices must be lists of distinct values, not of 'lr'"),
        ({"choices": {"n": [(1, 2)]}}, OptionError, "choices must be None, bool, int, float or str"),
    ],
)
def test_a_wrong_option_is_an_error_in_one_line(options, error, message):
    with pytest.raises(error, match=message) as caught:
        LearningRateSampler(**{"tolerance": 0.1} | options)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("ask", "message"),
    [
        (
            lambda trial: trial.suggest_float("lr", 0.0, 1.0),
            r"lr needs a range above 0, got suggest_float\('lr', 0\.0, 1\.0\); change it, or pass lr_min",
        ),
        (lambda trial: trial.suggest_float("lr", 0.1, 1.0, step=0.1), "suggested as a float without a step, got Float"),
        (lambda trial: trial.suggest_int("lr", 1, 10), "suggested as a float without a step, got Int"),
    ],
)
def test_an_objective_whose_range_is_none_is_told_so(study, ask, message):
    with pytest.raises(GridError, match=message):
        study.optimize(ask)


def test_an_objective_that_allows_one_learning_rate_only_is_told_so(study):
    with pytest.raises(GridError, match=r"lr must be suggested as a range, but the objective only allows 0\.5"):
        study.optimize(lambda trial: trial.suggest_float("lr", 0.5, 0.5, log=True))


def test_an_objective_that_does_not_allow_the_range_is_told_so():
    study = new_study(LearningRateSampler(1e-9, tolerance=TOLERANCE))
    with pytest.raises(GridError, match=r"the search goes from 1e-09 to 1, but the objective only allows Float"):
        study.optimize(objective)


# Optuna's own suite. MultiObjectiveSamplerTestCase does not apply: a search has one objective. RelativeSamplerTestCase
# asks `sample_relative` for every parameter, which this sampler leaves to the independent one; with one that has a
# relative space it applies. Its objectives have no learning rate.


class WithoutLr(LearningRateSampler):
    """The suite's objectives have no learning rate, for which the sampler ends a study."""

    def _check_what_ran(self, study, trial):
        pass


class TestAlone(BasicSamplerTestCase, SingleOnlySamplerTestCase):
    @pytest.fixture
    def sampler(self):
        return lambda: WithoutLr(tolerance=TOLERANCE)


class TestWithTPEForTheOthers(BasicSamplerTestCase, RelativeSamplerTestCase, SingleOnlySamplerTestCase):
    @pytest.fixture
    def sampler(self):
        def make():
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
                tpe = optuna.samplers.TPESampler(n_startup_trials=0, multivariate=True)
            return WithoutLr(tolerance=TOLERANCE, independent_sampler=tpe)

        return make


def test_the_first_step_from_a_start_follows_its_spread():
    study = optuna.create_study(
        sampler=LearningRateSampler(tolerance=0.005, options=SearchOptions(start=0.02, start_factor=1.44))
    )
    study.optimize(lambda trial: 0.03 * math.log(trial.suggest_float("lr", 1e-4, 1.0, log=True) / 0.02) ** 2)
    lrs = [trial.params["lr"] for trial in study.trials]
    assert lrs[0] == 0.02
    assert lrs[0] / lrs[1] == pytest.approx(1.2, rel=2e-3)
    assert len(lrs) <= 4
