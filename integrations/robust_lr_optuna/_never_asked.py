"""An objective that never asks for a parameter that the sampler serves: what to tell its author."""

from __future__ import annotations

import re
from collections.abc import Collection

from optuna.distributions import CategoricalDistribution
from optuna.trial import FrozenTrial

from robust_lr._text import listed

MOST_IN_VAIN = 20  # trials in a row without a learning rate; then the objective is taken to have none
_LOOKS_LIKE = {"lr": r"lr|learn|rate|\beta\b|step_size|alpha", "seed": r"seed|rng|replica", "schedule": r"sched|anneal"}
_ASK = {
    "lr": "ask for it with trial.suggest_float({name!r}, ..., log=True), or pass lr_name=...",
    "schedule": "ask for it with trial.suggest_categorical({name!r}, [...]), pass schedule_name=..., or leave out "
    "schedules",
    "seed": "ask for it with trial.suggest_int({name!r}, ...), pass seed_name=..., or leave out seeds",
}


def never_asked(axis: str, name: str, trial: FrozenTrial, own: Collection[str]) -> str:
    """Return what the objective should have asked for, what it asked for instead, and the way out."""
    others = [other for other in trial.params if other not in own]
    alike = _alike(axis, others) or (others if axis == "lr" and len(others) == 1 else [])
    way_out = f"pass {axis}_name={alike[0]!r}" if len(alike) == 1 else _ASK[axis].format(name=name)
    asked = listed([repr(other) for other in trial.params]) or "nothing"
    return f"the objective never asked for {name!r}; it asked for {asked}: {way_out}"


def may_be_conditional(axis: str, trial: FrozenTrial, own: Collection[str]) -> bool:
    """Whether a choice of this trial may be why it asked for no learning rate; others then may ask for one."""
    others = {name: kind for name, kind in trial.distributions.items() if name not in own}
    has_choice = any(isinstance(kind, CategoricalDistribution) for kind in others.values())
    return axis == "lr" and has_choice and not _alike(axis, others)


def _alike(axis: str, names: Collection[str]) -> list[str]:
    return [name for name in names if re.search(_LOOKS_LIKE[axis], name.lower())]
