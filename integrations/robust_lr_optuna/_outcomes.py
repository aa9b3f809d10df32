"""How a trial ended, in more detail than Optuna's state: a divergence is a result, an interruption is not."""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState

from robust_lr.exceptions import TrialDiverged

from ._parameter_values import as_number

DIVERGED = "robust_lr:diverged"  # set by a `DivergencePruner`
_WHY = "robust_lr:outcome"


def has_diverged(trial: FrozenTrial) -> bool:
    """Return whether a trial is known to have diverged: by NaN, `TrialDiverged` or a `DivergencePruner`."""
    return why_failed(trial) == "diverged" or trial.system_attrs.get(DIVERGED) is True


def final_value(trial: FrozenTrial, objective: int = 0) -> float | None:
    """Return the value of a finished trial, +inf if it diverged, None if it has none."""
    if trial.state == TrialState.COMPLETE:
        value = float(trial.values[objective])
        return value if math.isfinite(value) else math.inf
    return math.inf if blew_up(trial) else None


def blew_up(trial: FrozenTrial) -> bool:
    """Whether a trial without a value diverged, which includes a last report of NaN or infinity."""
    last = 0.0 if trial.last_step is None else trial.intermediate_values[trial.last_step]
    return has_diverged(trial) or not math.isfinite(last)


def why_failed(trial: FrozenTrial) -> str | None:
    """Return "diverged" or "interrupted" if noted with a failed trial, None if it just failed."""
    why = trial.system_attrs.get(_WHY)
    return None if why is None else str(why)


def note_why_failed(study: Study, trial: FrozenTrial) -> None:
    """Note in the storage why a trial failed, if known; a sampler's `after_trial` calls it."""
    why = _read_off_the_stack()
    if why is not None:
        study._storage.set_trial_system_attr(trial._trial_id, _WHY, why)


def _read_off_the_stack() -> str | None:
    # Optuna does not store the value that it refused or the exception, nor tell samplers. Both are still on
    # the stack: `after_trial` is called by the function that was given them.
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


def metrics_of(trial: FrozenTrial) -> dict[str, float]:
    """Return the metrics that an `OptunaRunner` kept with a trial."""
    kept = trial.user_attrs.get("metrics")
    return numbers_in(kept) if isinstance(kept, Mapping) else {}


def numbers_in(values: Mapping[str, Any]) -> dict[str, float]:
    return {
        name: float(value)
        for name, value in values.items()
        if isinstance(value, (int, float)) and not isinstance(value, bool)
    }


def seconds_of(trial: FrozenTrial) -> float:
    """Return how long a trial ran, NaN if unknown, as for a trial added by hand."""
    seconds = trial.duration.total_seconds() if trial.duration is not None else 0.0
    return seconds if seconds > 0 else math.nan
