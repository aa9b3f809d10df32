"""A sampler that runs every cell of a learning-rate grid exactly once, from any number of processes."""

from __future__ import annotations

import contextlib
import copy
import math
import sys
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import pairwise
from numbers import Real
from typing import Any
from weakref import WeakKeyDictionary

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.exceptions import UpdateFinishedTrialError
from optuna.samplers import BaseSampler, RandomSampler
from optuna.storages import BaseStorage
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState, create_trial

from robust_lr import GeometricGrid, GridError, RobustLRError, TrialDiverged

from .work_log import SAME, Axes, Cell, Order, WorkLog, as_axes, find_lr, first_missing
from .workers import is_gone, is_in_other_thread, this_worker

DIVERGED = "robust_lr:diverged"  # set by a `DivergencePruner`
_ORDER, _CELL, _OUTCOME = "robust_lr:order", "robust_lr:cell", "robust_lr:outcome"
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
        own = self._own_names(_mark_of(trial))
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
        mark = _mark_of(trial) if param_name in self._names.values() else None
        axis = self._own_names(mark).get(param_name)
        if axis is not None:
            mark = mark or self._begin(study, trial)
            if mark is not None:
                return _allowed(param_name, mark[axis], param_distribution)
            if "fixed_params" not in trial.system_attrs:
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
        mark = _mark_of(trial)
        if mark is not None and state == TrialState.FAIL and (outcome := _why_failed()) is not None:
            study._storage.set_trial_system_attr(trial._trial_id, _OUTCOME, outcome)
        self._independent.after_trial(study, trial, state, values)
        if state == TrialState.COMPLETE and (mark is not None or not _is_fixed(trial)):
            for name, axis in self._own_names(mark).items():
                wanted = "a value of the grid" if mark is None else mark[axis]
                # Where a distribution holds one value, Optuna takes that one and asks no sampler.
                if name in trial.params and not _is_same(trial.params[name], wanted):
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
        self._books: WeakKeyDictionary[BaseStorage, dict[int, _Book]] = WeakKeyDictionary()

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
        mark: dict[str, Any] = {"lr": cell.lr, "schedule": cell.schedule, "seed": cell.seed}
        mark |= {"number": trial.number, "worker": this_worker()}
        study._storage.set_trial_system_attr(trial._trial_id, _CELL, mark)
        may_run = not self._is_doubted(study, trial.number)
        if not may_run:
            study._storage.set_trial_system_attr(trial._trial_id, _CELL, None)
        trial.system_attrs[_CELL] = mark if may_run else None
        return mark if may_run else None

    def _is_doubted(self, study: Study, number: int) -> bool:
        with self._lock:
            log = self._books[study._storage][study._study_id].log
            with contextlib.suppress(KeyError):  # nothing new: most often so, and cheaper to ask than to read
                study._storage.get_trial_id_from_study_id_trial_number(study._study_id, log.n_read)
                log = self._read(study).log
            return log.is_doubted(number)

    def _finish(self, study: Study, trial: FrozenTrial) -> None:
        """Let a trial without a cell, and the worker, come to their end."""
        if not _is_fixed(trial):
            with contextlib.suppress(RuntimeError):  # asked for outside of optimize, where there is nothing to stop
                study.stop()
        elif (repeated := _repeated_by(trial)) is not None:
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
                    _write(study, order)
                    continue
                cell = book.log.claims.get(number)
                if cell is not None or book.is_fixed(number):
                    return cell
                # Nothing is left, unless one of the trials that run comes to nothing.
                running = book.running()
            if reap_stale(study):
                continue
            unmarked = tuple(trial.number for trial in running if _mark_of(trial) is None)
            if unmarked and waited > _LONGEST_WAIT:
                _write(study, Order(doubt=unmarked))
            elif not unmarked and not any(is_in_other_thread(trial.system_attrs[_CELL]["worker"]) for trial in running):
                return None
            else:
                time.sleep(wait)
                waited, wait = waited + wait, min(2 * wait, _LONGEST_WAIT)

    def _read(self, study: Study) -> _Book:
        trials = study._storage.get_all_trials(study._study_id, deepcopy=False)
        books = self._books.setdefault(study._storage, {})
        book = books.get(study._study_id)
        if book is None or not book.is_of(trials):
            book = books[study._study_id] = _Book(self._names)
        book.read(trials)
        return book

    def _order(self, book: _Book, number: int | None) -> Order:
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
                _write(study, order)
            return self._read(study).log.axes

    def _grow(self, study: Study, axes: Axes) -> None:
        with self._lock:
            book = self._read(study)
            missing = book.missing(axes)
            if missing != Axes():
                _write(study, Order(grow=missing, found=book.results_of_others(book.log.axes.grown(missing))))


