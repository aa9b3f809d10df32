"""Which learning rate, schedule and seed a trial of a study had, whoever filled the study."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import Any, TypeGuard

from optuna.trial import FrozenTrial

from robust_lr.exceptions import DataError
from robust_lr.readers.runs import DEFAULT_SCHEDULE, label_text, read_lr

from .entries import cell_of, is_order, order_in
from .work_log import SAME, Axes, Cell

_AXES = ("schedule", "seed")


@dataclasses.dataclass(frozen=True)
class Place:
    """Where a trial stands in a sweep; the seed is a text, None in a study without seeds."""

    schedule: str
    lr: float
    seed: str | None


class Places:
    """The places of the trials of a study.

    Args:
        trials: all that the study holds, the orders of a `GeometricGridSampler` too.
        lr: name of the learning rate among the parameters.
        schedule, seed: name of a parameter or user attribute, or None: what the sampler noted, else the parameter with
            the name of the axis, if there is one.

    Raises:
        DataError: when no trial has one of these names.
    """

    def __init__(
        self, trials: Sequence[FrozenTrial], *, lr: str = "lr", schedule: str | None = None, seed: str | None = None
    ) -> None:
        self._cells = cells_of(trials)
        self._trials = [trial for trial in trials if not is_order(trial)]
        self._lr, self._given = lr, {"schedule": schedule, "seed": seed}
        self._check_names()
        self._names = {axis: self._given[axis] or self._name_of(axis) for axis in _AXES}

    def has_lr(self, trial: FrozenTrial) -> bool:
        """Return whether a trial got as far as to have a learning rate."""
        return self._lr in trial.params or trial.number in self._cells

    def of(self, trial: FrozenTrial) -> Place | str:
        """Return the place of a trial, or in words what it lacks.

        Raises:
            DataError: when the learning rate is not a positive number.
        """
        if not self.has_lr(trial):
            return f"without {self._lr!r}"
        found: dict[str, str | None] = {"schedule": DEFAULT_SCHEDULE, "seed": None}
        for axis, name in self._names.items():
            if name is not None:
                value = self._value(axis, name, trial)
                if value is None:
                    return f"without {name!r}"
                found[axis] = label_text(value)
        return Place(str(found["schedule"]), self._lr_of(trial), found["seed"])

    def others(self, trial: FrozenTrial) -> dict[str, Any]:
        """Return the parameters of a trial besides learning rate, schedule and seed."""
        taken, cell = {self._lr, *self._names.values()}, self._cells.get(trial.number)
        of_cell = () if cell is None else (cell.schedule, cell.seed)  # the objective may give them names of its own
        return {name: value for name, value in trial.params.items() if name not in taken and value not in of_cell}

    def _check_names(self) -> None:
        params = sorted({name for trial in self._trials for name in trial.params})
        if self._lr not in params:
            raise DataError(
                f"the study has no parameter {self._lr!r}; its parameters are {', '.join(params) or 'none'}"
            )
        names = sorted({*params, *(name for trial in self._trials for name in trial.user_attrs)})
        for name in filter(None, self._given.values()):
            if name not in names:
                raise DataError(f"the study has no parameter or user attribute {name!r}; it has {', '.join(names)}")

    def _name_of(self, axis: str) -> str | None:
        """The axis as a name, where the study has such an axis."""
        if self._cells:
            return axis if any(getattr(cell, axis) is not None for cell in self._cells.values()) else None
        return axis if any(axis in trial.params for trial in self._trials) else None

    def _value(self, axis: str, name: str, trial: FrozenTrial) -> Any:
        cell = self._cells.get(trial.number)
        if cell is not None and self._given[axis] is None:
            return getattr(cell, axis)
        return trial.params.get(name, trial.user_attrs.get(name))

    def _lr_of(self, trial: FrozenTrial) -> float:
        value, cell = trial.params.get(self._lr), self._cells.get(trial.number)
        # Unless another parameter than the sampler's is asked for, the cell knows the exact value.
        if cell is not None and (value is None or (_is_number(value) and math.isclose(value, cell.lr, rel_tol=SAME))):
            value = cell.lr
        return read_lr(value, f"trial {trial.number}")


def cells_of(trials: Sequence[FrozenTrial]) -> dict[int, Cell]:
    """Return the cells of a study's trials by their numbers, as a `GeometricGridSampler` sees them.

    Results that it found in the study count, and what was done before there was an axis, for the axis's first value.
    """
    axes, cells = Axes(), dict[int, Cell]()
    for trial in trials:
        if is_order(trial):
            order = order_in(trial)
            axes = axes.grown(order.grow)
            cells.update(order.found)
        elif (cell := cell_of(trial)) is not None:
            cells[trial.number] = cell
    return {number: _labelled(cell, axes) for number, cell in cells.items()}


def _labelled(cell: Cell, axes: Axes) -> Cell:
    schedule = axes.schedules[0] if cell.schedule is None and axes.schedules else cell.schedule
    seed = axes.seeds[0] if cell.seed is None and axes.seeds else cell.seed
    return Cell(cell.lr, schedule, seed)


def _is_number(value: object) -> TypeGuard[float]:
    return isinstance(value, (int, float)) and not isinstance(value, bool)
