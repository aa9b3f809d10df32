"""Records in JSON: a list of them, one a line, or columns, as pandas and trackers write them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from ..exceptions import DataError
from ._rows import Row, Table


def read_json(path: str | Path, text: str) -> Table:
    """Return the records; nested values get names such as "config/lr".

    Raises:
        DataError: when the text is no JSON, or holds no records.
    """
    try:
        return _read(path, text)
    except RecursionError:
        raise DataError(f"cannot read {path} as JSON: it is nested too deeply") from None


def _read(path: str | Path, text: str) -> Table:
    try:
        return as_table(enumerate(_records(_content(path, text)), 1), "record")
    except json.JSONDecodeError as error:
        if error.msg != "Extra data":
            raise DataError(f"cannot read {path} as JSON: {error}") from None
    except _NoRecordsError:
        raise DataError(
            f"{path} is neither a journal nor a table: its JSON is no list of records, nor columns"
        ) from None
    return as_table(_lines(path, text), "line")


def as_table(records: Iterable[tuple[int, Mapping[str, Any]]], noun: str) -> Table:
    """Return numbered records as a table of texts with all their columns."""
    rows = [Row(f"{noun} {number}", dict(flat(record))) for number, record in records]
    columns = tuple(dict.fromkeys(name for row in rows for name in row.cells))
    blank = dict.fromkeys(columns, "")
    return Table(columns, tuple(row._replace(cells={**blank, **row.cells}) for row in rows if any(row.cells.values())))


def by_rows(columns: Mapping[str, Iterable[Any]]) -> list[dict[str, Any]]:
    """Return the records of a table that is stored by columns of one length."""
    return [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]


def _content(path: str | Path, text: str) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        raise
    except ValueError:  # more digits than Python reads
        raise DataError(f"cannot read {path} as JSON: a whole number in it has too many digits") from None


class _NoRecordsError(Exception):
    """The JSON is none of a list of records or columns."""


def _records(content: Any) -> list[dict[str, Any]]:
    if isinstance(content, list) and content and all(isinstance(record, dict) for record in content):
        return content
    if not isinstance(content, dict) or not content:
        raise _NoRecordsError
    if isinstance(content.get("data"), list) and isinstance(content.get("columns"), list):  # pandas, orient="split"
        names_are_lists = any(isinstance(name, (list, dict)) for name in content["columns"])
        if names_are_lists or not all(isinstance(values, list) for values in content["data"]):
            raise _NoRecordsError
        return [dict(zip(content["columns"], values, strict=False)) for values in content["data"]]
    values = list(content.values())
    inner = [value for value in values if isinstance(value, list) and value and isinstance(value[0], dict)]
    if len(inner) == 1:  # such as {"runs": [...]}
        return _records(inner[0])
    if all(isinstance(value, dict) for value in values):  # pandas, orient="columns": {column: {index: value}}
        return [{name: column.get(key) for name, column in content.items()} for key in values[0]]
    if all(isinstance(value, list) and len(value) == len(values[0]) for value in values):
        return by_rows(content)
    if any(isinstance(value, list) for value in values):
        raise _NoRecordsError
    return [content]  # JSON lines with one line


def _lines(path: str | Path, text: str) -> Iterator[tuple[int, dict[str, Any]]]:
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip():
            continue
        try:
            record = _content(path, line)
        except json.JSONDecodeError as error:
            raise DataError(f"cannot read {path} as JSON lines: line {number}: {error.msg}") from None
        if not isinstance(record, dict):
            raise DataError(f"cannot read {path} as JSON lines: line {number} is no record")
        yield number, record


def flat(record: Mapping[str, Any], outer: str = "") -> Iterator[tuple[str, str]]:
    """Yield the values of a record as texts, by name; nested ones have names such as "config/lr"."""
    for name, value in record.items():
        if isinstance(value, dict):
            yield from flat(value, f"{outer}{name}/")
        else:
            yield f"{outer}{name}".strip(), _text(value)


def _text(value: Any) -> str:
    if value is None:
        return ""
    return value.strip() if isinstance(value, str) else repr(value) if isinstance(value, float) else str(value)
