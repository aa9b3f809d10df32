"""A searcher for Ray Tune that runs every missing trial of a sweep exactly once."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
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
    the finished trials: by the same `journal`, by earlier results, or by `restore`, after which trials that were in
    flight or given up count as missing. `Tuner.restore` continues a stopped experiment, but cannot grow it; Tune then
    restarts the trials in flight under their old names.

    A trial that Tune gave up, as its `FailureConfig` says, stays without a result, for the next run to retry. A trial
    that a Tune scheduler stopped early counts as finished, with its last loss. Under a `Repeater`, each trial has the
    mean loss of its repeats; the sweep already has seeds as an axis.

    Args:
        grid: a grid, or distinct positive learning rates.
        schedules: schedules or their specs, by name or with the spec as the name.
        seeds: distinct whole numbers; a number n means ``range(n)``.
        lr_name: name of the learning rate in the config.
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
    _plan: _GridPlan

    def __init__(
        self,
        grid: GeometricGrid | Iterable[float],
        schedules: Schedules,
        seeds: int | Iterable[int],
        *,
        lr_name: str = "lr",
        metric: str = "loss",
        direction: Direction = "minimize",
        journal: str | os.PathLike[str] | None = None,
        finished: SweepResult | ResultGrid | str | os.PathLike[str] | None = None,
    ) -> None:
        super().__init__(metric, direction, journal, lr_name, ("schedule", "seed", "schedule_name"))
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
        self._begin(set(earlier), set())

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

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__ = state | {"_has_been_pickled": True}  # only Tuner.restore unpickles a searcher to restore it

    def _state(self) -> dict[str, Any]:
        finished, given_up = ([to_list(spec) for spec in specs] for specs in (self._plan.finished, self._plan.given_up))
        return {"schedules": self._texts, "finished": finished, "given_up": given_up}

    def _take(self, state: Mapping[str, Any], in_flight: dict[str, TrialSpec]) -> None:
        finished, given_up = ([from_list(cell) for cell in state[name]] for name in ("finished", "given_up"))
        there = self._plan.finished.union(*(self._own(spec, state["schedules"]) for spec in finished))
        self._in_flight = in_flight if self._has_been_pickled else {}
        self._begin(there, set(given_up) if self._has_been_pickled else set())

    def _begin(self, finished: set[TrialSpec], given_up: set[TrialSpec]) -> None:
        waiting = [spec for spec in self._trials if spec not in finished | given_up | {*self._in_flight.values()}]
        self._follow(_GridPlan(waiting, finished, given_up), max_retries=0)

    def _config(self, spec: TrialSpec) -> dict[str, Any]:
        config = cell_config(spec, self._schedules[spec.schedule])
        return {self._lr_name: config.pop("lr"), **config}

    def _spec_in(self, result: Mapping[str, Any]) -> TrialSpec | None:
        """Return the trial named by a result's config, because Tune renames a trial when it restarts it."""
        prefix = "config/"
        config = {name.removeprefix(prefix): value for name, value in result.items() if name.startswith(prefix)}
        if not {self._lr_name, "schedule", "seed"} <= config.keys():
            return None
        return self._by_rounded.get(_rounded(spec_of({**config, "lr": config[self._lr_name]})))

    def _open(self, path: Path) -> Journal:
        return Journal.open(path, learning_rates=self._lrs, schedules=self._texts, seeds=self._seeds)

    def _read(
        self, finished: SweepResult | ResultGrid | str | os.PathLike[str], direction: Direction
    ) -> dict[TrialSpec, TrialResult]:
        if not (isinstance(finished, (SweepResult, str, os.PathLike)) or hasattr(finished, "experiment_path")):
            raise OptionError(f"finished must be a SweepResult, a ResultGrid or the folder of one, got {finished!r}")
        if not isinstance(finished, SweepResult):
            from .results import sweep_from_result_grid

            finished = sweep_from_result_grid(finished, lr_name=self._lr_name, metric=self.metric, direction=direction)
        return {
            spec: replace(result, spec=spec)
            for result in finished.trials()
            if result.is_final
            for spec in self._own(result.spec, finished.specs)
        }

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


@dataclass
class _GridPlan:
    waiting: list[TrialSpec]
    finished: set[TrialSpec]
    given_up: set[TrialSpec]

    def next_trials(self) -> list[TrialSpec]:
        trials, self.waiting = self.waiting, []
        return trials

    def add(self, result: TrialResult) -> None:
        (self.finished if result.is_final else self.given_up).add(result.spec)


def _rounded(spec: TrialSpec) -> TrialSpec:
    return replace(spec, lr=float(f"{spec.lr:.{SIGNIFICANT_DIGITS}g}"))
