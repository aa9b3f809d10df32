"""A searcher for Ray Tune that runs every missing trial of a sweep exactly once."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from robust_lr import GeometricGrid, SweepResult, parse_schedule
from robust_lr.exceptions import DataError, OptionError, RobustLRWarning
from robust_lr.grids import SIGNIFICANT_DIGITS
from robust_lr.journal import Journal
from robust_lr.readers.runs import Direction
from robust_lr.sweep.axes import read_learning_rates, read_schedules, read_seeds
from robust_lr.trials import TrialResult, TrialSpec, expand_trials

from ._cells import cell_config, from_list, schedule_text, spec_of, to_list
from ._searcher import LedgerSearcher
from .search_space import Schedules

if TYPE_CHECKING:
    from ray.tune import ResultGrid


class GridSearcher(LedgerSearcher):
    """Hands out the missing trials of a sweep, coarse learning rates first, each exactly once.

    For ``tune.TuneConfig(search_alg=GridSearcher(...), num_samples=-1, max_concurrent_trials=...)``. Both numbers
    matter: by default Tune runs only one sample, the first trial, and starts one process at a time. The config of a
    trial is that of `param_space`. The Tuner's own `param_space` may hold further constants.

    To grow a sweep, or to continue a stopped one, make a new Tuner with a `GridSearcher` over the whole grid, and pass
    the finished trials: by the same `journal`, by earlier results, or by `restore`. `Tuner.restore` continues a stopped
    experiment, but cannot grow it; Tune then restarts the trials in flight under their old names.

    A trial that Tune gave up, as its `FailureConfig` says, stays without a result, for the next run to retry. A trial
    that a Tune scheduler stopped early counts as finished, with its last loss. Under a `Repeater`, each trial has the
    mean loss of its repeats; the sweep already has seeds as an axis.

    Args:
        grid: a grid, or distinct positive learning rates.
        schedules: schedules or their specs, by name or with the spec as the name.
        seeds: distinct whole numbers; a number n means ``range(n)``.
        metric: name of the final loss in the trainable's reports; NaN or infinity reports divergence.
        direction: "minimize", or "maximize" if more is better; the loss is then the negative.
        journal: file for the finished trials, that of `robust_lr.run_sweep`. The driver writes it; one Tuner at a time
            may use it.
        finished: earlier results that count too, and are copied into the journal: a `SweepResult`, the `ResultGrid` of
            a Tuner, or the folder of an experiment.

    Attributes:
        missing: the trials without a result, in flight or not, in the order of the sweep.

    Raises:
        GridError, ScheduleError, OptionError: when an argument is wrong.
        JournalError: when the journal has a schedule of the same name with another spec, or is in use.
        DataError: when the earlier results cannot be read, or have a schedule of the same name with another spec.

    Example:
        >>> searcher = GridSearcher(GeometricGrid(0.01, 1.0, 3), ["cosine"], seeds=1)
        >>> searcher.suggest("first")
        {'lr': 0.01, 'schedule': 'cosine', 'seed': 0}
        >>> searcher.on_trial_complete("first", {"loss": 0.5})
        >>> [trial.lr for trial in searcher.missing]
        [1.0, 0.1]
    """

    _key = "robust_lr.grid_searcher"

    def __init__(
        self,
        grid: GeometricGrid | Iterable[float],
        schedules: Schedules,
        seeds: int | Iterable[int],
        *,
        metric: str = "loss",
        direction: Direction = "minimize",
        journal: str | os.PathLike[str] | None = None,
        finished: SweepResult | ResultGrid | str | os.PathLike[str] | None = None,
    ) -> None:
        super().__init__(metric, direction, journal, ("lr", "schedule", "seed", "schedule_name"))
        self._schedules = read_schedules(schedules)
        self._texts = {name: schedule_text(schedule) for name, schedule in self._schedules.items()}
        self._lrs, self._seeds = read_learning_rates(grid), read_seeds(seeds)
        self._trials = expand_trials(self._schedules, self._lrs, self._seeds)
        self._by_rounded = {_rounded(spec): spec for spec in self._trials}
        self._has_been_pickled = False
        earlier = {} if finished is None else self._read(finished, direction)
        if self._path is not None:
            with self._open(self._path) as book:
                for spec in earlier.keys() - book.finished.keys():
                    book.append(earlier[spec])
                earlier |= book.finished
        self._begin(set(earlier))

    @property
    def missing(self) -> list[TrialSpec]:
        """The trials without a result, in flight or not, in the order of the sweep."""
        return [spec for spec in self._trials if spec not in self._plan.finished]

    def set_search_properties(self, metric: str | None, mode: str | None, config: dict[str, Any], **spec: Any) -> bool:
        """Check `TuneConfig` and `param_space`, and warn if `num_samples` is too small."""
        n_samples, n_waiting = spec.get("num_samples"), len(self._ledger.waiting)
        if n_samples is not None and n_samples < n_waiting:
            said = f"num_samples={n_samples} is fewer than the {n_waiting} trials to run; -1 runs them all"
            warnings.warn(said, RobustLRWarning, stacklevel=2)
        return super().set_search_properties(metric, mode, config, **spec)

    def save(self, checkpoint_path: str) -> None:
        """Write the finished trials and those in flight to a file, as JSON."""
        state = {
            "schedules": self._texts,
            "finished": [to_list(spec) for spec in self._plan.finished],
            "given_up": [to_list(spec) for spec in self._plan.given_up],
            "in_flight": {trial_id: to_list(spec) for trial_id, spec in self._in_flight.items()},
        }
        self._write(checkpoint_path, state)

    def restore(self, checkpoint_path: str) -> None:
        """Take the finished trials from a file that `save` wrote, for this sweep or a part of it.

        Trials in flight then, or given up, count as missing, except in `Tuner.restore`, where Tune itself continues
        them.

        Raises:
            DataError: when the file cannot be read, or has a schedule of the same name with another spec.
        """
        with self._reading(checkpoint_path) as state:
            texts = state["schedules"]
            finished, given_up = ([from_list(cell) for cell in state[name]] for name in ("finished", "given_up"))
            in_flight = {trial_id: from_list(cell) for trial_id, cell in state["in_flight"].items()}
        there = self._plan.finished.union(*(self._own(spec, texts) for spec in finished))
        if not self._has_been_pickled:
            self._begin(there)
        else:
            self._in_flight = in_flight
            self._begin(there, set(given_up), in_flight.values())

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__ = state | {"_has_been_pickled": True}  # only Tuner.restore unpickles a searcher to restore it

    def _begin(
        self, finished: set[TrialSpec], given_up: set[TrialSpec] | None = None, in_flight: Iterable[TrialSpec] = ()
    ) -> None:
        self._plan = _GridPlan(self._trials, finished, given_up or set(), set(in_flight))
        self._ledger = self._new_ledger(self._plan, max_retries=0)
        for spec in in_flight:
            self._ledger.claim(spec)

    def _config(self, spec: TrialSpec) -> dict[str, Any]:
        return cell_config(spec, self._schedules[spec.schedule])

    def _has_result(self, spec: TrialSpec) -> bool:
        return spec in self._plan.finished

    def _spec_in(self, result: Mapping[str, Any]) -> TrialSpec | None:
        """Return the trial named by a result's config, because Tune renames a trial when it restarts it."""
        prefix = "config/"
        config = {name.removeprefix(prefix): value for name, value in result.items() if name.startswith(prefix)}
        return self._by_rounded.get(_rounded(spec_of(config))) if {"lr", "schedule", "seed"} <= config.keys() else None

    def _open(self, path: Path) -> Journal:
        return Journal.open(path, learning_rates=self._lrs, schedules=self._texts, seeds=self._seeds)

    def _read(self, finished: object, direction: Direction) -> dict[TrialSpec, TrialResult]:
        """Return the results in `finished` by the trials of this sweep."""
        sweep = finished if isinstance(finished, SweepResult) else self._read_tune(finished, direction)
        return {
            spec: replace(result, spec=spec)
            for result in sweep.trials()
            if result.is_final
            for spec in self._own(result.spec, sweep.specs)
        }

    def _read_tune(self, finished: object, direction: Direction) -> SweepResult:
        from ray.tune import ResultGrid

        from .results import sweep_from_experiment, sweep_from_result_grid

        if isinstance(finished, ResultGrid):
            return sweep_from_result_grid(finished, metric=self.metric, direction=direction)
        if isinstance(finished, (str, os.PathLike)):
            return sweep_from_experiment(finished, metric=self.metric, direction=direction)
        raise OptionError(f"finished must be a SweepResult, a ResultGrid or the folder of one, got {finished!r}")

    def _own(self, spec: TrialSpec, texts: Mapping[str, str]) -> list[TrialSpec]:
        """Return the trials of this sweep that match a trial of another: by the schedule's name, else by its text."""
        text, own = texts.get(spec.schedule) or None, self._texts
        if spec.schedule in own:
            if text is not None and parse_schedule(text) != self._schedules[spec.schedule]:
                raise DataError(f"in the earlier results {spec.schedule!r} is {text}, here it is {own[spec.schedule]}")
            names = [spec.schedule]
        else:
            names = [name for name in own if own[name] in (spec.schedule, text)]
        keys = (_rounded(replace(spec, schedule=name)) for name in names)
        return [self._by_rounded[key] for key in keys if key in self._by_rounded]


class _GridPlan:
    """All trials of a sweep that are neither finished nor claimed."""

    def __init__(
        self, trials: Iterable[TrialSpec], finished: set[TrialSpec], given_up: set[TrialSpec], in_flight: set[TrialSpec]
    ) -> None:
        self.finished, self.given_up = finished, given_up
        self._trials = [spec for spec in trials if spec not in finished | given_up | in_flight]

    def next_trials(self) -> list[TrialSpec]:
        trials, self._trials = self._trials, []
        return trials

    def add(self, result: TrialResult) -> None:
        (self.finished if result.is_final else self.given_up).add(result.spec)


def _rounded(spec: TrialSpec) -> TrialSpec:
    return replace(spec, lr=float(f"{spec.lr:.{SIGNIFICANT_DIGITS}g}"))
