"""Trials whose parameters were fixed by whoever made them: the user, who enqueued them, or Optuna, to repeat one."""

from __future__ import annotations

from typing import Any

from optuna.trial import FrozenTrial

_FIXED, _REPEATED, _HISTORY = "fixed_params", "failed_trial", "retry_history"  # names of Optuna's


def is_fixed(trial: FrozenTrial) -> bool:
    """Return whether the parameters of a trial were fixed by whoever made it: the user, or Optuna to repeat one."""
    return is_enqueued(trial) or _REPEATED in trial.system_attrs


def is_enqueued(trial: FrozenTrial) -> bool:
    """Return whether a trial came with parameters that its maker chose, perhaps not all of them."""
    return _FIXED in trial.system_attrs


def fixed_values(trial: FrozenTrial) -> dict[str, Any]:
    """Return the parameters that the maker of a trial chose: name -> value, whether they were asked for yet or not."""
    return dict(trial.system_attrs.get(_FIXED, {}))


def repeated_by(trial: FrozenTrial) -> int | None:
    """Return the number of the trial that Optuna repeats by this one."""
    if _REPEATED not in trial.system_attrs:
        return None
    return int(trial.system_attrs.get(_HISTORY, [trial.system_attrs[_REPEATED]])[-1])


def values_of(trial: FrozenTrial) -> dict[str, Any]:
    """Return the parameters of a trial: those that were asked for, and those that its maker chose."""
    return {**fixed_values(trial), **trial.params}
