"""The metrics of a command: from a line of JSON on standard output, by a pattern in the log, or from a file."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Mapping
from pathlib import Path

from .._text import did_you_mean, listed
from ..readers._files import read_records
from ..readers._json_records import flat
from ..readers._rows import is_missing, read_number
from ..runners.base import WrongReturnError

_BARE = re.compile(r"(?<=[\s:,\[])([+-]?)(nan|inf|infinity)(?=\s*[,}\]])", re.IGNORECASE)
_NOT_FINITE = re.compile(r"\b(nan|inf|infinity)\b", re.IGNORECASE)
_STAND_INS = "7.70707070707070707", "3.31331333133331333"


class JsonLines:
    """Sees the lines of standard output, and keeps the last line of JSON that holds a metric."""

    def __init__(self, metric: str) -> None:
        self._metric, self._found, self._names = metric, dict[str, float](), dict[str, None]()

    def see(self, line: bytes) -> None:
        """Take the next line."""
        text = line.decode("utf-8", "replace").strip()
        if not (text.startswith("{") and text.endswith("}")):
            return
        try:
            record = json.loads(text)
        except ValueError:
            try:  # as printf writes it; taken for no JSON, an earlier and finite line would count
                record = json.loads(_BARE.sub(_as_json, text))
            except ValueError:
                return
        cells = dict(flat(record))
        self._names |= dict.fromkeys(cells)
        if not is_missing(cells.get(self._metric, "")):
            self._found = _numbers(self._metric, cells)

    def metrics(self) -> dict[str, float]:
        """Return all numbers of that line, by name; raise a `WrongReturnError` if there is no such line."""
        if not self._found:
            saw = _lacks(self._metric, self._names) if self._names else "no line of JSON came"
            raise WrongReturnError(
                f"no line of JSON on standard output holds {self._metric!r}: {saw}; or read it with --metric-regex "
                "(metric_regex=) or --metric-file (metric_file=)"
            )
        return self._found


def read_by_pattern(pattern: str, log: str) -> float:
    """Return the number in the group of the last match of a pattern.

    "nan" and "inf" are found where the pattern would match a number: otherwise ``loss ([\\d.]+)`` would read an
    earlier, finite line of a run that diverged.

    Example:
        >>> read_by_pattern(r"loss ([\\d.]+)", "loss 2.5, step 1\\nloss nan, step 2")
        nan
    """
    last = [re.findall(pattern, _NOT_FINITE.sub(number, log), re.MULTILINE)[-1:] for number in _STAND_INS]
    if not last[0]:
        raise WrongReturnError(f"the log has no match of the metric's pattern {pattern!r}")
    if last[0] != last[1]:  # it matched a number that stands for "nan" or "inf"
        return math.nan
    text = last[0][0].strip(" \t,;:")
    try:
        return read_number(text)
    except ValueError:
        raise WrongReturnError(f"the metric's pattern {pattern!r} found {text!r}, which is no number") from None


def read_from_file(path: Path, metric: str) -> dict[str, float]:
    """Return the numbers of the last record in a file that holds a metric, by name.

    The file holds one object of JSON, or is any table: JSON lines, CSV, parquet.

    Raises:
        WrongReturnError: when there is no such file or record.
        DataError: when it cannot be read.
    """
    if not path.is_file():
        there = listed(sorted(each.name for each in path.parent.iterdir())) if path.parent.is_dir() else "no folder"
        raise WrongReturnError(f"the command wrote no file {path.name}; {path.parent} has {there}")
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except ValueError:
        record = None
    if isinstance(record, dict) and not is_missing((cells := dict(flat(record))).get(metric, "")):
        return _numbers(metric, cells)
    table = read_records(path)
    for row in reversed(table.rows):
        if not is_missing(row.cells.get(metric, "")):
            return _numbers(metric, row.cells)
    raise WrongReturnError(f"{path} has no {metric!r}: {_lacks(metric, table.columns)}")


def _numbers(metric: str, cells: Mapping[str, str]) -> dict[str, float]:
    found = dict[str, float]()
    for name, text in cells.items():
        try:
            found[name] = read_number(text)
        except ValueError:
            if name == metric:
                raise WrongReturnError(f"the metric {metric!r} must be a number, got {text!r}") from None
    return found


def _lacks(metric: str, names: Iterable[str]) -> str:
    known = list(names)
    return f"it holds {listed(map(repr, known))}{did_you_mean(metric, known)}".rstrip("?")


def _as_json(match: re.Match[str]) -> str:
    return "NaN" if match[2].lower() == "nan" else f"{match[1].replace('+', '')}Infinity"
