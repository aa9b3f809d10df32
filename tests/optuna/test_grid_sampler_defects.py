"""What Optuna's GridSampler does to a learning-rate sweep, one test a defect: this sampler does not do it."""

from __future__ import annotations

import itertools
import signal
import subprocess
import sys
import threading
import time
import warnings
from collections import Counter

import numpy as np
import optuna
import pytest
from optuna.trial import TrialState

from robust_lr import GeometricGrid
from robust_lr.exceptions import GridError
from robust_lr_optuna._storages import journal_storage
from robust_lr_optuna._trial_attributes import is_log_entry
from robust_lr_optuna.grid_sampler import GeometricGridSampler

GRID = GeometricGrid(1e-4, 1.0, 5)


def objective(trial):
    return trial.suggest_float("lr", 1e-5, 10.0, log=True)


def with_seeds(trial):
    return trial.suggest_float("lr", 1e-5, 10.0, log=True) + trial.suggest_int("seed", 0, 99)


def completed(study, *names):
    done = study.get_trials(states=[TrialState.COMPLETE])
    return Counter(tuple(trial.params[name] for name in names or ("lr",)) for trial in done)


def once(values):
    return Counter({(value,): 1 for value in values})


def trials_of(study):
    return [trial for trial in study.trials if not is_log_entry(trial)]


def test_1_no_learning_rate_is_run_again_while_it_is_running_at_the_end_of_the_sweep():
    study = optuna.create_study(sampler=GeometricGridSampler(GRID))

    def slow(trial):
        time.sleep(0.01 * trial.number)
        return objective(trial)

    study.optimize(slow, n_jobs=4)
    assert completed(study) == once(GRID.values)


def test_2_workers_with_different_random_seeds_agree_on_the_grid():
    storage = optuna.storages.InMemoryStorage()
    optuna.create_study(study_name="one", storage=storage)
    studies = [
        optuna.load_study(
            study_name="one",
            storage=storage,
            sampler=GeometricGridSampler(GRID, independent_sampler=optuna.samplers.RandomSampler(seed)),
        )
        for seed in range(2)
    ]
    for study in itertools.islice(itertools.cycle(studies), 5):
        study.optimize(objective, n_trials=1)
    assert completed(studies[0]) == once(GRID.values)


def test_3_learning_rates_that_failed_are_run_again():
    study = optuna.create_study(sampler=GeometricGridSampler(GRID))
    failing = {1, 3, 4}

    def flaky(trial):
        lr = objective(trial)
        if trial.number in failing:
            raise MemoryError("out of memory, for now")
        return lr

    study.optimize(flaky, catch=(MemoryError,))
    assert completed(study) == once(GRID.values)


def test_3_a_learning_rate_interrupted_by_ctrl_c_is_run_when_the_study_goes_on():
    study = optuna.create_study(sampler=GeometricGridSampler(GRID, max_retries=0))

    def interrupted(trial):
        lr = objective(trial)
        if trial.number == 2:
            raise KeyboardInterrupt
        return lr

    with pytest.raises(KeyboardInterrupt):
        study.optimize(interrupted)
    study.optimize(objective)
    assert completed(study) == once(GRID.values)


def test_4_a_trial_enqueued_while_one_learning_rate_is_left_disturbs_nothing():
    study = optuna.create_study(sampler=GeometricGridSampler(GRID))
    study.optimize(objective, n_trials=4)
    study.enqueue_trial({"lr": 0.5})
    study.optimize(objective)
    assert completed(study) == once([*GRID.values, 0.5])


def test_5_enqueued_and_added_trials_at_a_learning_rate_of_the_grid_are_its_runs():
    study = optuna.create_study(sampler=GeometricGridSampler(GRID))
    for lr in GRID.values[1:3]:
        study.enqueue_trial({"lr": lr})
    space = {"lr": optuna.distributions.FloatDistribution(1e-5, 10.0, log=True)}
    study.add_trial(optuna.create_trial(params={"lr": GRID.values[0]}, distributions=space, value=0.3))
    study.optimize(objective)
    assert completed(study) == once(GRID.values)


def test_5_a_trial_enqueued_with_some_parameters_gets_the_others_from_the_grid():
    study = optuna.create_study(sampler=GeometricGridSampler(GRID, seeds=2))
    study.enqueue_trial({"lr": GRID.values[3]})
    study.optimize(with_seeds)
    assert study.trials[0].params == {"lr": GRID.values[3], "seed": 0}
    assert completed(study, "lr", "seed") == Counter(itertools.product(GRID.values, range(2)))


