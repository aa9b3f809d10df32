"""The sweep runs as trials of a study: the results of any runner, and a study that holds them all."""

from __future__ import annotations

import functools
import math
import random
import subprocess
import sys
import textwrap
import threading
import time

import optuna
import pytest
from optuna.trial import TrialState

from robust_lr import Constant, GeometricGrid, RobustLRError, SerialRunner, TrialSpec, run_sweep, search_learning_rate
from robust_lr.analysis import AdaptiveSeeds
from robust_lr.exceptions import DataError
from robust_lr.runners import TrialList
from robust_lr.testing import SCHEDULES, RunnerContract, train_eventful, train_failing_once, train_quadratic
from robust_lr_optuna._storages import journal_storage
from robust_lr_optuna._trial_attributes import cell_of, is_log_entry
from robust_lr_optuna.grid_sampler import GeometricGridSampler
from robust_lr_optuna.results import sweep_from_study
from robust_lr_optuna.runner import OptunaRunner

GRID = GeometricGrid(0.125, 1.0, 4)


@pytest.fixture(autouse=True)
def quiet():
    optuna.logging.set_verbosity(optuna.logging.ERROR)


@pytest.fixture(params=["memory", "sqlite", "journal"])
def study(request, tmp_path):
    """An empty study in each kind of storage."""
    storages = {
        "memory": lambda: None,
        "sqlite": lambda: f"sqlite:///{tmp_path / 'study.db'}",
        "journal": lambda: journal_storage(tmp_path / "study.log"),
    }
    return optuna.create_study(storage=storages[request.param](), study_name="digits")


class TestOptunaRunner(RunnerContract):
    @pytest.fixture
    def runner(self):
        return OptunaRunner(optuna.create_study())


class TestOptunaRunnerWithThreads(RunnerContract):
    @pytest.fixture
    def runner(self):
        return OptunaRunner(optuna.create_study(), n_jobs=3)


class TestOptunaRunnerThatMaximizes(RunnerContract):
    @pytest.fixture
    def runner(self):
        return OptunaRunner(optuna.create_study(direction="maximize"))


def never(*, lr, schedule, seed):
    raise AssertionError("this trial is finished already")


def losses(sweep):
    return {t.spec: t.loss for t in sweep.trials() if t.status != "failed"}


def test_the_sweep_is_that_of_the_serial_runner_and_can_be_read_from_the_study(study):
    plain = run_sweep(train_quadratic, GRID, SCHEDULES, 2)
    sweep = run_sweep(train_quadratic, GRID, SCHEDULES, 2, runner=OptunaRunner(study))
    assert losses(sweep) == losses(plain) == losses(sweep_from_study(study))
    assert sweep_from_study(study).metrics["distance"].tolist() == plain.metrics["distance"].tolist()


def test_a_trial_of_the_study_says_all_that_is_known_of_it(study):
    trials = [TrialSpec("constant", lr, 0) for lr in (0.5, 0.25)] + [TrialSpec("constant", 1.0, 1)]
    list(OptunaRunner(study).run(train_eventful, TrialList(trials), SCHEDULES))
    diverged, infinite, failed = study.trials
    assert diverged.params == {"lr": 0.5, "schedule": "constant", "seed": 0}
    assert (diverged.state, diverged.value) == (TrialState.COMPLETE, math.inf)
    assert diverged.user_attrs == {"spec": "constant", "status": "diverged", "error": "loss above 1e6"}
    assert infinite.user_attrs["metrics"] == {"steps": 7.0}
    assert failed.state == TrialState.FAIL and "no data for seed 1" in failed.user_attrs["error"]
    assert "no data for seed 1" in sweep_from_study(study).failures[0].error


def test_a_running_trial_is_seen_in_the_study_with_what_it_runs(study):
    def train(*, lr, schedule, seed):
        (running,) = study.get_trials(states=[TrialState.RUNNING])
        assert running.params == {"lr": lr, "schedule": "cosine", "seed": seed}
        return lr

    sweep = run_sweep(train, GRID, ["cosine"], 1, runner=OptunaRunner(study))
    assert sweep.n_trials == 4


