"""A search for a learning rate as the trials of a study tell it: where it stands, and what it knows."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from optuna.study import Study, StudyDirection
from optuna.trial import FrozenTrial, TrialState

from robust_lr.exceptions import DataError
from robust_lr.search import LearningRateSearch, SearchResult

from .outcomes import blew_up, why_failed
from .parameter_values import is_same
from .search_marks import Choices, choices_of, lr_of, mark_of
from .workers import this_worker

_MOST_GIVEN_UP = 3


def search_of(study: Study, choices: Choices | None = None) -> SearchResult:
    """Return what the search of a study knows, at any time: the best learning rate, the bound, why it stopped.

    The learning rate is NaN as long as no trial has a loss. `stop` is None as long as the search goes on, and
    "failures" where it ended because too many learning rates gave no loss.

    Args:
        study: a study that a `LearningRateSampler` works on or has worked on.
        choices: the combination of choices, name -> value; needed only where the study has several searches.

    Raises:
        DataError: when the study holds no search, none for these choices, or several and `choices` was left out.

    Example:
        >>> import math, optuna
        >>> from robust_lr_optuna import LearningRateSampler
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
        mark = mark_of(trial)
        if "search" in mark and mark["choices"] not in known:
            known.append(mark["choices"])
    if not known:
        raise DataError(f"study {study.study_name!r} holds no trial of a LearningRateSampler")
    if choices is None and len(known) > 1:
        raise DataError(f"study {study.study_name!r} holds {len(known)} searches, name one of them: {known}")
    wanted = known[0] if choices is None else choices
    found = latest_search(trials, wanted)
    if found is None:
        raise DataError(f"study {study.study_name!r} holds no search for {dict(wanted)}; it holds {known}")
    return found.standing(study, trials, wanted).result


def latest_search(trials: Sequence[FrozenTrial], choices: Choices) -> StudySearch | None:
    """Return the search for a combination as the last of its trials noted it, None where none has."""
    for trial in reversed(trials):
        mark = mark_of(trial)
        if "search" in mark and mark["choices"] == choices:
            return StudySearch.from_mark(mark)
    return None


@dataclass(frozen=True)
class Standing:
    """Where a search stands.

    Args:
        search: after what its trials told.
        lr: what to try next; None when there is nothing, now or at all.
        running: its trials that have not finished.
        given_up: the learning rates that give no loss, or no further one.
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
        if result.stop is not None or not (self.given_up and self.is_over):
            return result
        lrs = ", ".join(map("{:.4g}".format, self.given_up))
        return replace(result, stop="failures", reason=f"trials end without a loss at lr={lrs}")

    def waits_for_others(self) -> bool:
        """Return whether what comes next depends on trials of other threads, processes or machines."""
        here = this_worker()
        return not self.is_over and any(mark_of(trial).get("worker", here) != here for trial in self.running)


@dataclass(frozen=True)
class StudySearch:
    """A search as it is noted with each of its trials.

    Args:
        name: name of the learning rate.
        retries: how often a trial that failed is run again.
        blank: the state of the search before its first trial.
    """

    name: str
    retries: int
    blank: Mapping[str, Any]

    def to_mark(self) -> dict[str, Any]:
        """Return what is noted of it with a trial."""
        return {"name": self.name, "retries": self.retries, "search": self.blank}

    @classmethod
    def from_mark(cls, mark: Mapping[str, Any]) -> StudySearch:
        """Return the search of which `to_mark` was noted."""
        return cls(mark["name"], mark["retries"], mark["search"])

    def standing(self, study: Study, trials: Sequence[FrozenTrial], choices: Choices) -> Standing:
        """Return where this search stands after these trials."""
        sign = -1.0 if study.direction == StudyDirection.MAXIMIZE else 1.0
        tells, out, running, failures = list[dict[str, Any]](), list[float](), list[FrozenTrial](), Counter[float]()
        for trial, lr in self._runs(trials, choices):
            loss = _loss(trial, sign)
            if not trial.state.is_finished():
                running.append(trial)
                out += [] if lr is None else [lr]
            elif lr is not None and loss is not None:
                is_ok, foreign = math.isfinite(loss), "lr" not in mark_of(trial)
                status = "ok" if is_ok else "diverged"
                tells.append({"lr": lr, "loss": loss if is_ok else None, "status": status, "foreign": foreign})
                failures.pop(lr, None)
            elif lr is not None and why_failed(trial) != "interrupted":
                failures[lr] += 1 if trial.state == TrialState.FAIL else self.retries + 1
        told = {tell["lr"] for tell in tells}
        given_up = tuple(sorted(lr for lr, n in failures.items() if n > self.retries))
        # What is given up stays in flight for ever, so that the search goes round it.
        in_flight = [*out, *(lr for lr in given_up if lr not in out)]
        seen = {"tells": tells, "in_flight": in_flight, "asked": sorted({*told, *in_flight})}
        search = LearningRateSearch.from_dict({**self.blank, **seen})
        asked = [] if len(given_up) >= _MOST_GIVEN_UP else search.ask()
        return Standing(search, asked[0] if asked else None, tuple(running), given_up)

    def _runs(self, trials: Sequence[FrozenTrial], choices: Choices) -> Iterator[tuple[FrozenTrial, float | None]]:
        """The trials of a combination with their learning rates in the range; None for one that has not chosen."""
        low, high = self.blank["settings"]["lr_min"], self.blank["settings"]["lr_max"]
        for trial in trials:
            if choices_of(trial, choices) != choices:
                continue
            lr = lr_of(trial, self.name)
            if lr is None:
                if choices:
                    yield trial, None
                continue
            lr = next((end for end in (low, high) if is_same(lr, end)), lr)
            if low <= lr <= high:
                yield trial, lr


def _loss(trial: FrozenTrial, sign: float) -> float | None:
    """Return the loss of a trial, +inf where it diverged, None where it has none."""
    if trial.state == TrialState.COMPLETE:
        value = sign * trial.values[0]
        return value if math.isfinite(value) else math.inf
    return math.inf if blew_up(trial) else None
