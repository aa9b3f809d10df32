"""What the command line's arguments mean: a tolerance, schedules, a function or a plug-in by its name, a URL."""

from __future__ import annotations

import importlib
import importlib.metadata
import math
import re
import sys
import traceback
from pathlib import Path
from typing import Any

from ..exceptions import DataError


def parse_tolerance(text: str) -> tuple[float, bool]:
    """Return the number in a tolerance such as "0.003" or "1%", and whether it is relative (then 1% is 0.01).

    Raises:
        DataError: when it is not a positive number.

    Example:
        >>> parse_tolerance("1%")
        (0.01, True)
    """
    try:
        value = float(text.removesuffix("%")) / (100 if text.endswith("%") else 1)
    except ValueError:
        value = math.nan
    if not 0 < value < math.inf:
        raise DataError(f"tolerance must be a positive number such as 0.003 or 1%, got {text!r}")
    return value, text.endswith("%")


def split_specs(text: str) -> list[str]:
    """Split a list of schedule specs at the commas outside brackets.

    Example:
        >>> split_specs("constant, wsd(0.2, shape=1-sqrt)")
        ['constant', 'wsd(0.2, shape=1-sqrt)']
    """
    return [part.strip() for part in re.split(r",(?![^(]*\))", text) if part.strip()]


def without_passwords(text: str) -> str:
    """Return a text, such as the URL of a database, as it may be printed.

    Example:
        >>> without_passwords("postgresql://me:secret@host/db?sslpassword=other")
        'postgresql://me:***@host/db?sslpassword=***'
    """
    text = re.sub(r"(://[^:/@\s]*):\S*@", r"\1:***@", text)
    return re.sub(r"(pass\w*=|pwd=)[^&\s]*", r"\1***", text, flags=re.IGNORECASE)


def load_plugin(group: str, name: str) -> Any:
    """Return what an installed package offers under a name in a group of entry points.

    Raises:
        DataError: when none does, or what it needs is not installed.
    """
    needed = f"this needs an extra: pip install 'robust-lr[{name}]'"
    for entry in importlib.metadata.entry_points(group=group, name=name):
        try:
            return entry.load()
        except ImportError as error:
            raise DataError(f"{needed} ({error})") from None
    raise DataError(needed)


def import_function(where: str) -> Any:
    """Return what ``module:function`` or ``file.py:function`` names; its folder goes on the path for the workers too.

    Raises:
        DataError: when it cannot be imported, is not there, or cannot be called.
    """
    module, _, name = where.rpartition(":")
    if not module or not name:
        raise DataError(f"expected module:function or file.py:function, got {where!r}")
    folder, file = Path.cwd(), None
    if module.endswith(".py"):
        file = Path(module).resolve()
        folder, module = file.parent, file.stem
    sys.path.insert(0, str(folder))
    try:
        target: Any = importlib.import_module(module)
    except Exception as error:  # the module is the user's: anything can happen in it
        raise DataError(f"cannot import {where!r}: {_in_one_line(error)}") from None
    if file is not None and Path(str(getattr(target, "__file__", None))).resolve() != file:
        raise DataError(f"cannot import {file.name}: another module has the name {module!r}; rename the file")
    for part in name.split("."):
        if not hasattr(target, part):
            raise DataError(f"{module!r} has no {name!r}")
        target = getattr(target, part)
    if not callable(target):
        raise DataError(f"{where!r} must be callable as function(*, lr, schedule, seed), got {target!r}")
    return target


def _in_one_line(error: Exception) -> str:
    """The error with its type, and where in the user's module it was raised."""
    text = f"{type(error).__name__}: {' '.join(str(error).split())}"
    frame = traceback.extract_tb(error.__traceback__)[-1]
    inside = not frame.filename.startswith("<frozen") and frame.filename != importlib.__file__
    return f"{text} ({frame.filename}, line {frame.lineno})" if inside else text
