"""The reasons why a task cannot be packed, with the place in the user's code."""

from __future__ import annotations

import contextlib
import inspect
import sysconfig
import traceback
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import torch

from robust_lr._text import first_line
from robust_lr.exceptions import NotVectorizable
from robust_lr.runners.base import is_out_of_memory

_LIBRARIES = tuple(
    Path(path).resolve() for path in (torch.__path__[0], Path(__file__).parent.parent, sysconfig.get_path("stdlib"))
)


@contextlib.contextmanager
def not_vectorizable(what: str, place: str | None = None) -> Iterator[None]:
    """Raise `NotVectorizable` instead of any exception inside, unless memory ran out.

    With a place, the error says where: in the innermost frame of the user, or else at this place.
    """
    try:
        yield
    except NotVectorizable as error:
        raise NotVectorizable(error.reason, error.where or place or "") from None
    except Exception as error:  # the user's code, an optimizer and a compiler may raise anything
        if is_out_of_memory(error):
            raise
        where = "" if place is None else user_place(traceback.extract_tb(error.__traceback__)) or place
        raise NotVectorizable(f"{what}: {first_line(error)}", where) from error


def user_place(frames: Iterable[traceback.FrameSummary]) -> str:
    """Return ``file:line`` of the innermost frame outside torch, this package and the standard library, or ''."""
    own = [f for f in frames if f.filename[:1] != "<"]
    own = [f for f in own if not any(Path(f.filename).resolve().is_relative_to(folder) for folder in _LIBRARIES)]
    own = [f for f in own if "-packages" not in f.filename] or own
    return f"{own[-1].filename}:{own[-1].lineno}" if own else ""


def place_of(function: Callable[..., Any]) -> str:
    """Return where a function is defined, as ``file:line``, or ''."""
    try:
        function = inspect.unwrap(getattr(function, "func", function))
        return f"{inspect.getsourcefile(function)}:{inspect.getsourcelines(function)[1]}"
    except (OSError, TypeError):
        return ""
