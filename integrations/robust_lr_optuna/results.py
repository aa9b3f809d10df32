"""A sweep out of any Optuna study: the losses that its trials hold, and what a reader of the figures must know."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import optuna
import sqlalchemy
from optuna.storages import BaseStorage, JournalStorage, RDBStorage
from optuna.storages.journal import JournalFileBackend
from optuna.study import Study, StudyDirection
from optuna.trial import FrozenTrial, TrialState

from robust_lr import SweepResult
from robust_lr._text import listed, without_passwords
from robust_lr.exceptions import DataError
from robust_lr.readers.runs import Run

from .entries import cell_of, is_order
from .outcomes import blew_up
from .places import Places

_FAILED = (
    "failed, and the study does not say why; Optuna stores a loss of NaN as a failure, so these may have diverged: let "
    "the objective return inf instead"
)


def sweep_from_study(
    study: Study, *, lr: str = "lr", schedule: str | None = None, seed: str | None = None, metric: int | str = 0
) -> SweepResult:
    """Return the sweep that the trials of a study make up, whoever filled the study.

    Learning rates may be spaced in any way. Of the trials with one learning rate, schedule and seed the first complete
    one counts; in a study without seeds they are replicates, unless all of a schedule's are identical. Where the
    objective is maximised the loss is its negative.

    A value of infinity is a run that diverged. So is a failed trial of which a `GeometricGridSampler` knows it, a trial
    that was pruned by a `DivergencePruner`, and one that did not complete and whose last reported value is NaN or
    infinity. Other failed trials are the sweep's `failures`, and Optuna keeps a returned NaN as no more than that.
    Other pruned trials, and those that are still running, have no part in the sweep. Its `notes` say what was left out,
    in which other parameters the trials differ, and when the learning rates are no geometric grid.

    Args:
        study: any study.
        lr: name of the learning rate among its parameters.
        schedule: parameter or user attribute that names the schedule, or any other to be compared in its place. By
            default what a `GeometricGridSampler` noted, else the parameter "schedule"; without one all trials are of
            one schedule.
        seed: parameter or user attribute that holds the seed. By default the same with "seed".
        metric: which objective: its position, or the name that `set_metric_names` gave it. Or the name of a user
            attribute, or of a metric that an `OptunaRunner` kept: lower is better.

    Raises:
        DataError: when the study has no finished trial with a result, does not have one of the names, or holds a
            learning rate that is no positive number.

    Example:
        >>> import optuna
        >>> study = optuna.create_study(sampler=optuna.samplers.TPESampler(seed=0))
        >>> study.optimize(lambda trial: (trial.suggest_float("lr", 1e-3, 1.0, log=True) - 0.1) ** 2, n_trials=12)
        >>> sweep_from_study(study).n_trials
        12
    """
    everything = study.get_trials(deepcopy=False)
    trials = {trial.number: trial for trial in everything if not is_order(trial)}
    if not any(trial.state.is_finished() for trial in trials.values()):
        raise DataError(f"study {study.study_name!r} has no finished trial")
    places = Places(everything, lr=lr, schedule=schedule, seed=seed)
    objective = _Objective(study, list(trials.values()), metric)
    return SweepResult.from_runs(
        [_run(trial, places, objective.loss(trial)) for trial in trials.values() if places.has_lr(trial)],
        repeats="first",
        source=f"study {study.study_name!r}",
        notes=objective.notes,
    )


def sweep_from_storage(url: str | os.PathLike[str], study_name: str | None = None, **options: Any) -> SweepResult:
    """Return the sweep in a study of a storage, which is only read.

    Args:
        url: such as ``sqlite:///study.db`` or ``postgresql://user:password@host/database``; or the path of a journal.
        study_name: may be left out where the storage holds one study.
        options: those of `sweep_from_study`.

    Raises:
        DataError: when the storage cannot be read, there is no such study, or it is no sweep. A password in the URL is
            never part of the text.

    Example:
        >>> import optuna, tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     study = optuna.create_study(storage=f"sqlite:///{folder}/study.db", study_name="digits")
        ...     study.optimize(lambda trial: trial.suggest_float("lr", 1e-3, 1.0, log=True), n_trials=3)
        ...     sweep_from_storage(f"sqlite:///{folder}/study.db").n_trials
        3
    """
    where = os.fspath(url)
    storage = _opened(where)
    names = sorted(optuna.get_all_study_names(storage))
    shown = without_passwords(where)
    if not names:
        raise DataError(f"{shown} holds no study")
    if study_name is None and len(names) > 1:
        raise DataError(f"{shown} holds {len(names)} studies, name one of them: {listed(names)}")
    if study_name is not None and study_name not in names:
        raise DataError(f"{shown} holds no study {study_name!r}; it holds {listed(names)}")
    return sweep_from_study(optuna.load_study(study_name=study_name or names[0], storage=storage), **options)


class _Objective:
    """What the trials of a study are judged by."""

    def __init__(self, study: Study, trials: Sequence[FrozenTrial], metric: int | str) -> None:
        names, n = study.metric_names or [], len(study.directions)
        self.notes: list[str] = []
        self._position: int | None = names.index(metric) if metric in names else None
        self._attribute, self._sign = "", 1.0
        if self._position is None and isinstance(metric, str):
            known = sorted({name for trial in trials for name in _figures(trial)})
            if metric not in known:
                raise DataError(
                    f"study {study.study_name!r} has no metric {metric!r}; it has {listed([*names, *known]) or 'none'}"
                )
            self._attribute = metric
            self.notes.append(f"judged by the user attribute {metric!r}, lower is better")
            return
        if self._position is None:
            if isinstance(metric, bool) or not isinstance(metric, int) or not 0 <= metric < n:
                raise DataError(f"metric must be the position of an objective, 0 to {n - 1}, or a name, got {metric!r}")
            self._position = metric
        if n > 1:
            self.notes.append(f"judged by objective {metric!r} of {n}")
        if study.directions[self._position] == StudyDirection.MAXIMIZE:
            self._sign = -1.0
            self.notes.append("the study maximises its objective: the loss here is the negative of it")

    def loss(self, trial: FrozenTrial) -> float | str:
        """Return the loss of a trial, +inf where it diverged, NaN where it failed; or in words why it has none."""
        if trial.state == TrialState.COMPLETE:
            return self._of_complete(trial)
        if not trial.state.is_finished():
            return "not finished"
        if blew_up(trial):
            return math.inf
        if trial.state == TrialState.PRUNED:
            return "pruned; a loss before the end of training is not comparable with a final one"
        return math.nan

    def _of_complete(self, trial: FrozenTrial) -> float | str:
        if self._position is not None:
            value = self._sign * trial.values[self._position]
            return value if math.isfinite(value) else math.inf
        if not all(map(math.isfinite, trial.values)):
            return math.inf
        value = _figures(trial).get(self._attribute, math.nan)
        if math.isnan(value):
            return f"without a number for {self._attribute!r}"
        return value if math.isfinite(value) else math.inf


def _figures(trial: FrozenTrial) -> dict[str, float]:
    """The numbers among the user attributes of a trial, and the metrics of an `OptunaRunner`."""
    return metrics_of(trial) | _numbers(trial.user_attrs)


def metrics_of(trial: FrozenTrial) -> dict[str, float]:
    """Return the metrics that an `OptunaRunner` kept with a trial."""
    kept = trial.user_attrs.get("metrics")
    return _numbers(kept) if isinstance(kept, Mapping) else {}


def _numbers(values: Mapping[str, Any]) -> dict[str, float]:
    return {
        name: float(value)
        for name, value in values.items()
        if isinstance(value, (int, float)) and not isinstance(value, bool)
    }


def seconds_of(trial: FrozenTrial) -> float:
    """Return how long a trial ran, NaN where it is unknown: a trial that was added took no time."""
    seconds = trial.duration.total_seconds() if trial.duration is not None else 0.0
    return seconds if seconds > 0 else math.nan


def _run(trial: FrozenTrial, places: Places, loss: float | str) -> Run:
    place, where = places.of(trial), f"trial {trial.number}"
    if isinstance(place, str) or isinstance(loss, str):
        return Run(lr=math.nan, excluded=loss if isinstance(loss, str) else str(place), where=where)
    error, remark = None, ""
    if math.isnan(loss):
        error = str(trial.user_attrs.get("error", f"{where} failed; the study does not say why"))
        if cell_of(trial) is None and "error" not in trial.user_attrs:
            remark = _FAILED
    return Run(
        lr=place.lr, loss=loss, schedule=place.schedule, seed=place.seed, metrics=metrics_of(trial),
        params=places.others(trial), seconds=seconds_of(trial), error=error, remark=remark, where=where,
        complete=trial.state == TrialState.COMPLETE,
    )  # fmt: skip


def _opened(where: str) -> BaseStorage:
    shown = without_passwords(where)
    if "://" not in where:
        if not Path(where).is_file():
            raise DataError(f"cannot read {shown}: no such file")
        try:
            return JournalStorage(JournalFileBackend(where))
        except OSError as error:
            raise DataError(f"cannot read {shown}: {error.strerror}") from None
        except Exception:  # whatever its lines make of a reader that expects others
            raise DataError(f"{shown} is no journal of Optuna (an SQLite file is named sqlite:///{shown})") from None
    try:
        _check_tables(where, shown)
        return RDBStorage(where)
    except DataError:
        raise
    except Exception as error:  # the drivers have their own, beside those of sqlalchemy and Optuna
        raise DataError(f"cannot read {shown}: {_in_one_line(error, where)}") from None


def _check_tables(url: str, shown: str) -> None:
    """Raise unless there are studies: to open a storage is to create what is not there, and this is only a reader."""
    parsed = sqlalchemy.engine.make_url(url)
    file = parsed.database if parsed.get_backend_name() == "sqlite" else None
    if file and not Path(file).is_file():
        raise DataError(f"cannot read {shown}: no such file")
    engine = sqlalchemy.create_engine(parsed)
    try:
        if not sqlalchemy.inspect(engine).has_table("studies"):
            raise DataError(f"{shown} holds no study")
    finally:
        engine.dispose()


def _in_one_line(error: Exception, url: str) -> str:
    reason = getattr(error, "orig", None) or error
    text = " ".join(str(reason).split())
    try:
        password = sqlalchemy.engine.make_url(url).password
    except sqlalchemy.exc.ArgumentError:
        return f"not the URL of a database ({type(error).__name__})"
    return without_passwords(text.replace(str(password), "***") if password else text)
