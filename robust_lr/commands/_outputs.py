"""The metrics of a command: from a line of JSON on standard output, by a pattern in the log, or from a file."""

from __future__ import annotations

import bisect
import json
import math
import re
from collections import deque
from collections.abc import Iterable, Mapping
from pathlib import Path

from .._text import did_you_mean, listed
from ..readers._files import read_records
from ..readers._json_records import flat
from ..readers._rows import is_missing, read_number
from ..runners.base import WrongReturnError

_BARE = re.compile(r"(?<=[\s:,\[])([+-]?)(nan|inf|infinity)(?=\s*[,}\]])", re.IGNORECASE)
_TOKEN = re.compile(
    r"(?:(?<![\w.)\]])[+-])?(?:(?:\d+\.?\d*|(?<!\d)\.\d+)(?:e[+-]?\d+)?|(?<![^\W\d])(?:nan|inf|infinity|none)(?!\w))",
    re.IGNORECASE,
)
_PLAIN = re.compile(r"[\d.]+")
_STAND_INS = "7.70707", "7.70707e-07"


class JsonLines:
    """Sees the lines of standard output, and keeps the last one that holds a metric."""

    def __init__(self, metric: str) -> None:
        self._metric, self._names = metric, dict[str, None]()
        self._last: Mapping[str, str] | str | None = None
        names = "|".join(re.escape(name) for name in dict.fromkeys((metric, metric.rpartition("/")[2])))
        self._mention = re.compile(rf"""(["'])(?:{names})\1\s*:""")

    def see(self, line: bytes) -> None:
        """Take the next line."""
        text = line.decode("utf-8", "replace").strip()
        if not ((text.startswith("{") and text.endswith("}")) or self._mention.search(text)):
            return
        records, rest = _objects_in(text)
        for cells in records:
            self._names |= dict.fromkeys(cells)
            if self._metric in cells:
                self._last = cells
        if self._mention.search(rest):  # passed over, an earlier step would count
            self._last = text

    def metrics(self) -> dict[str, float]:
        """Return all numbers of that line, by name; raise a `WrongReturnError` if there is no such line."""
        way_out = "or read it with --metric-regex (metric_regex=) or --metric-file (metric_file=)"
        if isinstance(self._last, str):
            raise WrongReturnError(
                f"the last line with {self._metric!r} is no JSON: {self._last[:200]!r}; print it in one line by "
                f"json.dumps, {way_out}"
            )
        if self._last is None:
            saw = _lacks(self._metric, self._names) if self._names else "no line of JSON came"
            raise WrongReturnError(f"no line of JSON on standard output holds {self._metric!r}: {saw}; {way_out}")
        return _numbers(self._metric, self._last)


def read_by_pattern(pattern: str, log: str) -> float:
    """Return the number in the group of the last match of a pattern, NaN if it is not finite.

    The whole number counts, also if the group ends inside it. "nan", "-1.5" and "1e-5" are found where the pattern
    would match 0.5: otherwise ``loss ([\\d.]+)`` would read an earlier, finite line of a run that diverged.

    Raises:
        WrongReturnError: when there is no match, or the last one is no number.

    Example:
        >>> read_by_pattern(r"loss ([\\d.]+)", "loss 2.5, step 1\\nloss nan, step 2")
        nan
    """
    found = [span for stand_in in (None, *_STAND_INS) if (span := _last_group(pattern, log, stand_in)) is not None]
    if not found:
        last = next((line.strip() for line in reversed(log.splitlines()) if line.strip()), "")
        ends = f"its last line is {last[:100]!r}" if last else "it is empty"
        raise WrongReturnError(f"the log has no match of the metric's pattern {pattern}; {ends}")
    start, end = max(found, key=lambda span: span[0])
    line_start = log.rfind("\n", 0, max(start, 0)) + 1
    tokens = [each.span() for each in _TOKEN.finditer(log, line_start, max(end, 0) + 400)]
    around = [span for span in tokens if span[0] < end and start < span[1]]
    text = log[min([start, *(a for a, _ in around)]) : max([end, *(b for _, b in around)])] if start >= 0 else ""
    try:
        number = read_number(text.strip(" \t,;:").rstrip("."))
    except ValueError:
        raise WrongReturnError(f"the metric's pattern {pattern!r} found {text!r}, which is no number") from None
    return number if math.isfinite(number) else math.nan


