"""GeometricGridSampler: every cell of a sweep once, in whatever way a study is run, filled, stopped and grown."""

from __future__ import annotations

import gc
import itertools
import math
import pickle
import threading
import time
import warnings
from collections import Counter
from datetime import timedelta

import numpy as np
import optuna
import pytest
from optuna.distributions import FloatDistribution
from optuna.trial import TrialState

from robust_lr import GeometricGrid
from robust_lr.exceptions import GridError, OptionError, RobustLRError, RobustLRWarning, TrialDiverged
from robust_lr_optuna import _trial_attributes
from robust_lr_optuna._cells import Cell
from robust_lr_optuna._outcomes import has_diverged
from robust_lr_optuna._storages import journal_storage
from robust_lr_optuna._trial_attributes import cell_of, fail_stale_trials, is_log_entry
from robust_lr_optuna.grid_sampler import GeometricGridSampler

GRID = GeometricGrid(1e-4, 1.0, 5)
SPACE = {"lr": FloatDistribution(1e-5, 10.0, log=True)}
WAIT = 30  # seconds, for a test that would hang


def objective(trial):
    return trial.suggest_float("lr", 1e-5, 10.0, log=True)


def with_seeds(trial):
    return objective(trial) + trial.suggest_int("seed", 0, 99)


def trials_of(study, *states):
    return [trial for trial in study.trials if not is_log_entry(trial) and (not states or trial.state in states)]


def completed(study, *names):
    done = trials_of(study, TrialState.COMPLETE)
    return Counter(tuple(trial.params[name] for name in names or ("lr",)) for trial in done)


def once(values):
    return Counter({(value,): 1 for value in values})


@pytest.fixture
def sampler():
    return GeometricGridSampler(GRID)


@pytest.fixture
def study(sampler):
    return optuna.create_study(sampler=sampler)


# The objective


def test_all_axes_are_combined():
    sampler = GeometricGridSampler(GRID, schedules=["cosine", "linear"], seeds=[3, 5])
    study = optuna.create_study(sampler=sampler)

    def sweep(trial):
        schedule = trial.suggest_categorical("schedule", ["constant", "linear", "cosine"])
        return with_seeds(trial) + len(schedule)

    study.optimize(sweep)
    cells = itertools.product(GRID.values, ["cosine", "linear"], [3, 5])
    assert completed(study, "lr", "schedule", "seed") == Counter(cells)
    for trial in trials_of(study, TrialState.COMPLETE):
        assert cell_of(trial) == Cell(trial.params["lr"], trial.params["schedule"], trial.params["seed"])


def test_other_parameters_come_from_the_independent_sampler():
    study = optuna.create_study(
        sampler=GeometricGridSampler(GRID, independent_sampler=optuna.samplers.TPESampler(seed=0, n_startup_trials=2))
    )
    study.optimize(lambda trial: objective(trial) + trial.suggest_float("momentum", 0.0, 1.0))
    assert completed(study) == once(GRID.values)
    assert len({trial.params["momentum"] for trial in trials_of(study, TrialState.COMPLETE)}) == 5


def test_a_seed_that_the_sweep_has_no_axis_for_is_any_other_parameter(study):
    study.optimize(with_seeds)
    assert completed(study) == once(GRID.values)


