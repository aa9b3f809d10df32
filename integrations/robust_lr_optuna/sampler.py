"""A sampler that runs every cell of a learning-rate grid exactly once, from any number of processes."""

from __future__ import annotations

import contextlib
import copy
import math
import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from numbers import Real
from typing import Any
from weakref import WeakKeyDictionary

import optuna
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler, RandomSampler
from optuna.storages import BaseStorage
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState

from robust_lr import GeometricGrid, RobustLRError
from robust_lr.exceptions import GridError

from .book import Book
from .entries import mark_of, write_mark, write_order
from .fixed_trials import is_enqueued, is_fixed, repeated_by
from .outcomes import note_why_failed
from .parameter_values import allowed_value, is_same
from .stale_trials import reap_stale
from .work_log import Axes, Cell, Order, as_axes
from .workers import is_in_other_thread

_DIGITS = 12  # of a learning rate; those of GeometricGrid
_SHORTEST_WAIT, _LONGEST_WAIT = 0.02, 1.0  # seconds between two looks at the storage


class GeometricGridSampler(BaseSampler):
    """Runs each learning rate of a grid, with each schedule and seed, exactly once in a study.

    The objective stays as it is: it asks for ``trial.suggest_float("lr", 1e-4, 1.0, log=True)``, and, where the sweep
    has these axes, ``trial.suggest_categorical("schedule", [...])`` and ``trial.suggest_int("seed", ...)``. Every other
    parameter comes from `independent_sampler`. When all is done `study.optimize` stops by itself.

    Any number of threads, processes and machines may work on a study in one storage. All there is to know is in the
    storage, so that a study goes on where it was left; the workers agree on who runs what without a lock (`WorkLog`).
    Coarse learning rates come first, each with all its seeds and schedules: a study that is stopped early is a complete
    sweep over a coarser grid. A grid that has grown runs its new cells only; a study keeps what it once held.

    A trial that failed is run again, up to `retries` times, and so is one whose process was killed, once another worker
    on the machine has nothing else to do (or `reap_stale` was called). NaN, infinity and `TrialDiverged` are results
    and are not run again, nor are pruned trials. Trials enqueued by the user count for the cell that they name. Trials
    of other samplers do not disturb the sweep; those that were there before, or were added, count where they have the
    parameters of a cell and no others.

    Args:
        grid: a `GeometricGrid`, or positive learning rates.
        name: name of the learning rate in the objective.
        schedules: names of schedules, an axis of the sweep.
        seeds: seeds, an axis of the sweep; a number n means ``range(n)``.
        schedule_name, seed_name: names of these in the objective.
        independent_sampler: samples the other parameters; by default at random.
        retries: how often a failed trial is run again, at least 0.

    Raises:
        RobustLRError: when an argument is wrong.

    Example:
        >>> import optuna
        >>> study = optuna.create_study(sampler=GeometricGridSampler(GeometricGrid(1e-3, 1.0, 4), seeds=2))
        >>> def objective(trial):
        ...     lr = trial.suggest_float("lr", 1e-4, 10.0, log=True)
        ...     return (lr - 0.1) ** 2 + 0.001 * trial.suggest_int("seed", 0, 9)
        >>> study.optimize(objective)
        >>> sorted((t.params["lr"], t.params["seed"]) for t in study.get_trials(states=[TrialState.COMPLETE]))
        [(0.001, 0), (0.001, 1), (0.01, 0), (0.01, 1), (0.1, 0), (0.1, 1), (1.0, 0), (1.0, 1)]
    """

    def __init__(
        self,
        grid: GeometricGrid | Iterable[float],
        *,
        name: str = "lr",
        schedules: Iterable[str] | None = None,
        seeds: int | Iterable[int] | None = None,
        schedule_name: str = "schedule",
        seed_name: str = "seed",
        independent_sampler: BaseSampler | None = None,
        retries: int = 2,
    ) -> None:
        self._axes = _checked_axes(grid, schedules, seeds)
        self._names = {"lr": name, "schedule": schedule_name, "seed": seed_name}
        if len(set(self._names.values())) < 3:
            raise RobustLRError(f"name, schedule_name and seed_name must differ, got {list(self._names.values())}")
        if isinstance(retries, bool) or not isinstance(retries, int) or retries < 0:
            raise RobustLRError(f"retries must be a whole number of at least 0, got {retries!r}")
        self._retries = retries
        self._independent = RandomSampler() if independent_sampler is None else independent_sampler
        self._forget()

    def pending(self, study: Study) -> int:
        """Return how many cells are waiting for a trial: ``while sampler.pending(study): trial = study.ask()``."""
        with self._lock:
            book = self._read(study)
            log, order = book.log, self._order(book, None)
            if order != Order():
                log = copy.deepcopy(log)
                log.read_order(order)
            return log.n_waiting + book.n_not_run(log)

    def extend(self, study: Study, *, below: int = 0, above: int = 0, lrs: Iterable[float] = ()) -> None:
        """Add learning rates to the study's grid: `below` and `above` it, at the ratio of its ends, and those given.

        Raises:
            GridError: when a count is negative or the grid of the study has fewer than two points to extend by.
        """
        known = self._grown_axes(study).lrs
        if min(below, above) < 0 or (below + above > 0 and len(known) < 2):
            raise GridError(
                f"extend needs counts >= 0 and a grid of two points, got {below}, {above}, {len(known)} points"
            )
        lower = [_rounded(known[0] * (known[0] / known[1]) ** i) for i in range(1, below + 1)]
        upper = [_rounded(known[-1] * (known[-1] / known[-2]) ** i) for i in range(1, above + 1)]
        self._grow(study, _checked_axes([*lower, *upper, *lrs], None, None))

    def refine(self, study: Study) -> None:
        """Add the geometric mean of each two neighbours to the study's grid; every old learning rate stays."""
        known = self._grown_axes(study).lrs
        means = [_rounded(math.sqrt(a * b)) for a, b in pairwise(known)]
        self._grow(study, as_axes(means, (), ()))

    def add_seeds(self, study: Study, seeds: Iterable[int]) -> None:
        """Add seeds to the study: every learning rate and schedule is run with them too."""
        self._grown_axes(study)
        self._grow(study, as_axes((), (), seeds))

    def add_schedules(self, study: Study, schedules: Iterable[str]) -> None:
        """Add schedules to the study: each is run with every learning rate and seed."""
        self._grown_axes(study)
        self._grow(study, as_axes((), schedules, ()))

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        """Return the space of the independent sampler, without the learning rate, schedule and seed."""
        space = self._independent.infer_relative_search_space(study, trial)
        own = self._own_names(mark_of(trial))
        return {name: d for name, d in space.items() if name not in own}

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """Leave it to the independent sampler."""
        return self._independent.sample_relative(study, trial, search_space)

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        """Return the trial's learning rate, schedule or seed; any other parameter as the independent sampler has it.

        Raises:
            optuna.TrialPruned: when nothing is left to run.
            GridError: when the objective does not allow the value.
        """
        mark = mark_of(trial) if param_name in self._names.values() else None
        axis = self._own_names(mark).get(param_name)
        if axis is not None:
            mark = mark or self._begin(study, trial)
            if mark is not None:
                return allowed_value(param_name, mark[axis], param_distribution)
            if not is_enqueued(trial):
                raise optuna.TrialPruned("every cell of the grid is done or being run")
        return self._independent.sample_independent(study, trial, param_name, param_distribution)

    def before_trial(self, study: Study, trial: FrozenTrial) -> None:
        """Find the trial's cell, and note in the storage what it is and who runs it."""
        self._independent.before_trial(study, trial)
        with self._lock:
            book = self._books.get(study._storage, {}).get(study._study_id)
            if book is None or book.log.axes == Axes():
                book = self._read(study)
        if (
            book.log.axes != Axes()
        ):  # until an objective asks for a learning rate, the study may be about something else
            self._begin(study, trial)

    def after_trial(self, study: Study, trial: FrozenTrial, state: TrialState, values: Sequence[float] | None) -> None:
        """Note why a trial failed, where that decides whether it is run again.

        Raises:
            GridError: when the objective ran something else than the trial's cell.
        """
        mark = mark_of(trial)
        if mark is not None and state == TrialState.FAIL:
            note_why_failed(study, trial)
        self._independent.after_trial(study, trial, state, values)
        if state == TrialState.COMPLETE and (mark is not None or not is_fixed(trial)):
            for name, axis in self._own_names(mark).items():
                wanted = "a value of the grid" if mark is None else mark[axis]
                # Where a distribution holds one value, Optuna takes that one and asks no sampler.
                if name in trial.params and not is_same(trial.params[name], wanted):
                    ran = f"ran {name}={trial.params[name]!r}"
                    raise GridError(f"trial {trial.number} was to run {name}={wanted!r}, and the objective {ran}")

    def reseed_rng(self) -> None:
        """Reseed the independent sampler."""
        self._independent.reseed_rng()

    def __repr__(self) -> str:
        return (
            f"{type(self).__name__}({len(self._axes.lrs)} learning rates, {len(self._axes.schedules) or 1} schedules, "
            f"{len(self._axes.seeds) or 1} seeds)"
        )

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if name not in ("_lock", "_books")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self._forget()

    def _forget(self) -> None:
        self._lock = threading.RLock()
        self._books: WeakKeyDictionary[BaseStorage, dict[int, Book]] = WeakKeyDictionary()

    def _own_names(self, mark: Mapping[str, Any] | None) -> dict[str, str]:
        """Parameter name -> axis, for the axes that the trial's cell has, or else the sweep of this sampler."""
        if mark is None:
            mark = {"lr": 1, "schedule": self._axes.schedules or None, "seed": self._axes.seeds or None}
        return {name: axis for axis, name in self._names.items() if mark[axis] is not None}

    def _begin(self, study: Study, trial: FrozenTrial) -> Mapping[str, Any] | None:
        """Claim a cell for a trial and note so in the storage; return the note, None when there is nothing to run.

        Who doubts that a trial is alive writes so first and looks for the note then; here the note is written first. So
        one of both sees the other, and no cell is run twice.
        """
        cell = self._claim(study, trial.number)
        if cell is None:
            self._finish(study, trial)
            return None
        write_mark(study, trial, cell)
        if self._is_doubted(study, trial.number):
            write_mark(study, trial, None)
        return mark_of(trial)

    def _is_doubted(self, study: Study, number: int) -> bool:
        with self._lock:
            log = self._books[study._storage][study._study_id].log
            with contextlib.suppress(KeyError):  # nothing new: most often so, and cheaper to ask than to read
                study._storage.get_trial_id_from_study_id_trial_number(study._study_id, log.n_read)
                log = self._read(study).log
            return log.is_doubted(number)

    def _finish(self, study: Study, trial: FrozenTrial) -> None:
        """Let a trial without a cell, and the worker, come to their end."""
        if not is_fixed(trial):
            with contextlib.suppress(RuntimeError):  # asked for outside of optimize, where there is nothing to stop
                study.stop()
        elif (repeated := repeated_by(trial)) is not None:
            with self._lock:
                is_superfluous = repeated in self._read(study).log.claims
            # The cell of a trial that Optuna repeats is another's by now: let the objective ask, and be told so.
            for name in self._own_names(None) if is_superfluous else ():
                trial.params.pop(name, None)
                trial.distributions.pop(name, None)

    def _claim(self, study: Study, number: int) -> Cell | None:
        """Return the cell of a trial, None when nothing is left."""
        wait, waited = _SHORTEST_WAIT, 0.0
        while True:
            with self._lock:
                book = self._read(study)
                order = self._order(book, number)
                if order != Order():
                    write_order(study, order)
                    continue
                cell = book.log.claims.get(number)
                if cell is not None or book.is_fixed(number):
                    return cell
                # Nothing is left, unless one of the trials that run comes to nothing.
                running = book.running()
            if reap_stale(study):
                continue
            marks = {trial.number: mark_of(trial) for trial in running}
            unmarked = tuple(other for other, mark in marks.items() if mark is None)
            if unmarked and waited > _LONGEST_WAIT:
                write_order(study, Order(doubt=unmarked))
            elif not unmarked and not any(is_in_other_thread(mark["worker"]) for mark in marks.values() if mark):
                return None
            else:
                time.sleep(wait)
                waited, wait = waited + wait, min(2 * wait, _LONGEST_WAIT)

    def _read(self, study: Study) -> Book:
        trials = study._storage.get_all_trials(study._study_id, deepcopy=False)
        books = self._books.setdefault(study._storage, {})
        book = books.get(study._study_id)
        if book is None or not book.is_of(trials):
            book = books[study._study_id] = Book(self._names)
        book.read(trials)
        return book

    def _order(self, book: Book, number: int | None) -> Order:
        """Return what has to be written into the log before this trial can go on."""
        log = book.log
        grow = book.missing(self._axes)
        again, void, found = book.lost(self._retries)
        if grow != Axes():
            found |= book.results_of_others(log.axes.grown(grow))
        serve: tuple[int, ...] = ()
        if number is not None and number not in log.claims and not book.is_fixed(number):
            serve = (number,) if log.n_waiting or grow != Axes() or again or void else ()
        return Order(grow, serve, tuple(again), tuple(void), found=found)

    def _grown_axes(self, study: Study) -> Axes:
        """Return the axes of the study, after it was given those of this sampler."""
        with self._lock:
            while (order := self._order(self._read(study), None)).grow != Axes():
                write_order(study, order)
            return self._read(study).log.axes

    def _grow(self, study: Study, axes: Axes) -> None:
        with self._lock:
            book = self._read(study)
            missing = book.missing(axes)
            if missing != Axes():
                write_order(study, Order(grow=missing, found=book.results_of_others(book.log.axes.grown(missing))))


def _checked_axes(
    grid: GeometricGrid | Iterable[float], schedules: Iterable[str] | None, seeds: int | Iterable[int] | None
) -> Axes:
    lrs: list[Any] = list(grid.values if isinstance(grid, GeometricGrid) else grid)
    if not all(isinstance(lr, Real) and not isinstance(lr, bool) and 0 < float(lr) < math.inf for lr in lrs):
        raise GridError(f"learning rates must be positive finite numbers, got {lrs}")
    if isinstance(schedules, str):
        raise RobustLRError(f"schedules must be a sequence of names, got {schedules!r}")
    if isinstance(seeds, int):
        if isinstance(seeds, bool) or seeds < 1:
            raise RobustLRError(f"a number of seeds must be at least 1, got {seeds!r}")
        seeds = range(seeds)
    return as_axes(dict.fromkeys(lrs), dict.fromkeys(schedules or ()), dict.fromkeys(seeds or ()))


def _rounded(lr: float) -> float:
    return float(f"{lr:.{_DIGITS}g}")
