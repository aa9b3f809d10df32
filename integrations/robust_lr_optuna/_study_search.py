"""A learning-rate search reconstructed from the trials of a study: its state and its result."""

from __future__ import annotations

import math
import warnings
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

from optuna.study import Study, StudyDirection
from optuna.trial import FrozenTrial, TrialState

from robust_lr.exceptions import DataError
from robust_lr.search import LearningRateSearch, SearchResult

from ._outcomes import final_value, why_failed
from ._parameter_values import is_same
from ._trial_attributes import SEARCH, note_of, values_of
from ._workers import in_this_process, this_worker

Choices = Mapping[str, Any]  # one combination: name of a parameter -> value


def search_result(study: Study, choices: Choices | None = None) -> SearchResult:
    """Return the result of a study's search, final or so far: the best learning rate, the bound, why it stopped.

    The learning rate is NaN while no trial has a loss. `stop` is None while the search continues.

    Args:
        study: a study of a `LearningRateSampler`.
        choices: the combination of choices, name -> value; only needed if the study has several searches.

    Raises:
        DataError: if the study holds no search, none for these choices, or several and `choices` is missing.

    Example:
        >>> import math, optuna
        >>> from robust_lr_optuna import LearningRateSampler
        >>> sampler = LearningRateSampler(tolerance=0.01, choices={"optimizer": ["sgd", "adam"]})
        >>> study = optuna.create_study(sampler=sampler)
        >>> def objective(trial):
        ...     best = {"sgd": 0.3, "adam": 0.003}[trial.suggest_categorical("optimizer", ["sgd", "adam"])]
        ...     return 0.03 * math.log(trial.suggest_float("lr", 1e-4, 1.0, log=True) / best) ** 2
        >>> study.optimize(objective)
        >>> [round(search_result(study, {"optimizer": name}).loss, 2) for name in ("sgd", "adam")]
        [0.0, 0.0]
    """
    trials = study._storage.get_all_trials(study._study_id, deepcopy=False)
    known = list[Choices]()
    for note in map(search_note, trials):
        if "search" in note and note["choices"] not in known:
            known.append(note["choices"])
    if not known:
        raise DataError(f"study {study.study_name!r} holds no trial of a LearningRateSampler")
    if choices is None and len(known) > 1:
        raise DataError(f"study {study.study_name!r} holds {len(known)} searches, name one of them: {known}")
    wanted = known[0] if choices is None else choices
    found = latest_search(trials, wanted)
    if found is None:
        raise DataError(f"study {study.study_name!r} holds no search for {dict(wanted)}; it holds {known}")
    result = standing_of(found, study, trials, wanted).search.result
    return replace(result, direction="maximize" if study.direction == StudyDirection.MAXIMIZE else "minimize")


def search_of(study: Study, choices: Choices | None = None) -> SearchResult:
    """Deprecated name of `search_result`."""
    warnings.warn("search_of is now search_result; version 0.3 removes the old name", DeprecationWarning, stacklevel=2)
    return search_result(study, choices)


def search_note(trial: FrozenTrial) -> Mapping[str, Any]:
    """Return the note of a `LearningRateSampler` on a trial: who runs it, and what it tries in which search."""
    return note_of(trial, SEARCH) or {}


def write_search_note(study: Study, trial: FrozenTrial, note: Mapping[str, Any]) -> Mapping[str, Any]:
    study._storage.set_trial_system_attr(trial._trial_id, SEARCH, note)
    return note


def choices_of(trial: FrozenTrial, names: Iterable[str]) -> Choices | None:
    """Return the combination that a trial runs, None if it has not chosen yet, or never will."""
    note, values = search_note(trial), values_of(trial)
    if "choices" in note:
        return dict(note["choices"])
    return {name: values[name] for name in names} if all(name in values for name in names) else None


def lr_of(trial: FrozenTrial, name: str) -> float | None:
    """Return the learning rate that a trial runs, None if it has not chosen yet, or never will."""
    has_ended = trial.state in (TrialState.COMPLETE, TrialState.PRUNED)  # then only what it ran counts
    lr = trial.params.get(name) if has_ended else values_of(trial).get(name, search_note(trial).get("lr"))
    return float(lr) if isinstance(lr, (int, float)) and not isinstance(lr, bool) else None


