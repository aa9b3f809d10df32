"""A sampler that runs every cell of a learning-rate grid exactly once, from any number of processes."""

from __future__ import annotations

import contextlib
import copy
import math
import threading
import time
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
from robust_lr.exceptions import GridError, OptionError
from robust_lr.grids import SIGNIFICANT_DIGITS
from robust_lr.sweep.axes import read_learning_rates, read_seeds
from robust_lr.sweep.retries import MAX_RETRIES

from ._assignments import Axes, Cell, LogEntry, as_axes
from ._outcomes import note_why_failed
from ._parameter_values import allowed_value, is_same
from ._partial_sampler import PartialSampler, stop_study
from ._study_state import StudyState
from ._trial_attributes import (
    claim_of,
    fail_stale_trials,
    is_enqueued,
    is_fixed,
    repeated_by,
    write_claim,
    write_log_entry,
)
from ._workers import is_in_other_thread

_SHORTEST_WAIT, _LONGEST_WAIT = 0.02, 1.0  # seconds between two looks at the storage


class GeometricGridSampler(PartialSampler):
    """Runs each learning rate of a grid, with each schedule and seed, exactly once in a study.

    The objective stays as it is: it calls ``trial.suggest_float("lr", 1e-4, 1.0, log=True)`` and, if the sweep has
    these axes, ``trial.suggest_categorical("schedule", [...])`` and ``trial.suggest_int("seed", ...)``. All other
    parameters come from `independent_sampler`. `study.optimize` stops by itself when everything is done.

    Any number of threads, processes and machines may work on a study in one storage. All state is in the storage, so a
    study can be interrupted and continued. Coarse learning rates come first, each with all its seeds and schedules: a
    study that is stopped early is a complete sweep over a coarser grid. After the grid has grown, only new cells run.

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
        if isinstance(schedules, str):
            raise OptionError(f"schedules must be a sequence of names, got {schedules!r}")
        self._axes = as_axes(
            read_learning_rates(grid), dict.fromkeys(schedules or ()), () if seeds is None else read_seeds(seeds)
        )
        self._names = {"lr": lr_name, "schedule": schedule_name, "seed": seed_name}
        if len(set(self._names.values())) < 3:
            raise OptionError(f"lr_name, schedule_name and seed_name must differ, got {list(self._names.values())}")
        self._max_retries = check_whole("max_retries", max_retries, at_least=0)
        super().__init__(independent_sampler)
        self._forget()

    def pending(self, study: Study) -> int:
        """Return the number of cells that wait for a trial: ``while sampler.pending(study): trial = study.ask()``."""
        with self._lock:
            state = self._read(study)
            log, entry = state.log, self._next_entry(state, None)
            if entry != LogEntry():
                log = copy.deepcopy(log)
                log.read_entry(entry)
            return log.n_waiting + state.n_idle(log)

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
        self._grow(study, seeds=seeds)

    def add_schedules(self, study: Study, schedules: Iterable[str]) -> None:
        """Add schedules to the study: each runs with every learning rate and seed."""
        self._grow(study, schedules=schedules)

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        """Return the trial's learning rate, schedule or seed; leave any other parameter to the independent sampler.

        Raises:
            optuna.TrialPruned: if nothing is left to run.
            GridError: if the objective does not allow the value.
        """
        claim = claim_of(trial) if param_name in self._names.values() else None
        axis = self._own_names(claim).get(param_name)
        if axis is not None:
            claim = claim or self._begin(study, trial)
            if claim is not None:
                return allowed_value(param_name, claim[axis], param_distribution)
            if not is_enqueued(trial):
                raise optuna.TrialPruned("every cell of the grid is done or running")
        return super().sample_independent(study, trial, param_name, param_distribution)

    def before_trial(self, study: Study, trial: FrozenTrial) -> None:
        """Find the trial's cell; note the cell and the worker in the storage."""
        super().before_trial(study, trial)
        with self._lock:
            state = self._states.get(study._storage, {}).get(study._study_id)
            if state is None or state.log.axes == Axes():
                state = self._read(study)
        # Until an objective asks for a learning rate, the study may have another purpose.
        if state.log.axes != Axes():
            self._begin(study, trial)

    def after_trial(self, study: Study, trial: FrozenTrial, state: TrialState, values: Sequence[float] | None) -> None:
        """Note why a trial failed, which decides whether it is retried.

        Raises:
            GridError: if the objective did not run the trial's cell.
        """
        claim = claim_of(trial)
        if claim is not None and state == TrialState.FAIL:
            note_why_failed(study, trial)
        super().after_trial(study, trial, state, values)
        if state == TrialState.COMPLETE and (claim is not None or not is_fixed(trial)):
            for name, axis in self._own_names(claim).items():
                wanted = "a value of the grid" if claim is None else claim[axis]
                # If a distribution has only one value, Optuna takes it without asking a sampler.
                if name in trial.params and not is_same(trial.params[name], wanted):
                    ran = f"{name}={trial.params[name]!r}"
                    raise GridError(f"trial {trial.number} should run {name}={wanted!r}, but the objective ran {ran}")

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
        self._states: WeakKeyDictionary[BaseStorage, dict[int, StudyState]] = WeakKeyDictionary()

    def _owns(self, trial: FrozenTrial, name: str) -> bool:
        return name in self._own_names(claim_of(trial))

    def _own_names(self, claim: Mapping[str, Any] | None) -> dict[str, str]:
        """Parameter name -> axis, for the axes of the trial's cell, or else those of this sampler."""
        if claim is None:
            claim = {"lr": 1, "schedule": self._axes.schedules or None, "seed": self._axes.seeds or None}
        return {name: axis for axis, name in self._names.items() if claim[axis] is not None}

    def _begin(self, study: Study, trial: FrozenTrial) -> Mapping[str, Any] | None:
        """Claim the trial's cell in the storage; return the claim, or None if there is nothing to run.

        A suspicious worker records its suspicion, then checks for a claim; a worker claims, then checks for suspicion.
        At least one side sees the other, so that no cell is run twice.
        """
        cell = self._wait_for_cell(study, trial.number)
        if cell is None:
            self._finish(study, trial)
            return None
        write_claim(study, trial, cell)
        if self._is_suspect(study, trial.number):
            write_claim(study, trial, None)
        return claim_of(trial)

    def _is_suspect(self, study: Study, number: int) -> bool:
        with self._lock:
            log = self._states[study._storage][study._study_id].log
            with contextlib.suppress(KeyError):  # nothing new, the usual case: checking is cheaper than reading
                study._storage.get_trial_id_from_study_id_trial_number(study._study_id, log.n_read)
                log = self._read(study).log
            return log.is_suspect(number)

    def _finish(self, study: Study, trial: FrozenTrial) -> None:
        """Let a trial without a cell, and its worker, come to an end."""
        if not is_fixed(trial):
            stop_study(study)
        elif (repeated := repeated_by(trial)) is not None:
            with self._lock:
                is_superfluous = repeated in self._read(study).log.assigned
            # Another trial has taken the cell of this repeated trial; the objective gets an error when it asks.
            for name in self._own_names(None) if is_superfluous else ():
                trial.params.pop(name, None)
                trial.distributions.pop(name, None)

    def _wait_for_cell(self, study: Study, number: int) -> Cell | None:
        wait, waited = _SHORTEST_WAIT, 0.0
        while True:
            with self._lock:
                state = self._read(study)
                entry = self._next_entry(state, number)
                if entry != LogEntry():
                    write_log_entry(study, entry)
                    continue
                cell = state.log.assigned.get(number)
                if cell is not None or state.is_fixed(number):
                    return cell
                # Nothing is left, unless a running trial fails.
                running = state.running()
            if fail_stale_trials(study):
                continue
            claims = {trial.number: claim_of(trial) for trial in running}
            unclaimed = tuple(other for other, claim in claims.items() if claim is None)
            if unclaimed and waited > _LONGEST_WAIT:
                write_log_entry(study, LogEntry(suspect=unclaimed))
            elif not unclaimed and not any(is_in_other_thread(claim["worker"]) for claim in claims.values() if claim):
                return None
            else:
                time.sleep(wait)
                waited, wait = waited + wait, min(2 * wait, _LONGEST_WAIT)

    def _read(self, study: Study) -> StudyState:
        trials = study._storage.get_all_trials(study._study_id, deepcopy=False)
        states = self._states.setdefault(study._storage, {})
        state = states.get(study._study_id)
        if state is None or not state.is_of(trials):
            state = states[study._study_id] = StudyState(self._names)
        state.read(trials)
        return state

    def _next_entry(self, state: StudyState, number: int | None) -> LogEntry:
        """Return the entry that must be in the log before this trial can go on."""
        log, grow = state.log, state.missing(self._axes)
        retry, never_ran, found = state.lost(self._max_retries)
        if grow != Axes():
            found |= state.results_of_others(log.axes.grown(grow))
        assign: tuple[int, ...] = ()
        if number is not None and number not in log.assigned and not state.is_fixed(number):
            assign = (number,) if log.n_waiting or grow != Axes() or retry or never_ran else ()
        return LogEntry(grow, assign, tuple(retry), tuple(never_ran), found=found)

    def _grow(
        self,
        study: Study,
        new_lrs: Callable[[Sequence[float]], Iterable[float]] = lambda known: (),
        *,
        schedules: Iterable[str] = (),
        seeds: Iterable[int] = (),
    ) -> None:
        """Add axes to the study, once it has those of this sampler."""
        with self._lock:
            while (entry := self._next_entry(self._read(study), None)).grow != Axes():
                write_log_entry(study, entry)
            state = self._read(study)
            lrs = set(new_lrs(state.log.axes.lrs))
            lrs = {float(f"{lr:.{SIGNIFICANT_DIGITS}g}") for lr in (read_learning_rates(lrs) if lrs else ())}
            missing = state.missing(as_axes(lrs, schedules, seeds))
            if missing != Axes():
                found = state.results_of_others(state.log.axes.grown(missing))
                write_log_entry(study, LogEntry(grow=missing, found=found))
