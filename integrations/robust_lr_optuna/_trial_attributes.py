"""Attributes of trials that the samplers store: log entries, and notes on who runs which cell.

The keys are those of version 0.1.0, because studies keep them. The rest is Optuna's record of a trial's origin.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from typing import Any

from optuna.exceptions import UpdateFinishedTrialError
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState, create_trial

from ._assignments import Cell, LogEntry
from ._workers import is_gone, this_worker

CELL, SEARCH, RUN = "robust_lr:cell", "robust_lr:search", "robust_lr:run"
_ENTRY = "robust_lr:order"
_FIXED, _REPEATED, _HISTORY = "fixed_params", "failed_trial", "retry_history"  # Optuna's names


def is_log_entry(trial: FrozenTrial) -> bool:
    """Return whether a trial is a log entry of a `GeometricGridSampler` (in the state FAIL) and not a run."""
    return _ENTRY in trial.system_attrs


def log_entry_in(trial: FrozenTrial) -> LogEntry:
    return LogEntry.from_json(trial.system_attrs[_ENTRY])


def write_log_entry(study: Study, entry: LogEntry) -> None:
    trial = create_trial(state=TrialState.FAIL, system_attrs={_ENTRY: entry.to_json()})
    study._storage.create_new_trial(study._study_id, template_trial=trial)


def cell_of(trial: FrozenTrial) -> Cell | None:
    """Return the cell that a trial ran for a `GeometricGridSampler`, or None for any other trial."""
    note = trial.system_attrs.get(CELL)
    return None if note is None else Cell(note["lr"], note["schedule"], note["seed"])


def note_of(trial: FrozenTrial, key: str) -> Mapping[str, Any] | None:
    """Return the note on a trial; a trial that Optuna repeats has inherited the note of another number."""
    note: Mapping[str, Any] | None = trial.system_attrs.get(key)
    return note if note is not None and note.get("number") == trial.number else None


def claim_of(trial: FrozenTrial) -> Mapping[str, Any] | None:
    """Return the note that a worker made when it began the trial's cell."""
    return note_of(trial, CELL)


def write_claim(study: Study, trial: FrozenTrial, cell: Cell | None) -> None:
    """Note the cell of a starting trial and who runs it; None means that it runs nothing after all."""
    claim: dict[str, Any] | None = None
    if cell is not None:
        claim = {"lr": cell.lr, "schedule": cell.schedule, "seed": cell.seed}
        claim |= {"number": trial.number, "worker": this_worker()}
    study._storage.set_trial_system_attr(trial._trial_id, CELL, claim)
    trial.system_attrs[CELL] = claim


def is_dead(trial: FrozenTrial) -> bool:
    """Whether a trial's process ran on this machine and no longer exists."""
    notes = [note_of(trial, CELL), note_of(trial, SEARCH)]
    if _REPEATED not in trial.system_attrs:
        notes.append(trial.system_attrs.get(RUN))
    return any(note is not None and "worker" in note and is_gone(note["worker"]) for note in notes)


def fail_stale_trials(study: Study, *, is_dead: Callable[[FrozenTrial], bool] = is_dead) -> list[int]:
    """Fail the trials that no process runs any more, so that they run again; return their numbers.

    Args:
        study: a study that a sampler or runner of this package works on.
        is_dead: tells whether a running trial is dead. By default it is if its process ran on this machine and no
            longer exists. For trials of other machines, or if no worker is alive at all, pass
            ``is_dead=lambda trial: True``. A trial that is alive after all would run twice.

    Example:
        >>> import optuna
        >>> study = optuna.create_study()
        >>> trials = study.ask(), study.ask()
        >>> fail_stale_trials(study, is_dead=lambda trial: trial.number == 1)
        [1]
    """
    failed = []
    for trial in study._storage.get_all_trials(study._study_id, deepcopy=False, states=(TrialState.RUNNING,)):
        if is_dead(trial):
            with contextlib.suppress(UpdateFinishedTrialError):  # another worker was faster, or the trial has ended
                study._storage.set_trial_state_values(trial._trial_id, TrialState.FAIL)
                failed.append(trial.number)
    return failed


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


def repeated_by(trial: FrozenTrial) -> int | None:
    """Return the number of the trial that this one repeats for Optuna."""
    if _REPEATED not in trial.system_attrs:
        return None
    return int(trial.system_attrs.get(_HISTORY, [trial.system_attrs[_REPEATED]])[-1])
