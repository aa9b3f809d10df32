"""How a trial ended: what diverged, what was interrupted, and what just failed."""

from __future__ import annotations

import contextlib
import math

import optuna
import pytest
from optuna.trial import TrialState

from robust_lr import TrialDiverged
from robust_lr_optuna._outcomes import DIVERGED, blew_up, has_diverged, why_failed
from robust_lr_optuna.grid_sampler import GeometricGridSampler


def raise_error(error):
    raise error


def ended(objective):
    """The first trial of a study whose sampler notes why trials fail."""
    study = optuna.create_study(sampler=GeometricGridSampler([0.1, 1.0]))
    with contextlib.suppress(TrialDiverged, KeyboardInterrupt, MemoryError):
        study.optimize(lambda trial: [trial.suggest_float("lr", 0.01, 1.0), objective()][1], n_trials=1)
    return next(trial for trial in study.trials if trial.params)


@pytest.mark.parametrize(
    ("objective", "why"),
    [
        (lambda: math.nan, "diverged"),
        (lambda: raise_error(TrialDiverged("loss above the limit")), "diverged"),
        (lambda: raise_error(KeyboardInterrupt), "interrupted"),
        (lambda: raise_error(MemoryError), None),
    ],
)
def test_a_failed_trial_says_why_where_that_is_known(objective, why):
    trial = ended(objective)
    assert trial.state == TrialState.FAIL
    assert why_failed(trial) == why
    assert has_diverged(trial) == blew_up(trial) == (why == "diverged")


def test_a_trial_that_a_pruner_stopped_for_its_divergence_has_diverged():
    trial = optuna.trial.create_trial(state=TrialState.PRUNED, system_attrs={DIVERGED: True})
    assert has_diverged(trial) and blew_up(trial)


@pytest.mark.parametrize(("reported", "expected"), [({}, False), ({0: math.inf, 1: 0.5}, False), ({0: math.nan}, True)])
def test_a_trial_without_a_value_blew_up_where_its_last_report_is_no_finite_number(reported, expected):
    trial = optuna.trial.create_trial(state=TrialState.PRUNED, intermediate_values=reported)
    assert blew_up(trial) == expected
    assert not has_diverged(trial)
