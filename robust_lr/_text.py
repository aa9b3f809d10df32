"""Parts of messages: counts with nouns, lists, near misses, the main line of an error, a place in the user's code."""

from __future__ import annotations

import difflib
import re
import sys
import sysconfig
from collections.abc import Iterable
from pathlib import Path

from ._paths import is_folder

_PACKAGE = Path(__file__).parent
# All but tab and newline; and the marks that turn the direction of writing around.
_CONTROLS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


def count_of(n: int, noun: str) -> str:
    """Return a number with its noun, such as ``1 trial`` or ``3 trials``."""
    return f"{n} {noun}" + ("" if n == 1 else "s")


def listed(items: Iterable[str], *, at_most: int = 20) -> str:
    """Return the items as a list in a sentence, such as ``a, b and c``, cut short if there are many."""
    names = [re.sub(r"[\r\n]+", " ", item) for item in items]  # a message is one line
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


def printable(text: str) -> str:
    r"""Return a text in which control characters are spelled out, so that a name from a file cannot steer a terminal.

    Example:
        >>> printable("cosine\x1b[2J")
        'cosine\\x1b[2J'
    """
    return _CONTROLS.sub(lambda match: match[0].encode("unicode_escape").decode(), text)


_FORMULA = re.compile("'*[=+@\\t\\r-]")


def formula_as_text(name: str) -> str:
    """Return the cell of a table that no spreadsheet takes for a formula.

    Example:
        >>> formula_as_text("=1+1"), formula_as_text("cosine")
        ("'=1+1", 'cosine')
    """
    return f"'{name}" if _FORMULA.match(name) else name


def text_of_formula(cell: str) -> str:
    """Return the text for which `formula_as_text` wrote a cell."""
    return cell[1:] if cell.startswith("'") and _FORMULA.match(cell) else cell


def loss_text(value: float) -> str:
    """Return a loss with four decimals, or with four digits if it is large."""
    return f"{value:.4f}" if abs(value) < 100 else f"{value:.4g}"


def main_line(error: str | None) -> str:
    """Return the line of an error's text that names the exception, without the hints below it.

    Example:
        >>> main_line("Traceback (most recent call last):\\n  File ...\\nRuntimeError: CUDA error\\nCompile with ...")
        'RuntimeError: CUDA error'
    """
    lines = [line for line in (error or "").splitlines() if line.strip() and not line.startswith("Traceback")]
    frames = [i for i, line in enumerate(lines) if re.match(r'\s+File "', line)]
    # After the last frame, the lines of code are indented; the first other line begins the message.
    below = lines[frames[-1] + 1 :] if frames else lines
    while len(below) > 1 and below[0][0].isspace():
        del below[0]
    message = [line.strip().removeprefix("robust_lr.exceptions.") for line in below] or ["no reason given"]
    return " ".join(message[: 2 if message[0].endswith(":") else 1])


def first_line(error: BaseException) -> str:
    """Return the first line of an exception's message, or the name of its class if it has none."""
    return next(iter(text_of(error).strip().splitlines()), type(error).__name__)


def text_of(error: BaseException) -> str:
    """Return the text of an exception, which may be the user's own and raise; then empty."""
    try:
        return str(error)
    except Exception:
        return ""


def did_you_mean(given: str, known: Iterable[str]) -> str:
    """Return the end of an error about an unknown name: the known name that it was probably meant to be, if any.

    Example:
        >>> "unknown schedule 'cosin'" + did_you_mean("cosin", ["constant", "cosine"])
        "unknown schedule 'cosin'; did you mean 'cosine'?"
    """
    folded = {name.lower().replace("_", "-"): name for name in known}
    close = difflib.get_close_matches(given.lower().replace("_", "-"), folded, n=1, cutoff=0.6)
    return f"; did you mean {folded[close[0]]!r}?" if close else ""


def near_file(path: Path) -> str:
    """Return the end of an error about a missing file: the file of the same folder that was probably meant, if any."""
    folder = path.absolute().parent
    if not is_folder(folder):
        return ""
    # A common suffix alone makes short names alike.
    return did_you_mean(path.name, [each.name for each in folder.iterdir() if did_you_mean(path.stem, [each.stem])])


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