def test_what_is_finished_is_not_run_again_and_gives_the_same_results(study):
    trials = [TrialSpec("constant", lr, 0) for lr in (0.125, 0.5, 1.0)]
    first = list(OptunaRunner(study).run(train_eventful, TrialList(trials), SCHEDULES))
    again = list(OptunaRunner(study).run(never, TrialList(trials), SCHEDULES))
    assert [(r.spec, r.loss, r.status, dict(r.metrics), r.error) for r in again] == [
        (r.spec, r.loss, r.status, dict(r.metrics), r.error) for r in first
    ]
    assert len(study.trials) == 3


def test_adaptive_seeds_are_trials_of_a_study_and_continue():
    def train(*, lr, schedule, seed):
        return math.log(lr / 0.1) ** 2 + 0.5 * random.Random(f"{lr:.6g} {seed}").gauss(0, 1)

    study, lrs, plan = optuna.create_study(), [0.1 * 2.0**k for k in range(-4, 5)], AdaptiveSeeds(tolerance=2.0)
    serial = run_sweep(train, lrs, ["cosine"], plan)
    assert 18 < serial.n_trials < 45
    for _ in range(2):  # the second time, every trial is in the study
        sweep = run_sweep(train, lrs, ["cosine"], plan, runner=OptunaRunner(study, n_jobs=2))
        assert sweep.loss == pytest.approx(serial.loss, nan_ok=True) and len(study.trials) == serial.n_trials


def test_a_larger_sweep_runs_only_what_is_new(study):
    run_sweep(train_quadratic, GRID, {"constant": Constant()}, 2, runner=OptunaRunner(study))
    sweep = run_sweep(train_quadratic, GRID.refine().extend(above=1), SCHEDULES, 3, runner=OptunaRunner(study))
    plain = run_sweep(train_quadratic, GRID.refine().extend(above=1), SCHEDULES, 3)
    assert losses(sweep) == losses(plain) == losses(sweep_from_study(study))
    assert len(study.trials) == plain.n_trials


def test_a_failed_trial_is_run_again_by_the_next_sweep(study, tmp_path):
    train = functools.partial(train_failing_once, folder=str(tmp_path))
    trials = [TrialSpec("constant", 0.5, 0)]
    (failed,) = OptunaRunner(study).run(train, TrialList(trials), SCHEDULES)
    (done,) = OptunaRunner(study).run(train, TrialList(trials), SCHEDULES)
    assert (failed.status, done.status) == ("failed", "ok")


def test_an_interrupted_sweep_leaves_no_running_trial_and_goes_on(study):
    def interrupted(*, lr, schedule, seed):
        if lr == 0.25:
            raise KeyboardInterrupt
        return lr

    with pytest.raises(KeyboardInterrupt):
        run_sweep(interrupted, GRID, ["cosine"], 1, runner=OptunaRunner(study))
    assert study.get_trials(states=[TrialState.RUNNING]) == []
    n = len(study.get_trials(states=[TrialState.COMPLETE]))
    run_sweep(train_quadratic, GRID, ["cosine"], 1, runner=OptunaRunner(study))
    assert len(study.get_trials(states=[TrialState.COMPLETE])) == 4 and n >= 1


def test_a_killed_sweep_is_cleared_away_and_goes_on(tmp_path):
    script = textwrap.dedent(
        f"""
        import os, signal, optuna
        from robust_lr import run_sweep
        from robust_lr_optuna.runner import OptunaRunner
        from robust_lr_optuna._storages import journal_storage
        def train(*, lr, schedule, seed):
            if lr == 0.5:
                os.kill(os.getpid(), signal.SIGKILL)
            return lr
        study = optuna.create_study(storage=journal_storage({str(tmp_path / "study.log")!r}), study_name="digits")
        run_sweep(train, [0.25, 0.5], ["cosine"], 1, runner=OptunaRunner(study))
        """
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, timeout=100, check=False)
    assert done.returncode == -9
    study = optuna.load_study(study_name="digits", storage=journal_storage(tmp_path / "study.log"))
    assert [t.state for t in study.trials] == [TrialState.COMPLETE, TrialState.RUNNING]
    sweep = run_sweep(lambda *, lr, schedule, seed: lr, [0.25, 0.5], ["cosine"], 1, runner=OptunaRunner(study))
    assert sweep.loss.tolist() == [[[0.25], [0.5]]]
    assert [t.state for t in study.trials] == [TrialState.COMPLETE, TrialState.FAIL, TrialState.COMPLETE]


