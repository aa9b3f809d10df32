"""A sweep out of any Ray Tune experiment: the losses that its trials reported, and what a reader must know of them."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from numbers import Real
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from robust_lr import SweepResult, TrialResult, TrialSpec
from robust_lr._text import count_of, listed
from robust_lr.exceptions import DataError
from robust_lr.readers.runs import DEFAULT_SCHEDULE, Run, read_lr
from robust_lr.trials import Status

from .cells import result_of, spec_of
from .experiment import TuneTrial, read_experiment, trials_of_grid

if TYPE_CHECKING:
    from ray.tune import ResultGrid

_OF_CELL = ("lr", "schedule", "seed", "schedule_name", "packed")  # what a report holds of its cell, if any
_ANY = TrialSpec("", 1.0, 0)
_PLACE_IN_GRID = "cell"  # key of `param_space` that counts the trials, and says nothing about them


def sweep_from_result_grid(
    result_grid: ResultGrid,
    *,
    lr: str = "lr",
    loss: str = "loss",
    schedule: str | None = None,
    seed: str | None = None,
    mode: str = "min",
) -> SweepResult:
    """Return the sweep that the trials of a Tune experiment make up, whoever ran it.

    Learning rates may be spaced in any way. The last report of a trial counts, and of the trials with one learning
    rate, schedule and seed the first complete one; in an experiment without seeds they are replicates, unless all of a
    schedule's are identical.

    A last loss of NaN or infinity is a run that diverged. Trials that raised are the sweep's `failures`. A trial that
    Tune stopped, such as ASHA does, with fewer reports than another trial made, has no part in the sweep, since its
    loss is no final one; nor has one that did not finish. Where Tune kept no logs
    (``TUNE_DISABLE_AUTO_CALLBACK_LOGGERS=1``), a trial that returned early by itself cannot be told from one that was
    stopped. The sweep's `notes` say what was left out, in which other hyperparameters the trials differ, and when the
    learning rates are no geometric grid.

    Args:
        result_grid: what `Tuner.fit` or `Tuner.get_results` returned.
        lr: name of the learning rate in the config, ``"optimizer/lr"`` where it is nested. Where the config has no such
            name, it is looked for one level below, such as in ``train_loop_config/lr``.
        loss: name of the loss in the reports, nested like the learning rate.
        schedule: name of the schedule in the config, or any other to be compared in its place. By default "schedule"
            beside the learning rate; without one all trials are of one schedule.
        seed: name of the seed in the config. By default the same with "seed".
        mode: "min", or "max" where more is better: then the loss is the negative of what was reported.

    Raises:
        DataError: when no trial has a result, there is no such name, or a learning rate is no positive number.

    Example:
        >>> from ray import tune
        >>> def train(config):
        ...     return {"loss": (config["lr"] - 0.1) ** 2}
        >>> space = {"lr": tune.grid_search([0.01, 0.1, 1.0])}
        >>> sweep_from_result_grid(tune.Tuner(train, param_space=space).fit())  # doctest: +SKIP
        SweepResult(sweep; 3 learning rates 0.01..1; 1 seed; 3 results, 0 diverged)
    """
    name = Path(result_grid.experiment_path).name
    return _sweep(trials_of_grid(result_grid), name, [], lr, loss, schedule, seed, mode)


def sweep_from_experiment(path: str | os.PathLike[str], **options: Any) -> SweepResult:
    """Return the sweep in the folder of a Tune experiment, finished or not, which is only read.

    Ray need not be installed, and nothing is unpickled; so where Tune kept no logs, a loss that was not reported as a
    plain number (but as one of numpy, say) is not found.

    Args:
        path: the folder, `storage_path` and `name` of the experiment's `RunConfig`.
        options: those of `sweep_from_result_grid`.

    Raises:
        DataError: when the folder cannot be read, is no experiment, or holds no sweep.

    Example:
        >>> sweep_from_experiment("ray_results/digits")  # doctest: +SKIP
        SweepResult(cosine; 9 learning rates 0.001..10; 3 seeds; 27 results, 2 diverged)
    """
    trials, notes = read_experiment(path)
    named = {"lr": "lr", "loss": "loss", "schedule": None, "seed": None, "mode": "min"} | options
    return _sweep(trials, Path(path).resolve().name, notes, **named)


def _sweep(
    trials: Sequence[TuneTrial],
    name: str,
    notes: Sequence[str],
    lr: str,
    loss: str,
    schedule: str | None,
    seed: str | None,
    mode: str,
) -> SweepResult:
    if mode not in ("min", "max"):
        raise DataError(f"mode must be 'min' or 'max', got {mode!r}")
    where = f"experiment {name!r}"
    has_packs = any(map(_is_pack, trials))
    single = [trial for trial in trials if not _is_pack(trial) and (lr in trial.config or not has_packs)]
    keys = _Keys("", "", "", "") if has_packs and not single else _Keys.read(single, where, lr, schedule, seed)
    judge = _Judge(trials, where, loss, maximize=mode == "max")
    runs = list[Run]()
    for trial in trials:
        if _is_pack(trial):
            runs += _runs_of_pack(trial, judge)
        elif has_packs and lr not in trial.config:
            runs.append(_excluded("a pack of learning rates that failed" if trial.error else "not finished"))
        else:
            runs.append(_run(trial, keys, judge))
    return SweepResult.from_runs(
        runs, repeats="first", source=where, notes=[*keys.notes, *judge.notes, *notes, *_on_lost_reports(trials)]
    )


def _run(trial: TuneTrial, keys: _Keys, judge: _Judge) -> Run:
    place = keys.place(trial)
    if isinstance(place, str):
        return _excluded(place)
    spec, seed = place
    result = judge.result(spec, trial)
    if isinstance(result, str):
        return _excluded(result)
    text, where = keys.spec(trial), f"trial {trial.name}"
    return _of_result(result, trial, spec=text, seed=seed, params=keys.others(trial), where=where)


def _excluded(why: str) -> Run:
    return Run(lr=math.nan, excluded=why)


def _of_result(result: TrialResult, trial: TuneTrial, **others: Any) -> Run:
    return Run(
        lr=result.spec.lr, loss=result.loss, schedule=result.spec.schedule, status=result.status,
        metrics=result.metrics, seconds=result.seconds, error=result.error, complete=trial.error is None, **others,
    )  # fmt: skip


@dataclass(frozen=True)
class _Keys:
    """The names of learning rate, schedule and seed in the configs, "" where there is none."""

    lr: str
    schedule: str
    schedule_name: str
    seed: str
    notes: tuple[str, ...] = ()

    @classmethod
    def read(cls, trials: Sequence[TuneTrial], where: str, lr: str, schedule: str | None, seed: str | None) -> _Keys:
        names = sorted({name for trial in trials for name in trial.config})
        the_lr = _found(names, lr, where)
        beside = the_lr.rpartition("/")[0] + "/" if "/" in the_lr else ""

        def other(given: str | None, axis: str) -> str:
            if given is not None:
                return _found(names, given, where)
            return next((name for name in (beside + axis, axis) if name in names), "")

        the_schedule = other(schedule, "schedule")
        schedule_name = other(None, "schedule_name") if schedule is None else ""
        the_seed = other(seed, "seed")
        pairs = {lr: the_lr, schedule: the_schedule, seed: the_seed}
        notes = [f"{given!r} is {found!r}" for given, found in pairs.items() if given is not None and given != found]
        return cls(the_lr, the_schedule, schedule_name, the_seed, tuple(notes))

    def place(self, trial: TuneTrial) -> tuple[TrialSpec, Any] | str:
        """Return learning rate and schedule of a trial and its seed, or in words what it lacks."""
        config = trial.config
        if not config:
            return "without a report"  # it never started, and a ResultGrid does not have its config
        missing = [name for name in (self.lr, self.schedule, self.seed) if name and config.get(name) is None]
        if missing:
            return f"without {missing[0]!r}"
        lr = read_lr(config[self.lr], f"trial {trial.name}")
        if any(report.get(f"config/{self.lr}", config[self.lr]) != config[self.lr] for report in trial.reports):
            return f"{self.lr!r} was changed while they ran"
        schedule = config.get(self.schedule_name) or config.get(self.schedule, DEFAULT_SCHEDULE)
        return TrialSpec(schedule, lr, 0), config[self.seed] if self.seed else None

    def spec(self, trial: TuneTrial) -> str:
        """Return the text of a trial's schedule where the trial is ours; what others call a schedule is theirs."""
        is_ours = self.schedule.endswith("schedule") and any(map(_is_ours, trial.reports))
        return str(trial.config[self.schedule]) if is_ours else ""

    def others(self, trial: TuneTrial) -> dict[str, Any]:
        """Return the hyperparameters of a trial besides learning rate, schedule and seed."""
        taken = {self.lr, self.schedule, self.schedule_name, self.seed, _PLACE_IN_GRID}
        return {name: value for name, value in trial.config.items() if name not in taken}


