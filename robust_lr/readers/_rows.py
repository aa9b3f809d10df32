"""Rows of a table: texts by column, how to read them as numbers and times, and what is wrong with them in one error."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

from ..exceptions import DataError

_MOST_PROBLEMS = 10
_MISSING = frozenset(("", "-", "--", "\u2013", "\u2014", "?", "na", "n/a", "#n/a", "<na>", "none", "null", "nat"))
_DECIMAL_COMMA = re.compile(r"[+-]?\d*,\d+(e[+-]?\d+)?", re.IGNORECASE)
_THOUSANDS = re.compile(r"[+-]?[1-9]\d{0,2},\d{3}")
_EARLIEST = 1e8  # seconds since 1970: March 1973
_GERMAN_DATE = re.compile(r"(\d{1,2})\.(\d{1,2})\.(\d{4})(.*)")


class Row(NamedTuple):
    """One record.

    Attributes:
        where: its place in the file, such as "line 3".
        cells: its texts by column.
        excluded: why it does not count, "" if it does.
        steps: for the record of a whole run, the step of the last value in each column, where it is known.
        restarts: likewise the step that a column had reached when its steps began again.
    """

    where: str
    cells: Mapping[str, str]
    excluded: str = ""
    steps: Mapping[str, float] = MappingProxyType({})
    restarts: Mapping[str, float] = MappingProxyType({})


@dataclass(frozen=True)
class Table:
    """The records of a file as texts; a value that the file does not hold is "".

    Attributes:
        columns: the names in the header, in their order; a name may stand there twice.
        rows: those that are as long as the header, without blank ones.
        problems: what is wrong with the others.
        notes: on how the records were made.
        peaks: columns that hold the highest value of a history, not its last one.
    """

    columns: tuple[str, ...]
    rows: tuple[Row, ...]
    problems: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    peaks: frozenset[str] = frozenset()


def refuse(path: str | Path, problems: Sequence[str], *, way_out: str = "") -> None:
    """Raise one `DataError` with all problems of a file, if there are any, and what to do about them."""
    if len(problems) == 1:
        raise DataError(f"{path}, {problems[0]}{way_out}")
    if problems:
        shown = "; ".join(problems[:_MOST_PROBLEMS])
        more = f"; and {len(problems) - _MOST_PROBLEMS} more" if len(problems) > _MOST_PROBLEMS else ""
        raise DataError(f"{path} has {len(problems)} problems: {shown}{more}{way_out}")


def is_missing(text: str) -> bool:
    """Return whether a cell stands for no value; "nan" does not, because in a loss it is a divergence."""
    return text.lower() in _MISSING


def read_number(text: str) -> float:
    """Return the number in a cell, with a decimal point or comma; raise `ValueError` if it is none.

    Example:
        >>> read_number("1,5e-3"), read_number("diverged")
        (0.0015, inf)
    """
    if text.lower() in ("diverged", "\u221e"):
        return float("inf")
    if _DECIMAL_COMMA.fullmatch(text):
        text = text.replace(",", ".")
    elif "_" in text:
        raise ValueError(text)
    return float(text.replace("\u2212", "-"))


def number_or_nan(text: str) -> float:
    """Return the number in a cell, NaN if there is none."""
    try:
        return read_number(text)
    except ValueError:
        return float("nan")


def mixed_decimals(column: str, rows: Sequence[Row]) -> list[str]:
    """Return a problem if a column has decimal commas and points: then a comma may as well separate thousands."""
    commas = [row for row in rows if _DECIMAL_COMMA.fullmatch(row.cells[column])]
    points = [row for row in rows if "." in row.cells[column]] if commas else []
    if not points:
        return []
    a, b = commas[0], points[0]
    return [
        f"{a.where}: {column} is {a.cells[column]!r}, but {b.cells[column]!r} in {b.where}: write all with a decimal "
        "point, or all with a decimal comma"
    ]


def thousands(column: str, other: str, rows: Sequence[Row]) -> list[str]:
    """Return a problem if all commas in a column may separate thousands, and the other column has decimal points."""
    commas = [row for row in rows if "," in row.cells[column]]
    may_be = commas and all(_THOUSANDS.fullmatch(row.cells[column]) for row in commas)
    if not may_be or not any("." in row.cells[other] for row in rows):
        return []
    text = commas[0].cells[column]
    return [
        f"{commas[0].where}: {column} is {text!r}, which may be {text.replace(',', '.')} or {text.replace(',', '')}: "
        f"write it with a decimal point, as {other} is"
    ]


def read_time(text: str) -> float:
    """Return a date and time as seconds since 1970, NaN if the text is neither ISO 8601 nor day.month.year.

    A number counts above 1e8 only: a smaller one is a duration.

    Example:
        >>> read_time("1970-01-01T00:01:00Z"), read_time("1.1.1970 00:01"), read_time("1/2/2026")
        (60.0, 60.0, nan)
    """
    if _EARLIEST < (number := number_or_nan(text)) < float("inf"):
        return number
    if german := _GERMAN_DATE.fullmatch(text):
        day, month, year, rest = german.groups()
        text = f"{year}-{month:0>2}-{day:0>2}{rest}"
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return float("nan")
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
