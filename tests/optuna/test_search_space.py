"""Learning rates on a grid under any sampler: what is recorded is what was run, and the rest is left to the sampler."""

from __future__ import annotations

import math

import optuna
import pytest
from optuna.distributions import FloatDistribution
from optuna.samplers import (
    NSGAIISampler,
    PartialFixedSampler,
    QMCSampler,
    RandomSampler,
    TPESampler,
)
from optuna.testing.pytest_samplers import (
    BasicSamplerTestCase,
    MultiObjectiveSamplerTestCase,
    RelativeSamplerTestCase,
)
from optuna.trial import FixedTrial

from robust_lr import GeometricGrid
from robust_lr.exceptions import GridError, ScheduleError
from robust_lr.theory import resolution_for_tolerance
from robust_lr_optuna.results import sweep_from_study
from robust_lr_optuna.sampler import GeometricGridSampler
from robust_lr_optuna.search_space import CoarseLearningRate, annealed_grid, grid_distribution, suggest_lr
from robust_lr_optuna.storages import journal_storage

GRID = GeometricGrid(1e-4, 1.0, 9)


def bowl(lr, dropout):
    return (math.log10(lr) + 2) ** 2 + (dropout - 0.3) ** 2


def plain(trial):
    return bowl(trial.suggest_float("lr", 1e-4, 1.0, log=True), trial.suggest_float("dropout", 0.0, 1.0))


def on_grid(trial):
    return bowl(suggest_lr(trial, GRID), trial.suggest_float("dropout", 0.0, 1.0))


def lrs_of(study):
    return [trial.params["lr"] for trial in study.trials if "lr" in trial.params]


SAMPLERS = [
    RandomSampler,
    TPESampler,
    lambda **k: TPESampler(multivariate=False, n_startup_trials=3, **k),
    lambda **k: QMCSampler(warn_independent_sampling=False, **k),
    NSGAIISampler,
]


@pytest.fixture(params=["memory", "sqlite", "journal"])
def storage(request, tmp_path):
    if request.param == "memory":
        return None
    return f"sqlite:///{tmp_path}/study.db" if request.param == "sqlite" else journal_storage(tmp_path / "study.log")


def test_the_grid_of_a_schedule_is_as_coarse_as_its_theory_allows():
    for schedule in ("constant", "cosine", "linear"):
        grid = annealed_grid(1e-4, 1.0, schedule=schedule, tolerance=0.25)
        allowed = resolution_for_tolerance(schedule, 0.25, total_steps=10_000)
        assert (grid.lr_min, grid.lr_max) == (1e-4, 1.0) and grid.ratio <= allowed
        assert grid.ratio ** (grid.n_points - 1) > allowed ** (grid.n_points - 2)
    assert len(annealed_grid(1e-6, 1.0, schedule="constant", tolerance=1.0)) > len(
        annealed_grid(1e-6, 1.0, schedule="cosine", tolerance=1.0)
    )


def test_a_grid_of_no_range_schedule_or_tolerance_is_refused():
    with pytest.raises(GridError, match="lr_min"):
        annealed_grid(1.0, 1e-4, schedule="cosine", tolerance=0.1)
    with pytest.raises(ScheduleError):
        annealed_grid(1e-4, 1.0, schedule="cosin", tolerance=0.1)
    with pytest.raises(ScheduleError, match="tolerance"):
        annealed_grid(1e-4, 1.0, schedule="cosine", tolerance=0)


def test_the_distribution_of_a_grid_is_its_range_and_can_be_asked_for():
    assert grid_distribution(GRID) == FloatDistribution(1e-4, 1.0, log=True)
    study = optuna.create_study(sampler=GeometricGridSampler(GRID))
    trials = [study.ask({"lr": grid_distribution(GRID)}) for _ in range(9)]
    assert sorted(trial.params["lr"] for trial in trials) == GRID.values.tolist()


@pytest.mark.parametrize("make", SAMPLERS)
@pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")
def test_under_any_sampler_the_study_holds_learning_rates_of_the_grid_and_what_was_run(make):
    run = []
    study = optuna.create_study(sampler=make(seed=0))

    def objective(trial):
        run.append(suggest_lr(trial, GRID))
        assert suggest_lr(trial, GRID) == run[-1]
        return bowl(run[-1], trial.suggest_float("dropout", 0.0, 1.0))

    study.optimize(objective, n_trials=25)
    assert lrs_of(study) == run and set(run) <= set(GRID.values) and len(set(run)) > 2
    assert study.trials[0].distributions["lr"] == FloatDistribution(1e-4, 1.0, log=True)


def test_the_grid_s_learning_rates_are_in_every_storage(storage):
    study = optuna.create_study(storage=storage, study_name="s", sampler=TPESampler(seed=0, n_startup_trials=4))
    study.optimize(on_grid, n_trials=10)
    again = optuna.load_study(storage=storage or study._storage, study_name="s")
    assert set(lrs_of(again)) <= set(GRID.values)


