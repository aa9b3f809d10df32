"""The axes that `GeometricGridSampler.extend` and its like added to a study, for every worker to see."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import asdict

from optuna.study import Study
from optuna.trial import FrozenTrial

from ._cells import Axes
from ._trial_attributes import ENTRY, is_log_entry

_KEY = "robust_lr:growth:"
_OLD = f"{_KEY}0.1"  # its value is False once the growth that version 0.1 noted is taken back


def add_growth(study: Study, axes: Axes, names: Mapping[str, str]) -> None:
    # A key for each: two workers that wrote to the same one would overwrite each other.
    value = {"names": dict(names), "axes": asdict(axes)}
    study._storage.set_study_system_attr(study._study_id, f"{_KEY}{uuid.uuid4().hex}", value)


def growth_of(study: Study, names: Mapping[str, str]) -> Axes:
    axes = Axes()
    for key, value in study._storage.get_study_system_attrs(study._study_id).items():
        if key.startswith(_KEY) and isinstance(value, Mapping) and value["names"] == names:
            axes = axes.grown(Axes(**{axis: tuple(values) for axis, values in value["axes"].items()}))
    return axes


def growth_before(study: Study, trials: Sequence[FrozenTrial]) -> Axes:
    """Return the axes that version 0.1 noted in trials: those of its samplers, and what was added."""
    axes = Axes()
    if study._storage.get_study_system_attrs(study._study_id).get(_OLD) is not False:
        for entry in (trial.system_attrs[ENTRY] for trial in trials if is_log_entry(trial)):
            axes = axes.grown(Axes(*(tuple(entry[axis]) for axis in ("lrs", "schedules", "seeds"))))
    return axes


def take_back_growth(study: Study) -> None:
    for key in study._storage.get_study_system_attrs(study._study_id):
        if key.startswith(_KEY):
            study._storage.set_study_system_attr(study._study_id, key, None)
    study._storage.set_study_system_attr(study._study_id, _OLD, False)
