"""Trials that a study holds for running, and that nobody runs."""

from __future__ import annotations

import contextlib
from collections.abc import Callable

from optuna.exceptions import UpdateFinishedTrialError
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState

from . import entries


def reap_stale(study: Study, *, is_dead: Callable[[FrozenTrial], bool] | None = None) -> list[int]:
    """Fail the trials that nobody runs any more, so that their sampler runs them again; return their numbers.

    Args:
        study: a study that a `GeometricGridSampler` or a `LearningRateSampler` works on.
        is_dead: tells of a running trial whether nobody runs it any more. By default those are dead whose worker, with
            a `GeometricGridSampler`, was a process of this machine that exists no more (a `LearningRateSampler` finds
            its own by itself). With trials of other machines, or when no worker is alive at all, say so:
            ``is_dead=lambda trial: True``. A trial that is alive after all would be run twice.

    Example:
        >>> import optuna
        >>> study = optuna.create_study()
        >>> trials = study.ask(), study.ask()
        >>> reap_stale(study, is_dead=lambda trial: trial.number == 1)
        [1]
    """
    reaped = []
    for trial in study._storage.get_all_trials(study._study_id, deepcopy=False, states=(TrialState.RUNNING,)):
        if (is_dead or entries.is_dead)(trial):
            with contextlib.suppress(UpdateFinishedTrialError):  # somebody else has reaped it, or it has ended
                study._storage.set_trial_state_values(trial._trial_id, TrialState.FAIL)
                reaped.append(trial.number)
    return reaped