def test_two_sweeps_at_once_share_the_work_of_a_study(tmp_path):
    """Each in a thread with a storage of its own, as two processes have."""
    calls, sweeps = [], []

    def train(*, lr, schedule, seed):
        calls.append((lr, seed))
        time.sleep(0.05)
        return lr + seed

    optuna.create_study(storage=journal_storage(tmp_path / "study.log"), study_name="digits")

    def work():
        study = optuna.load_study(study_name="digits", storage=journal_storage(tmp_path / "study.log"))
        sweeps.append(run_sweep(train, GRID, ["cosine"], 5, runner=OptunaRunner(study)))

    threads = [threading.Thread(target=work) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert losses(sweeps[0]) == losses(sweeps[1]) and sweeps[0].n_trials == 20
    assert set(calls) == {(lr, seed) for lr in GRID.values for seed in range(5)}
    assert len(calls) <= 22, "only what is left at the end is run by both"


def test_threads_run_trials_side_by_side(study):
    barrier = threading.Barrier(3, timeout=30)

    def train(*, lr, schedule, seed):
        barrier.wait()
        return lr

    sweep = run_sweep(train, GRID, ["cosine"], 3, runner=OptunaRunner(study, n_jobs=3))
    assert sweep.n_trials == 12 and not sweep.failures


def test_closing_early_lets_running_trials_end_and_begins_no_other(study):
    results = OptunaRunner(study, n_jobs=2).run(
        train_quadratic,
        TrialList(TrialSpec("constant", lr, seed) for lr in GRID.values for seed in range(5)),
        SCHEDULES,
    )
    next(results)
    results.close()
    assert {t.state for t in study.trials} == {TrialState.COMPLETE} and len(study.trials) <= 4


def test_one_job_runs_in_the_thread_of_the_caller():
    def train(*, lr, schedule, seed):
        return float(threading.get_ident() == here)

    here = threading.get_ident()
    assert run_sweep(train, GRID, ["cosine"], 1, runner=OptunaRunner(optuna.create_study())).loss.min() == 1.0


def test_the_cells_of_a_grid_sampler_in_the_same_study_are_each_run_once():
    def objective(trial):
        lr = trial.suggest_float("lr", 0.01, 10, log=True)
        return lr + trial.suggest_int("seed", 0, 9) + (trial.suggest_categorical("schedule", ["cosine"]) == "no")

    def train(*, lr, schedule, seed):
        return lr + seed

    study = optuna.create_study(sampler=GeometricGridSampler(GRID, schedules=["cosine"], seeds=2))
    study.optimize(objective, n_trials=3)
    by_sampler = {trial.number for trial in study.trials if cell_of(trial) is not None}
    sweep = run_sweep(train, GRID.values[:3], ["cosine"], 2, runner=OptunaRunner(study))
    study.optimize(objective)
    done = [t for t in study.trials if t.state == TrialState.COMPLETE]
    assert len(by_sampler) == 3 and len(done) == len({(t.params["lr"], t.params["seed"]) for t in done}) == 8
    assert not [t for t in study.trials if t.state != TrialState.COMPLETE and not is_log_entry(t) and t.params]
    assert losses(sweep_from_study(study)).items() >= losses(sweep).items()


def test_a_schedule_of_the_same_name_with_another_spec_is_refused(study):
    runner = OptunaRunner(study)
    run_sweep(train_quadratic, GRID, {"annealed": "cosine"}, 1, runner=runner)
    with pytest.raises(DataError, match=r"schedule 'annealed' as cosine, not linear: give this one another name"):
        run_sweep(train_quadratic, GRID, {"annealed": "linear"}, 1, runner=runner)


def test_a_study_with_other_kinds_of_parameters_is_refused():
    study = optuna.create_study()
    study.optimize(lambda trial: trial.suggest_categorical("lr", [0.1, 1.0]), n_trials=1)
    with pytest.raises(DataError, match="must have 'lr' as a float and 'seed' as a whole number, got Categorical"):
        run_sweep(train_quadratic, GRID, ["cosine"], 1, runner=OptunaRunner(study))


@pytest.mark.parametrize("log", [True, False])
def test_a_study_that_has_sampled_the_learning_rate_otherwise_takes_the_sweep_too(tmp_path, log):
    study = optuna.create_study(storage=f"sqlite:///{tmp_path / 'study.db'}")
    study.optimize(lambda trial: trial.suggest_float("lr", 0.2, 0.3, log=log), n_trials=2)
    assert run_sweep(train_quadratic, GRID, ["cosine"], 1, runner=OptunaRunner(study)).n_trials == 4


@pytest.mark.parametrize(
    "make, says",
    [
        (lambda: OptunaRunner("digits"), "study must be a study of Optuna, got 'digits'"),
        (lambda: OptunaRunner(optuna.create_study(directions=["minimize"] * 2)), "one objective, got one with 2"),
        (lambda: OptunaRunner(optuna.create_study(), n_jobs=0), "n_jobs must be a whole number of at least 1"),
    ],
)
def test_wrong_arguments_are_refused(make, says):
    with pytest.raises(RobustLRError, match=says):
        make()


def test_the_sampler_of_the_study_has_no_part_in_it():
    class Refuses(optuna.samplers.RandomSampler):
        def before_trial(self, study, trial):
            raise AssertionError

        def after_trial(self, study, trial, state, values):
            raise AssertionError

    study = optuna.create_study(sampler=Refuses())
    assert losses(run_sweep(train_quadratic, GRID, ["cosine"], 1, runner=OptunaRunner(study))) == losses(
        run_sweep(train_quadratic, GRID, ["cosine"], 1, runner=SerialRunner())
    )


def test_a_trial_past_its_time_limit_fails_in_the_study_and_the_others_go_on():
    def hang(*, lr, schedule, seed):
        time.sleep(60 * (lr == 0.25))
        return lr

    study = optuna.create_study()
    runner = OptunaRunner(study, trial_timeout=0.5)
    with pytest.warns(match="1 of 4 trials failed and count as missing; the first: .*timed out after 0.5 s"):
        sweep = run_sweep(hang, GRID, ["constant"], 1, runner=runner, max_retries=0, progress=False)
    assert sweep.n_trials == 3
    assert [trial.params["lr"] for trial in study.trials if trial.state == TrialState.FAIL] == [0.25]


def test_a_time_limit_for_threads_is_refused_at_the_door():
    with pytest.raises(RobustLRError, match="trial_timeout is for n_jobs=1"):
        OptunaRunner(optuna.create_study(), n_jobs=2, trial_timeout=1)


@pytest.mark.parametrize("study_direction", ["minimize", "maximize"])
def test_a_search_for_the_highest_score_stores_the_score_itself_where_the_study_maximizes(study_direction):
    def train(*, lr, schedule, seed):
        return 0.9 - 0.03 * math.log10(lr / 0.02) ** 2

    def search(train):
        return search_learning_rate(
            train, 1e-4, 1.0, tolerance=0.01, direction="maximize", runner=OptunaRunner(study), progress=False
        )

    study = optuna.create_study(direction=study_direction)
    found = search(train)
    sign = 1 if study_direction == "maximize" else -1
    assert study.best_value == pytest.approx(sign * found.shown(found.loss))
    assert study.best_params["lr"] == found.lr
    assert search(never) == found