@pytest.mark.parametrize(
    ("ask", "message"),
    [
        (
            lambda trial: trial.suggest_float("learning_rate", 1e-4, 1.0, log=True),
            "the objective never asked for 'lr'; it asked for 'learning_rate': pass lr_name='learning_rate'",
        ),
        (
            lambda trial: trial.suggest_float("eta", 0.1, 1.0) * len(trial.suggest_categorical("opt", ["sgd", "adam"])),
            "the objective never asked for 'lr'; it asked for 'eta' and 'opt': pass lr_name='eta'",
        ),
        (
            lambda trial: trial.suggest_float("x", 0.1, 1.0) + trial.suggest_int("y", 1, 2),
            "the objective never asked for 'lr'; it asked for 'x' and 'y': ask for it with trial.suggest_float('lr', "
            "..., log=True), or pass lr_name=...",
        ),
        (lambda trial: 0.0, "the objective never asked for 'lr'; it asked for nothing: ask for it with trial"),
    ],
)
def test_an_objective_that_never_asks_for_the_learning_rate_ends_after_its_first_trial(study, ask, message):
    with pytest.raises(GridError) as caught:
        study.optimize(ask)
    assert str(caught.value).startswith(message)
    assert len(study.trials) == 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"seeds": 4},
            "the objective never asked for 'seed'; it asked for 'lr' and 'dropout': ask for it with "
            "trial.suggest_int('seed', ...), pass seed_name=..., or leave out seeds",
        ),
        (
            {"schedules": ["constant", "cosine"], "seeds": 4},
            "the objective never asked for 'schedule'; it asked for 'lr' and 'dropout': ask for it with "
            "trial.suggest_categorical('schedule', [...]), pass schedule_name=..., or leave out schedules",
        ),
    ],
)
def test_an_objective_that_never_asks_for_an_axis_ends_after_its_first_trial(options, message):
    study = optuna.create_study(sampler=GeometricGridSampler(GRID, **options))
    with pytest.raises(GridError) as caught:
        study.optimize(lambda trial: objective(trial) + trial.suggest_float("dropout", 0.0, 0.5))
    assert str(caught.value) == message
    assert len(study.trials) == 1


def test_an_objective_that_calls_the_seed_otherwise_is_told_the_option():
    study = optuna.create_study(sampler=GeometricGridSampler(GRID, seeds=4))
    with pytest.raises(GridError, match="asked for 'lr' and 'rng_seed': pass seed_name='rng_seed'"):
        study.optimize(lambda trial: objective(trial) + trial.suggest_int("rng_seed", 0, 9))


def lion_has_no_lr(trial):
    return 5.0 if trial.suggest_categorical("opt", ["lion", "sgd"]) == "lion" else objective(trial)


def test_a_trial_that_asks_for_no_learning_rate_gives_its_cell_back_and_says_so():
    others = optuna.samplers.RandomSampler(seed=1)
    study = optuna.create_study(sampler=GeometricGridSampler(GRID, independent_sampler=others))
    with pytest.warns(RobustLRWarning, match=r"did not ask for 'lr', so it counts for no cell: lr=.* is left to run"):
        study.optimize(lion_has_no_lr)
    done = [trial for trial in study.trials if "lr" in trial.params]
    assert Counter(trial.params["lr"] for trial in done) == Counter(GRID.values)
    assert all(cell_of(trial) is None for trial in study.trials if trial not in done)
    assert len(done) < len(study.trials)


@pytest.mark.filterwarnings("ignore:trial .* did not ask for 'lr'")
def test_an_objective_whose_choices_never_lead_to_a_learning_rate_comes_to_an_end(study):
    with pytest.raises(GridError, match="the objective never asked for 'lr'; it asked for 'opt'"):
        study.optimize(lambda trial: len(trial.suggest_categorical("opt", ["lion", "sgd"])))
    assert len(study.trials) == 21


@pytest.mark.filterwarnings("ignore:PartialFixedSampler is experimental")
def test_a_parameter_that_was_fixed_from_outside_is_not_taken_for_the_value_of_the_grid():
    sampler = GeometricGridSampler([0.01, 0.1], schedules=["constant", "cosine"])
    study = optuna.create_study(sampler=optuna.samplers.PartialFixedSampler({"schedule": "cosine"}, sampler))

    def sweep(trial):
        return objective(trial) + (trial.suggest_categorical("schedule", ["constant", "cosine"]) == "constant")

    for _ in range(4):
        with pytest.raises(GridError, match="should run schedule='constant', but the objective ran schedule='cosine'"):
            study.optimize(sweep)
    assert {trial.params["schedule"] for trial in study.trials} == {"cosine"}
    assert {cell_of(trial) for trial in study.trials} == {None}
    assert sampler.pending(study) == 3, "that of 0.01 and cosine has run"


