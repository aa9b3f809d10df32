"""A sampler that searches for the learning rate and stops the study when it is found; its only state is the study."""

from __future__ import annotations

import copy
import itertools
import math
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution
from optuna.samplers import BaseSampler, RandomSampler
from optuna.study import Study, StudyDirection
from optuna.trial import FrozenTrial, TrialState

from robust_lr import DataError, GridError, Schedule
from robust_lr.checks import check_number, check_whole
from robust_lr.search import LearningRateSearch, SearchResult

from .sampler import _OUTCOME, _is_fixed, _is_same, _why_failed, has_diverged, reap_stale
from .workers import is_gone, this_worker

_MARK = "robust_lr:search"
_SHORTEST_WAIT, _LONGEST_WAIT = 0.01, 1.0  # seconds between two looks at the storage
_PATIENCE = 5.0  # seconds that a trial which began before this one has to choose first
_MOST_GIVEN_UP = 3
Choices = Mapping[str, Any]


class LearningRateSampler(BaseSampler):
    """Searches for the best learning rate of a study, and stops `study.optimize` when it is within the tolerance.

    The objective stays as it is: it asks for ``trial.suggest_float("lr", 1e-4, 1.0, log=True)``, and where there are
    `choices` for ``trial.suggest_categorical("optimizer", ["sgd", "adam"])``, before or after it. Each combination of
    choices has a search of its own (`robust_lr.search.LearningRateSearch`), and those with the fewest trials come
    first. Every other parameter comes from `independent_sampler`, and the search takes what it does to the loss for
    noise. `search_of` reads what the study knows.

    All there is to know is in the storage, so that a study goes on where it was left, and any number of threads,
    processes and machines may work on it. A trial's learning rate is what the search asks for when it knows what has
    finished, and has in flight what has not; a trial that began earlier chooses first. A worker waits while all depends
    on trials that others run.

    Infinity, NaN, `TrialDiverged` and what a `DivergencePruner` stopped are runs that diverged. A trial that failed is
    run again, up to `retries` times; so is one whose process on this machine was killed (for other machines there is
    `reap_stale`). A learning rate that failed too often, or that another pruner stopped, gives no loss, and is given
    up; after three of these the search is. Trials that were enqueued or added, or that another sampler made, count
    where their learning rate is in the range.

    The range is never extended, since Optuna allows no value outside of a distribution; `search_of(study).edge` says
    whether the best lies on an end. Where a trial is begun after the end: `study.optimize` prunes it and stops;
    with ask and tell it is given the best learning rate once more, and nothing is raised.

    Args:
        lr_min: the smallest learning rate, > 0; by default that of the objective's distribution.
        lr_max: the largest, > lr_min; by default that of the distribution.
        tolerance: by how much the loss may exceed the least in the range, > 0; a loss, or a share of the best loss.
        name: name of the learning rate in the objective.
        choices: categorical parameters of the objective: name -> values. A search is run for each combination.
        independent_sampler: samples the other parameters; by default at random.
        retries: how often a failed trial is run again, >= 0.
        schedule, ratio, start, max_trials, relative, noise: those of `LearningRateSearch`; `max_trials` is for each
            combination.

    Raises:
        GridError: when the range, the ratio or the start is none.
        ScheduleError: when the schedule is none.
        DataError: when another option is not what is described here.

    Example:
        >>> import optuna
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

    def is_done(self, study: Study) -> bool:
        """Return whether every search of the study is over: ``while not sampler.is_done(study): trial = study.ask()``.

        A trial that is still running can open a search again when it ends.
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
            optuna.TrialPruned: when the study is being optimised and every search is over.
            GridError: when the objective's distribution of the learning rate does not fit.
            DataError: when the objective does not allow a choice.
        """
        self._raise_error_if_multi_objective(study)
        if not self._is_own(param_name):
            return self._independent.sample_independent(study, trial, param_name, param_distribution)
        mark = _mark_of(study._storage.get_trial(trial._trial_id))
        if param_name == self._name:
            low, high = self._checked_range(param_distribution)
            mark = self._claim(study, trial, mark, self._search(low, high))
            # The distribution has the bounds of its own, perhaps other floats than those of the search.
            return next((bound for bound in (low, high) if _is_same(bound, mark["lr"])), mark["lr"])
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
        _write(study, trial, {"number": trial.number, "worker": this_worker()})

    def after_trial(self, study: Study, trial: FrozenTrial, state: TrialState, values: Sequence[float] | None) -> None:
        """Note why a trial failed, and stop the study when its searches are over.

        Raises:
            GridError: when the objective ran another learning rate than that of the search.
            DataError: when it ran another choice.
        """
        if state == TrialState.FAIL and (outcome := _why_failed()) is not None:
            study._storage.set_trial_system_attr(trial._trial_id, _OUTCOME, outcome)
        self._independent.after_trial(study, trial, state, values)
        if len(study.directions) > 1:
            return
        if state == TrialState.COMPLETE:
            self._check_what_ran(trial)
        trials = list(study._storage.get_all_trials(study._study_id, deepcopy=False))
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

    def _search(self, low: float, high: float) -> _Search:
        search = LearningRateSearch(low, high, extend=False, **self._options)
        return _Search(self._name, self._retries, search.to_dict())

    def _check_options(self) -> None:
        low, high = (
            None if lr is None else check_number(name, lr, above=0, error=GridError)
            for name, lr in zip(("lr_min", "lr_max"), self._range, strict=True)
        )
        start = self._options["start"]
        start = 1.0 if start is None else check_number("start", start, above=0, error=GridError)
        # What is not given will come from the objective; until then any will do that fits the rest.
        some_low = low if low is not None else min(start, start if high is None else high) / 2
        self._search(some_low, high if high is not None else 2 * max(start, some_low))

    def _checked_range(self, distribution: BaseDistribution) -> tuple[float, float]:
        if not isinstance(distribution, FloatDistribution) or distribution.step is not None:
            raise GridError(f"{self._name} must be suggested as a float without a step, got {distribution}")
        low, high = (
            bound if own is None else float(own)
            for own, bound in zip(self._range, (distribution.low, distribution.high), strict=True)
        )
        if not (distribution.low <= low < high <= distribution.high):
            raise GridError(f"the search goes from {low:g} to {high:g}, the objective allows {distribution}")
        return low, high

    def _check_what_ran(self, trial: FrozenTrial) -> None:
        # Where a distribution holds one value, Optuna takes that one and asks no sampler.
        mark = _mark_of(trial)
        for name, wanted in mark.get("choices", {}).items():
            if trial.params.get(name, wanted) != wanted:
                ran = f"{name}={trial.params[name]!r}"
                raise DataError(f"trial {trial.number} was to run {name}={wanted!r}, and the objective ran {ran}")
        if self._name in trial.params and "lr" not in mark and not _is_fixed(trial):
            lr = trial.params[self._name]
            raise GridError(f"{self._name} must be suggested as a range, and the objective allows {lr!r} alone")

    def _claim(
        self, study: Study, trial: FrozenTrial, mark: Mapping[str, Any], search: _Search | None
    ) -> Mapping[str, Any]:
        """Choose what a trial tries, once those that began earlier have; note it in the storage and return the note.

        Without a search, that is before the range is known, only the combination is chosen.
        """
        wait, begun = _SHORTEST_WAIT, time.monotonic()
        while True:
            reap_stale(study, is_dead=_is_dead)
            trials = study._storage.get_all_trials(study._study_id, deepcopy=False)
            own = self._open_to(trials[trial.number], mark)
            undecided = [each for each in trials[: trial.number] if self._is_undecided(study, each, own, search)]
            if undecided and time.monotonic() - begun > _PATIENCE:
                self._not_waited_for |= {_identity(study, each) for each in undecided}
                undecided = []
            if not undecided:
                others = [each for each in trials if each.number != trial.number]
                standings = [(choices, self._standing(study, others, choices, search)) for choices in own]
                # The one with the fewest trials; of equals the first.
                standings.sort(key=lambda pair: 0 if pair[1] is None else pair[1].n_trials)
                for choices, standing in standings:
                    if standing is None or standing.lr is not None:
                        lr = None if standing is None else standing.lr
                        return _write(study, trial, _note(mark, choices, search, lr))
                if not any(standing.waits_for_others() for _, standing in standings if standing is not None):
                    break
            time.sleep(wait)
            wait = min(2 * wait, _LONGEST_WAIT)
        if _stop(study):
            raise optuna.TrialPruned("every search is over, or depends on trials that run")
        choices, last = standings[0]
        return _write(study, trial, _note(mark, choices, search, None if last is None else last.best_guess))

    def _open_to(self, trial: FrozenTrial, mark: Mapping[str, Any]) -> list[Choices]:
        """Return the combinations that a trial may take: all, except where some of it is chosen already."""
        known = {**_values_of(trial), **mark.get("choices", {})}
        matching = [c for c in self._combinations if all(known.get(name, value) == value for name, value in c.items())]
        if not matching and not _is_fixed(trial):
            ran = {name: known[name] for name in self._combinations[0] if name in known}
            raise DataError(f"the objective ran {ran}, which is none of the choices of the search")
        # The user has enqueued a combination that is none of ours.
        return matching or [{name: known.get(name, value) for name, value in self._combinations[0].items()}]

    def _is_undecided(self, study: Study, trial: FrozenTrial, own: Sequence[Choices], search: _Search | None) -> bool:
        """Return whether a trial that began earlier has not chosen yet, and may choose what this one would."""
        if trial.state != TrialState.RUNNING or _identity(study, trial) in self._not_waited_for:
            return False
        choices = _choices_of(trial, self._combinations[0])
        if _lr_of(trial, self._name) is not None or _mark_of(trial).get("worker") == this_worker():
            return False
        return choices is None or (search is not None and choices in own)

    def _standing(
        self, study: Study, trials: Sequence[FrozenTrial], choices: Choices, search: _Search | None = None
    ) -> _Standing | None:
        """Return where the search for a combination stands; None when its range is not known yet."""
        found = search or _latest_search(trials, choices)
        return None if found is None else found.standing(study, trials, choices)

    def _is_over(self, study: Study, trials: Sequence[FrozenTrial]) -> bool:
        standings = (self._standing(study, trials, choices) for choices in self._combinations)
        return all(standing is not None and standing.is_over for standing in standings)


def search_of(study: Study, choices: Choices | None = None) -> SearchResult:
    """Return what a study's search knows, at any time: the best learning rate, the bound, why it stopped.

    The reason is that of the search; or that learning rates gave no loss, where these are why it ended.

    Args:
        study: a study that a `LearningRateSampler` works on or has worked on.
        choices: the combination, as name -> value; may be left out where the study has one search.

    Raises:
        DataError: when the study holds no such search, or several and none is named.

    Example:
        >>> import optuna
        >>> sampler = LearningRateSampler(tolerance=0.01, choices={"optimizer": ["sgd", "adam"]})
        >>> study = optuna.create_study(sampler=sampler)
        >>> def objective(trial):
        ...     best = {"sgd": 0.3, "adam": 0.003}[trial.suggest_categorical("optimizer", ["sgd", "adam"])]
        ...     return 0.03 * math.log(trial.suggest_float("lr", 1e-4, 1.0, log=True) / best) ** 2
        >>> study.optimize(objective)
        >>> [round(search_of(study, {"optimizer": name}).loss, 2) for name in ("sgd", "adam")]
        [0.0, 0.0]
    """
    trials = study._storage.get_all_trials(study._study_id, deepcopy=False)
    known = list[Choices]()
    for trial in trials:
        mark = _mark_of(trial)
        if "search" in mark and mark["choices"] not in known:
            known.append(mark["choices"])
    if not known:
        raise DataError(f"study {study.study_name!r} holds no trial of a LearningRateSampler")
    if choices is None and len(known) > 1:
        raise DataError(f"study {study.study_name!r} holds {len(known)} searches, name one of them: {known}")
    wanted = known[0] if choices is None else choices
    found = _latest_search(trials, wanted)
    if found is None:
        raise DataError(f"study {study.study_name!r} holds no search for {dict(wanted)}; it holds {known}")
    return found.standing(study, trials, wanted).result


@dataclass(frozen=True)
class _Standing:
    """Where a search stands.

    Args:
        search: after what its trials told.
        lr: what to try next; None when there is nothing, now or at all.
        running: its trials that have not finished.
        given_up: the learning rates that give no loss.
    """

    search: LearningRateSearch
    lr: float | None
    running: tuple[FrozenTrial, ...]
    given_up: tuple[float, ...]

    @property
    def n_trials(self) -> int:
        """How many trials have told or run."""
        return len(self.search.result.history) + len(self.running)

    @property
    def is_over(self) -> bool:
        """Whether nothing is to be tried any more."""
        return self.search.done or (self.lr is None and (not self.running or len(self.given_up) >= _MOST_GIVEN_UP))

    @property
    def best_guess(self) -> float:
        """The best learning rate that is known, or else the middle of the range."""
        low, high = self.result.lr_range
        return math.sqrt(low * high) if math.isnan(self.result.lr) else self.result.lr

    @property
    def result(self) -> SearchResult:
        """What is known."""
        result = self.search.result
        if result.reason or not (self.given_up and self.is_over):
            return result
        return replace(
            result, reason=f"failures: without a loss are lr={', '.join(map('{:.4g}'.format, self.given_up))}"
        )

    def waits_for_others(self) -> bool:
        """Return whether what comes next depends on trials of other threads, processes or machines."""
        here = this_worker()
        return not self.is_over and any(_mark_of(trial).get("worker", here) != here for trial in self.running)


@dataclass(frozen=True)
class _Search:
    """A search as it is noted with each of its trials.

    Args:
        name: name of the learning rate.
        retries: how often a trial that failed is run again.
        blank: the state of the search before its first trial.
    """

    name: str
    retries: int
    blank: Mapping[str, Any]

    def standing(self, study: Study, trials: Sequence[FrozenTrial], choices: Choices) -> _Standing:
        """Return where this search stands after these trials."""
        sign = -1.0 if study.direction == StudyDirection.MAXIMIZE else 1.0
        tells, out, running, failures = list[dict[str, Any]](), list[float](), list[FrozenTrial](), Counter[float]()
        for trial, lr in self._runs(trials, choices):
            loss = _loss(trial, sign)
            if not trial.state.is_finished():
                running.append(trial)
                out += [] if lr is None else [lr]
            elif lr is not None and loss is not None:
                is_ok, foreign = math.isfinite(loss), "lr" not in _mark_of(trial)
                status = "ok" if is_ok else "diverged"
                tells.append({"lr": lr, "loss": loss if is_ok else None, "status": status, "foreign": foreign})
            elif lr is not None and trial.system_attrs.get(_OUTCOME) != "interrupted":
                failures[lr] += 1 if trial.state == TrialState.FAIL else self.retries + 1
        told = {tell["lr"] for tell in tells}
        given_up = tuple(sorted(lr for lr, n in failures.items() if n > self.retries and lr not in told))
        # What is given up stays in flight for ever, so that the search goes round it.
        in_flight = [*out, *(lr for lr in given_up if lr not in out)]
        seen = {"tells": tells, "in_flight": in_flight, "asked": sorted({*told, *in_flight})}
        search = LearningRateSearch.from_dict({**self.blank, **seen})
        asked = [] if len(given_up) >= _MOST_GIVEN_UP else search.ask()
        return _Standing(search, asked[0] if asked else None, tuple(running), given_up)

    def _runs(self, trials: Sequence[FrozenTrial], choices: Choices) -> Iterator[tuple[FrozenTrial, float | None]]:
        """The trials of a combination with their learning rates in the range; None for one that has not chosen."""
        low, high = self.blank["settings"]["lr_min"], self.blank["settings"]["lr_max"]
        for trial in trials:
            if _choices_of(trial, choices) != choices:
                continue
            lr = _lr_of(trial, self.name)
            if lr is None:
                if choices:
                    yield trial, None
                continue
            lr = next((end for end in (low, high) if _is_same(lr, end)), lr)
            if low <= lr <= high:
                yield trial, lr


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


def _note(mark: Mapping[str, Any], choices: Choices, search: _Search | None, lr: float | None) -> dict[str, Any]:
    noted = {**mark, "choices": dict(choices)}
    if search is not None:
        noted |= {"lr": lr, "name": search.name, "retries": search.retries, "search": search.blank}
    return noted


def _write(study: Study, trial: FrozenTrial, mark: Mapping[str, Any]) -> Mapping[str, Any]:
    study._storage.set_trial_system_attr(trial._trial_id, _MARK, mark)
    return mark


def _mark_of(trial: FrozenTrial) -> Mapping[str, Any]:
    """Return what was noted of a trial, empty where nothing was; a trial repeated by Optuna has inherited a mark."""
    mark = trial.system_attrs.get(_MARK, {})
    return mark if mark.get("number") == trial.number else {}


def _latest_search(trials: Sequence[FrozenTrial], choices: Choices) -> _Search | None:
    """Return the search for a combination as its last trial noted it."""
    for trial in reversed(trials):
        mark = _mark_of(trial)
        if "search" in mark and mark["choices"] == choices:
            return _Search(mark["name"], mark["retries"], mark["search"])
    return None


def _identity(study: Study, trial: FrozenTrial) -> tuple[str, int]:
    return study.study_name, trial._trial_id


def _is_dead(trial: FrozenTrial) -> bool:
    mark = _mark_of(trial)
    return "worker" in mark and is_gone(mark["worker"])


def _values_of(trial: FrozenTrial) -> dict[str, Any]:
    return {**trial.system_attrs.get("fixed_params", {}), **trial.params}


def _choices_of(trial: FrozenTrial, names: Iterable[str]) -> Choices | None:
    """Return what a trial chose, None where it has not yet, or never does."""
    mark, values = _mark_of(trial), _values_of(trial)
    if "choices" in mark:
        return dict(mark["choices"])
    return {name: values[name] for name in names} if all(name in values for name in names) else None


def _lr_of(trial: FrozenTrial, name: str) -> float | None:
    lr = _values_of(trial).get(name, _mark_of(trial).get("lr"))
    return float(lr) if isinstance(lr, (int, float)) and not isinstance(lr, bool) else None


def _loss(trial: FrozenTrial, sign: float) -> float | None:
    """Return the loss of a trial, +inf where it diverged, None where it has none."""
    if trial.state == TrialState.COMPLETE:
        value = sign * trial.values[0]
        return value if math.isfinite(value) else math.inf
    last = 0.0 if trial.last_step is None else trial.intermediate_values[trial.last_step]
    return math.inf if has_diverged(trial) or not math.isfinite(last) else None


def _stop(study: Study) -> bool:
    """Stop the study and return whether that can be: it is being optimised, and not asked and told."""
    try:
        study.stop()
    except RuntimeError:
        return False
    return True