def test_6_ask_and_tell_comes_to_its_end_without_an_error():
    sampler = GeometricGridSampler(GRID)
    study = optuna.create_study(sampler=sampler)
    while sampler.pending(study):
        trial = study.ask()
        study.tell(trial, objective(trial))
    assert completed(study) == once(GRID.values)
    with pytest.raises(GridError, match="nothing is left to ask for: every cell of the grid is done"):
        study.ask()
    assert not study.get_trials(states=[TrialState.RUNNING])


def test_7_a_finished_study_that_is_started_again_runs_nothing():
    study = optuna.create_study(sampler=GeometricGridSampler(GRID))
    calls = []

    def counted(trial):
        lr = objective(trial)
        calls.append(lr)
        return lr

    for n_trials in (None, 10, None):
        study.optimize(counted, n_trials=n_trials)
    assert sorted(calls) == list(GRID.values)


@pytest.mark.parametrize(
    ("grid", "n_new"),
    [
        (GeometricGrid(1e-4, 10.0, 6), 1),  # one more at the top
        (list(reversed(GRID.values)), 0),
        (GRID.values[:3], 0),
        (GeometricGrid(1e-4, 1.0, 9), 4),  # refined
        (np.geomspace(1e-4, 1.0, 5), 0),
        ([1e-4 * 10.0**i for i in range(6)], 1),
    ],
)
def test_8_a_grid_that_has_changed_runs_what_is_new_and_nothing_again(grid, n_new):
    study = optuna.create_study(sampler=GeometricGridSampler(GRID))
    study.optimize(objective)
    study.sampler = GeometricGridSampler(grid)
    study.optimize(objective)
    assert len(study.get_trials(states=[TrialState.COMPLETE])) == 5 + n_new
    assert set(completed(study).values()) == {1}


def test_9_learning_rates_that_differ_by_rounding_are_one():
    low, ratio = 1e-5, 10 ** (5 / 24)
    study = optuna.create_study(sampler=GeometricGridSampler([low * ratio**i for i in range(25)]))
    study.optimize(lambda trial: trial.suggest_float("lr", 1e-6, 10.0, log=True), n_trials=7)
    for values in (np.geomspace(1e-5, 1.0, 25), np.logspace(-5, 0, 25), [10 ** (-5 + 5 * i / 24) for i in range(25)]):
        study.sampler = GeometricGridSampler(values)
        study.optimize(lambda trial: trial.suggest_float("lr", 1e-6, 10.0, log=True), n_trials=7)
    assert len(completed(study)) == 25
    assert set(completed(study).values()) == {1}


def test_10_a_grid_whose_end_is_beyond_the_range_by_rounding_stays_in_the_range():
    values = [1e-5 * (10 ** (5 / 24)) ** i for i in range(25)]
    assert values[-1] > 1.0
    study = optuna.create_study(sampler=GeometricGridSampler(values))
    study.optimize(lambda trial: trial.suggest_float("lr", 1e-5, 1.0, log=True))
    assert max(trial.params["lr"] for trial in study.get_trials(states=[TrialState.COMPLETE])) == 1.0
    other = optuna.create_study()
    other.add_trials(study.trials)
    assert len(other.trials) == len(study.trials)


def test_11_a_grid_of_a_categorical_learning_rate_says_what_is_wrong_when_it_has_grown():
    choices = list(GRID.values)
    sampler = GeometricGridSampler(GRID)
    study = optuna.create_study(sampler=sampler)
    study.optimize(lambda trial: trial.suggest_categorical("lr", choices))
    assert completed(study) == once(GRID.values)
    sampler.extend(study, above=1)
    with pytest.raises(Exception, match=r"the grid has lr=10\.0, but the objective only allows Categorical"):
        study.optimize(lambda trial: trial.suggest_categorical("lr", choices))


def test_12_more_seeds_cost_the_runs_of_the_new_seeds_only():
    sampler = GeometricGridSampler(GRID, seeds=3)
    study = optuna.create_study(sampler=sampler)
    study.optimize(with_seeds)
    sampler.add_seeds(study, [3])
    study.optimize(with_seeds)
    assert completed(study, "lr", "seed") == Counter(itertools.product(GRID.values, range(4)))