@pytest.mark.parametrize(
    ("ask", "message"),
    [
        (lambda trial: trial.suggest_float("lr", 1e-3, 1e-1, log=True), r"the grid has lr=.*only allows Float"),
        (lambda trial: trial.suggest_categorical("lr", ["a", "b"]), r"the grid has lr=.*only allows Categorical"),
        (lambda trial: trial.suggest_int("lr", 5, 9), r"the grid has lr=.*only allows Int"),
    ],
)
def test_an_objective_whose_range_does_not_hold_the_grid_is_told_so(study, ask, message):
    with pytest.raises(GridError, match=message):
        study.optimize(ask)


def test_an_objective_that_allows_one_value_only_is_told_that_it_ran_something_else(study):
    with pytest.raises(
        GridError, match=r"trial 0 should run lr=0\.0001, but the objective ran lr=0\.5: lr=0\.0001 is left"
    ):
        study.optimize(lambda trial: trial.suggest_float("lr", 0.5, 0.5, log=True))
    study.optimize(objective, n_trials=1)
    with pytest.raises(GridError, match=r"trial \d should run lr=.*, but the objective ran lr=0\.5"):
        study.optimize(lambda trial: trial.suggest_float("lr", 0.5, 0.5, log=True))


def test_several_objectives(sampler):
    study = optuna.create_study(sampler=sampler, directions=["minimize", "maximize"])
    study.optimize(lambda trial: (objective(trial), 1.0))
    assert completed(study) == once(GRID.values)


# What ends without a result


@pytest.mark.parametrize("value", [float("nan"), np.float32("nan"), np.float64("nan")])
def test_nan_is_a_result_and_is_not_run_again(study, value):
    study.optimize(lambda trial: value if objective(trial) > 0.05 else 0.0)
    assert len(trials_of(study)) == 5
    assert sum(has_diverged(trial) for trial in study.trials) == 2


def test_infinity_is_a_result(study):
    study.optimize(lambda trial: math.inf if objective(trial) > 0.05 else 0.0)
    assert completed(study) == once(GRID.values)


def diverging(trial):
    if objective(trial) > 0.5:
        raise TrialDiverged("loss above the limit")
    return 0.0


def test_a_divergence_that_is_caught_is_a_result(study):
    study.optimize(diverging, catch=(TrialDiverged,))
    assert len(trials_of(study, TrialState.FAIL)) == sum(has_diverged(trial) for trial in study.trials) == 1
    assert len(completed(study)) == 4


def test_a_divergence_that_is_not_caught_ends_the_worker_and_is_not_run_again(study):
    with pytest.raises(TrialDiverged):
        study.optimize(diverging)
    study.optimize(diverging)
    assert len(trials_of(study, TrialState.FAIL)) == 1
    assert len(completed(study)) == 4


def test_a_divergence_told_by_hand_is_a_result(study, sampler):
    while sampler.pending(study):
        trial = study.ask()
        with pytest.warns(UserWarning, match="nan"):
            study.tell(trial, math.nan * objective(trial))
    assert sum(has_diverged(trial) for trial in study.trials) == 5


def test_a_pruned_trial_is_not_run_again(study):
    def pruned(trial):
        if objective(trial) > 0.05:
            raise optuna.TrialPruned
        return 0.0

    study.optimize(pruned)
    assert len(completed(study)) == 3
    assert sum(cell_of(trial) is not None for trial in trials_of(study, TrialState.PRUNED)) == 2


@pytest.mark.parametrize("retries", [0, 1, 3])
def test_a_trial_that_always_fails_is_run_again_as_often_as_was_said(retries):
    study = optuna.create_study(sampler=GeometricGridSampler([0.1], max_retries=retries))

    def failing(trial):
        objective(trial)
        raise RuntimeError

    numbers = {0: "trial 0", 1: "trials 0 and 1", 3: "trials 0, 1, 2 and 3"}[retries]
    with pytest.warns(RobustLRWarning, match=rf"lr=0\.1 is given up: {numbers} failed, and max_retries={retries}"):
        study.optimize(failing, catch=(RuntimeError,))
    assert len(trials_of(study, TrialState.FAIL)) == 1 + retries


def test_a_failure_that_ends_the_worker_is_run_again_by_the_next(study):
    def failing(trial):
        raise RuntimeError(objective(trial))

    with pytest.raises(RuntimeError):
        study.optimize(failing)
    study.optimize(objective)
    assert completed(study) == once(GRID.values)


