"""What a `LearningRateSampler` notes with each trial: who runs it, and what it was given to try, by which search."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from optuna.study import Study
from optuna.trial import FrozenTrial

from .fixed_trials import values_of
from .parameter_values import is_same
from .workers import is_gone

Choices = Mapping[str, Any]  # one combination: name of a parameter -> value
_MARK = "robust_lr:search"


def mark_of(trial: FrozenTrial) -> Mapping[str, Any]:
    """Return what was noted of a trial, empty where nothing was; a trial repeated by Optuna has inherited a mark."""
    mark = trial.system_attrs.get(_MARK, {})
    return mark if mark.get("number") == trial.number else {}


def write_mark(study: Study, trial: FrozenTrial, mark: Mapping[str, Any]) -> Mapping[str, Any]:
    """Note it with a trial, and return it."""
    study._storage.set_trial_system_attr(trial._trial_id, _MARK, mark)
    return mark


def is_dead(trial: FrozenTrial) -> bool:
    """Return whether the process that runs a trial was one of this machine and exists no more."""
    mark = mark_of(trial)
    return "worker" in mark and is_gone(mark["worker"])


def choices_of(trial: FrozenTrial, names: Iterable[str]) -> Choices | None:
    """Return the combination that a trial runs, None where it has not chosen yet, or never does."""
    mark, values = mark_of(trial), values_of(trial)
    if "choices" in mark:
        return dict(mark["choices"])
    return {name: values[name] for name in names} if all(name in values for name in names) else None


def lr_of(trial: FrozenTrial, name: str) -> float | None:
    """Return the learning rate that a trial runs, None where it has not chosen yet, or never does."""
    lr = values_of(trial).get(name, mark_of(trial).get("lr"))
    return float(lr) if isinstance(lr, (int, float)) and not isinstance(lr, bool) else None


def given_the_same(trials: Iterable[FrozenTrial], mark: Mapping[str, Any]) -> set[int]:
    """Return the numbers of the trials with a note of the combination and the learning rate that are in this one."""
    notes = ((trial.number, mark_of(trial)) for trial in trials)
    return {
        number
        for number, other in notes
        if is_same(other.get("lr"), mark["lr"]) and other["choices"] == mark["choices"]
    }
