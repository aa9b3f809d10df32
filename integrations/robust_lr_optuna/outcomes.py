"""How a trial ended, beyond the state that Optuna gives it: a divergence is a result, an interruption is none."""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence

from optuna.study import Study
from optuna.trial import FrozenTrial

from robust_lr import TrialDiverged

from .parameter_values import as_number

DIVERGED = "robust_lr:diverged"  # set by a `DivergencePruner`
_WHY = "robust_lr:outcome"


def has_diverged(trial: FrozenTrial) -> bool:
    """Return whether a trial is known to have diverged: NaN, `TrialDiverged`, or pruned by a `DivergencePruner`."""
    return why_failed(trial) == "diverged" or trial.system_attrs.get(DIVERGED) is True


def blew_up(trial: FrozenTrial) -> bool:
    """Return whether a trial without a value has diverged, or reported NaN or infinity last."""
    last = 0.0 if trial.last_step is None else trial.intermediate_values[trial.last_step]
    return has_diverged(trial) or not math.isfinite(last)


def why_failed(trial: FrozenTrial) -> str | None:
    """Return "diverged" or "interrupted" where that was noted of a failed trial, None where it just failed."""
    why = trial.system_attrs.get(_WHY)
    return None if why is None else str(why)


def note_why_failed(study: Study, trial: FrozenTrial) -> None:
    """Note in the storage why a trial has failed, where that is known; for `after_trial` of a sampler."""
    why = _read_off_the_stack()
    if why is not None:
        study._storage.set_trial_system_attr(trial._trial_id, _WHY, why)


def _read_off_the_stack() -> str | None:
    """Return "diverged" or "interrupted" where that is why the trial being told has failed.

    Optuna keeps neither the value that it refused nor the exception, and samplers are not told them. Both are still
    on the stack: this is called, through `after_trial`, by the function that was given them.
    """
    frame = sys._getframe(1)
    while frame is not None:
        if frame.f_code.co_name in ("_tell_with_warning", "_run_trial"):
            error, value = frame.f_locals.get("func_err"), frame.f_locals.get("value_or_values")
            if isinstance(error, TrialDiverged):
                return "diverged"
            if isinstance(error, KeyboardInterrupt):
                return "interrupted"
            if any(math.isnan(as_number(v) or 0) for v in (value if isinstance(value, Sequence) else [value])):
                return "diverged"
        frame = frame.f_back  # type: ignore[assignment]
    return None