# Threads, ask-and-tell, studies that go on


@pytest.mark.parametrize("repeat", range(5))
@pytest.mark.filterwarnings("ignore:lr=.* is left. trial")
def test_threads_run_every_cell_once_and_say_what_failed_at_the_very_end(repeat):
    study = optuna.create_study(sampler=GeometricGridSampler(GRID, seeds=2, max_retries=100))
    random = np.random.default_rng(repeat)

    def flaky(trial):
        value = with_seeds(trial)
        time.sleep(0.005 * random.random())
        if random.random() < 0.3:
            raise RuntimeError
        return value

    while study.sampler.pending(study):
        study.optimize(flaky, n_jobs=4, catch=(RuntimeError,))
    assert completed(study, "lr", "seed") == Counter(itertools.product(GRID.values, range(2)))


def test_a_trial_that_fails_while_the_other_threads_are_at_their_end_is_named():
    study, rest = optuna.create_study(sampler=GeometricGridSampler([0.1, 1.0])), threading.Event()

    def fails_last(trial):
        if objective(trial) == 0.1:
            rest.wait(WAIT)
            time.sleep(0.2)
            raise RuntimeError
        rest.set()
        return 0.0

    with pytest.warns(RobustLRWarning, match=r"lr=0\.1 is left: trial . failed while the study came to its end"):
        study.optimize(fails_last, n_jobs=2, catch=(RuntimeError,))
    assert study.sampler.pending(study) == 1


@pytest.mark.timeout(WAIT)
def test_a_thread_that_has_died_with_a_trial_keeps_nobody_waiting(study):
    thread = threading.Thread(target=lambda: objective(study.ask()))
    thread.start()
    thread.join()
    with pytest.warns(RobustLRWarning, match="the study stops without trial 0, asked for with study.ask and not told"):
        study.optimize(objective)
    assert len(completed(study)) == 4


@pytest.mark.timeout(WAIT)
@pytest.mark.parametrize("n_jobs", [1, 2])
def test_a_trial_that_was_asked_for_and_not_told_is_named_and_not_waited_for(study, n_jobs):
    asked = study.ask()
    objective(asked)
    with pytest.warns(RobustLRWarning, match="the study stops without trial 0, asked for with study.ask and not told"):
        study.optimize(objective, n_jobs=n_jobs)
    assert len(completed(study)) == 4
    study.tell(asked, 0.0)
    assert completed(study) == once(GRID.values)


def test_several_trials_may_be_asked_for_before_one_is_told(study, sampler):
    trials = [study.ask() for _ in range(5)]
    asked = [objective(trial) for trial in trials]
    assert sorted(asked) == list(GRID.values)
    assert sampler.pending(study) == 0
    study.tell(trials[2], state=TrialState.FAIL)
    assert sampler.pending(study) == 1
    assert objective(study.ask()) == asked[2]


def test_pending_counts_before_the_first_trial_and_with_everything_that_waits(study, sampler):
    assert sampler.pending(study) == 5
    assert study.trials == []
    for lr in (*GRID.values, 0.5):
        study.enqueue_trial({"lr": lr})
    assert sampler.pending(study) == 5
    study.optimize(objective, n_trials=2)
    assert sampler.pending(study) == 3


def test_pending_does_not_take_a_foreign_result_for_one_more(study, sampler):
    study.optimize(objective)
    study.add_trial(optuna.create_trial(params={"lr": GRID.values[0]}, distributions=SPACE, value=0.0))
    assert sampler.pending(study) == 0
    study.sampler = wider = GeometricGridSampler(GeometricGrid(1e-4, 10.0, 6))
    assert wider.pending(study) == 1


def test_a_study_goes_on_in_a_new_process_with_a_new_sampler(tmp_path):
    for n_trials in (2, 2, None):
        study = optuna.create_study(
            study_name="one",
            storage=journal_storage(tmp_path / "study.log"),
            sampler=GeometricGridSampler(GRID),
            load_if_exists=True,
        )
        study.optimize(objective, n_trials=n_trials)
    assert completed(study) == once(GRID.values)