def _found(names: Sequence[str], wanted: str, where: str) -> str:
    """The name itself, or where it is not there the one that it has one level below."""
    below = [wanted] if wanted in names else [name for name in names if name.partition("/")[2] == wanted]
    if len(below) == 1:
        return below[0]
    if below:
        raise DataError(f"{where} has {wanted!r} in several places, name one of them: {listed(below)}")
    raise DataError(f"{where} has no {wanted!r} in its configs; they have {listed(names) or 'nothing'}")


class _Judge:
    """Says what came of a trial, given all trials of the experiment."""

    def __init__(self, trials: Sequence[TuneTrial], where: str, loss: str, *, maximize: bool) -> None:
        self._loss, self._maximize = loss, maximize
        reported = [report for trial in trials for report in trial.reports]
        if reported and not any(loss in report for report in reported):
            known = sorted({name for report in reported for name in self._result(_ANY, report, 0.0).metrics})
            raise DataError(f"{where} has no report of {loss!r}; its trials reported {listed(known) or 'no number'}")
        self.notes = [f"judged by {loss!r}"] if loss != "loss" else []
        if maximize:
            self.notes = [f"{loss!r} was to be maximized: the loss here is the negative of it"]
        self._longest = max((trial.n_reports for trial in trials), default=0)
        self._some_ended = any(trial.has_ended and trial.n_reports == self._longest for trial in trials)

    def result(self, spec: TrialSpec, trial: TuneTrial) -> TrialResult | str:
        """Return what came of a trial by its last report, or in words why it has no part in the sweep."""
        report = trial.reports[-1] if trial.reports else {}
        if _is_ours(report):
            return self.result_of_ours(spec, report)
        value = _number(report.get(self._loss))
        is_last = trial.n_reports == self._longest
        if trial.error is not None:
            return self._of_failure(spec, report, value, trial.error)
        if not report:
            return "without a report"
        if not trial.has_ended and not (is_last and self._some_ended):
            return "not finished"
        if value is None:
            return f"without a number for {self._loss!r} in the last report"
        if math.isfinite(value) and not trial.has_returned and not is_last:
            return "stopped after fewer reports than others; a loss before the end is not comparable with a final one"
        return self._result(spec, report, value)

    def result_of_ours(self, spec: TrialSpec, report: Mapping[str, Any]) -> TrialResult:
        """Return the result in a report that says of itself what it is."""
        value = _number(report.get(self._loss))
        filled = {**report, self._loss: math.nan if value is None else value}
        return result_of(spec, filled, loss=self._loss, maximize=self._maximize)

    def _of_failure(self, spec: TrialSpec, report: Mapping[str, Any], value: float | None, error: str) -> TrialResult:
        said_so = "TrialDiverged" in error.rpartition("\n")[2]
        if said_so or (value is not None and not math.isfinite(value)):
            return replace(self._result(spec, report, math.nan), error=error)
        return TrialResult(spec, math.nan, "failed", error=error)

    def _result(self, spec: TrialSpec, report: Mapping[str, Any], value: float) -> TrialResult:
        filled = {name: each for name, each in report.items() if name != "status"} | {self._loss: value}
        return result_of(spec, filled, loss=self._loss, maximize=self._maximize)


