"""Learning rate, schedule and seed of a study's trials, whichever tool filled it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from optuna.trial import FrozenTrial

from robust_lr._text import listed
from robust_lr.exceptions import DataError
from robust_lr.readers.runs import DEFAULT_SCHEDULE

from ._assignments import Axes, Cell
from ._parameter_values import is_same
from ._trial_attributes import cell_of, is_log_entry, log_entry_in


class TrialAxes:
    """Reads learning rate, schedule and seed from trials; needs all trials of the study, log entries included.

    Schedule and seed come from the named parameter or user attribute. Without a name they come from the note of a
    `GeometricGridSampler`, or else from the parameter "schedule" or "seed".
    """

    def __init__(
        self,
        trials: Sequence[FrozenTrial],
        *,
        lr_name: str = "lr",
        schedule_name: str | None = None,
        seed_name: str | None = None,
    ) -> None:
        self._cells = cells_of(trials)
        self._lr_name, self._given = lr_name, {"schedule": schedule_name, "seed": seed_name}
        runs = [trial for trial in trials if not is_log_entry(trial)]
        params = sorted({name for trial in runs for name in trial.params})
        if lr_name not in params:
            raise DataError(f"the study has no parameter {lr_name!r}; its parameters are {listed(params) or 'none'}")
        names = sorted({*params, *(name for trial in runs for name in trial.user_attrs)})
        for name in filter(None, self._given.values()):
            if name not in names:
                raise DataError(f"the study has no parameter or user attribute {name!r}; it has {listed(names)}")
        self._names = {axis: given or self._default_name(axis, params) for axis, given in self._given.items()}

    def has_lr(self, trial: FrozenTrial) -> bool:
        """Whether a trial got far enough to have a learning rate."""
        return self._lr_name in trial.params or trial.number in self._cells

    def values_of(self, trial: FrozenTrial) -> dict[str, Any] | str:
        """Return lr, schedule and seed of a trial (seed None in a study without seeds), or why it has none."""
        if not self.has_lr(trial):
            return f"without {self._lr_name!r}"
        lr, cell = trial.params.get(self._lr_name), self._cells.get(trial.number)
        # The cell has the exact value, unless the user names another parameter than the sampler's.
        if cell is not None and (lr is None or is_same(lr, cell.lr)):
            lr = cell.lr
        values: dict[str, Any] = {"lr": lr, "schedule": DEFAULT_SCHEDULE, "seed": None}
        for axis, name in self._names.items():
            if name is not None:
                is_of_cell = cell is not None and self._given[axis] is None
                value = getattr(cell, axis) if is_of_cell else trial.params.get(name, trial.user_attrs.get(name))
                if value is None:
                    return f"without {name!r}"
                values[axis] = value
        return values

    def others(self, trial: FrozenTrial) -> dict[str, Any]:
        """Return the parameters of a trial besides learning rate, schedule and seed."""
        taken, cell = {self._lr_name, *self._names.values()}, self._cells.get(trial.number)
        of_cell = () if cell is None else (cell.schedule, cell.seed)  # perhaps under other names in the objective
        return {name: value for name, value in trial.params.items() if name not in taken and value not in of_cell}

    def _default_name(self, axis: str, params: Sequence[str]) -> str | None:
        if self._cells:
            return axis if any(getattr(cell, axis) is not None for cell in self._cells.values()) else None
        return axis if axis in params else None


def cells_of(trials: Sequence[FrozenTrial]) -> dict[int, Cell]:
    """Return the cells of a study's trials by their numbers, as a `GeometricGridSampler` sees them.

    This includes results that it found in the study. A run from before an axis was added has the axis's first value.
    """
    axes, cells = Axes(), dict[int, Cell]()
    for trial in trials:
        if is_log_entry(trial):
            entry = log_entry_in(trial)
            axes = axes.grown(entry.grow)
            cells.update(entry.found)
        elif (cell := cell_of(trial)) is not None:
            cells[trial.number] = cell
    return {number: axes.labeled(cell) for number, cell in cells.items()}