def test_a_study_that_was_deleted_and_made_anew_begins_anew(tmp_path, sampler):
    storage = optuna.storages.RDBStorage(f"sqlite:///{tmp_path}/study.db")
    for _ in range(2):
        study = optuna.create_study(study_name="one", storage=storage, sampler=sampler)
        study.optimize(objective)
        assert completed(study) == once(GRID.values)
        optuna.delete_study(study_name="one", storage=study._storage)
    storage.remove_session()
    storage.engine.dispose()


def test_a_sampler_that_was_pickled_in_the_middle_goes_on(study, sampler):
    study.optimize(objective, n_trials=2)
    study.sampler = pickle.loads(pickle.dumps(sampler))
    study.optimize(objective)
    assert completed(study) == once(GRID.values)


def test_a_study_that_was_copied_goes_on_where_it_was(study, sampler):
    study.optimize(objective, n_trials=3)
    sampler.extend(study, above=1)
    storage = optuna.storages.InMemoryStorage()
    optuna.copy_study(
        from_study_name=study.study_name, from_storage=study._storage, to_storage=storage, to_study_name="copy"
    )
    copied = optuna.load_study(study_name="copy", storage=storage, sampler=GeometricGridSampler(GRID))
    copied.optimize(objective)
    assert completed(copied) == once([*GRID.values, 10.0])


def test_a_sampler_serves_several_studies_and_keeps_none_of_them(sampler):
    studies = [optuna.create_study(sampler=sampler) for _ in range(2)]
    for study in studies * 5:
        study.optimize(objective, n_trials=1)
    assert all(completed(study) == once(GRID.values) for study in studies)
    del studies, study
    gc.collect()
    assert len(sampler._states) == 0


def test_hyperband_which_shows_a_sampler_a_part_of_the_study(sampler):
    study = optuna.create_study(sampler=sampler, pruner=optuna.pruners.HyperbandPruner(max_resource=9))
    study.optimize(objective)
    assert completed(study) == once(GRID.values)


@pytest.mark.parametrize("n_jobs", [1, 2, 4])
def test_the_objective_begins_once_for_each_cell_and_callbacks_see_only_trials_with_parameters(n_jobs):
    began, seen = [], []

    def counted(trial):
        began.append(trial.number)
        time.sleep(0.01)
        return objective(trial)

    study = optuna.create_study(sampler=GeometricGridSampler(GeometricGrid(1e-4, 1.0, 9)))
    study.optimize(counted, n_jobs=n_jobs, callbacks=[lambda study, trial: seen.append(trial.params)])
    assert len(began) == len(study.trials) == len(seen) == 9 and all(seen)


def test_a_sampler_with_constraints_for_the_others_never_sees_a_trial_without_parameters():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        others = optuna.samplers.NSGAIISampler(constraints_func=lambda trial: (trial.params["decay"] - 0.5,))
    study = optuna.create_study(sampler=GeometricGridSampler(GRID, independent_sampler=others))
    for _ in range(2):  # the second time there is nothing to run
        study.optimize(lambda trial: objective(trial) + trial.suggest_float("decay", 0.0, 1.0))
    assert completed(study) == once(GRID.values)


def test_asking_once_too_often_says_so_and_leaves_no_running_trial(study):
    asked = [study.ask() for _ in range(5)]
    with pytest.raises(GridError, match=r"or held: lr=0\.0001 by trial 0 \(in this process\), .*; ask while sampler"):
        for _ in range(2):
            objective(study.ask())
    assert [trial.number for trial in study.get_trials(states=[TrialState.RUNNING])] == [t.number for t in asked]


# Growth


def test_a_grid_that_was_made_smaller_runs_only_what_is_left_of_it(study):
    study.sampler = GeometricGridSampler([*GRID.values, 100.0, 1000.0])
    study.optimize(lambda trial: trial.suggest_float("lr", 1e-5, 1e4, log=True), n_trials=2)
    study.sampler = GeometricGridSampler(GRID)
    study.optimize(objective)
    assert set(completed(study)) >= {(lr,) for lr in GRID.values}
    assert len(completed(study)) <= 5 + 2


