"""Studies that version 0.1.0 wrote are read, continued and analyzed."""

from __future__ import annotations

import math
import shutil
from collections import Counter
from pathlib import Path

import optuna
import pytest
from optuna.trial import TrialState

from robust_lr import GeometricGrid, analyze_sweep, run_sweep
from robust_lr_optuna import (
    GeometricGridSampler,
    LearningRateSampler,
    OptunaRunner,
    fail_stale_trials,
    journal_storage,
    search_result,
    sweep_from_storage,
    sweep_from_study,
)

DATA = Path(__file__).parent / "data"
INF = math.inf


@pytest.fixture
def load(tmp_path):
    """A study of version 0.1.0, in a copy that may be written to."""

    def load(name, sampler=None):
        shutil.copy(DATA / f"{name}.log", tmp_path)
        return optuna.load_study(study_name=name, storage=journal_storage(tmp_path / f"{name}.log"), sampler=sampler)

    return load


def loss(lr, schedule, seed):
    x = math.log10(lr) + (2.0 if schedule == "constant" else 1.5)
    return math.inf if lr > 0.5 else round(0.1 * x * x + 0.01 * seed + 0.5, 6)


def losses(sweep):
    return {(t.spec.schedule, t.spec.lr, t.spec.seed): t.loss for t in sweep.trials() if t.status != "failed"}


@pytest.mark.parametrize("name", ["grid", "search", "runner"])
def test_the_tests_do_not_write_to_the_data_and_it_needs_no_copy_to_be_read(name):
    before = (DATA / f"{name}.log").read_bytes()
    assert sweep_from_storage(DATA / f"{name}.log").n_trials > 3
    assert (DATA / f"{name}.log").read_bytes() == before


def test_a_half_grid_is_analyzed(load):
    sweep = sweep_from_study(load("grid"))
    assert losses(sweep) == {
        (schedule, lr, seed): loss(lr, schedule, seed)
        for schedule in ("constant", "cosine")
        for lr in (0.001, 0.01, 0.1)
        for seed in (0, 1)
        if (schedule, lr, seed) != ("cosine", 0.01, 1)
    }
    assert sweep.notes == ("1 trial left out: not finished",)


def test_a_half_grid_goes_on_with_each_cell_once_and_can_grow(load):
    sampler = GeometricGridSampler(GeometricGrid(1e-3, 1.0, 4), schedules=["constant", "cosine"], seeds=2)
    study = load("grid", sampler)
    assert fail_stale_trials(study, is_dead=lambda trial: True) == [17]
    sampler.add_seeds(study, [2])

    def objective(trial):
        lr = trial.suggest_float("lr", 1e-4, 1.0, log=True)
        schedule = trial.suggest_categorical("schedule", ["constant", "cosine"])
        return loss(lr, schedule, trial.suggest_int("seed", 0, 9))

    study.optimize(objective)
    lrs = {0.001, 0.01, 0.1, 1.0, *(float(f"{10**-k:.12g}") for k in (0.5, 1.5, 2.5))}
    cells = {(lr, schedule, seed) for lr in lrs for schedule in ("constant", "cosine") for seed in range(3)}
    done = study.get_trials(states=[TrialState.COMPLETE])
    runs = Counter(tuple(trial.params[name] for name in ("lr", "schedule", "seed")) for trial in done)
    assert len(runs) == len(done) and set(runs) == cells
    sweep = sweep_from_study(study)
    assert losses(sweep) == {key: loss(key[1], key[0], key[2]) for key in losses(sweep)} and sweep.loss.shape == (
        2,
        7,
        3,
    )
    assert analyze_sweep(sweep, tolerance=0.01).schedules[0].profile.best_lr == pytest.approx(10**-1.5)


def test_a_half_search_is_known_and_goes_on_as_one_that_was_never_interrupted(load):
    def objective(trial):
        lr = trial.suggest_float("lr", 1e-4, 1.0, log=True)
        return round(0.03 * math.log(lr / 0.02) ** 2, 6) if lr < 0.5 else math.nan

    study = load("search", LearningRateSampler(tolerance=0.005))
    known = search_result(study)
    assert (known.lr, known.loss, known.n_trials, known.stop, known.tolerance) == (0.02, 0.0, 4, None, 0.005)
    assert [each.lr for each in known.history] == [0.01, 0.2154, 0.0004642, 0.02]
    study.optimize(objective)
    whole = optuna.create_study(sampler=LearningRateSampler(tolerance=0.005))
    whole.optimize(objective)
    assert search_result(study) == search_result(whole) and search_result(study).stop == "tolerance"
    assert sweep_from_study(study).n_trials == search_result(study).n_trials


def test_a_larger_sweep_of_the_runner_runs_only_what_is_new(load):
    study, new = load("runner"), []

    def train(*, lr, schedule, seed):
        new.append((lr, str(schedule), seed))
        return loss(lr, str(schedule), seed)

    sweep = run_sweep(train, GeometricGrid(1e-2, 1.0, 5), ["constant", "cosine"], 2, runner=OptunaRunner(study))
    assert losses(sweep) == {key: loss(key[1], key[0], key[2]) for key in losses(sweep)} and sweep.loss.shape == (
        2,
        5,
        2,
    )
    assert len(new) == len(set(new)) == 8 and {lr for lr, _, _ in new}.isdisjoint({0.01, 0.1, 1.0})
    assert losses(sweep_from_study(study)) == losses(sweep)
    known = next(t for t in study.trials if t.value == 0.5)
    assert known.user_attrs == {"spec": "constant", "status": "ok", "metrics": {"accuracy": 0.6667}}
