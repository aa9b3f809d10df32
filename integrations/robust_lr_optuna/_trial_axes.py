"""Learning rate, schedule and seed of a study's trials, whichever tool filled it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from optuna.trial import FrozenTrial

from robust_lr._text import listed
from robust_lr.exceptions import DataError
from robust_lr.readers.runs import DEFAULT_SCHEDULE

from ._trial_attributes import claim_of, is_log_entry, names_in


class TrialAxes:
    """Reads learning rate, schedule and seed from trials, always from what the objective asked for.

    Schedule and seed are the named parameter or user attribute. Without a name they are the axes of the study's
    `GeometricGridSampler`, whatever the objective calls them, or else the parameter "schedule" or "seed".
    """

    def __init__(
        self,
        trials: Sequence[FrozenTrial],
        *,
        lr_name: str = "lr",
        schedule_name: str | None = None,
        seed_name: str | None = None,
    ) -> None:
        runs = [trial for trial in trials if not is_log_entry(trial)]
        params = sorted({name for trial in runs for name in trial.params})
        if lr_name not in params:
            raise DataError(f"the study has no parameter {lr_name!r}; its parameters are {listed(params) or 'none'}")
        names = sorted({*params, *(name for trial in runs for name in trial.user_attrs)})
        given = {"schedule": schedule_name, "seed": seed_name}
        for name in filter(None, given.values()):
            if name not in names:
                raise DataError(f"the study has no parameter or user attribute {name!r}; it has {listed(names)}")
        claimed = [names_in(claim, trial) for trial in runs if (claim := claim_of(trial)) is not None]
        of_sampler = {axis: name for each in claimed for axis, name in each.items() if name in params}
        by_default = of_sampler if claimed else {axis: axis for axis in given if axis in params}
        self._lr_name = lr_name
        self._names = {axis: name or by_default.get(axis) for axis, name in given.items()}

    def has_lr(self, trial: FrozenTrial) -> bool:
        """Whether a trial got far enough to have a learning rate."""
        return self._lr_name in trial.params

    def values_of(self, trial: FrozenTrial) -> dict[str, Any] | str:
        """Return lr, schedule and seed of a trial (seed None in a study without seeds), or why it has none."""
        values: dict[str, Any] = {"lr": trial.params.get(self._lr_name), "schedule": DEFAULT_SCHEDULE, "seed": None}
        for axis, name in {"lr": self._lr_name, **self._names}.items():
            if name is not None:
                values[axis] = trial.params.get(name, trial.user_attrs.get(name) if axis != "lr" else None)
                if values[axis] is None:
                    return f"without {name!r}"
        return values

    def others(self, trial: FrozenTrial) -> dict[str, Any]:
        """Return the parameters of a trial besides learning rate, schedule and seed."""
        taken = {self._lr_name, *self._names.values()}
        return {name: value for name, value in trial.params.items() if name not in taken}