def test_a_proposal_goes_to_the_nearest_point_by_ratio():
    class Proposes(RandomSampler):
        def sample_independent(self, study, trial, param_name, param_distribution):
            return 0.017

    study = optuna.create_study(sampler=Proposes())
    grid = GeometricGrid(1e-3, 1.0, 4)
    assert suggest_lr(study.ask(), grid) == 0.01
    assert suggest_lr(study.ask(), GeometricGrid(0.01, 0.02, 2)) == 0.02


def test_what_the_user_has_fixed_or_the_grid_sampler_says_stays():
    study = optuna.create_study()
    study.enqueue_trial({"lr": 0.0123})
    assert suggest_lr(study.ask(), GRID) == 0.0123
    assert suggest_lr(FixedTrial({"lr": 0.0123}), GRID) == 0.0123
    refined = optuna.create_study(sampler=GeometricGridSampler(GRID.refine()))
    refined.optimize(lambda trial: suggest_lr(trial, GRID))
    assert sorted(lrs_of(refined)) == GRID.refine().values.tolist()


def test_a_grid_of_one_point_is_suggested_as_it_is():
    study = optuna.create_study()
    assert suggest_lr(study.ask(), GeometricGrid(0.1, 0.1, 1)) == 0.1


def test_a_study_goes_on_with_a_grid_that_has_grown():
    study = optuna.create_study(sampler=TPESampler(seed=0))
    wide = GRID.extend(below=2, above=2).refine()
    study.optimize(on_grid, n_trials=12)
    study.optimize(lambda trial: bowl(suggest_lr(trial, wide), 0.3), n_trials=12)
    assert set(lrs_of(study)) <= set(wide.values)


@pytest.mark.parametrize("make", SAMPLERS)
@pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")
def test_the_objective_stays_as_it_is_and_only_its_learning_rate_is_coarse(make):
    study = optuna.create_study(sampler=CoarseLearningRate(GRID, make(seed=0)))
    study.optimize(plain, n_trials=25)
    assert set(lrs_of(study)) <= set(GRID.values)
    assert len({trial.params["dropout"] for trial in study.trials}) == 25


def test_the_base_sampler_learns_from_what_was_run():
    study = optuna.create_study(sampler=CoarseLearningRate(GRID, TPESampler(seed=0)))
    study.optimize(plain, n_trials=60)
    assert study.best_params["lr"] == 0.01
    assert lrs_of(study)[30:].count(0.01) > 10  # a ninth of them would be 3
    assert sweep_from_study(study).learning_rates.tolist() == sorted(set(lrs_of(study)))


def test_the_objective_s_own_range_is_respected():
    study = optuna.create_study(sampler=CoarseLearningRate(GRID, RandomSampler(seed=0)))
    study.optimize(lambda trial: trial.suggest_float("lr", 2e-3, 0.2, log=True), n_trials=20)
    assert set(lrs_of(study)) == {lr for lr in GRID.values if 2e-3 <= lr <= 0.2}


def test_a_learning_rate_that_cannot_be_on_the_grid_is_refused():
    study = optuna.create_study(sampler=CoarseLearningRate(GRID, name="eta"))
    with pytest.raises(GridError, match=r"allows eta from 0\.0002 to 0\.0003, where the grid 0\.0001 to 1 "):
        study.ask().suggest_float("eta", 2e-4, 3e-4, log=True)
    for suggest in (lambda t: t.suggest_categorical("eta", [0.1, 1.0]), lambda t: t.suggest_float("eta", 0, 1, step=1)):
        with pytest.raises(GridError, match="eta must be suggested as a float without a step"):
            suggest(study.ask())
    with pytest.raises(GridError, match="needs a GeometricGrid, got"):
        CoarseLearningRate([0.1, 1.0])


def test_it_is_a_sampler_like_any_other_inside_another():
    with pytest.warns(optuna.exceptions.ExperimentalWarning):
        sampler = PartialFixedSampler({"dropout": 0.5}, CoarseLearningRate(GRID, RandomSampler(seed=0)))
    study = optuna.create_study(sampler=sampler)
    study.optimize(plain, n_trials=5)
    assert {trial.params["dropout"] for trial in study.trials} == {0.5} and set(lrs_of(study)) <= set(GRID.values)


def _around_tpe():
    return CoarseLearningRate(GRID, TPESampler(n_startup_trials=0))


class TestOptunasSuite(BasicSamplerTestCase, RelativeSamplerTestCase, MultiObjectiveSamplerTestCase):
    """All that applies: `SingleOnlySamplerTestCase` is for samplers that refuse several objectives; TPE does not."""

    @pytest.fixture
    def sampler(self):
        return _around_tpe
