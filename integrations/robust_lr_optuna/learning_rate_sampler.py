"""A sampler that searches for the learning rate and stops the study when it is found; its only state is the study."""

from __future__ import annotations

import copy
import itertools
import time
import warnings
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution
from optuna.samplers import BaseSampler, RandomSampler
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState

from robust_lr import Schedule
from robust_lr._checks import check_number, check_whole
from robust_lr.exceptions import DataError, GridError, RobustLRWarning
from robust_lr.search import LearningRateSearch, SearchOptions

from .fixed_trials import is_fixed, values_of
from .outcomes import note_why_failed
from .parameter_values import is_same
from .search_marks import Choices, choices_of, given_the_same, is_dead, lr_of, mark_of, write_mark
from .stale_trials import reap_stale
from .study_search import Standing, StudySearch, latest_search
from .workers import this_worker

_SHORTEST_WAIT, _LONGEST_WAIT = 0.01, 1.0  # seconds between two looks at the storage
_PATIENCE = 5.0  # seconds that a trial has to choose, once all that began before it have chosen


class LearningRateSampler(BaseSampler):
    """Searches for a learning rate whose loss is within a tolerance of the best, and stops the study when it has one.

    The objective stays as it is: it asks for ``trial.suggest_float("lr", 1e-4, 1.0, log=True)``, and, where the sampler
    was given `choices`, for ``trial.suggest_categorical("optimizer", ["sgd", "adam"])``, before or after it. Each
    combination of choices is a search of its own (`robust_lr.search.LearningRateSearch`, which says how the bound
    comes about); the next trial goes to the one with the fewest trials. Every other parameter comes from
    `independent_sampler`; what it does to the loss is noise to the search.

    `search_of` tells, at any time, what the study knows: the best learning rate, the bound on what another could gain,
    and why the search stopped. When all searches are over, `study.optimize` stops by itself.

    All there is to know is in the storage: a study goes on where it was left, and any number of threads, processes and
    machines may work on it. A trial is given the learning rate that the search asks for after what has finished and
    beside what is running: none is tried again, unless noise calls for another seed. Trials choose in the order of
    their numbers; one that has not chosen after five seconds is not waited for any longer, and whoever finds, once it
    has chosen, that another trial has chosen the same chooses again. A worker also waits while what comes next depends
    on trials that others run.

    How a trial ends:

    - A loss of NaN or infinity, `TrialDiverged`, and a stop by a `DivergencePruner` mean that the run diverged. That is
      a result.
    - A trial that failed is run again, up to `retries` times. So is one whose process was killed: workers on the same
      machine find out by themselves, for other machines call `reap_stale`.
    - A learning rate that failed more often than that, or that another pruner stopped, has no loss and is given up. A
      search that has given up three of them ends.

    Trials that you enqueue or add, and those of other samplers, count where their learning rate is in the range.

    The search never leaves the range of the objective, since Optuna allows no other value; ``search_of(study).edge``
    says whether the best lies on an end of it. A trial that begins after the end is pruned by `study.optimize`, which
    then stops; with ask and tell it is given the best learning rate once more.

    Args:
        lr_min: the smallest learning rate, > 0; by default the low end of the objective's range.
        lr_max: the largest, > lr_min; by default the high end.
        tolerance: by how much the loss may exceed the least in the range, > 0; a loss, or with `relative` a share of
            the best loss.
        name: name of the learning rate in the objective; a first trial without it is a warning.
        choices: categorical parameters of the objective, name -> values; each combination of them is searched.
        independent_sampler: samples the other parameters; by default at random.
        retries: how often a failed trial is run again, >= 0.
        schedule, ratio, start, relative, noise: those of `LearningRateSearch`.
        max_trials: the most trials that end with a result, for each combination, >= 1; by default no limit.

    Raises:
        GridError: when `lr_min`, `lr_max`, `ratio` or `start` is out of range.
        ScheduleError: when `schedule` names no schedule.
        DataError: when any other option is not as described.

    Example:
        >>> import math, optuna
        >>> from robust_lr_optuna import search_of
        >>> study = optuna.create_study(sampler=LearningRateSampler(tolerance=0.005))
        >>> study.optimize(lambda trial: 0.03 * math.log(trial.suggest_float("lr", 1e-3, 0.1, log=True) / 0.02) ** 2)
        >>> len(study.trials), study.best_params
        (5, {'lr': 0.02155})
        >>> search_of(study).excess_bound < 0.005
        True
    """

    def __init__(
        self,
        lr_min: float | None = None,
        lr_max: float | None = None,
        *,
        tolerance: float,
        name: str = "lr",
        choices: Mapping[str, Iterable[Any]] | None = None,
        independent_sampler: BaseSampler | None = None,
        retries: int = 2,
        schedule: str | Schedule | None = None,
        ratio: float | None = None,
        start: float | None = None,
        max_trials: int | None = None,
        relative: bool = False,
        noise: float | None = None,
    ) -> None:
        self._range = lr_min, lr_max
        self._name = name
        self._combinations = _combinations(name, choices or {})
        self._retries = check_whole("retries", retries, at_least=0, error=DataError)
        self._options: dict[str, Any] = {
            "tolerance": tolerance,
            "schedule": None if schedule is None else str(schedule),
            "ratio": ratio,
            "start": start,
            "max_trials": max_trials,
            "relative": relative,
            "noise": noise,
        }
        self._check_options()
        self._independent = RandomSampler() if independent_sampler is None else independent_sampler
        self._not_waited_for: set[tuple[str, int]] = set()
        self._has_warned = False

    def is_done(self, study: Study) -> bool:
        """Return whether every search of the study is over: ``while not sampler.is_done(study): trial = study.ask()``.

        Ask again after the last trial has ended: the result of one that is still running can reopen a search.
        """
        return self._is_over(study, study._storage.get_all_trials(study._study_id, deepcopy=False))

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        """Return the space of the independent sampler, without the learning rate and the choices."""
        self._raise_error_if_multi_objective(study)
        space = self._independent.infer_relative_search_space(study, trial)
        return {name: distribution for name, distribution in space.items() if not self._is_own(name)}

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """Leave it to the independent sampler."""
        self._raise_error_if_multi_objective(study)
        return self._independent.sample_relative(study, trial, search_space)

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        """Return the trial's learning rate or choice; any other parameter as the independent sampler has it.

        Raises:
            ValueError: when the study has several objectives.
            optuna.TrialPruned: when every search is over, in `study.optimize`.
            GridError: when the objective does not suggest the learning rate as a float, or not the whole range.
            DataError: when the objective does not allow the choice of this trial.
        """
        self._raise_error_if_multi_objective(study)
        if not self._is_own(param_name):
            return self._independent.sample_independent(study, trial, param_name, param_distribution)
        mark = mark_of(study._storage.get_trial(trial._trial_id))
        if param_name == self._name:
            low, high = self._checked_range(param_distribution)
            mark = self._claim(study, trial, mark, self._search(low, high))
            # The distribution has the bounds of its own, perhaps other floats than those of the search.
            return next((bound for bound in (low, high) if is_same(bound, mark["lr"])), mark["lr"])
        if "choices" not in mark:
            mark = self._claim(study, trial, mark, None)
        value = mark["choices"].get(param_name)
        allowed = param_distribution.choices if isinstance(param_distribution, CategoricalDistribution) else ()
        if value not in allowed:
            raise DataError(
                f"{param_name}={value!r} is a choice that the objective does not allow: {param_distribution}"
            )
        return value

    def before_trial(self, study: Study, trial: FrozenTrial) -> None:
        """Note in the storage who runs the trial."""
        self._independent.before_trial(study, trial)
        write_mark(study, trial, {"number": trial.number, "worker": this_worker()})

    def after_trial(self, study: Study, trial: FrozenTrial, state: TrialState, values: Sequence[float] | None) -> None:
        """Note why a trial failed, warn where none has a learning rate, and stop the study when its searches are over.

        Raises:
            GridError: when the objective allows a single learning rate, for which Optuna asks no sampler.
            DataError: when the objective ran another choice than that of the trial.
        """
        if state == TrialState.FAIL:
            note_why_failed(study, trial)
        self._independent.after_trial(study, trial, state, values)
        if len(study.directions) > 1:
            return
        if state == TrialState.COMPLETE:
            self._check_what_ran(trial)
        trials = list(study._storage.get_all_trials(study._study_id, deepcopy=False))
        if state == TrialState.COMPLETE and not self._has_warned:
            self._warn_without_lr(trial, trials)
        ended = trials[trial.number] = copy.copy(trials[trial.number])
        ended.state, ended.values = state, values  # what Optuna stores after this
        if self._is_over(study, trials):
            _stop(study)

    def reseed_rng(self) -> None:
        """Reseed the independent sampler."""
        self._independent.reseed_rng()

    def __repr__(self) -> str:
        return f"{type(self).__name__}(tolerance={self._options['tolerance']!r}, {len(self._combinations)} searches)"

    def _is_own(self, name: str) -> bool:
        return name == self._name or name in self._combinations[0]

    def _search(self, low: float, high: float) -> StudySearch:
        tolerance, schedule, relative = (self._options[name] for name in ("tolerance", "schedule", "relative"))
        options = {name: self._options[name] for name in ("ratio", "start", "max_trials", "noise")}
        search = LearningRateSearch(
            low,
            high,
            tolerance=f"{100 * tolerance}%" if relative else tolerance,
            schedule=schedule,
            options=SearchOptions(extend=False, **options),
        )
        return StudySearch(self._name, self._retries, search.to_dict())

    def _check_options(self) -> None:
        low, high = (
            None if lr is None else check_number(name, lr, above=0, error=GridError)
            for name, lr in zip(("lr_min", "lr_max"), self._range, strict=True)
        )
        start = 1.0
        if self._options["start"] is not None:
            bounds = {"above": 0.0} if low is None else {"at_least": low}
            bounds |= {} if high is None else {"at_most": high}
            start = check_number("start", self._options["start"], **bounds, error=GridError)
        # What is not given will come from the objective; until then any will do that fits the rest.
        some_low = low if low is not None else min(start, start if high is None else high) / 2
        self._search(some_low, high if high is not None else 2 * max(start, some_low))

    def _checked_range(self, distribution: BaseDistribution) -> tuple[float, float]:
        if not isinstance(distribution, FloatDistribution) or distribution.step is not None:
            raise GridError(f"{self._name} must be suggested as a float without a step, got {distribution}")
        if self._range[0] is None and distribution.low <= 0:
            asked = f"suggest_float({self._name!r}, {distribution.low!r}, {distribution.high!r})"
            raise GridError(f"{self._name} must be suggested from a range above 0, or lr_min be given, got {asked}")
        low, high = (
            bound if own is None else float(own)
            for own, bound in zip(self._range, (distribution.low, distribution.high), strict=True)
        )
        if not (distribution.low <= low < high <= distribution.high):
            raise GridError(f"the search goes from {low:g} to {high:g}, the objective allows {distribution}")
        return low, high

    def _warn_without_lr(self, ended: FrozenTrial, trials: Sequence[FrozenTrial]) -> None:
        # An objective may well ask for other parameters in some of its trials; none with a learning rate is a mistake.
        if any(self._name in trial.params for trial in trials):
            return
        self._has_warned = True
        said = f"trial {ended.number} has no parameter {self._name!r} to search, only {list(ended.params)}"
        warnings.warn(f"{said}; {type(self).__name__}(name=...) says which it is", RobustLRWarning, stacklevel=2)

    def _check_what_ran(self, trial: FrozenTrial) -> None:
        # Where a distribution holds one value, Optuna takes that one and asks no sampler.
        mark = mark_of(trial)
        for name, wanted in mark.get("choices", {}).items():
            if trial.params.get(name, wanted) != wanted:
                ran = f"{name}={trial.params[name]!r}"
                raise DataError(f"trial {trial.number} was to run {name}={wanted!r}, and the objective ran {ran}")
        if self._name in trial.params and "lr" not in mark and not is_fixed(trial):
            lr = trial.params[self._name]
            raise GridError(f"{self._name} must be suggested as a range, and the objective allows {lr!r} alone")

    def _claim(
        self, study: Study, trial: FrozenTrial, mark: Mapping[str, Any], search: StudySearch | None
    ) -> Mapping[str, Any]:
        """Choose what a trial tries, once those that began earlier have; note it in the storage and return the note.

        Without a search, that is before the range is known, only the combination is chosen.
        """
        wait, patience = _SHORTEST_WAIT, _Patience()
        while True:
            reap_stale(study, is_dead=is_dead)
            trials = study._storage.get_all_trials(study._study_id, deepcopy=False)
            own = self._open_to(trials[trial.number], mark)
            earlier = (each for each in trials[: trial.number] if self._is_undecided(study, each, own, search))
            first = next(earlier, None)
            if first is not None and patience.is_over(first):
                self._not_waited_for.add(_identity(study, first))
                continue
            if first is None:
                others = [each for each in trials if each.number != trial.number]
                standings = [(choices, self._standing(study, others, choices, search)) for choices in own]
                # The one with the fewest trials; of equals the first.
                standings.sort(key=lambda pair: 0 if pair[1] is None else pair[1].n_trials)
                open_to_more = [pair for pair in standings if pair[1] is None or pair[1].lr is not None]
                if open_to_more:
                    choices, standing = open_to_more[0]
                    lr = None if standing is None else standing.lr
                    noted = write_mark(study, trial, _note(mark, choices, search, lr))
                    rivals = _rivals(study, trial, others, noted)
                    if not rivals:
                        return noted
                    write_mark(study, trial, mark)
                    # Each of them may do this: the first one waits a little, lest they choose the same again.
                    if min(rivals) < trial.number:
                        continue
                elif not any(standing.waits_for_others() for _, standing in standings if standing is not None):
                    break
            time.sleep(wait)
            wait = min(2 * wait, _LONGEST_WAIT)
        if _stop(study):
            raise optuna.TrialPruned("every search is over, or depends on trials that run")
        choices, last = standings[0]
        return write_mark(study, trial, _note(mark, choices, search, None if last is None else last.best_guess))

    def _open_to(self, trial: FrozenTrial, mark: Mapping[str, Any]) -> list[Choices]:
        """Return the combinations that a trial may take: all, except where some of it is chosen already."""
        known = {**values_of(trial), **mark.get("choices", {})}
        matching = [c for c in self._combinations if all(known.get(name, value) == value for name, value in c.items())]
        if not matching and not is_fixed(trial):
            ran = {name: known[name] for name in self._combinations[0] if name in known}
            raise DataError(f"the objective ran {ran}, which is none of the choices of the search")
        # The user has enqueued a combination that is none of ours.
        return matching or [{name: known.get(name, value) for name, value in self._combinations[0].items()}]

    def _is_undecided(
        self, study: Study, trial: FrozenTrial, own: Sequence[Choices], search: StudySearch | None
    ) -> bool:
        """Return whether a trial that began earlier has not chosen yet, and may choose what this one would."""
        if trial.state != TrialState.RUNNING or _identity(study, trial) in self._not_waited_for:
            return False
        choices = choices_of(trial, self._combinations[0])
        worker = mark_of(trial).get("worker")
        if lr_of(trial, self._name) is not None or worker == this_worker():
            return False
        if worker is None and _seconds_since_start(trial) > _PATIENCE:
            return False  # its process was killed before it could say who it is, or it is another sampler's
        return choices is None or (search is not None and choices in own)

    def _standing(
        self, study: Study, trials: Sequence[FrozenTrial], choices: Choices, search: StudySearch | None = None
    ) -> Standing | None:
        """Return where the search for a combination stands; None when its range is not known yet."""
        found = search or latest_search(trials, choices)
        return None if found is None else found.standing(study, trials, choices)

    def _is_over(self, study: Study, trials: Sequence[FrozenTrial]) -> bool:
        standings = (self._standing(study, trials, choices) for choices in self._combinations)
        return all(standing is not None and standing.is_over for standing in standings)


