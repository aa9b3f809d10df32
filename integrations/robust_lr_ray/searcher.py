"""A searcher for Ray Tune that runs every cell of a sweep that has no result yet, once."""

from __future__ import annotations

import json
import os
import warnings
from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ray.tune.search import Searcher

from robust_lr import GeometricGrid, RobustLRError, SweepResult, TrialResult, TrialSpec, parse_schedule
from robust_lr.exceptions import DataError, RobustLRWarning
from robust_lr.grids import SIGNIFICANT_DIGITS
from robust_lr.journal.journal import Journal

from .cells import from_list, result_of, spec_of, to_list
from .search_space import Axes, Schedules, check_tuner

if TYPE_CHECKING:
    from ray.tune import ResultGrid

_FORMAT = 1


class GridSearcher(Searcher):
    """Hands out the cells of a sweep that have no result yet, coarse learning rates first, each exactly once.

    For ``tune.TuneConfig(search_alg=GridSearcher(...), num_samples=-1, max_concurrent_trials=...)``. Both numbers
    matter: by default Tune runs one sample, the first cell, and starts one process at a time. The trainable reads
    ``config["lr"]``, ``config["schedule"]``, a text for `robust_lr.parse_schedule`, and ``config["seed"]``, and
    ``config["schedule_name"]`` where a schedule is given by another name. `param_space` may hold further constants.

    To let a sweep grow, or to go on with one that was stopped, make a new Tuner with a `GridSearcher` of the whole
    grid, and say what is finished: by the same `journal`, which it also writes, by earlier results, or by `restore`.
    `Tuner.restore` goes on with a stopped experiment, but cannot grow it; trials that were in flight are begun again by
    Tune, under their old names, and handed out by nobody else.

    A trial that Tune gave up after its `FailureConfig` stays without a result, for the next run to try again. One that
    a scheduler of Tune stopped early counts as finished, with its last loss. It works under a `ConcurrencyLimiter`.
    A `Repeater` is not needed, since seeds are an axis of the sweep: under one, each cell has the mean loss of its
    repeats.

    Args:
        grid: a grid, or distinct positive learning rates.
        schedules: schedules or their specs, by name or with the spec as the name.
        seeds: distinct whole numbers; a number n means ``range(n)``.
        metric: name of the final loss in what the trainable reports; NaN or infinity say that it diverged.
        mode: "min", or "max" where more is better; the journal then holds the negative.
        journal: file that holds the finished trials, as that of `robust_lr.run_sweep`. Each trial that ends is written
            to it, by the driver; one Tuner at a time may use it.
        finished: results that count as well, and are copied into the journal: a `SweepResult`, the `ResultGrid` of an
            earlier Tuner, or the folder of an earlier experiment.

    Attributes:
        missing: the cells that have no result, in flight or not, in the order of the sweep.

    Raises:
        GridError, ScheduleError, RobustLRError: when an argument is wrong.
        JournalError: when the journal is of another sweep, or in use.
        DataError: when the earlier results cannot be read, or know a schedule of the same name and another spec.

    Example:
        >>> searcher = GridSearcher(GeometricGrid(0.01, 1.0, 3), ["cosine"], seeds=1)
        >>> searcher.suggest("first")
        {'lr': 0.01, 'schedule': 'cosine', 'seed': 0}
        >>> searcher.on_trial_complete("first", {"loss": 0.5})
        >>> [cell.lr for cell in searcher.missing]
        [1.0, 0.1]
    """

    def __init__(
        self,
        grid: GeometricGrid | Iterable[float],
        schedules: Schedules,
        seeds: int | Iterable[int],
        *,
        metric: str = "loss",
        mode: str = "min",
        journal: str | os.PathLike[str] | None = None,
        finished: SweepResult | ResultGrid | str | os.PathLike[str] | None = None,
    ) -> None:
        if not isinstance(metric, str) or not metric:
            raise RobustLRError(f"metric must be the name of what is reported, got {metric!r}")
        if mode not in ("min", "max"):
            raise RobustLRError(f"mode must be 'min' or 'max', got {mode!r}")
        super().__init__(metric=metric, mode=mode)
        self._axes = Axes.read(grid, schedules, seeds)
        self._trials = self._axes.trials()
        self._cells = {_key(spec): spec for spec in self._trials}
        self._journal = None if journal is None else Path(journal).absolute()
        self._in_flight = dict[str, TrialSpec]()
        self._given_up = set[TrialSpec]()
        self._has_been_pickled = False
        earlier = {} if finished is None else self._read(finished)
        if self._journal is not None:
            with self._open(self._journal) as book:
                for spec in earlier.keys() - book.finished.keys():
                    book.append(earlier[spec])
                earlier |= book.finished
        self._finished = set(earlier)
        self._waiting = self._in_order(self._finished)

    @property
    def missing(self) -> list[TrialSpec]:
        """The cells that have no result, in flight or not, in the order of the sweep."""
        return [spec for spec in self._trials if spec not in self._finished]

    def set_search_properties(self, metric: str | None, mode: str | None, config: dict[str, Any], **spec: Any) -> bool:
        """Check that what `TuneConfig` and `param_space` say goes with this; called by Tune where they say anything.

        Raises:
            RobustLRError: when they name another metric or mode, or `param_space` holds more than constants.
        """
        check_tuner(self, metric, mode, config, sets={"lr", "schedule", "seed", "schedule_name"})
        n_samples = spec.get("num_samples")
        if n_samples is not None and n_samples < len(self._waiting):
            warnings.warn(
                f"num_samples={n_samples} is fewer than the {len(self._waiting)} cells to run; -1 runs them all",
                RobustLRWarning,
                stacklevel=2,
            )
        return True

    def suggest(self, trial_id: str) -> Any:
        """Return the config of the next cell, and `FINISHED` when there is none."""
        if not self._waiting:
            return self.FINISHED
        spec = self._in_flight[trial_id] = self._waiting.popleft()
        return self._axes.config(spec)

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """Enter what came of a trial, and write it to the journal."""
        spec = self._in_flight.pop(trial_id, None) or self._cell_in(result or {})
        if spec is None:
            return
        if error or not result or self.metric not in result:
            self._given_up.add(spec)
            return
        ended = result_of(spec, result, loss=self.metric, maximize=self.mode == "max")
        (self._finished if ended.is_final else self._given_up).add(spec)
        if self._journal is not None:
            with self._open(self._journal) as book:
                if spec not in book.finished:
                    book.append(ended)

    def save(self, checkpoint_path: str) -> None:
        """Write what is finished and in flight to a file, as JSON."""
        state = {
            "robust_lr.grid_searcher": _FORMAT,
            "schedules": dict(self._axes.texts),
            "finished": [to_list(spec) for spec in self._finished],
            "given_up": [to_list(spec) for spec in self._given_up],
            "in_flight": {trial_id: to_list(spec) for trial_id, spec in self._in_flight.items()},
        }
        Path(checkpoint_path).write_text(json.dumps(state), encoding="utf-8")

    def restore(self, checkpoint_path: str) -> None:
        """Take over what is finished from a file that `save` wrote, of this sweep or of a part of it.

        What was in flight then, or had been given up, counts as missing, except in `Tuner.restore`: there Tune itself
        goes on with it.

        Raises:
            DataError: when the file cannot be read, or knows a schedule of the same name and another spec.
        """
        try:
            state = json.loads(Path(checkpoint_path).read_text(encoding="utf-8"))
            version, texts = state["robust_lr.grid_searcher"], state["schedules"]
            if version != _FORMAT:
                raise ValueError(f"its format is {version}, this reads {_FORMAT}")
            cells = {name: [from_list(cell) for cell in state[name]] for name in ("finished", "given_up")}
            in_flight = {trial_id: from_list(cell) for trial_id, cell in state["in_flight"].items()}
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise DataError(f"{checkpoint_path} cannot be read as the state of a GridSearcher: {error}") from None
        for spec in cells["finished"]:
            self._finished |= set(self._cells_of(spec, texts))
        taken = set(self._finished)
        if self._has_been_pickled:
            self._in_flight = in_flight
            self._given_up = set(cells["given_up"])
            taken |= self._given_up | set(in_flight.values())
        self._waiting = self._in_order(taken)

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__ = state | {"_has_been_pickled": True}  # only Tuner.restore unpickles a searcher to restore it

    def _in_order(self, taken: set[TrialSpec]) -> deque[TrialSpec]:
        return deque(spec for spec in self._trials if spec not in taken)

    def _open(self, path: Path) -> Journal:
        """Open the journal for a moment. Held open, it would stay locked in a process whose Tuner was interrupted."""
        axes = self._axes
        return Journal.open(path, learning_rates=axes.learning_rates, schedules=axes.texts, seeds=axes.seeds)

    def _read(self, finished: object) -> dict[TrialSpec, TrialResult]:
        """Return the results in `finished` by the cells that they are of."""
        sweep = finished if isinstance(finished, SweepResult) else self._read_tune(finished)
        return {
            spec: replace(result, spec=spec)
            for result in sweep.trials()
            if result.is_final
            for spec in self._cells_of(result.spec, sweep.specs)
        }

    def _read_tune(self, finished: object) -> SweepResult:
        from ray.tune import ResultGrid

        from .results import sweep_from_experiment, sweep_from_result_grid

        if isinstance(finished, ResultGrid):
            return sweep_from_result_grid(finished, loss=self.metric, mode=self.mode)
        if isinstance(finished, (str, os.PathLike)):
            return sweep_from_experiment(finished, loss=self.metric, mode=self.mode)
        raise RobustLRError(f"finished must be a SweepResult, a ResultGrid or the folder of one, got {finished!r}")

    def _cells_of(self, spec: TrialSpec, texts: Mapping[str, str]) -> list[TrialSpec]:
        """Return the cells of this sweep that a trial of another one is: of the same schedule by name, else by text."""
        text, own = texts.get(spec.schedule) or None, self._axes.texts
        if spec.schedule in own:
            if text is not None and parse_schedule(text) != self._axes.schedules[spec.schedule]:
                raise DataError(
                    f"the earlier results know schedule {spec.schedule!r} as {text}, not {own[spec.schedule]}"
                )
            names = [spec.schedule]
        else:
            names = [name for name in own if own[name] in (spec.schedule, text)]
        keys = (_key(replace(spec, schedule=name)) for name in names)
        return [self._cells[key] for key in keys if key in self._cells]

    def _cell_in(self, result: Mapping[str, Any]) -> TrialSpec | None:
        """Return the cell that a result says it is of: Tune gives a trial a new name when it restarts it."""
        prefix = "config/"
        config = {name.removeprefix(prefix): value for name, value in result.items() if name.startswith(prefix)}
        return self._cells.get(_key(spec_of(config))) if {"lr", "schedule", "seed"} <= config.keys() else None


def _key(spec: TrialSpec) -> TrialSpec:
    """The spec up to the rounding of its learning rate."""
    return replace(spec, lr=float(f"{spec.lr:.{SIGNIFICANT_DIGITS}g}"))
