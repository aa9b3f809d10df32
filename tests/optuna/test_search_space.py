"""Learning rates on a grid under any sampler: what is recorded is what was run, and the rest is left to the sampler."""

from __future__ import annotations

import math

import optuna
import pytest
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

from robust_lr import GeometricGrid
from robust_lr.exceptions import GridError, OptionError, ScheduleError
from robust_lr.theory import resolution_for_tolerance
from robust_lr_optuna.results import sweep_from_study
from robust_lr_optuna.search_space import CoarseLearningRate, annealed_grid

GRID = GeometricGrid(1e-4, 1.0, 9)


def bowl(lr, dropout):
    return (math.log10(lr) + 2) ** 2 + (dropout - 0.3) ** 2


def plain(trial):
    return bowl(trial.suggest_float("lr", 1e-4, 1.0, log=True), trial.suggest_float("dropout", 0.0, 1.0))


def lrs_of(study):
    return [trial.params["lr"] for trial in study.trials if "lr" in trial.params]


SAMPLERS = [
    RandomSampler,
    TPESampler,
    lambda **k: TPESampler(multivariate=False, n_startup_trials=3, **k),
    lambda **k: QMCSampler(warn_independent_sampling=False, **k),
    NSGAIISampler,
]


def test_the_grid_of_a_schedule_is_as_coarse_as_its_theory_allows():
    for schedule in ("constant", "cosine", "linear"):
        grid = annealed_grid(1e-4, 1.0, schedule=schedule, max_suboptimality_increase=0.25)
        allowed = resolution_for_tolerance(schedule, 0.25, total_steps=10_000)
        assert (grid.lr_min, grid.lr_max) == (1e-4, 1.0) and grid.ratio <= allowed
        assert grid.ratio ** (grid.n_points - 1) > allowed ** (grid.n_points - 2)
    assert len(annealed_grid(1e-6, 1.0, schedule="constant", max_suboptimality_increase=1.0)) > len(
        annealed_grid(1e-6, 1.0, schedule="cosine", max_suboptimality_increase=1.0)
    )


def test_a_grid_of_no_range_schedule_or_tolerance_is_refused():
    with pytest.raises(GridError, match="lr_min"):
        annealed_grid(1.0, 1e-4, schedule="cosine", max_suboptimality_increase=0.1)
    with pytest.raises(ScheduleError):
        annealed_grid(1e-4, 1.0, schedule="cosin", max_suboptimality_increase=0.1)
    with pytest.raises(OptionError, match="max_suboptimality_increase must be"):
        annealed_grid(1e-4, 1.0, schedule="cosine", max_suboptimality_increase=0)


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
    study = optuna.create_study(sampler=CoarseLearningRate(GRID, lr_name="eta"))
    with pytest.raises(GridError, match=r"allows eta from 0\.0002 to 0\.0003, where the grid from 0\.0001 to 1 "):
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
    return WithoutLr(GRID, TPESampler(n_startup_trials=0))


def test_a_proposal_goes_to_the_nearest_point_by_ratio_and_what_the_user_enqueued_stays():
    class Proposes(RandomSampler):
        def sample_independent(self, study, trial, param_name, param_distribution):
            return 0.017

    def objective(trial):
        return trial.suggest_float("lr", 1e-4, 1.0, log=True)

    for grid, expected in ((GeometricGrid(1e-3, 1.0, 4), 0.01), (GeometricGrid(0.01, 0.02, 2), 0.02)):
        study = optuna.create_study(sampler=CoarseLearningRate(grid, Proposes()))
        study.enqueue_trial({"lr": 0.0123})
        assert [objective(study.ask()) for _ in range(2)] == [0.0123, expected]


def test_a_study_goes_on_with_a_grid_that_has_grown():
    study = optuna.create_study(sampler=CoarseLearningRate(GRID, TPESampler(seed=0)))
    study.optimize(plain, n_trials=12)
    wide = GRID.refine()
    study.sampler = CoarseLearningRate(wide, TPESampler(seed=0))
    study.optimize(plain, n_trials=12)
    assert set(lrs_of(study)) <= set(wide.values) and set(lrs_of(study)[:12]) <= set(GRID.values)


class WithoutLr(CoarseLearningRate):
    """The suite's objectives have no learning rate, for which the sampler ends a study after its first trial."""

    def _check_asked(self, *args, **options):
        return True


class TestOptunasSuite(BasicSamplerTestCase, RelativeSamplerTestCase, MultiObjectiveSamplerTestCase):
    """All that applies: `SingleOnlySamplerTestCase` is for samplers that refuse several objectives; TPE does not."""

    @pytest.fixture
    def sampler(self):
        return _around_tpe


def test_a_learning_rate_of_another_name_is_not_left_off_the_grid_without_a_word():
    study = optuna.create_study(sampler=CoarseLearningRate(GeometricGrid(1e-3, 1.0, 7)))
    with pytest.raises(GridError, match="it asked for 'learning_rate': pass lr_name='learning_rate'"):
        study.optimize(lambda trial: trial.suggest_float("learning_rate", 1e-4, 1.0, log=True))
    assert len(study.trials) == 1