def test_growth_can_be_taken_back(study, sampler):
    study.optimize(objective, n_trials=3)
    sampler.extend(study, above=2)
    sampler.add_seeds(study, range(40))
    assert sampler.pending(study) == 7 * 40, "the runs without a seed count for none"
    GeometricGridSampler(GRID).take_back(study)
    assert sampler.pending(study) == 2
    study.optimize(objective)
    assert completed(study) == once(GRID.values)


def test_a_callback_of_the_last_trial_may_extend_the_grid(study, sampler):
    def go_on(study, trial):
        if len(study.trials) == 5:
            sampler.extend(study, below=2)

    study.optimize(lambda trial: trial.suggest_float("lr", 1e-7, 10.0, log=True), callbacks=[go_on])
    assert completed(study) == once([1e-6, 1e-5, *GRID.values])


def test_two_samplers_with_other_names_in_one_study_do_not_hand_out_each_others_rates(study):
    study.optimize(objective)
    study.sampler = GeometricGridSampler([0.1, 0.2], lr_name="learning_rate")
    study.optimize(lambda trial: trial.suggest_float("learning_rate", 1e-5, 10.0, log=True))
    trials = study.get_trials(states=[TrialState.COMPLETE])
    assert [trial.params["learning_rate"] for trial in trials[5:]] == [0.1, 0.2]


def test_a_trial_that_was_enqueued_without_a_learning_rate_runs_on_the_grid_or_not_at_all(study):
    def with_decay(trial):
        return objective(trial) + trial.suggest_float("decay", 0.0, 1.0)

    study.enqueue_trial({"decay": 0.25})
    study.optimize(with_decay)
    assert study.trials[0].params["decay"] == 0.25 and completed(study) == once(GRID.values)
    study.enqueue_trial({"decay": 0.75})
    with pytest.warns(RobustLRWarning, match="trial 5 names no 'lr', and every cell of the grid is done"):
        study.optimize(with_decay)
    assert completed(study) == once(GRID.values)


def test_an_enqueued_learning_rate_off_the_grid_runs_with_the_first_seed():
    study = optuna.create_study(sampler=GeometricGridSampler(GRID, seeds=[3, 4]))
    study.enqueue_trial({"lr": 0.5})
    study.optimize(with_seeds)
    assert study.trials[0].params == {"lr": 0.5, "seed": 3}
    assert len(study.trials) == 11


@pytest.mark.parametrize("seeds", [np.arange(3), np.int64(3), range(3), (0, 1, 2)])
def test_axes_of_numpy_are_axes(seeds):
    sampler = GeometricGridSampler(np.array([0.1, 1.0]), seeds=seeds, schedules=np.array(["cosine", "linear"]))
    cells = sampler.cells(optuna.create_study())
    assert {cell.seed for cell in cells} == {0, 1, 2} and {cell.schedule for cell in cells} == {"cosine", "linear"}
    assert all(type(cell.seed) is int and type(cell.schedule) is str for cell in cells)


def test_growth_runs_what_is_new(study, sampler):
    study.optimize(objective)
    sampler.refine(study)
    sampler.extend(study, below=1, above=1, lrs=[3.0])
    study.optimize(lambda trial: trial.suggest_float("lr", 1e-6, 100.0, log=True))
    assert len(completed(study)) == 5 + 4 + 3
    assert set(completed(study).values()) == {1}


def test_seeds_and_schedules_may_be_added_to_a_sweep_that_had_none(study, sampler):
    study.optimize(objective)
    sampler.add_seeds(study, [7, 8])
    sampler.add_schedules(study, ["cosine"])

    def sweep(trial):
        return with_seeds(trial) + len(trial.suggest_categorical("schedule", ["cosine", "linear"]))

    study.optimize(sweep)
    new = [trial for trial in trials_of(study, TrialState.COMPLETE) if "seed" in trial.params]
    # What ran before says nothing about a seed or a schedule.
    assert sorted((t.params["lr"], t.params["seed"], t.params["schedule"]) for t in new) == [
        (lr, seed, "cosine") for lr in GRID.values for seed in (7, 8)
    ]


