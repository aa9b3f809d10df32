"""What a `GeometricGridSampler` writes into a study: entries that hold an order, and with each trial its cell."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState, create_trial

from .work_log import Cell, Order
from .workers import is_gone, this_worker

_ORDER, _CELL = "robust_lr:order", "robust_lr:cell"


def is_order(trial: FrozenTrial) -> bool:
    """Return whether an entry of a study is no trial but a note of the sampler (its state is FAIL)."""
    return _ORDER in trial.system_attrs


def order_in(trial: FrozenTrial) -> Order:
    """Return the order that an entry holds; `is_order` says whether it holds one."""
    return Order.from_json(trial.system_attrs[_ORDER])


def write_order(study: Study, order: Order) -> None:
    """Add an entry that holds an order."""
    entry = create_trial(state=TrialState.FAIL, system_attrs={_ORDER: order.to_json()})
    study._storage.create_new_trial(study._study_id, template_trial=entry)


def cell_of(trial: FrozenTrial) -> Cell | None:
    """Return the cell that a trial ran for a `GeometricGridSampler`, None for any other trial."""
    mark = trial.system_attrs.get(_CELL)
    return None if mark is None else Cell(mark["lr"], mark["schedule"], mark["seed"])


def mark_of(trial: FrozenTrial) -> Mapping[str, Any] | None:
    """Return what was noted when a trial began to run its cell; a trial repeated by Optuna has inherited a mark."""
    mark = trial.system_attrs.get(_CELL)
    return mark if mark is not None and mark.get("number") == trial.number else None


def write_mark(study: Study, trial: FrozenTrial, cell: Cell | None) -> None:
    """Note, with a trial that begins, its cell and who runs it; with None, that it runs nothing after all."""
    mark: dict[str, Any] | None = None
    if cell is not None:
        mark = {"lr": cell.lr, "schedule": cell.schedule, "seed": cell.seed}
        mark |= {"number": trial.number, "worker": this_worker()}
    study._storage.set_trial_system_attr(trial._trial_id, _CELL, mark)
    trial.system_attrs[_CELL] = mark


def is_dead(trial: FrozenTrial) -> bool:
    """Return whether the process that runs the cell of a trial was one of this machine and exists no more."""
    mark = mark_of(trial)
    return mark is not None and is_gone(mark["worker"])