def _last_group(pattern: str, log: str, stand_in: str | None) -> tuple[int, int] | None:
    """The place in the log of the last match's group, with a stand-in for all numbers but those such as 0.5."""
    replaced = [each.span() for each in _TOKEN.finditer(log) if stand_in and not _PLAIN.fullmatch(each[0])]
    parts, starts, end = list[str](), list[int](), 0
    length = 0
    for a, b in replaced:
        parts += [log[end:a], stand_in or ""]
        starts.append(length + a - end)
        length, end = starts[-1] + len(parts[-1]), b
    last = deque(re.finditer(pattern, "".join([*parts, log[end:]]), re.MULTILINE), maxlen=1)
    if not last:
        return None

    def place(at: int, *, is_end: bool) -> int:
        i = bisect.bisect_right(starts, at - is_end) - 1
        if i < 0:
            return at
        past = at - starts[i] - len(stand_in or "")
        return replaced[i][1] + past if past > -1 + is_end else replaced[i][is_end]

    return place(last[0].start(1), is_end=False), place(last[0].end(1), is_end=True)


def read_from_file(path: Path, metric: str) -> dict[str, float]:
    """Return the numbers of the last record in a file that holds a metric, by name.

    The file holds one object of JSON, or is any table: JSON lines, CSV, parquet. A null of JSON is NaN.

    Raises:
        WrongReturnError: when there is no such file or record, or a table's last record has no value.
        DataError: when it cannot be read.
    """
    if not path.is_file():
        there = listed(sorted(each.name for each in path.parent.iterdir())) if path.parent.is_dir() else "no folder"
        raise WrongReturnError(f"the command wrote no file {path.name}; {path.parent} has {there}")
    for cells in reversed(_json_records(path)):
        if metric in cells:
            return _numbers(metric, cells)
    table = read_records(path)
    if table.problems or metric not in table.columns or not table.rows:
        problem = table.problems[-1] if table.problems else _lacks(metric, table.columns)
        raise WrongReturnError(f"{path} has no {metric!r}: {problem}")
    last = table.rows[-1]
    if is_missing(last.cells[metric]):
        raise WrongReturnError(
            f"{path}, {last.where} has no {metric!r}, and an earlier row is no result: end the file with a row that "
            "has it, with nan for a divergence"
        )
    return _numbers(metric, last.cells)


def _json_records(path: Path) -> list[dict[str, str]]:
    try:
        text = path.read_text(encoding="utf-8").strip()
        if text[:1] not in ("{", "["):
            return []
        try:
            content = json.loads(text)
        except ValueError:
            content = [json.loads(_BARE.sub(_as_json, line)) for line in text.splitlines() if line.strip()]
        records = content if isinstance(content, list) else [content]
        return [dict(flat(record)) for record in records if isinstance(record, dict)]
    except (ValueError, RecursionError):
        return []


def _objects_in(text: str) -> tuple[list[dict[str, str]], str]:
    """The JSON objects in a line, and the rest of the line."""
    found, rest, at = list[dict[str, str]](), "", 0
    text = _BARE.sub(_as_json, text)  # as printf writes it
    while (start := text.find("{", at)) >= 0:
        rest += text[at:start]
        try:
            record, at = json.JSONDecoder().raw_decode(text, start)
            found.append(dict(flat(record)))
        except RecursionError:
            return found, rest + text[start:]
        except ValueError:
            rest, at = f"{rest}{{", start + 1
    return found, rest + text[at:]


def _numbers(metric: str, cells: Mapping[str, str]) -> dict[str, float]:
    found = dict[str, float]()
    for name, text in cells.items():
        try:
            found[name] = math.nan if name == metric and not text else read_number(text)  # JSON writes NaN as null
        except ValueError:
            if name == metric:
                raise WrongReturnError(f"the metric {metric!r} must be a number, got {text!r}") from None
    return found


def _lacks(metric: str, names: Iterable[str]) -> str:
    known = list(names)
    way = "; choose one with --metric (metric=)" if metric == "loss" and known else ""
    return f"it holds {listed(map(repr, known))}{did_you_mean(metric, known)}".rstrip("?") + way


def _as_json(match: re.Match[str]) -> str:
    return "NaN" if match[2].lower() == "nan" else f"{match[1].replace('+', '')}Infinity"