class _Book:
    """A work log with the trials it was read from."""

    def __init__(self, names: dict[str, str]) -> None:
        self.log = WorkLog()
        self.trials: list[FrozenTrial] = []
        self._names = names
        self._open: set[int] = set()
        self._held: Axes | None = None

    def is_of(self, trials: list[FrozenTrial]) -> bool:
        """Return whether these are the trials read before and perhaps more, not those of a study with its old id."""
        if len(trials) < len(self.trials):
            return False
        return all(
            old._trial_id == new._trial_id and old.datetime_start in (None, new.datetime_start)
            for old, new in zip(self.trials[:1], trials, strict=False)
        )

    def read(self, trials: list[FrozenTrial]) -> None:
        """Read the entries that are new.

        Raises:
            RobustLRError: when the trials are not numbered 0, 1, 2, ...
        """
        self.trials = trials
        for trial in trials[self.log.n_read :]:
            if trial.number != self.log.n_read:
                raise RobustLRError(
                    f"trials must be numbered without a gap, got {trial.number} after {self.log.n_read - 1}"
                )
            attrs = trial.system_attrs
            if _ORDER in attrs:
                order = Order.from_json(attrs[_ORDER])
                placed = self.log.read_order(order)
                self._open |= {n for n in (*order.serve, *order.found, *placed) if n in self.log.claims}
            elif _is_fixed(trial):
                fixed, repeated = attrs.get("fixed_params", {}), _repeated_by(trial)
                lr, schedule, seed = (fixed.get(self._names[axis]) for axis in ("lr", "schedule", "seed"))
                if repeated is not None and _mark_of(trials[repeated]) is None:
                    repeated = None
                self.log.read_fixed(_as_number(lr), schedule, seed, repeats=repeated)
            else:
                self.log.read_trial()
            if trial.number in self.log.claims:
                self._open.add(trial.number)

    def is_fixed(self, number: int) -> bool:
        """Return whether the parameters of a trial were fixed by whoever made it."""
        return _is_fixed(self.trials[number])

    def missing(self, axes: Axes) -> Axes:
        """Return what these axes add to those of the log; a log that has held them once holds them for ever."""
        if axes is self._held:
            return Axes()
        missing = first_missing(self.log.axes, axes)
        if missing is None:
            self._held = axes
        return missing or Axes()

    def running(self) -> list[FrozenTrial]:
        """Return the trials that have a cell and run, except those that the user has enqueued and nobody has begun."""
        trials = [self.trials[number] for number in sorted(self._open) if not self.log.was_ordered_again(number)]
        return [
            trial
            for trial in trials
            if trial.state == TrialState.RUNNING and (_mark_of(trial) is not None or not _is_fixed(trial))
        ]

    def n_not_run(self, log: WorkLog) -> int:
        """Return how many trials have a cell that nobody runs: enqueued ones, and those of dead processes."""
        waiting = (trial.number for trial in self.trials if trial.state == TrialState.WAITING)
        return sum(number in log.claims for number in waiting) + sum(map(_is_dead, self.running()))

    def lost(self, retries: int) -> tuple[list[int], list[int], dict[int, Cell]]:
        """Return the numbers of the trials to be run again, of those that never ran their cell, and results found."""
        again, void, found = [], [], dict[int, Cell]()
        for number in sorted(self._open):
            trial = self.trials[number]
            is_nobodys = _mark_of(trial) is None and not _is_fixed(trial)
            if self.log.was_ordered_again(number):
                self._open.discard(number)
            elif not trial.state.is_finished():
                if is_nobodys and self.log.is_doubted(number):
                    void.append(number)
            elif is_nobodys:
                cell = self._cell_of(trial, self.log.axes)
                if cell is not None and cell == self.log.claims.get(number):
                    self._open.discard(number)
                elif cell is not None:
                    found[number] = cell
                else:
                    void.append(number)
            elif trial.state != TrialState.FAIL or trial.system_attrs.get(_OUTCOME) == "diverged":
                self._open.discard(number)
            elif trial.system_attrs.get(_OUTCOME) == "interrupted":
                void.append(number)
            elif self.log.attempts.get(self.log.claims[number], 0) < retries:
                again.append(number)
            else:
                self._open.discard(number)
        return again, void, found

    def results_of_others(self, axes: Axes) -> dict[int, Cell]:
        """Return the finished trials that nobody ordered and that are the result of a cell."""
        found = dict[int, Cell]()
        for trial in self.trials[: self.log.n_read]:
            if trial.number not in self.log.claims and _ORDER not in trial.system_attrs:
                cell = self._cell_of(trial, axes)
                if cell is not None and cell not in found.values():
                    found[trial.number] = cell
        return found

    def _cell_of(self, trial: FrozenTrial, axes: Axes) -> Cell | None:
        if trial.state != TrialState.COMPLETE:
            return None
        params = dict(trial.params)
        lr = params.pop(self._names["lr"], None)
        schedule = params.pop(self._names["schedule"], None) if axes.schedules else None
        seed = params.pop(self._names["seed"], None) if axes.seeds else None
        known = None if (number := _as_number(lr)) is None else find_lr(axes.lrs, number)
        if (
            params
            or known is None
            or schedule not in (axes.schedules or (None,))
            or seed not in (axes.seeds or (None,))
        ):
            return None
        return Cell(known, schedule, seed)


