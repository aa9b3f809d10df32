"""A sampler that searches for the learning rate and stops the study when it is found."""

from __future__ import annotations

import copy
import dataclasses
import itertools
import math
import time
import warnings
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution
from optuna.samplers import BaseSampler
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState

from robust_lr import Schedule
from robust_lr._checks import check_number, check_whole
from robust_lr._text import listed
from robust_lr.exceptions import DataError, GridError, OptionError, RobustLRWarning
from robust_lr.prior import ValleyPrior
from robust_lr.search import LearningRateSearch, SearchOptions
from robust_lr.sweep.retries import MAX_RETRIES

from ._never_asked import never_asked
from ._outcomes import note_why_failed, seconds_of
from ._parameter_values import is_same
from ._partial_sampler import PartialSampler, is_in_optimize, stop_study
from ._study_search import (
    Choices,
    Standing,
    latest_search,
    rivals_of,
    search_note,
    standing_of,
    write_search_note,
)
from ._trial_attributes import fail_stale_trials, is_fixed, values_of, worker_of
from ._workers import this_worker, where

_SHORTEST_WAIT, _LONGEST_WAIT = 0.01, 1.0  # seconds between two looks at the storage
_SAY_AFTER, _PATIENCE = 10.0, 600.0  # seconds of waiting for another worker


