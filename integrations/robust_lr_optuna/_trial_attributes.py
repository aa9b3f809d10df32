"""Attributes of trials that the samplers store: who runs which cell. The rest is Optuna's record of a trial's origin.

The keys are those of version 0.1.0, because studies keep them.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from optuna.exceptions import UpdateFinishedTrialError
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState

from robust_lr.exceptions import RobustLRError

from ._cells import Cell
from ._parameter_values import is_same
from ._workers import is_gone, this_worker

CELL, SEARCH, RUN, ENTRY = "robust_lr:cell", "robust_lr:search", "robust_lr:run", "robust_lr:order"
_AXES = ("lr", "schedule", "seed")
_FIXED, _REPEATED = "fixed_params", "failed_trial"  # Optuna's names
# A worker that waits for the lock of a killed one begins up to half a minute after its trial was created.
_TIME_TO_BEGIN = timedelta(seconds=60)


def is_log_entry(trial: FrozenTrial) -> bool:
    """Return whether a trial is no run: version 0.1 noted in such trials (in the state FAIL) how a grid grew."""
    return ENTRY in trial.system_attrs


def cell_of(trial: FrozenTrial) -> Cell | None:
    """Return the cell that a trial ran for a `GeometricGridSampler`, or None for any other trial.

    Its own parameters are the cell's values: a trial that ran something else has no cell.
    """
    claim = claim_of(trial)
    if claim is None:
        return None
    names = names_in(claim, trial)
    if not all(is_same(trial.params.get(name), claim[axis]) for axis, name in names.items()):
        return None
    return Cell(*(claim[axis] for axis in _AXES))


def claim_of(trial: FrozenTrial) -> Mapping[str, Any] | None:
    """Return the note that a worker made before it ran a cell: "lr", "schedule", "seed" and the worker."""
    note = note_of(trial, CELL)
    return note if note is not None and note.get("lr") is not None else None


def names_in(claim: Mapping[str, Any], trial: FrozenTrial) -> dict[str, str]:
    """Return the names (axis -> parameter) under which the objective has a claimed cell's values."""
    if "names" in claim:
        return dict(claim["names"])
    names = {}
    for axis in (axis for axis in _AXES if claim[axis] is not None):  # version 0.1 noted no names
        same = [name for name, value in trial.params.items() if is_same(value, claim[axis])]
        names[axis] = axis if axis in trial.params or not same else same[0]
    return names


def write_claim(study: Study, trial: FrozenTrial, cell: Cell | None, names: Mapping[str, str], **note: Any) -> None:
    """Note the cell of a starting trial and who runs it; None means that it runs no cell.

    Raises:
        RobustLRError: if another worker took this one for dead and failed its trial.
    """
    claim = {"number": trial.number, "worker": this_worker(), **note}
    if cell is not None:
        claim |= {"lr": cell.lr, "schedule": cell.schedule, "seed": cell.seed, "names": dict(names)}
    try:
        study._storage.set_trial_system_attr(trial._trial_id, CELL, claim)
    except UpdateFinishedTrialError:
        raise RobustLRError(
            f"another worker took this one for dead and failed its trial {trial.number}, which had not begun: start "
            "this worker again"
        ) from None
    trial.system_attrs[CELL] = claim


def note_of(trial: FrozenTrial, key: str) -> Mapping[str, Any] | None:
    """Return the note on a trial; a trial that Optuna repeats has inherited the note of another number."""
    note: Mapping[str, Any] | None = trial.system_attrs.get(key)
    return note if note is not None and note.get("number") == trial.number else None


def worker_of(trial: FrozenTrial) -> Mapping[str, Any] | None:
    notes = [note_of(trial, CELL), note_of(trial, SEARCH)]
    if _REPEATED not in trial.system_attrs:
        notes.append(trial.system_attrs.get(RUN))
    return next((note["worker"] for note in notes if note is not None and "worker" in note), None)


def is_dead(trial: FrozenTrial) -> bool:
    """Whether a trial's process ran on this machine and no longer exists."""
    worker = worker_of(trial)
    return worker is not None and is_gone(worker)


def fail_stale_trials(study: Study, *, is_dead: Callable[[FrozenTrial], bool] | None = None) -> list[int]:
    """Fail the trials that no process runs any more, so that they run again; return their numbers.

    Args:
        study: a study that a sampler or runner of this package works on.
        is_dead: tells whether a running trial is dead. By default it is if its process ran on this machine and no
            longer exists, or if nobody noted within a minute that he begins it. For trials of other machines, or if no
            worker is alive at all, pass ``is_dead=lambda trial: True``. A trial that is alive after all would run
            twice.

    Example:
        >>> import optuna
        >>> study = optuna.create_study()
        >>> trials = study.ask(), study.ask()
        >>> fail_stale_trials(study, is_dead=lambda trial: trial.number == 1)
        [1]
    """
    failed = []
    for trial in study._storage.get_all_trials(study._study_id, deepcopy=False, states=(TrialState.RUNNING,)):
        if _is_dead(trial) or _never_began(trial, study) if is_dead is None else is_dead(trial):
            with contextlib.suppress(UpdateFinishedTrialError):  # another worker was faster, or the trial has ended
                study._storage.set_trial_state_values(trial._trial_id, TrialState.FAIL)
                failed.append(trial.number)
    return failed


_is_dead = is_dead


def _never_began(trial: FrozenTrial, study: Study) -> bool:
    """Whether a trial was created a while ago, by a worker of this package that was killed before it could say so."""
    if worker_of(trial) is not None or trial.params or trial.intermediate_values or trial.datetime_start is None:
        return False
    if datetime.now(trial.datetime_start.tzinfo) - trial.datetime_start < _TIME_TO_BEGIN:
        return False
    trials: Sequence[FrozenTrial] = study._storage.get_all_trials(study._study_id, deepcopy=False)
    begun = [other for other in trials if other.params and not is_enqueued(other)]
    return bool(begun) and all(worker_of(other) is not None for other in begun)  # else it may be another tool's


def is_fixed(trial: FrozenTrial) -> bool:
    """Whether parameters of a trial were fixed at its creation: by the user, or by Optuna to repeat a trial."""
    return is_enqueued(trial) or _REPEATED in trial.system_attrs


def is_enqueued(trial: FrozenTrial) -> bool:
    return _FIXED in trial.system_attrs


def fixed_values(trial: FrozenTrial) -> dict[str, Any]:
    return dict(trial.system_attrs.get(_FIXED, {}))


def values_of(trial: FrozenTrial) -> dict[str, Any]:
    """Return the parameters of a trial: those that the objective asked for, and those fixed before."""
    return {**fixed_values(trial), **trial.params}