def test_two_samplers_with_different_grids_run_the_union(study):
    others = [GeometricGridSampler([1e-4, 3e-3, 5.0]), study.sampler]
    for sampler in others * 8:
        study.sampler = sampler
        study.optimize(objective, n_trials=1)
    assert completed(study) == once([*GRID.values, 3e-3, 5.0])


# Trials that are not the sampler's own


def test_enqueued_trials_are_the_runs_of_their_cells_even_with_other_parameters(study):
    study.enqueue_trial({"lr": GRID.values[1], "momentum": 0.5})
    study.optimize(lambda trial: objective(trial) + trial.suggest_float("momentum", 0.0, 1.0), n_trials=3)
    study.enqueue_trial({"lr": GRID.values[3], "momentum": 0.5})
    study.enqueue_trial({"lr": 0.7})
    study.optimize(lambda trial: objective(trial) + trial.suggest_float("momentum", 0.0, 1.0))
    assert completed(study) == once([*GRID.values, 0.7])


def test_an_enqueued_trial_that_failed_is_run_again(study):
    study.enqueue_trial({"lr": GRID.values[1]})

    def flaky(trial):
        if trial.number == 0:
            raise RuntimeError
        return objective(trial)

    study.optimize(flaky, catch=(RuntimeError,))
    assert completed(study) == once(GRID.values)


@pytest.mark.parametrize("lr", ["auto", None, math.nan, -1.0])
def test_an_enqueued_learning_rate_that_is_none_disturbs_nothing(study, lr):
    study.optimize(objective, n_trials=1)
    study.enqueue_trial({"lr": lr})
    trial = study.ask()
    study.tell(trial, state=TrialState.FAIL)
    study.optimize(objective)
    assert completed(study) == once(GRID.values)


def test_trials_of_another_sampler_before_count_where_they_are_results_of_cells(study, sampler):
    study.sampler = optuna.samplers.RandomSampler(0)
    study.optimize(objective, n_trials=3)
    study.optimize(lambda trial: trial.suggest_float("lr", 0.1, 0.1, log=True), n_trials=1)
    study.sampler = sampler
    study.optimize(objective)
    runs = completed(study)
    assert [runs[(lr,)] for lr in GRID.values] == [1] * 5
    assert len(runs) == 5 + 3


@pytest.mark.timeout(WAIT)
def test_trials_of_another_sampler_in_between_take_no_cell_away(study, sampler):
    for _ in range(4):
        study.sampler = sampler
        study.optimize(objective, n_trials=1)
        study.sampler = optuna.samplers.RandomSampler(0)
        study.optimize(with_seeds, n_trials=1)
    study.sampler = sampler
    study.optimize(objective)
    runs = completed(study)
    assert [runs[(lr,)] for lr in GRID.values] == [1] * 5


@pytest.mark.timeout(WAIT)
def test_a_result_for_a_seed_that_the_sweep_does_not_have_is_no_cell():
    sampler = GeometricGridSampler(GRID, seeds=2)
    study = optuna.create_study(sampler=sampler)
    study.optimize(with_seeds, n_trials=1)
    space = {**SPACE, "seed": optuna.distributions.IntDistribution(0, 99)}
    study.add_trial(optuna.create_trial(params={"lr": 0.1, "seed": 77}, distributions=space, value=0.0))
    study.optimize(with_seeds)
    runs = completed(study, "lr", "seed")
    assert runs == Counter([*itertools.product(GRID.values, range(2)), (0.1, 77)])


@pytest.mark.timeout(WAIT)
def test_a_cell_whose_trial_never_began_is_run_by_another(study, sampler):
    study.optimize(objective, n_trials=1)
    lost = study._storage.create_new_trial(study._study_id)  # killed before it could say that it runs
    study.optimize(objective)
    assert completed(study) == once(GRID.values)
    assert study._storage.get_trial(lost).state == TrialState.RUNNING