class LearningRateSampler(PartialSampler):
    """Searches for a learning rate whose loss is within a tolerance of the best, then stops the study.

    The objective stays as it is: it calls ``trial.suggest_float("lr", 1e-4, 1.0, log=True)`` and, if the sampler was
    given `choices`, ``trial.suggest_categorical("optimizer", ["sgd", "adam"])``, before or after it. Each combination
    of choices is a search of its own (see `robust_lr.search.LearningRateSearch` for the bound that ends it); the next
    trial goes to the one with the fewest trials. All other parameters come from `independent_sampler`; their effect on
    the loss is noise to the search.

    `search_result` returns the result at any time: the best learning rate, a bound on what another could gain, and why
    the search stopped. When all searches are over, `study.optimize` stops by itself. A trial that starts after that is
    pruned; with ask and tell it gets the best learning rate once more. The search never leaves the range of the
    objective, since Optuna allows no other value; ``search_result(study).edge`` says whether the best lies on an end.

    All state is in the storage: a study can be interrupted and continued, and any number of threads, processes and
    machines may work on it. A trial gets the learning rate that the search chooses, given the finished and the running
    trials; none is tried twice unless noise calls for another seed. A worker waits while the next step depends on
    trials of others. Trials that you enqueue or add, and those of other samplers, count if they are in the range.

    A loss of NaN or infinity, `TrialDiverged` and a stop by a `DivergencePruner` report divergence, which is a result.
    A failed trial is retried up to `max_retries` times. So is a trial whose process was killed: workers on the same
    machine notice; for other machines call `fail_stale_trials`. A learning rate that fails more often, or that another
    pruner stopped, is given up: the search goes around it, and ends with the stop "failures" once three are given up,
    or nothing else is left to try.

    Args:
        lr_min: the smallest learning rate, > 0; by default the low end of the objective's range.
        lr_max: the largest, > lr_min; by default the high end.
        tolerance: how much worse than the best loss you accept: a number in units of the loss, or a share such as "1%".
        schedule: the schedule of the trials, a `Schedule` or its spec; theory derives the coarse step from it.
        prior: what earlier sweeps expect, from `robust_lr.search.LearningRatePrior.at`; for every combination.
        options: a `SearchOptions`; its `extend` has no effect, and `max_trials` applies to each combination.
        lr_name: name of the learning rate in the objective.
        choices: categorical parameters of the objective, name -> values; each combination has its own search.
        independent_sampler: samples the other parameters; at random by default.
        max_retries: how often a failed trial is retried, at least 0.

    Raises:
        GridError: if `lr_min`, `lr_max` or the start of the search is out of range.
        ScheduleError: if the schedule is unknown.
        OptionError: if another argument is not as described.

    Example:
        >>> import math, optuna
        >>> from robust_lr_optuna import search_result
        >>> study = optuna.create_study(sampler=LearningRateSampler(tolerance=0.005))
        >>> study.optimize(lambda trial: 0.03 * math.log(trial.suggest_float("lr", 1e-3, 0.1, log=True) / 0.02) ** 2)
        >>> len(study.trials), study.best_params
        (6, {'lr': 0.02155})
        >>> search_result(study).excess_bound
        0.005
    """

    def __init__(
        self,
        lr_min: float | None = None,
        lr_max: float | None = None,
        *,
        tolerance: float | str,
        schedule: str | Schedule | None = None,
        prior: ValleyPrior | None = None,
        options: SearchOptions | None = None,
        lr_name: str = "lr",
        choices: Mapping[str, Iterable[Any]] | None = None,
        independent_sampler: BaseSampler | None = None,
        max_retries: int = MAX_RETRIES,
    ) -> None:
        super().__init__(independent_sampler)
        self._range, self._tolerance, self._schedule, self._lr_name = (lr_min, lr_max), tolerance, schedule, lr_name
        self._prior = prior
        self._options = dataclasses.replace(options or SearchOptions(), extend=False)
        self._combinations = _combinations(lr_name, choices or {})
        self._max_retries = check_whole("max_retries", max_retries, at_least=0)
        self._check_range()
        self._has_warned = False

    def is_done(self, study: Study) -> bool:
        """Return whether every search of the study is over: ``while not sampler.is_done(study): trial = study.ask()``.

        Check again after the last trial has ended: the result of a running trial can reopen a search.
        """
        return self._is_over(study, study._storage.get_all_trials(study._study_id, deepcopy=False))

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        """Return the trial's learning rate or choice; leave any other parameter to the independent sampler.

        Raises:
            ValueError: if the study has several objectives.
            optuna.TrialPruned: if every search is over, in `study.optimize`.
            GridError: if the objective does not suggest the learning rate as a float, or not the whole range.
            DataError: if the objective does not allow the choice of this trial.
        """
        self._check_study(study)
        if not self._owns(trial, param_name):
            return super().sample_independent(study, trial, param_name, param_distribution)
        note = search_note(study._storage.get_trial(trial._trial_id))
        if param_name == self._lr_name:
            low, high = self._checked_range(param_distribution)
            note = self._choose(study, trial, note, self._search(low, high))
            # The distribution's own bounds may be other floats than those of the search.
            return next((bound for bound in (low, high) if is_same(bound, note["lr"])), note["lr"])
        if "choices" not in note:
            note = self._choose(study, trial, note, None)
        value = note["choices"].get(param_name)
        allowed = param_distribution.choices if isinstance(param_distribution, CategoricalDistribution) else ()
        if value not in allowed:
            raise DataError(
                f"{param_name}={value!r} is a choice that the objective does not allow: {param_distribution}"
            )
        return value

    def before_trial(self, study: Study, trial: FrozenTrial) -> None:
        """Note in the storage who runs the trial."""
        super().before_trial(study, trial)
        note = {"number": trial.number, "worker": this_worker()}
        write_search_note(study, trial, note | ({} if is_in_optimize(study) else {"asked": True}))

    def after_trial(self, study: Study, trial: FrozenTrial, state: TrialState, values: Sequence[float] | None) -> None:
        """Note why a trial failed, warn if none has a learning rate, and stop the study when its searches are over.

        Raises:
            GridError: if the objective never asks for a learning rate, or allows only one, for which Optuna asks no
                sampler.
            DataError: if the objective ran another choice than the trial's.
        """
        if state == TrialState.FAIL:
            note_why_failed(study, trial)
        super().after_trial(study, trial, state, values)
        if len(study.directions) > 1:
            return
        trials = list(study._storage.get_all_trials(study._study_id, deepcopy=False))
        if state == TrialState.COMPLETE:
            self._check_what_ran(study, trial)
        ended = trials[trial.number] = copy.copy(trials[trial.number])
        ended.state, ended.values = state, values  # what Optuna stores after this
        if self._is_over(study, trials):
            stop_study(study)

    def __repr__(self) -> str:
        return f"{type(self).__name__}(tolerance={self._tolerance!r}, {len(self._combinations)} searches)"

    def _check_study(self, study: Study) -> None:
        self._raise_error_if_multi_objective(study)

    def _owns(self, trial: FrozenTrial, name: str) -> bool:
        return name == self._lr_name or name in self._combinations[0]

    def _search(self, low: float, high: float) -> dict[str, Any]:
        search = LearningRateSearch(
            low, high, tolerance=self._tolerance, schedule=self._schedule, prior=self._prior, options=self._options
        )
        return {"name": self._lr_name, "retries": self._max_retries, "search": search.to_dict()}

    def _check_range(self) -> None:
        named = zip(("lr_min", "lr_max"), self._range, strict=True)
        low, high = (None if lr is None else check_number(name, lr, above=0, error=GridError) for name, lr in named)
        start = self._options.start
        if start is not None:
            check_number("start", start, at_least=low or 0.0, at_most=high or math.inf, error=GridError)
        # The objective will give the rest; until then any range that agrees with the known end will do.
        known = start or low or high or 1.0
        self._search(low or known / 2, high or known * 2)

    def _checked_range(self, distribution: BaseDistribution) -> tuple[float, float]:
        if not isinstance(distribution, FloatDistribution) or distribution.step is not None:
            raise GridError(f"{self._lr_name} must be suggested as a float without a step, got {distribution}")
        if self._range[0] is None and distribution.low <= 0:
            asked = f"suggest_float({self._lr_name!r}, {distribution.low!r}, {distribution.high!r})"
            raise GridError(f"{self._lr_name} needs a range above 0, got {asked}; change it, or pass lr_min")
        low, high = (
            bound if own is None else float(own)
            for own, bound in zip(self._range, (distribution.low, distribution.high), strict=True)
        )
        if not (distribution.low <= low < high <= distribution.high):
            raise GridError(f"the search goes from {low:g} to {high:g}, but the objective only allows {distribution}")
        return low, high

    def _check_what_ran(self, study: Study, trial: FrozenTrial) -> None:
        # Some trials may ask for other parameters only; if none asks for a learning rate, it is a mistake.
        if self._lr_name not in trial.params:
            own = [self._lr_name, *self._combinations[0]]
            if not self._check_asked("lr", self._lr_name, study, trial, own) and not self._has_warned:
                self._has_warned = True
                text = never_asked("lr", self._lr_name, trial, own)
                warnings.warn(f"trial {trial.number}: {text}", RobustLRWarning, stacklevel=3)
        # If a distribution has only one value, Optuna takes it without asking a sampler.
        note = search_note(trial)
        for name, wanted in note.get("choices", {}).items():
            if trial.params.get(name, wanted) != wanted:
                ran = f"{name}={trial.params[name]!r}"
                raise DataError(f"trial {trial.number} should run {name}={wanted!r}, but the objective ran {ran}")
        if self._lr_name in trial.params and "lr" not in note and not is_fixed(trial):
            lr = trial.params[self._lr_name]
            raise GridError(f"{self._lr_name} must be suggested as a range, but the objective only allows {lr!r}")

    def _choose(
        self, study: Study, trial: FrozenTrial, note: Mapping[str, Any], search: Mapping[str, Any] | None
    ) -> Mapping[str, Any]:
        """Choose the learning rate of a trial, note it in the storage and return the note.

        Before the range is known there is no search, and only the combination is chosen.
        """
        wait, waited, awaited = _SHORTEST_WAIT, 0.0, list[FrozenTrial]()
        while True:
            fail_stale_trials(study)
            trials = study._storage.get_all_trials(study._study_id, deepcopy=False)
            others = [each for each in trials if each.number != trial.number]
            combinations = self._open_to(trials[trial.number], note)
            standings = [(choices, self._standing(study, others, choices, search)) for choices in combinations]
            # The one with the fewest trials comes first; among equals the first.
            standings.sort(key=lambda pair: 0 if pair[1] is None else pair[1].n_trials)
            open_to_more = [pair for pair in standings if pair[1] is None or pair[1].lr is not None]
            if open_to_more:
                choices, standing = open_to_more[0]
                chosen = _note(note, choices, search, None if standing is None else standing.lr)
                write_search_note(study, trial, chosen)
                rivals = rivals_of(study, trial, others, chosen)
                if not rivals:
                    return chosen
                write_search_note(study, trial, note)
                # All of them may be here. The first one chooses again at once, the others in turn.
                time.sleep(wait * sum(rival < trial.number for rival in rivals))
            else:
                awaited = [each for _, standing in standings if standing for each in standing.waits_for_others()]
                if not awaited or waited > _patience(trials):
                    break
                time.sleep(wait)
                if waited <= _SAY_AFTER < waited + wait:
                    _say_whom(trial, awaited, "waits for")
                waited += wait
            wait = min(2 * wait, _LONGEST_WAIT)
        if awaited:
            _say_whom(trial, awaited, "no longer waits for")
        if stop_study(study):
            raise optuna.TrialPruned("every search is over, or depends on running trials")
        choices, last = standings[0]
        return write_search_note(study, trial, _note(note, choices, search, None if last is None else last.best_guess))

    def _open_to(self, trial: FrozenTrial, note: Mapping[str, Any]) -> list[Choices]:
        """Return the combinations that a trial may take: all that agree with its choices so far."""
        known = {**values_of(trial), **note.get("choices", {})}
        matching = [c for c in self._combinations if all(known.get(name, value) == value for name, value in c.items())]
        if not matching and not is_fixed(trial):
            ran = {name: known[name] for name in self._combinations[0] if name in known}
            raise DataError(f"the objective ran {ran}, which is not among the choices of the search")
        # The user may have enqueued a combination outside the choices.
        return matching or [{name: known.get(name, value) for name, value in self._combinations[0].items()}]

    def _standing(
        self, study: Study, trials: Sequence[FrozenTrial], choices: Choices, search: Mapping[str, Any] | None = None
    ) -> Standing | None:
        """Return the state of a combination's search; None while its range is unknown."""
        found = search or latest_search(trials, choices)
        return None if found is None else standing_of(found, study, trials, choices)

    def _is_over(self, study: Study, trials: Sequence[FrozenTrial]) -> bool:
        standings = (self._standing(study, trials, choices) for choices in self._combinations)
        return all(standing is not None and standing.search.done for standing in standings)


