"""Optuna's own suite for samplers, `optuna.testing.pytest_samplers`, on `GeometricGridSampler`.

Basic and MultiObjective apply whole. Two classes do not:

- `RelativeSamplerTestCase` asks `sample_relative` for every parameter of a space it was given. A grid sampler samples
  each parameter by itself (a relative value outside of the objective's range would be dropped without a word), and
  leaves the relative space to `independent_sampler`. With one that has such a space the class applies, and passes.
- `SingleOnlySamplerTestCase` asks for a ValueError in studies of several objectives. The grid serves those as well.
"""

from __future__ import annotations

import warnings

import optuna
import pytest
from optuna.testing.pytest_samplers import (
    BasicSamplerTestCase,
    MultiObjectiveSamplerTestCase,
    RelativeSamplerTestCase,
    SingleOnlySamplerTestCase,
)

from robust_lr import GeometricGrid
from robust_lr_optuna.grid_sampler import GeometricGridSampler


class _WithoutLr(GeometricGridSampler):
    """The suite's objectives have no learning rate, for which the sampler ends a study after its first trial."""

    def _check_what_ran(self, study, trial, claim, grid):
        pass


def _sampler(independent_sampler=None):
    return _WithoutLr(GeometricGrid(1e-6, 1.0, 1000), independent_sampler=independent_sampler)


class TestAlone(BasicSamplerTestCase, MultiObjectiveSamplerTestCase):
    @pytest.fixture
    def sampler(self):
        return _sampler


class TestWithTPEForTheOthers(BasicSamplerTestCase, RelativeSamplerTestCase, MultiObjectiveSamplerTestCase):
    @pytest.fixture
    def sampler(self):
        def make():
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
                tpe = optuna.samplers.TPESampler(n_startup_trials=0, multivariate=True)
            return _sampler(tpe)

        return make


class TestWithASamplerOfOneObjectiveForTheOthers(SingleOnlySamplerTestCase):
    @pytest.fixture
    def sampler(self):
        class OneObjective(optuna.samplers.RandomSampler):
            def sample_independent(self, study, trial, param_name, param_distribution):
                self._raise_error_if_multi_objective(study)
                return super().sample_independent(study, trial, param_name, param_distribution)

            def infer_relative_search_space(self, study, trial):
                self._raise_error_if_multi_objective(study)
                return {}

        return lambda: _sampler(OneObjective())
