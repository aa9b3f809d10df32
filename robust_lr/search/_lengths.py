"""The lengths of training in a search over horizons, and the training function at each of them."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Sequence
from dataclasses import fields, is_dataclass, replace
from typing import Any, cast

from .._checks import check_number
from ..exceptions import OptionError
from ..trials import TrainFunction


def read_horizons(horizons: Sequence[float], total_steps: int) -> tuple[int, ...]:
    """Return the steps of each horizon, ascending; the last is the full length.

    Raises:
        OptionError: when they are no ascending shares that end with 1, or two have the same steps.
    """
    wanted = "horizons must be ascending shares of total_steps that end with 1, such as [0.1, 0.3, 1]"
    if isinstance(horizons, str) or not isinstance(horizons, Sequence) or not horizons:
        raise OptionError(f"{wanted}, got {horizons!r}")
    shares = [check_number("a horizon", share, above=0, at_most=1) for share in horizons]
    if shares[-1] != 1 or shares != sorted(set(shares)):
        raise OptionError(f"{wanted}, got {horizons!r}")
    steps = tuple(max(round(share * total_steps), 1) for share in shares)
    if len(set(steps)) < len(steps):
        raise OptionError(f"horizons of {total_steps} steps must differ by a step at least, got {horizons!r}")
    return steps


def at_length(train: Any, steps: int) -> TrainFunction:
    """Return a training function with its `total_steps` set, a parameter of the function or a field of the task.

    Raises:
        OptionError: when it has none.
    """
    if "{total_steps}" not in getattr(train, "command", "{total_steps}"):
        raise OptionError("the command has no {total_steps}: add it, so that each horizon runs its full schedule")
    own = {field.name for field in fields(train) if field.init} if is_dataclass(train) else set[str]()
    if "total_steps" in own and not isinstance(train, type):
        # A command's trials of different lengths must not share their folders.
        folder = {"trials_dir": f"{train.trials_dir}/{steps}-steps"} if "trials_dir" in own else {}
        task: Any = replace(train, total_steps=steps, **folder)
        return cast("TrainFunction", task)
    if not callable(train) or not _takes_total_steps(train):
        name = getattr(train, "__qualname__", type(train).__qualname__)
        raise OptionError(
            f"total_steps needs a training function that takes it, but {name} does not: add the parameter, "
            "train(*, lr, schedule, seed, total_steps), and train for so many steps under schedule(step, total_steps)"
        )
    return functools.partial(train, total_steps=steps)


def _takes_total_steps(train: Any) -> bool:
    try:
        parameters = inspect.signature(train).parameters
    except ValueError:  # a callable of C, which does not show its parameters
        return True
    named = parameters.get("total_steps")
    if named is not None:
        return named.kind is not named.POSITIONAL_ONLY
    return any(p.kind is p.VAR_KEYWORD for p in parameters.values())
