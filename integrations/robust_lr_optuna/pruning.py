"""Pruning: a pruner that stops only diverged runs, and an audit of all other pruners."""

from __future__ import annotations

import math

from optuna.pruners import BasePruner
from optuna.study import Study, StudyDirection
from optuna.trial import FrozenTrial

from robust_lr._checks import check_whole
from robust_lr.divergence import DivergenceWatch

from ._outcomes import DIVERGED


class DivergencePruner(BasePruner):
    """Prunes runs that have diverged, and never one that learns.

    A trial is pruned at a report of NaN or infinity, and at the last of `patience` reports in a row above ``factor *
    abs(first report)``; if the study maximizes, below ``-factor * abs(first report)``. A trial is only compared with
    itself, so any sampler, schedule and number of workers will do. `sweep_from_study` counts such a trial as diverged.

    The default factor is far above what learners do: a large learning rate first drives the loss up, then annealing or
    patience brings it down again. Of 288 runs of small networks on digits, one that ended at 95 % accuracy had been
    2,000 times above its start, and most runs that learned nothing had not been higher: no factor separates the two.
    Report the loss before training too (step 0), since a run is compared with its first report.

    Args:
        factor: > 1; with ``math.inf``, only NaN and infinity prune.
        patience: reports in a row, at least 1.
        n_warmup_steps: nothing is pruned before this step, and reports before it do not count, except as the first
            report; at least 0.

    Raises:
        OptionError: if an argument is out of range.

    Example:
        >>> import optuna
        >>> def train(trial):
        ...     lr, loss = trial.suggest_float("lr", 0.1, 1e4, log=True), 1.0
        ...     for epoch in range(20):
        ...         trial.report(loss, epoch)
        ...         if trial.should_prune():
        ...             raise optuna.TrialPruned
        ...         loss *= (1 - lr) ** 2
        ...     return loss
        >>> study = optuna.create_study(pruner=DivergencePruner())
        >>> for lr in (0.5, 10.0):
        ...     study.enqueue_trial({"lr": lr})
        >>> study.optimize(train, n_trials=2)
        >>> [(trial.state.name, trial.last_step) for trial in study.trials]
        [('COMPLETE', 19), ('PRUNED', 6)]
    """

    def __init__(self, *, factor: float = 1e6, patience: int = 3, n_warmup_steps: int = 0) -> None:
        DivergenceWatch(factor=factor, patience=patience)  # checks both
        self._factor, self._patience = factor, patience
        self._n_warmup_steps = check_whole("n_warmup_steps", n_warmup_steps, at_least=0)

    def prune(self, study: Study, trial: FrozenTrial) -> bool:
        """Return whether the trial has diverged; if so, note it in the storage."""
        sign = -1.0 if study.direction == StudyDirection.MAXIMIZE else 1.0
        reports = sorted(trial.intermediate_values.items())
        counted = [sign * value for step, value in reports if step >= self._n_warmup_steps]
        watch = DivergenceWatch(factor=self._factor, patience=self._patience)
        watch.see([sign * value for _, value in reports[:1]])  # sets the bound, and so is not above it
        if all(map(math.isfinite, counted)) and watch.see(counted) is None:
            return False
        study._storage.set_trial_system_attr(trial._trial_id, DIVERGED, True)
        return True