def _is_ours(report: Mapping[str, Any]) -> bool:
    return report.get("status") in get_args(Status) and "seconds" in report


def _is_pack(trial: TuneTrial) -> bool:
    return any(report.get("packed") is True for report in trial.reports)


def _rows(trial: TuneTrial) -> Sequence[Mapping[str, Any]]:
    """The rows of a pack: those that its last report holds, or else its reports."""
    rows = trial.reports[-1].get("rows")
    return rows if isinstance(rows, list) else trial.reports


def _runs_of_pack(trial: TuneTrial, judge: _Judge) -> Iterator[Run]:
    """The runs of a pack: one for each row of a result, and one for each learning rate without a row."""
    there, where = set[float](), f"trial {trial.name}"
    for report in _rows(trial):
        if report.get("packed") is True:
            cell = spec_of(report)
            there.add(cell.lr)
            if _is_ours(report):
                row = {name: value for name, value in report.items() if name not in _OF_CELL}
                result = judge.result_of_ours(cell, row)
                yield _of_result(result, trial, spec=report["schedule"], seed=cell.seed, where=where)
    for cell in _cells_of_pack(trial):
        if cell.lr not in there:
            lost = Run(
                lr=cell.lr, schedule=cell.schedule, seed=cell.seed, error=trial.error, where=where, complete=False
            )
            yield lost if trial.error else _excluded("not finished")


def _cells_of_pack(trial: TuneTrial) -> list[TrialSpec]:
    if not {"lrs", "schedule", "seed"} <= trial.config.keys():
        return []
    return [spec_of({**trial.config, "lr": lr}) for lr in trial.config["lrs"]]


def _on_lost_reports(trials: Sequence[TuneTrial]) -> list[str]:
    n = sum(_is_pack(trial) and len(_rows(trial)) < trial.n_reports for trial in trials)
    if not n:
        return []
    return [
        f"{count_of(n, 'trial')} of several learning rates each, of which Tune kept the last only: it keeps all of "
        "them in its logs, which TUNE_DISABLE_AUTO_CALLBACK_LOGGERS turns off"
    ]


def _number(value: Any) -> float | None:
    if value == "null":  # what Tune's log makes of a NaN of numpy
        return math.nan
    return float(value) if isinstance(value, Real) and not isinstance(value, bool) else None
