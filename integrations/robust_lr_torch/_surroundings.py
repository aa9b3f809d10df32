"""What the code around an optimizer's step says of the run: its loop, and the trainer of a framework."""

from __future__ import annotations

import contextlib
import math
import sys
import sysconfig
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

import torch

_NOT_THE_USERS = (sysconfig.get_path("stdlib"), str(Path(__file__).parent))


@dataclass(frozen=True)
class Surroundings:
    """The places that led to a step of the optimizer, and what a trainer among them says.

    Attributes:
        places: file and line of each call, the innermost first, in the user's own files.
        planned_steps: steps of the optimizer that a trainer means to take; None without one.
        floor: lowest rate that a trainer was given, 0 for none.
        wanted_warmup: share of the run that a trainer was given for its warm-up; None if it was not.
    """

    places: tuple[tuple[str, int], ...]
    planned_steps: int | None = None
    floor: float = 0.0
    wanted_warmup: float | None = None


def surroundings() -> Surroundings:
    """Return what is around the caller."""
    places, trainer, frame = [], None, _caller()
    while frame is not None:
        file = frame.f_code.co_filename
        owner = frame.f_locals.get("self")
        trainer = trainer or _trainer_of(owner)
        if not file.startswith(_NOT_THE_USERS) and "site-packages" not in file and "dist-packages" not in file:
            places.append((file, frame.f_lineno))
        frame = frame.f_back
    return Surroundings(tuple(places), *_said_by(trainer))


def _caller() -> FrameType | None:
    return sys._getframe(2)


def _trainer_of(owner: Any) -> Any:
    """The trainer of transformers or Lightning that an object is, or belongs to."""
    names = [(kind.__module__.partition(".")[0], kind.__name__) for kind in type(owner).__mro__]
    if ("transformers", "Trainer") in names:
        return owner
    if any(package in ("lightning", "pytorch_lightning") for package, _ in names):
        return owner if ("lightning", "Trainer") in names else vars(owner).get("trainer")
    return None


def _said_by(trainer: Any) -> tuple[int | None, float, float | None]:
    if trainer is None:
        return None, 0.0, None
    if hasattr(trainer, "state") and hasattr(trainer, "args"):  # transformers
        given = getattr(trainer.args, "lr_scheduler_kwargs", None) or {}
        warmup = getattr(trainer.args, "warmup_ratio", None) or getattr(trainer.args, "warmup_steps", 0)
        share = float(warmup) if isinstance(warmup, (int, float)) and 0 < warmup < 1 else None
        return int(trainer.state.max_steps) or None, float(given.get("min_lr") or 0.0), share
    with contextlib.suppress(Exception):  # Lightning counts batches, which not every loader can
        planned = trainer.estimated_stepping_batches
        return (int(planned) if math.isfinite(planned) else None), 0.0, None
    return None, 0.0, None


def n_processes() -> int:
    """Return the number of ranks that train together."""
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        return torch.distributed.get_world_size()
    state = getattr(sys.modules.get("accelerate.state"), "PartialState", None)
    return int(getattr(state, "_shared_state", {}).get("num_processes", 1) or 1)
