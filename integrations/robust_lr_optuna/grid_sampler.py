"""A sampler that runs every cell of a learning-rate grid exactly once, from any number of processes."""

from __future__ import annotations

import copy
import math
import threading
import time
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import pairwise
from typing import Any
from weakref import WeakKeyDictionary

import optuna
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler
from optuna.storages import BaseStorage
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState

from robust_lr import GeometricGrid
from robust_lr._checks import check_whole
from robust_lr._text import listed
from robust_lr.exceptions import GridError, OptionError, RobustLRWarning
from robust_lr.grids import SIGNIFICANT_DIGITS
from robust_lr.sweep.axes import read_learning_rates, read_seeds
from robust_lr.sweep.retries import MAX_RETRIES

from ._cells import Axes, Cell, as_axes
from ._grid_state import GridState
from ._growth import add_growth, growth_before, growth_of, take_back_growth
from ._long_journal import current_trials
from ._outcomes import note_why_failed
from ._parameter_values import allowed_value, is_same
from ._partial_sampler import PartialSampler, is_in_optimize, stop_study
from ._trial_attributes import (
    CELL,
    claim_of,
    fail_stale_trials,
    is_fixed,
    note_of,
    values_of,
    write_claim,
)
from ._workers import in_this_process

_SHORTEST_WAIT, _LONGEST_WAIT = 0.02, 1.0  # seconds between two looks at the storage


