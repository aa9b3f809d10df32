"""Tables with a separator: commas, semicolons, tabs or bars."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from io import StringIO
from itertools import islice
from pathlib import Path

from .._text import count_of, text_of_formula
from ..exceptions import DataError
from ._rows import Row, Table

_SEPARATORS = ",;\t|"
_LOOKED_AT = 100  # rows that decide the separator


def read_delimited(path: str | Path, text: str) -> Table:
    """Return the rows below the header; one of another length is a problem, because its values may stand shifted."""
    header = list[str]()
    rows, problems = list[Row](), list[str]()
    longer = 0
    separator, start = _separator(text)
    try:
        for line, fields in _records(text, separator, start):
            if not header:
                header = fields
            elif fields == header:
                continue  # files that were joined
            elif len(fields) == len(header):
                rows.append(Row(f"line {line}", dict(zip(header, fields, strict=True))))
            else:
                longer += len(fields) > len(header)
                problems.append(f"line {line} has {count_of(len(fields), 'value')} for {len(header)} columns")
    except csv.Error as error:
        raise DataError(f"cannot read {path} as CSV: {error}") from None
    if problems and longer == len(problems) and not rows and separator == ",":
        problems[0] += " (decimal commas need another separator, such as a semicolon, or quotes)"
    return Table(tuple(header), tuple(rows), tuple(problems))


def _separator(text: str) -> tuple[str, int]:
    """Return the separator, and the number of lines above the header, such as ``sep=;``, which Excel reads."""
    first = text.partition("\n")[0].strip("\r")
    if first.startswith("sep=") and len(first) == 5:
        return first[-1], 1

    def fit(separator: str) -> tuple[bool, float, int]:
        reader = csv.reader(StringIO(text, newline=""), delimiter=separator, skipinitialspace=True)
        try:
            lengths = [len(fields) for fields in islice(reader, _LOOKED_AT) if fields]
        except csv.Error:
            return False, 0.0, 0
        n = lengths[0] if lengths else 0
        return n > 1, lengths.count(n) / max(len(lengths), 1), n

    return max(_SEPARATORS, key=fit), 0


def _records(text: str, separator: str, start: int) -> Iterator[tuple[int, list[str]]]:
    # Each record that is not blank, with its first line: a quoted value may hold line ends.
    stream = StringIO(text, newline="")
    for _ in range(start):
        stream.readline()
    reader, line, last = csv.reader(stream, delimiter=separator, skipinitialspace=True), start + 1, 0
    for record in reader:
        fields = [text_of_formula(field.strip()) for field in record]
        if any(fields):
            yield line, fields
        last, line = line, start + reader.line_num + 1
    if text.count('"') % 2 and line - last > 1:  # the last record runs over lines to the end of the file
        raise csv.Error(f"the quotation mark in line {last} is not closed")