def reap_stale(study: Study, *, is_dead: Callable[[FrozenTrial], bool] | None = None) -> list[int]:
    """Fail the trials whose process is gone, so that they are run again; return their numbers.

    Args:
        study: a study that `GeometricGridSampler` works on.
        is_dead: tells of a running trial whether nobody runs it any more. By default those whose worker was a process
            of this machine that exists no more. With trials of other machines, or when no worker is alive at all, say
            so: ``is_dead=lambda trial: True``. A trial that is alive after all would be run twice.
    """
    reaped = []
    for trial in study._storage.get_all_trials(study._study_id, deepcopy=False, states=(TrialState.RUNNING,)):
        if (is_dead or _is_dead)(trial):
            with contextlib.suppress(UpdateFinishedTrialError):  # somebody else has reaped it, or it has ended
                study._storage.set_trial_state_values(trial._trial_id, TrialState.FAIL)
                reaped.append(trial.number)
    return reaped


def cell_of(trial: FrozenTrial) -> Cell | None:
    """Return the cell that a trial ran for a `GeometricGridSampler`, None for any other trial."""
    mark = trial.system_attrs.get(_CELL)
    return None if mark is None else Cell(mark["lr"], mark["schedule"], mark["seed"])


def is_order(trial: FrozenTrial) -> bool:
    """Return whether an entry of a study is no trial but a note of the sampler (its state is FAIL)."""
    return _ORDER in trial.system_attrs


def has_diverged(trial: FrozenTrial) -> bool:
    """Return whether a trial is known to have diverged: NaN, `TrialDiverged`, or pruned by a `DivergencePruner`."""
    return trial.system_attrs.get(_OUTCOME) == "diverged" or trial.system_attrs.get(DIVERGED) is True


def _mark_of(trial: FrozenTrial) -> Mapping[str, Any] | None:
    """Return what was noted when a trial began to run its cell; a trial repeated by Optuna has inherited a mark."""
    mark = trial.system_attrs.get(_CELL)
    return mark if mark is not None and mark.get("number") == trial.number else None


def _is_dead(trial: FrozenTrial) -> bool:
    mark = _mark_of(trial)
    return mark is not None and is_gone(mark["worker"])


def _is_fixed(trial: FrozenTrial) -> bool:
    """Return whether the parameters of a trial were fixed by whoever made it: the user, or Optuna to repeat one."""
    return not {"fixed_params", "failed_trial"}.isdisjoint(trial.system_attrs)


def _repeated_by(trial: FrozenTrial) -> int | None:
    """Return the number of the trial that Optuna repeats by this one."""
    if "failed_trial" not in trial.system_attrs:
        return None
    return int(trial.system_attrs.get("retry_history", [trial.system_attrs["failed_trial"]])[-1])


def _write(study: Study, order: Order) -> None:
    entry = create_trial(state=TrialState.FAIL, system_attrs={_ORDER: order.to_json()})
    study._storage.create_new_trial(study._study_id, template_trial=entry)


def _why_failed() -> str | None:
    """Return "diverged" or "interrupted" where that is why the trial being told has failed.

    Optuna keeps neither the value that it refused nor the exception, and samplers are not told them. Both are still
    on the stack: this is called, through `after_trial`, by the function that was given them.
    """
    frame = sys._getframe(1)
    while frame is not None:
        if frame.f_code.co_name in ("_tell_with_warning", "_run_trial"):
            error, value = frame.f_locals.get("func_err"), frame.f_locals.get("value_or_values")
            if isinstance(error, TrialDiverged):
                return "diverged"
            if isinstance(error, KeyboardInterrupt):
                return "interrupted"
            if any(math.isnan(_as_number(v) or 0) for v in (value if isinstance(value, Sequence) else [value])):
                return "diverged"
        frame = frame.f_back  # type: ignore[assignment]
    return None


def _as_number(value: Any) -> float | None:
    try:
        return float(value)
    except (TypeError, ValueError):
        return None


def _is_same(value: Any, other: Any) -> bool:
    are_numbers = isinstance(value, float) and isinstance(other, float)
    return bool(value == other) or (are_numbers and math.isclose(value, other, rel_tol=SAME))


def _allowed(name: str, value: Any, distribution: BaseDistribution) -> Any:
    """Return the value as the objective's distribution has it: its own choice, its own bound."""
    candidates: tuple[Any, ...] = ()
    if isinstance(distribution, CategoricalDistribution):
        candidates = distribution.choices
    elif isinstance(distribution, (FloatDistribution, IntDistribution)) and _as_number(value) is not None:
        candidates = (distribution.low, distribution.high, value)
    for candidate in candidates:
        if _is_same(candidate, value) and distribution._contains(distribution.to_internal_repr(candidate)):
            return candidate
    raise GridError(f"the grid holds {name}={value!r}, which the objective does not allow: {distribution}")


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