class GeometricGridSampler(PartialSampler):
    """Runs each learning rate of a grid, with each schedule and seed, exactly once in a study.

    The objective stays as it is: it calls ``trial.suggest_float("lr", 1e-4, 1.0, log=True)`` and, if the sweep has
    these axes, ``trial.suggest_categorical("schedule", [...])`` and ``trial.suggest_int("seed", ...)``. All other
    parameters come from `independent_sampler`. `study.optimize` stops by itself when everything is done.

    Any number of threads, processes and machines may work on a study in one storage. All state is in the storage, so a
    study can be interrupted and continued. Coarse learning rates come first, each with all its seeds and schedules: a
    study that is stopped early is a complete sweep over a coarser grid. After the grid has grown, only new cells run.
    A sampler with a smaller grid runs only what is left of that.

    A cell is finished by a trial whose own parameters are its values. A trial that ran something else gives its cell
    back, and says so; an objective that never asks for a parameter of the grid ends after its first trial.
    A failed trial is retried up to `max_retries` times. So is a trial whose process was killed, as soon as another
    worker on the same machine is idle (or `fail_stale_trials` is called). NaN, infinity, `TrialDiverged` and pruned
    trials are results. An enqueued trial counts for the cell that it names; a trial of another sampler counts if it has
    the parameters of a cell and no others.

    Args:
        grid: a `GeometricGrid`, or positive learning rates.
        lr_name: name of the learning rate in the objective.
        schedules: names of the schedules, if they are an axis of the sweep.
        seeds: the seeds, if they are an axis of the sweep; a number n means ``range(n)``.
        schedule_name, seed_name: names of these parameters in the objective.
        independent_sampler: samples the other parameters; at random by default.
        max_retries: how often a failed trial is retried, at least 0.

    Raises:
        GridError: if the learning rates are not positive and distinct.
        OptionError: if another argument is out of range.

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

    _n_live: int
    _n_threads: int
    _last_end: float

    def __init__(
        self,
        grid: GeometricGrid | Iterable[float],
        *,
        lr_name: str = "lr",
        schedules: Iterable[str] | None = None,
        seeds: int | Iterable[int] | None = None,
        schedule_name: str = "schedule",
        seed_name: str = "seed",
        independent_sampler: BaseSampler | None = None,
        max_retries: int = MAX_RETRIES,
    ) -> None:
        self._axes = as_axes(
            read_learning_rates(grid), _read_names(schedules), () if seeds is None else read_seeds(seeds)
        )
        self._names = {"lr": lr_name, "schedule": schedule_name, "seed": seed_name}
        if len(set(self._names.values())) < 3:
            raise OptionError(f"lr_name, schedule_name and seed_name must differ, got {list(self._names.values())}")
        if isinstance(independent_sampler, GeometricGridSampler):
            raise OptionError("a trial runs a cell of one grid, so independent_sampler must be no GeometricGridSampler")
        self._max_retries = check_whole("max_retries", max_retries, at_least=0)
        super().__init__(independent_sampler)
        self._forget()

    def pending(self, study: Study) -> int:
        """Return the number of cells that wait for a trial: ``while sampler.pending(study): trial = study.ask()``."""
        with self._lock:
            return self._read(study).n_pending()

    def cells(self, study: Study) -> list[Cell]:
        """Return all cells of the study's grid, finished or not, in the order in which they run."""
        with self._lock:
            return self._read(study).axes.cells()

    def extend(self, study: Study, *, below: int = 0, above: int = 0, lrs: Iterable[float] = ()) -> None:
        """Add learning rates to the study's grid: `below` and `above` it, at the ratio of its ends, and those given.

        Raises:
            OptionError: if `below` or `above` is not a whole number of at least 0.
            GridError: if a learning rate is not positive, or the grid has only one point to extend by.
        """
        below, above = (check_whole(name, n, at_least=0) for name, n in (("below", below), ("above", above)))

        def extension(known: Sequence[float]) -> list[float]:
            if below + above > 0 and len(known) < 2:
                raise GridError(f"extend needs a grid of two points to go below or above, got {len(known)}")
            lower = [known[0] * (known[0] / known[1]) ** i for i in range(1, below + 1)]
            return [*lower, *(known[-1] * (known[-1] / known[-2]) ** i for i in range(1, above + 1)), *lrs]

        self._grow(study, extension)

    def refine(self, study: Study) -> None:
        """Add the geometric mean of each pair of neighbors to the study's grid; every old learning rate stays."""
        self._grow(study, lambda known: [math.sqrt(a * b) for a, b in pairwise(known)])

    def add_seeds(self, study: Study, seeds: Iterable[int]) -> None:
        """Add seeds to the study: every learning rate and schedule runs with them too."""
        self._grow(study, seeds=read_seeds(seeds))

    def add_schedules(self, study: Study, schedules: Iterable[str]) -> None:
        """Add schedules to the study: each runs with every learning rate and seed."""
        self._grow(study, schedules=_read_names(schedules))

    def take_back(self, study: Study) -> None:
        """Take back what any sampler added to the study's grid: the grid of this sampler is left to run.

        Trials that have run stay, and running ones go on.
        """
        take_back_growth(study)
        with self._lock:
            self._states.get(study._storage, {}).pop(study._study_id, None)

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        """Return the trial's learning rate, schedule or seed; leave any other parameter to the independent sampler.

        Raises:
            optuna.TrialPruned: if nothing is left to run.
            GridError: if the objective does not allow the value.
        """
        claim = claim_of(trial)
        axis = self._own_names(claim).get(param_name)
        if axis is None:
            return super().sample_independent(study, trial, param_name, param_distribution)
        if claim is not None:
            return allowed_value(param_name, claim[axis], param_distribution)
        if axis == "lr" or self._names["lr"] not in values_of(trial):
            raise optuna.TrialPruned(f"every cell of the grid is done or running, so {param_name!r} has no value")
        # The user enqueued a learning rate that no cell waits for: it runs with the first schedule and seed.
        first = self._axes.schedules if axis == "schedule" else self._axes.seeds
        return allowed_value(param_name, first[0], param_distribution)

    def before_trial(self, study: Study, trial: FrozenTrial) -> None:
        """Claim a cell for the trial, which is noted with the worker in the storage.

        Raises:
            GridError: if nothing is left to run and `study.ask` was called by hand.
            RobustLRError: if another worker took this one for dead.
        """
        super().before_trial(study, trial)
        with self._lock:
            self._has_stopped = False
        fixed = values_of(trial)
        cell = self._claim(study, trial, fixed)
        with self._lock:
            self._n_live += 1
            is_new = self._n_live == 1 and time.monotonic() - self._last_end > _LONGEST_WAIT  # another `optimize`
            self._n_threads = 1 if is_new else max(self._n_threads, self._n_live)
        if cell is None and not any(name in fixed for name in self._names.values()):
            self._say_that_nothing_is_left(study, trial)

    def after_trial(self, study: Study, trial: FrozenTrial, state: TrialState, values: Sequence[float] | None) -> None:
        """Note why a trial failed, give its cell back if it ran something else, and stop when nothing is left.

        Raises:
            GridError: if the objective did not run the trial's cell.
        """
        claim = claim_of(trial)
        if claim is not None and state == TrialState.FAIL:
            note_why_failed(study, trial)
        if claim is not None or trial.params:  # otherwise it ran nothing that the other sampler should know of
            super().after_trial(study, trial, state, values)
        ended = copy.copy(study._storage.get_trial(trial._trial_id))
        ended.state, ended.values = state, values
        began = time.monotonic()
        while (grid := self._stop_or_go_on(study, ended, is_last=time.monotonic() - began > _LONGEST_WAIT)) is None:
            time.sleep(_SHORTEST_WAIT / 4)
        self._warn_of_failure(study, grid, ended)
        if claim is not None and state == TrialState.COMPLETE:
            self._check_what_ran(study, trial, claim, grid)

    def __repr__(self) -> str:
        lrs, schedules, seeds = (len(axis) for axis in (self._axes.lrs, self._axes.schedules, self._axes.seeds))
        return f"{type(self).__name__}({lrs} learning rates, {schedules or 1} schedules, {seeds or 1} seeds)"

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if name not in ("_lock", "_states")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self._forget()

    def _forget(self) -> None:
        self._lock = threading.RLock()
        self._states: WeakKeyDictionary[BaseStorage, dict[int, tuple[Axes, GridState | None]]] = WeakKeyDictionary()
        self._has_stopped = False
        # Trials of this process that run, the most that ran at a time, and when the last one ended.
        self._n_live, self._n_threads, self._last_end = 0, 0, 0.0

    def _owns(self, trial: FrozenTrial, name: str) -> bool:
        return name in self._own_names(claim_of(trial))

    def _own_names(self, claim: Mapping[str, Any] | None) -> dict[str, str]:
        """Parameter name -> axis, for the axes of the trial's cell, or else those of this sampler."""
        names = self._axes.names(self._names) if claim is None else claim["names"]
        return {name: axis for axis, name in names.items()}

    def _claim(self, study: Study, trial: FrozenTrial, fixed: Mapping[str, Any]) -> Cell | None:
        """Claim a cell in the storage, and look whether another trial did too: then both give it back.

        Of two workers that write and then look, at least one sees the other, and neither knows whether it was seen.
        """
        wait, asked = _SHORTEST_WAIT, {} if is_in_optimize(study) else {"asked": True}
        while True:
            with self._lock:
                grid = self._read(study)
                cell = next((each for each in grid.free(trial.number) if grid.agrees(each, fixed)), None)
                if cell is None and fail_stale_trials(study):
                    continue
                write_claim(study, trial, cell, grid.names, **asked)
                if cell is None:
                    return None
                grid.read(current_trials(study))
                rivals = grid.rivals(cell, trial.number)
                if rivals == []:
                    return cell
                write_claim(study, trial, None, {}, **asked)
            # All of them may be here. The first one chooses again at once, the others in turn.
            time.sleep(wait * sum(rival < trial.number for rival in rivals or ()))
            wait = min(2 * wait, _LONGEST_WAIT)

    def _say_that_nothing_is_left(self, study: Study, trial: FrozenTrial) -> None:
        with self._lock:
            said = self._read(study).held_by_others(trial.number)
        text = f"every cell of the grid is done{', or held: ' * bool(said)}{listed(said)}"
        if is_fixed(trial):
            warnings.warn(f"trial {trial.number} names no {self._names['lr']!r}, and {text}", RobustLRWarning, 2)
        elif is_in_optimize(study):
            stop_study(study)
        else:
            study._storage.set_trial_state_values(trial._trial_id, TrialState.PRUNED)
            raise GridError(f"nothing is left to ask for: {text}; ask while sampler.pending(study) is not 0")

    def _stop_or_go_on(self, study: Study, ended: FrozenTrial, *, is_last: bool) -> GridState | None:
        """Stop the study if nothing is left; return None while other threads are about to ask for the last cells.

        A thread that does not ask for a while has reached its `n_trials`; `is_last` says that it is waited for no more.
        """
        with self._lock:
            grid = self._read(study)
            grid.end(ended)
            if not grid.has_work(ended.number) and fail_stale_trials(study):
                grid = self._read(study)
            n_asking = 0 if is_last or not is_in_optimize(study) else max(self._n_threads - self._n_live, 0)
            n_work = grid.n_work(ended.number, at_most=n_asking)
            if 0 < n_work <= n_asking:
                return None
            if n_work == 0:
                self._stop(study, ended, grid)
            self._n_live, self._last_end = self._n_live - 1, time.monotonic()
            return grid

    def _stop(self, study: Study, trial: FrozenTrial, grid: GridState) -> None:
        self._has_stopped = stop_study(study)
        never_told = [t for t in grid.running() if t.number != trial.number and _was_asked_here(t)]
        if self._has_stopped and never_told:
            numbers = listed([str(t.number) for t in never_told])
            text = f"the study stops without trial {numbers}, asked for with study.ask and not told"
            warnings.warn(f"{text}; tell it, or fail it and optimize again", RobustLRWarning, stacklevel=3)

    def _warn_of_failure(self, study: Study, grid: GridState, ended: FrozenTrial) -> None:
        failed = grid.has_failed(ended)
        if failed is None:
            return
        numbers = [*grid.failed[failed], ended.number]
        trials = f"trial{'s' * (len(numbers) > 1)} {listed([str(n) for n in numbers])}"
        if grid.is_given_up(failed, more=1):
            text = f"{failed} is given up: {trials} failed, and max_retries={self._max_retries}"
        elif getattr(study, "_stop_flag", False) and is_in_optimize(study):
            text = f"{failed} is left: {trials} failed while the study came to its end; call optimize again"
        else:
            return
        warnings.warn(text, RobustLRWarning, stacklevel=3)

    def _check_what_ran(self, study: Study, trial: FrozenTrial, claim: Mapping[str, Any], grid: GridState) -> None:
        cell, names = Cell(claim["lr"], claim["schedule"], claim["seed"]), claim["names"]
        for axis, name in names.items():
            if name in trial.params:
                # If a distribution has only one value, Optuna takes it without asking a sampler.
                if not is_same(trial.params[name], claim[axis]):
                    raise GridError(
                        f"trial {trial.number} should run {name}={claim[axis]!r}, but the objective ran "
                        f"{name}={trial.params[name]!r}: {cell} is left to run"
                    )
                continue
            self._check_asked(axis, name, study, trial, names.values(), in_vain=grid.in_vain + 1)
            text = f"trial {trial.number} did not ask for {name!r}, so it counts for no cell: {cell} is left to run"
            warnings.warn(text, RobustLRWarning, stacklevel=3)

    def _read(self, study: Study) -> GridState:
        trials = current_trials(study)
        axes = self._axes.grown(growth_of(study, self._names))
        known = self._states.setdefault(study._storage, {})
        wanted, grid = known.get(study._study_id, (axes, None))
        if grid is None or wanted != axes or not grid.is_of(trials):
            grid = GridState(axes.grown(growth_before(study, trials)), self._names, self._max_retries)
            known[study._study_id] = axes, grid
        grid.read(trials)
        return grid

    def _grow(
        self,
        study: Study,
        new_lrs: Callable[[Sequence[float]], Iterable[float]] = lambda known: (),
        *,
        schedules: Iterable[str] = (),
        seeds: Iterable[int] = (),
    ) -> None:
        with self._lock:
            lrs = set(new_lrs(self._read(study).axes.lrs))
            lrs = {float(f"{lr:.{SIGNIFICANT_DIGITS}g}") for lr in (read_learning_rates(lrs) if lrs else ())}
            add_growth(study, as_axes(lrs, schedules, seeds), self._names)
            if self._has_stopped and is_in_optimize(study):  # by a callback of the last trial
                study._stop_flag = self._has_stopped = False


def _read_names(schedules: Iterable[str] | None) -> list[str]:
    names = [] if schedules is None else [schedules] if isinstance(schedules, str) else list(schedules)
    if isinstance(schedules, str) or not all(isinstance(name, str) for name in names):
        raise OptionError(f"schedules must be a sequence of names, got {schedules!r}")
    return list(dict.fromkeys(map(str, names)))


def _was_asked_here(trial: FrozenTrial) -> bool:
    note = note_of(trial, CELL) or {}
    return bool(note.get("asked")) and in_this_process(note["worker"])