def test_a_worker_that_was_taken_for_dead_before_it_began_is_told_so(study, sampler, monkeypatch):
    study.optimize(objective, n_trials=1)
    slow_id = study._storage.create_new_trial(study._study_id)
    assert fail_stale_trials(study) == [], "it may begin at any moment"
    monkeypatch.setattr(_trial_attributes, "_TIME_TO_BEGIN", timedelta(seconds=0))
    study.optimize(objective)
    assert completed(study) == once(GRID.values)
    assert study._storage.get_trial(slow_id).state == TrialState.FAIL
    with pytest.raises(RobustLRError, match="took this one for dead and failed its trial 1, which had not begun"):
        optuna.Trial(study, slow_id)  # it was not dead after all


def test_a_trial_of_another_tool_that_has_not_begun_is_left_alone(study, monkeypatch):
    monkeypatch.setattr(_trial_attributes, "_TIME_TO_BEGIN", timedelta(seconds=0))
    study.optimize(objective, n_trials=1)
    study.add_trial(optuna.create_trial(params={"lr": 0.3}, distributions=SPACE, value=0.0))
    study._storage.create_new_trial(study._study_id)
    assert fail_stale_trials(study) == []


def test_a_trial_that_runs_elsewhere_is_left_alone_unless_it_is_said_to_be_dead(study, sampler):
    trial = study.ask()
    objective(trial)
    mark = study.trials[trial.number].system_attrs["robust_lr:cell"]
    elsewhere = {**mark, "worker": {**mark["worker"], "machine": "another"}}
    study._storage.set_trial_system_attr(trial._trial_id, "robust_lr:cell", elsewhere)
    study.optimize(objective)
    assert len(completed(study)) == 4
    assert fail_stale_trials(study) == []
    assert fail_stale_trials(study, is_dead=lambda trial: True) == [trial.number]
    study.optimize(objective)
    assert completed(study) == once(GRID.values)


def test_a_trial_is_reaped_once(study, sampler):
    trial = study.ask()
    assert fail_stale_trials(study, is_dead=lambda trial: True) == [trial.number]
    assert fail_stale_trials(study, is_dead=lambda trial: True) == []


# Arguments


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"grid": [0.1, -1.0]}, "learning rates must be positive finite numbers, got"),
        ({"grid": [0.1, math.nan]}, "learning rates must be positive finite numbers, got"),
        ({"grid": [0.1, True]}, "learning rates must be positive finite numbers, got"),
        ({"grid": ["0.1"]}, "learning rates must be positive finite numbers, got"),
        ({"schedules": "cosine"}, "schedules must be a sequence of names, got 'cosine'"),
        ({"seeds": 0}, "a number of seeds must be at least 1, got 0"),
        ({"seeds": True}, "seeds must be a sequence, got True"),
        ({"independent_sampler": GeometricGridSampler([0.1])}, "a trial runs a cell of one grid"),
        ({"seeds": [0.5]}, r"seeds must be whole numbers, got \[0\.5\]"),
        ({"seeds": 3.0}, r"seeds must be a sequence, got 3\.0"),
        ({"schedules": [1, 2]}, r"schedules must be a sequence of names, got \[1, 2\]"),
        ({"max_retries": -1}, "max_retries must be a whole number of at least 0, got -1"),
        ({"max_retries": 1.0}, "max_retries must be a whole number of at least 0, got 1.0"),
        ({"lr_name": "seed"}, "lr_name, schedule_name and seed_name must differ"),
    ],
)
def test_wrong_arguments_are_refused_in_one_line(options, message):
    with pytest.raises(RobustLRError, match=message):
        GeometricGridSampler(**{"grid": GRID, **options})


@pytest.mark.parametrize("options", [{"below": -1}, {"lrs": [0.0]}])
def test_wrong_extensions_are_refused(study, sampler, options):
    with pytest.raises((GridError, OptionError)):
        sampler.extend(study, **options)


def test_a_grid_of_one_point_has_no_ratio_to_be_extended_by():
    sampler = GeometricGridSampler([0.1])
    with pytest.raises(GridError, match="a grid of two points"):
        sampler.extend(optuna.create_study(sampler=sampler), above=1)


def test_it_says_what_it_is():
    sampler = GeometricGridSampler(GRID, seeds=3)
    assert repr(sampler) == "GeometricGridSampler(5 learning rates, 1 schedules, 3 seeds)"
