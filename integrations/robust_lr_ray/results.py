"""A sweep from any Ray Tune experiment: the losses of its trials, and notes on their limits."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from numbers import Real
from typing import TYPE_CHECKING, Any

from robust_lr import SweepResult
from robust_lr._text import listed
from robust_lr.exceptions import DataError
from robust_lr.readers.runs import DEFAULT_SCHEDULE, Direction, Run, read_lr
from robust_lr.trials import TrialResult, TrialSpec

from ._cells import is_ours, result_of, spec_of
from ._experiment import TuneTrial, read_experiment

if TYPE_CHECKING:
    from ray.tune import ResultGrid

_ANY = TrialSpec("", 1.0, 0)
_OF_CELL = ("lr", "schedule", "seed", "schedule_name", "packed")  # the keys of a pack's row besides its result
_PLACE_IN_GRID = "cell"  # key of `param_space` that only numbers the trials
_STOPPED = "stopped after fewer reports than others; a loss before the end is not comparable with a final one"


def sweep_from_result_grid(
    result_grid: ResultGrid | str | os.PathLike[str],
    *,
    lr_name: str = "lr",
    metric: str = "loss",
    schedule_name: str | None = None,
    seed_name: str | None = None,
    direction: Direction = "minimize",
) -> SweepResult:
    """Return the trials of a Tune experiment as a sweep, whichever tool ran it.

    Learning rates may have any spacing. The last report of a trial counts, and of trials with the same learning
    rate, schedule and seed the first complete one. Without seeds they are replicates, unless all of a schedule's are
    identical.

    A last value of NaN or infinity marks a diverged run. Trials that raised are the sweep's `failures`. A trial that
    did not finish is left out, and so is one that Tune stopped, as ASHA does, after fewer reports than another trial
    made, since its loss is not final. If Tune kept no logs (``TUNE_DISABLE_AUTO_CALLBACK_LOGGERS=1``), a trial that
    returned early looks like a stopped one. The sweep's `notes` say what was left out, in which other
    hyperparameters the trials differ, and whether the learning rates are a geometric grid.

    Args:
        result_grid: the return value of `Tuner.fit` or `Tuner.get_results`, or the folder of an experiment.
        lr_name: name of the learning rate in the config, such as ``"optimizer/lr"`` if nested. A missing name is
            looked up one level below, as in ``train_loop_config/lr``.
        metric: name of the final loss in the reports, nested like the learning rate.
        schedule_name: name of the schedule in the config, or of anything else to compare. By default "schedule" beside
            the learning rate; without one all trials have the same schedule.
        seed_name: name of the seed in the config, by default "seed" in the same places.
        direction: "minimize", or "maximize" if more is better; the loss is then the negative.

    Raises:
        DataError: when no trial has a result, a name does not exist, or a learning rate is not a positive number.
        OptionError: when the direction is neither.

    Example:
        >>> from ray import tune
        >>> def train(config):
        ...     return {"loss": (config["lr"] - 0.1) ** 2}
        >>> space = {"lr": tune.grid_search([0.01, 0.1, 1.0])}
        >>> sweep_from_result_grid(tune.Tuner(train, param_space=space).fit())  # doctest: +SKIP
        SweepResult(sweep; 3 learning rates 0.01..1; 1 seed; 3 results, 0 diverged)
    """
    name, trials, notes = read_experiment(result_grid)
    where, has_packs = f"experiment {name!r}", any(map(_is_pack, trials))
    single = [trial for trial in trials if not _is_pack(trial) and (lr_name in trial.config or not has_packs)]
    names = _Names("", "", "", "")
    if single or not has_packs:
        names = _Names.find(single, where, lr_name, schedule_name, seed_name)
    judge = _Judge.of(trials, where, metric)
    runs = list[Run]()
    for trial in trials:
        if _is_pack(trial):
            runs += _runs_of_pack(trial, judge)
        elif has_packs and lr_name not in trial.config:
            runs.append(_excluded("a pack of learning rates that failed" if trial.error else "not finished"))
        else:
            runs.append(_run(trial, names, judge))
    said = [*names.notes, *([f"judged by {metric!r}"] if metric != "loss" else []), *notes]
    return SweepResult.from_runs(runs, repeats="first", direction=direction, source=where, notes=said)


def sweep_from_experiment(path: str | os.PathLike[str], **options: Any) -> SweepResult:
    """Return the sweep in the folder of a Tune experiment, finished or not: `sweep_from_result_grid` without Ray.

    Nothing is unpickled. So if Tune kept no logs, a loss reported as a numpy number is not found.

    Args:
        path: the folder, `storage_path` and `name` of the experiment's `RunConfig`.
        options: options of `sweep_from_result_grid`.

    Raises:
        DataError: when the folder cannot be read, is not an experiment, or holds no sweep.
        OptionError: when the direction is neither.

    Example:
        >>> sweep_from_experiment("ray_results/digits")  # doctest: +SKIP
        SweepResult(cosine; 9 learning rates 0.001..10; 3 seeds; 27 results, 2 diverged)
    """
    return sweep_from_result_grid(path, **options)


@dataclass(frozen=True)
class _Names:
    lr: str
    schedule: str
    schedule_name: str
    seed: str
    notes: tuple[str, ...] = ()

    @classmethod
    def find(cls, trials: Sequence[TuneTrial], where: str, lr: str, schedule: str | None, seed: str | None) -> _Names:
        there = sorted({name for trial in trials for name in trial.config})
        the_lr = _found(there, lr, where)
        beside = the_lr.rpartition("/")[0] + "/" if "/" in the_lr else ""

        def other(given: str | None, axis: str) -> str:
            if given is not None:
                return _found(there, given, where)
            return next((name for name in (beside + axis, axis) if name in there), "")

        the_schedule, the_seed = other(schedule, "schedule"), other(seed, "seed")
        pairs = {lr: the_lr, schedule: the_schedule, seed: the_seed}
        notes = [f"{given!r} is {found!r}" for given, found in pairs.items() if given is not None and given != found]
        return cls(the_lr, the_schedule, other(None, "schedule_name") if schedule is None else "", the_seed, (*notes,))


def _found(names: Sequence[str], wanted: str, where: str) -> str:
    below = [wanted] if wanted in names else [name for name in names if name.partition("/")[2] == wanted]
    if len(below) == 1:
        return below[0]
    if below:
        raise DataError(f"{where} has {wanted!r} in several places, name one of them: {listed(below)}")
    raise DataError(f"{where} has no {wanted!r} in its configs; they have {listed(names) or 'nothing'}")


@dataclass(frozen=True)
class _Judge:
    metric: str
    longest: int  # reports of a trial
    some_ended: bool  # after so many reports

    @classmethod
    def of(cls, trials: Sequence[TuneTrial], where: str, metric: str) -> _Judge:
        reported = [report for trial in trials for report in trial.reports]
        if reported and not any(metric in report for report in reported):
            results = [result_of(_ANY, {**report, "": 0.0}, loss="") for report in reported]
            known = sorted({name for result in results for name in result.metrics})
            raise DataError(f"{where} has no report of {metric!r}; its trials reported {listed(known) or 'no number'}")
        longest = max((trial.n_reports for trial in trials), default=0)
        return cls(metric, longest, any(trial.has_ended and trial.n_reports == longest for trial in trials))

    def result(self, trial: TuneTrial) -> TrialResult | str:
        """Return the outcome of a trial by its last report, or why it is left out."""
        report = trial.reports[-1] if trial.reports else {}
        if is_ours(report):
            return self.result_of(report)
        value, is_last = _number(report.get(self.metric)), trial.n_reports == self.longest
        theirs = {name: each for name, each in report.items() if name != "status"}
        if trial.error is not None:
            if "TrialDiverged" in trial.error.rpartition("\n")[2] or not math.isfinite(0.0 if value is None else value):
                return replace(self.result_of(theirs | {self.metric: math.inf}), error=trial.error)
            return TrialResult(_ANY, math.nan, "failed", error=trial.error)
        if not report:
            return "without a report"
        if not trial.has_ended and not (is_last and self.some_ended):
            return "not finished"
        if value is None:
            return f"without a number for {self.metric!r} in the last report"
        if math.isfinite(value) and not trial.has_returned and not is_last:
            return _STOPPED
        return self.result_of(theirs)

    def result_of(self, report: Mapping[str, Any]) -> TrialResult:
        value = _number(report.get(self.metric))
        return result_of(_ANY, {**report, self.metric: math.nan if value is None else value}, loss=self.metric)


def _run(trial: TuneTrial, names: _Names, judge: _Judge) -> Run:
    config, result = trial.config, judge.result(trial)
    if not config:
        return _excluded("without a report")  # it never started, and a ResultGrid does not have its config
    missing = [name for name in (names.lr, names.schedule, names.seed) if name and config.get(name) is None]
    if missing:
        return _excluded(f"without {missing[0]!r}")
    lr = read_lr(config[names.lr], f"trial {trial.name}")
    if any(report.get(f"config/{names.lr}", config[names.lr]) != config[names.lr] for report in trial.reports):
        return _excluded(f"{names.lr!r} was changed while they ran")
    if isinstance(result, str):
        return _excluded(result)
    taken = {names.lr, names.schedule, names.schedule_name, names.seed, _PLACE_IN_GRID}
    # In other tools, "schedule" may mean something else.
    has_spec = names.schedule.endswith("schedule") and any(map(is_ours, trial.reports))
    return _with_result(
        trial,
        result,
        lr=lr,
        schedule=config.get(names.schedule_name) or config.get(names.schedule, DEFAULT_SCHEDULE),
        spec=str(config[names.schedule]) if has_spec else "",
        seed=config[names.seed] if names.seed else None,
        params={name: value for name, value in config.items() if name not in taken},
    )


def _with_result(trial: TuneTrial, result: TrialResult, **place: Any) -> Run:
    return Run(
        loss=result.loss,
        status=result.status,
        metrics=result.metrics,
        seconds=result.seconds,
        error=result.error,
        complete=trial.error is None,
        where=f"trial {trial.name}",
        **place,
    )


def _excluded(why: str) -> Run:
    return Run(lr=math.nan, excluded=why)


def _is_pack(trial: TuneTrial) -> bool:
    return any(report.get("packed") is True for report in trial.reports)


def _rows(trial: TuneTrial) -> Sequence[Mapping[str, Any]]:
    """Return the rows of a pack: those in its last report, or else the reports themselves."""
    rows = trial.reports[-1].get("rows")
    return rows if isinstance(rows, list) else trial.reports


def _runs_of_pack(trial: TuneTrial, judge: _Judge) -> Iterator[Run]:
    there = set[float]()
    for row in _rows(trial):
        if row.get("packed") is True and is_ours(row):
            cell = spec_of(row)
            there.add(cell.lr)
            result = judge.result_of({name: value for name, value in row.items() if name not in _OF_CELL})
            place = {"lr": cell.lr, "schedule": cell.schedule, "seed": cell.seed}
            yield _with_result(trial, result, **place, spec=row["schedule"])
    if {"lrs", "schedule", "seed"} <= trial.config.keys():
        for lr in trial.config["lrs"]:
            cell = spec_of({**trial.config, "lr": lr})
            if cell.lr in there:
                continue
            failure = TrialResult(cell, math.nan, "failed", error=trial.error)
            place = {"lr": cell.lr, "schedule": cell.schedule, "seed": cell.seed}
            yield _with_result(trial, failure, **place) if trial.error else _excluded("not finished")


def _number(value: Any) -> float | None:
    if value == "null":  # numpy's NaN in Tune's log
        return math.nan
    return float(value) if isinstance(value, Real) and not isinstance(value, bool) else None