def test_12_a_study_that_is_stopped_early_has_all_seeds_of_the_learning_rates_that_it_has():
    study = optuna.create_study(sampler=GeometricGridSampler(GRID, seeds=3))
    study.optimize(with_seeds, n_trials=9)
    runs = completed(study, "lr", "seed")
    assert runs == Counter(itertools.product([GRID.values[i] for i in (0, 2, 4)], range(3)))


KILLED = """
import os, signal, sys, optuna
from robust_lr import GeometricGrid
from robust_lr.exceptions import GridError
from robust_lr_optuna.grid_sampler import GeometricGridSampler
from robust_lr_optuna._storages import journal_storage

study = optuna.load_study(
    study_name="one", storage=journal_storage(sys.argv[1]), sampler=GeometricGridSampler(GeometricGrid(1e-4, 1.0, 5))
)

def objective(trial):
    lr = trial.suggest_float("lr", 1e-5, 10.0, log=True)
    if trial.number == int(sys.argv[2]):
        os.kill(os.getpid(), signal.SIGKILL)
    return lr

study.optimize(objective)
"""


def test_13_a_trial_of_a_killed_process_is_run_again_and_its_record_does_not_run_for_ever(tmp_path):
    path = str(tmp_path / "study.log")
    study = optuna.create_study(study_name="one", storage=journal_storage(path), sampler=GeometricGridSampler(GRID))
    killed = subprocess.run([sys.executable, "-c", KILLED, path, "2"], capture_output=True, check=False)
    assert killed.returncode == -signal.SIGKILL
    study.optimize(objective)
    assert completed(study) == once(GRID.values)
    assert not study.get_trials(states=[TrialState.RUNNING])


@pytest.mark.parametrize("retry", [True, False])
def test_14_a_heartbeat_finds_a_dead_trial_with_and_without_optunas_own_retry(tmp_path, retry):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        callback = optuna.storages.RetryHeartbeatStaleTrialCallback(max_retry=3) if retry else None
        storage = optuna.storages.RDBStorage(
            f"sqlite:///{tmp_path}/study.db",
            heartbeat_interval=1,
            grace_period=1,
            heartbeat_stale_trial_callback=callback,
        )
    study = optuna.create_study(storage=storage, sampler=GeometricGridSampler(GRID))
    study.optimize(objective, n_trials=1)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # that heartbeats are meant for optimize
        dead = study.ask()
    lr = objective(dead)
    storage.record_heartbeat(dead._trial_id)
    time.sleep(2.5)
    study.optimize(objective)
    assert study.trials[dead.number].state == TrialState.FAIL
    assert study.trials[dead.number].params == {"lr": lr}
    assert completed(study) == once(GRID.values)


def test_15_learning_rates_of_numpy_are_plain_numbers_in_every_storage(tmp_path):
    values = np.array(GRID.values, dtype=np.float32)
    sampler = GeometricGridSampler(values)
    study = optuna.create_study(storage=journal_storage(tmp_path / "study.log"), sampler=sampler)
    study.optimize(objective)
    assert completed(study) == once(float(lr) for lr in values)
    assert all(type(trial.params["lr"]) is float for trial in study.get_trials(states=[TrialState.COMPLETE]))


def test_16_an_entry_of_the_storage_does_not_grow_with_the_grid(tmp_path):
    def bytes_per_trial(n_points):
        path = tmp_path / f"{n_points}.log"
        sampler = GeometricGridSampler(GeometricGrid(1e-4, 1.0, n_points))
        study = optuna.create_study(storage=journal_storage(path), sampler=sampler)
        study.optimize(objective, n_trials=1)
        before = path.stat().st_size
        study.optimize(objective, n_trials=10)
        return (path.stat().st_size - before) / 10

    assert bytes_per_trial(1000) < 1.1 * bytes_per_trial(20)


def test_16_the_work_for_a_trial_does_not_grow_with_the_number_of_trials(monkeypatch):
    reads = Counter()
    original = optuna.trial.FrozenTrial.system_attrs.fget

    def counting(trial):
        reads[threading.get_ident()] += 1
        return original(trial)

    study = optuna.create_study(sampler=GeometricGridSampler(GeometricGrid(1e-4, 1.0, 301)))
    monkeypatch.setattr(
        optuna.trial.FrozenTrial, "system_attrs", property(counting, optuna.trial.FrozenTrial.system_attrs.fset)
    )
    counts = []
    for _ in range(3):
        reads.clear()
        study.optimize(objective, n_trials=100)
        counts.append(sum(reads.values()))
    assert counts[2] <= 1.1 * counts[0]