def _combinations(lr_name: str, choices: Mapping[str, Iterable[Any]]) -> tuple[Choices, ...]:
    values = {}
    for axis, given in choices.items():
        listed = [] if isinstance(given, str) else list(given)
        if axis == lr_name or not listed or any(listed.count(value) > 1 for value in listed):
            raise OptionError(f"choices must be lists of distinct values, not of {lr_name!r}, got {axis!r}: {given!r}")
        if not all(value is None or isinstance(value, (bool, int, float, str)) for value in listed):
            raise OptionError(f"choices must be None, bool, int, float or str, got {axis!r}: {listed!r}")
        values[axis] = listed
    return tuple(dict(zip(values, combination, strict=True)) for combination in itertools.product(*values.values()))


def _note(
    note: Mapping[str, Any], choices: Choices, search: Mapping[str, Any] | None, lr: float | None
) -> dict[str, Any]:
    return {**note, "choices": dict(choices)} | ({} if search is None else {"lr": lr, **search})


def _patience(trials: Sequence[FrozenTrial]) -> float:
    """Seconds to wait for the trials of others: ten times as long as any trial took."""
    took = [seconds_of(trial) for trial in trials if trial.state.is_finished()]
    return max([_PATIENCE, *(10 * seconds for seconds in took if not math.isnan(seconds))])


def _say_whom(trial: FrozenTrial, awaited: Sequence[FrozenTrial], waits: str) -> None:
    who = listed([f"trial {each.number} ({where(worker_of(each))})" for each in awaited])
    way_out = "tell it, or pass fail_stale_trials(study, is_dead=...) what is dead"
    warnings.warn(f"trial {trial.number} {waits} {who}: {way_out}", RobustLRWarning, stacklevel=3)
