"""Parts of messages: counts with nouns, lists, one line of an error, a place in the user's code."""

from __future__ import annotations

import re
import sys
import sysconfig
from collections.abc import Iterable
from pathlib import Path

_PACKAGE = Path(__file__).parent


def count_of(n: int, noun: str) -> str:
    """Return a number with its noun, such as ``1 trial`` or ``3 trials``."""
    return f"{n} {noun}" + ("" if n == 1 else "s")


def listed(items: Iterable[str], *, at_most: int = 20) -> str:
    """Return the items as a list in a sentence, such as ``a, b and c``, cut short if there are many."""
    names = list(items)
    if len(names) > at_most:
        return f"{', '.join(names[:at_most])} and {len(names) - at_most} more"
    *others, last = names or [""]
    return f"{', '.join(others)} and {last}" if others else last


def without_passwords(text: str) -> str:
    """Return a text, such as the URL of a database, with its passwords masked.

    Example:
        >>> without_passwords("postgresql://me:secret@host/db?sslpassword=other")
        'postgresql://me:***@host/db?sslpassword=***'
    """
    text = re.sub(r"(://[^:/@\s]*):\S*@", r"\1:***@", text)
    return re.sub(r"(pass\w*=|pwd=)[^&\s]*", r"\1***", text, flags=re.IGNORECASE)


def loss_text(value: float) -> str:
    """Return a loss with four decimals, or with four digits if it is large."""
    return f"{value:.4f}" if abs(value) < 100 else f"{value:.4g}"


def last_line(error: str | None) -> str:
    """Return the last line of an error's text, which names the exception."""
    lines = (error or "").strip().splitlines()
    return lines[-1] if lines else "no reason given"


def first_line(error: BaseException) -> str:
    """Return the first line of an exception's message, or the name of its class if it has none."""
    return next(iter(str(error).strip().splitlines()), type(error).__name__)


def place_of(error: str | None) -> str:
    """Return the line of the user's code that a traceback points to, as `` (file, line n)``; empty if there is none.

    This is the innermost frame outside this package, and outside libraries if there is one.
    """
    frames = re.findall(r'File "([^"<]+)", line (\d+), in ', (error or "").rpartition("Traceback (most recent")[2])
    frames = [(file, line) for file, line in frames if not Path(file).is_relative_to(_PACKAGE)]
    stdlib = sysconfig.get_path("stdlib")
    own = [(file, line) for file, line in frames if "-packages" not in file and not Path(file).is_relative_to(stdlib)]
    return " ({}, line {})".format(*(own or frames)[-1]) if frames else ""


def levels_to_user() -> int:
    """Return the `stacklevel` that makes a warning by the caller point at the first frame outside this package."""
    frame, level = sys._getframe(1), 1
    while frame.f_back is not None and frame.f_globals.get("__name__", "").partition(".")[0] == _PACKAGE.name:
        frame, level = frame.f_back, level + 1
    return level