def rivals_of(study: Study, trial: FrozenTrial, others: Sequence[FrozenTrial], note: Mapping[str, Any]) -> set[int]:
    """Return the numbers of other trials that have made this note's choice since it was read.

    If two workers write their choices and then look, at least one sees the other, and neither knows whether the other
    has seen it. So any worker that sees a rival chooses again, not only the one with the higher number: that one may
    have looked too early, and train already.
    """

    def with_same_choice(trials: Iterable[FrozenTrial]) -> set[int]:
        notes = ((trial.number, search_note(trial)) for trial in trials)
        return {n for n, other in notes if is_same(other.get("lr"), note["lr"]) and other["choices"] == note["choices"]}

    if "lr" not in note:
        return set()
    now = study._storage.get_all_trials(study._study_id, deepcopy=False)
    return with_same_choice(now) - with_same_choice(others) - {trial.number}


def latest_search(trials: Sequence[FrozenTrial], choices: Choices) -> Mapping[str, Any] | None:
    """Return the search for a combination as its last trial noted it, for `standing_of`."""
    notes = (search_note(trial) for trial in reversed(trials))
    return next((note for note in notes if "search" in note and note["choices"] == choices), None)


class Standing(NamedTuple):
    """The state of a search: what to try next, None if nothing, and its unfinished trials."""

    search: LearningRateSearch
    lr: float | None
    running: list[FrozenTrial]

    @property
    def n_trials(self) -> int:
        return len(self.search.result.history) + len(self.running)

    @property
    def best_guess(self) -> float:
        """The best learning rate so far, or else the middle of the range."""
        result = self.search.result
        return math.sqrt(math.prod(result.lr_range)) if math.isnan(result.lr) else result.lr

    def waits_for_others(self) -> list[FrozenTrial]:
        """Return the trials of other threads, processes or machines that the next move depends on.

        Those that somebody asked for by hand in this process may never be told.
        """
        here, others = this_worker(), []
        for trial in [] if self.search.done else self.running:
            worker = search_note(trial).get("worker", here)
            if worker != here and not (search_note(trial).get("asked") and in_this_process(worker)):
                others.append(trial)
        return others


def standing_of(noted: Mapping[str, Any], study: Study, trials: Sequence[FrozenTrial], choices: Choices) -> Standing:
    """Replay a search from its notes: the state before the first trial, the retries, the learning rate's name."""
    sign = -1.0 if study.direction == StudyDirection.MAXIMIZE else 1.0
    blank, max_retries = noted["search"], noted["retries"]
    told, out, running, failures = list[dict[str, Any]](), list[float](), list[FrozenTrial](), Counter[float]()
    for trial, lr in _runs(trials, choices, noted["name"], blank["settings"]):
        if not trial.state.is_finished():
            running.append(trial)
            out += [] if lr is None else [lr]
        elif lr is not None:
            value = final_value(trial)
            if value is not None:
                del failures[lr]
            # Failed trials are retried, interrupted ones without limit, pruned ones never.
            elif why_failed(trial) != "interrupted":
                failures[lr] += 1 if trial.state == TrialState.FAIL else max_retries + 1
            if value is not None or failures[lr] > max_retries:
                loss = sign * value if value is not None and math.isfinite(value) else None
                status = "failed" if value is None else "diverged" if loss is None else "ok"
                told.append({"lr": lr, "loss": loss, "status": status, "foreign": "lr" not in search_note(trial)})
    asked = sorted({*out, *(each["lr"] for each in told)})
    search = LearningRateSearch.from_dict({**blank, "tells": told, "in_flight": out, "asked": asked})
    (lr,) = search.ask() or (None,)
    if lr is not None:
        search.forget(lr)
    return Standing(search, lr, running)


def _runs(
    trials: Sequence[FrozenTrial], choices: Choices, lr_name: str, settings: Mapping[str, Any]
) -> Iterator[tuple[FrozenTrial, float | None]]:
    """The trials of a combination with their learning rates in the range; None for one that has not chosen."""
    low, high = settings["lr_min"], settings["lr_max"]
    for trial in trials:
        if choices_of(trial, choices) == choices:
            lr = lr_of(trial, lr_name)
            if lr is not None:
                lr = next((end for end in (low, high) if is_same(lr, end)), lr)
                if low <= lr <= high:
                    yield trial, lr
            elif choices:
                yield trial, None
