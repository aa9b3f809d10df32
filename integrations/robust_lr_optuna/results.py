"""A sweep from any Optuna study: the losses of its trials, and notes on their limits."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from typing import Any

import optuna
from optuna.study import Study, StudyDirection
from optuna.trial import FrozenTrial, TrialState

from robust_lr import SweepResult
from robust_lr._text import listed, without_passwords
from robust_lr.exceptions import DataError
from robust_lr.readers.runs import Direction, Run

from ._outcomes import final_value, metrics_of, numbers_in, seconds_of
from ._storages import open_to_read
from ._trial_attributes import cell_of, is_log_entry
from ._trial_axes import TrialAxes

_PRUNED = "pruned; a loss before the end of training is not comparable with a final loss"
_UNEXPLAINED = (
    "failed, and the study does not say why; Optuna stores a loss of NaN as a failure, so these may have diverged: let "
    "the objective return inf instead"
)


def sweep_from_study(
    study: Study,
    *,
    lr_name: str = "lr",
    schedule_name: str | None = None,
    seed_name: str | None = None,
    metric: int | str = 0,
    direction: Direction | None = None,
) -> SweepResult:
    """Return the trials of a study as a sweep, whichever tool filled the study.

    Learning rates may have any spacing. If several trials have the same learning rate, schedule and seed, the first
    complete one counts; in a study without seeds they are replicates, unless all repeats are identical. If larger is
    better, the loss is the negative of the value.

    These trials diverged: one whose value is infinite, a failed one if a sampler of this package noted that it
    diverged, one that a `DivergencePruner` pruned, and one without a value whose last report is NaN or infinity. Other
    failed trials are the sweep's `failures`; among them are those that returned NaN, of which Optuna keeps nothing
    else. Other pruned trials and those that still run are not part of the sweep. Its `notes` say what was left out, in
    which other parameters the trials differ, and whether the learning rates are not a geometric grid.

    Args:
        study: any study.
        lr_name: parameter that holds the learning rate.
        schedule_name: parameter or user attribute with the schedule, or anything else to compare. By default the note
            of a `GeometricGridSampler`, or else the parameter "schedule"; without either there is one schedule.
        seed_name: parameter or user attribute with the seed; by default likewise, with "seed".
        metric: an objective, by its position or its name from `set_metric_names`; or a user attribute, or a metric
            kept by an `OptunaRunner`.
        direction: "minimize" or "maximize"; by default the objective's, or "minimize" for other metrics.

    Raises:
        DataError: if no finished trial has a result, a name does not exist, or a learning rate is not positive.

    Example:
        >>> import optuna
        >>> study = optuna.create_study(sampler=optuna.samplers.TPESampler(seed=0))
        >>> study.optimize(lambda trial: (trial.suggest_float("lr", 1e-3, 1.0, log=True) - 0.1) ** 2, n_trials=12)
        >>> sweep_from_study(study).n_trials
        12
    """
    everything = study.get_trials(deepcopy=False)
    trials = [trial for trial in everything if not is_log_entry(trial)]
    if not any(trial.state.is_finished() for trial in trials):
        raise DataError(f"study {study.study_name!r} has no finished trial")
    axes = TrialAxes(everything, lr_name=lr_name, schedule_name=schedule_name, seed_name=seed_name)
    measure = _Metric(study, trials, metric)
    return SweepResult.from_runs(
        [_run(trial, axes, measure) for trial in trials if axes.has_lr(trial)],
        repeats="first",
        direction=direction or measure.direction,
        source=f"study {study.study_name!r}",
        notes=measure.notes,
    )


def sweep_from_storage(url: str | os.PathLike[str], study_name: str | None = None, **options: Any) -> SweepResult:
    """Return a study in a storage as a sweep; the storage is read only.

    Args:
        url: such as ``sqlite:///study.db`` or ``postgresql://user:password@host/database``; or the path of a journal.
        study_name: may be omitted if the storage holds one study.
        options: options of `sweep_from_study`.

    Raises:
        DataError: if the storage cannot be read, has no such study, or the study holds no sweep. The message never
            shows a password from the URL.

    Example:
        >>> import optuna, tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     study = optuna.create_study(storage=f"sqlite:///{folder}/study.db", study_name="digits")
        ...     study.optimize(lambda trial: trial.suggest_float("lr", 1e-3, 1.0, log=True), n_trials=3)
        ...     sweep_from_storage(f"sqlite:///{folder}/study.db").n_trials
        3
    """
    return sweep_from_study(study_in_storage(url, study_name), **options)


def study_in_storage(url: str | os.PathLike[str], study_name: str | None = None) -> Study:
    """Return a study in a storage, which is read only; the name may be omitted if there is one.

    Raises:
        DataError: if the storage cannot be read, or has no such study.
    """
    where = os.fspath(url)
    storage, shown = open_to_read(where), without_passwords(where)
    names = sorted(optuna.get_all_study_names(storage))
    if not names:
        raise DataError(f"{shown} holds no study")
    if study_name is None and len(names) > 1:
        raise DataError(f"{shown} holds {len(names)} studies, name one of them: {listed(names)}")
    if study_name is not None and study_name not in names:
        raise DataError(f"{shown} holds no study {study_name!r}; it holds {listed(names)}")
    return optuna.load_study(study_name=study_name or names[0], storage=storage)


class _Metric:
    """The number by which trials are judged."""

    def __init__(self, study: Study, trials: Sequence[FrozenTrial], metric: int | str) -> None:
        names, n = study.metric_names or [], len(study.directions)
        self.direction: Direction = "minimize"
        self.notes: list[str] = []
        self._objective, self._attribute = 0, ""
        if isinstance(metric, str) and metric not in names:
            known = sorted({name for trial in trials for name in _figures(trial)})
            if metric not in known:
                has = listed([*names, *known]) or "none"
                raise DataError(f"study {study.study_name!r} has no metric {metric!r}; it has {has}")
            self._attribute = metric
            self.notes.append(f"the loss is the user attribute {metric!r}")
            return
        position = names.index(metric) if isinstance(metric, str) else metric
        if isinstance(position, bool) or not isinstance(position, int) or not 0 <= position < n:
            raise DataError(f"metric must be the position of an objective, 0 to {n - 1}, or a name, got {metric!r}")
        self._objective = position
        if n > 1:
            self.notes.append(f"the loss is objective {metric!r} of {n}")
        if study.directions[position] == StudyDirection.MAXIMIZE:
            self.direction = "maximize"

    def value(self, trial: FrozenTrial) -> float | str:
        """Return the value of a trial, +inf if it diverged, NaN if it failed; or why it does not count."""
        if not trial.state.is_finished():
            return "not finished"
        if trial.state == TrialState.COMPLETE and self._attribute and all(map(math.isfinite, trial.values)):
            number = _figures(trial).get(self._attribute, math.nan)
            return f"without a number for {self._attribute!r}" if math.isnan(number) else number
        value = final_value(trial, self._objective)
        if value is not None:
            return value
        return _PRUNED if trial.state == TrialState.PRUNED else math.nan


def _figures(trial: FrozenTrial) -> dict[str, float]:
    return metrics_of(trial) | numbers_in(trial.user_attrs)


def _run(trial: FrozenTrial, axes: TrialAxes, measure: _Metric) -> Run:
    values, loss, where = axes.values_of(trial), measure.value(trial), f"trial {trial.number}"
    if isinstance(values, str) or isinstance(loss, str):
        return Run(lr=math.nan, excluded=loss if isinstance(loss, str) else str(values), where=where)
    has_failed, why = math.isnan(loss), trial.user_attrs.get("error")
    return Run(
        **values,
        loss=loss,
        metrics=metrics_of(trial),
        params=axes.others(trial),
        seconds=seconds_of(trial),
        error=str(why or f"{where} failed; the study does not say why") if has_failed else None,
        remark=_UNEXPLAINED if has_failed and why is None and cell_of(trial) is None else "",
        where=where,
        complete=trial.state == TrialState.COMPLETE,
    )