class _Patience:
    """How long the first undecided trial has been that: those after it may be waiting for it, too, and choose then."""

    def __init__(self) -> None:
        self._first, self._since = -1, 0.0

    def is_over(self, first: FrozenTrial) -> bool:
        if first.number != self._first:
            self._first, self._since = first.number, time.monotonic()
        return time.monotonic() - self._since > _PATIENCE


def _combinations(name: str, choices: Mapping[str, Iterable[Any]]) -> tuple[Choices, ...]:
    values = {}
    for axis, given in choices.items():
        listed = [] if isinstance(given, str) else list(given)
        if axis == name or not listed or any(listed.count(value) > 1 for value in listed):
            raise DataError(f"choices must be lists of different values, not of {name!r}, got {axis!r}: {given!r}")
        if not all(value is None or isinstance(value, (bool, int, float, str)) for value in listed):
            raise DataError(f"choices must be None, bool, int, float or str, got {axis!r}: {listed!r}")
        values[axis] = listed
    return tuple(dict(zip(values, combination, strict=True)) for combination in itertools.product(*values.values()))


def _note(mark: Mapping[str, Any], choices: Choices, search: StudySearch | None, lr: float | None) -> dict[str, Any]:
    noted = {**mark, "choices": dict(choices)}
    if search is not None:
        noted |= {"lr": lr, **search.to_mark()}
    return noted


def _rivals(study: Study, trial: FrozenTrial, others: Sequence[FrozenTrial], noted: Mapping[str, Any]) -> set[int]:
    """Return the numbers of the other trials that were given the same learning rate since they were read.

    Of two workers that write their choices and look afterwards, at least one sees the other, and none can tell whether
    the other has seen it. So whoever sees one chooses again, not only the one with the higher number: that may have
    looked before there was anything to see, and train.
    """
    if "lr" not in noted:
        return set()
    now = study._storage.get_all_trials(study._study_id, deepcopy=False)
    return given_the_same(now, noted) - given_the_same(others, noted) - {trial.number}


def _identity(study: Study, trial: FrozenTrial) -> tuple[str, int]:
    return study.study_name, trial._trial_id


def _seconds_since_start(trial: FrozenTrial) -> float:
    return 0.0 if trial.datetime_start is None else (datetime.now() - trial.datetime_start).total_seconds()


def _stop(study: Study) -> bool:
    """Stop the study and return whether that can be: it is being optimised, and not asked and told."""
    try:
        study.stop()
    except RuntimeError:
        return False
    return True
