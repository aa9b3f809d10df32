"""Conditions on the rows of a table, such as "State=finished"."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ..exceptions import DataError, OptionError
from ._columns import columns_like, columns_of
from ._rows import Row, Table, number_or_nan


@dataclass(frozen=True)
class Condition:
    """A column that must equal a value, or must not."""

    column: str
    value: str
    equal: bool

    def holds(self, row: Row) -> bool:
        text = row.cells[self.column]
        return (text == self.value or number_or_nan(text) == number_or_nan(self.value)) == self.equal

    def __str__(self) -> str:
        return f"{self.column}{'=' if self.equal else '!='}{self.value}"


def read_conditions(path: str | Path, table: Table, where: Sequence[str]) -> list[Condition]:
    """Return the conditions in texts such as "State=finished" and "model!=small".

    Raises:
        OptionError: when a text is no condition.
        DataError: when the table has no such column.
    """
    found = []
    for text in where:
        name, sign, value = text.partition("=")
        equal = not name.endswith("!")
        column = name.removesuffix("!").strip()
        is_other = value.startswith("=") or (column not in table.columns and column.endswith(("<", ">", "~")))
        if not sign or not column or is_other:
            raise OptionError(f"where must be like 'column=value' or 'column!=value', got {text!r}")
        alike = [c for c in table.columns if c == column] or columns_like(column, table.columns)
        if len(set(alike)) != 1:
            raise DataError(f"{path} has no column {column!r}; {columns_of(table, column)}")
        found.append(Condition(alike[0], value.strip(), equal))
    return found


def left_out(conditions: Sequence[Condition], row: Row) -> str:
    """Return which condition leaves a row out, "" if none does; of several values for one column, any will do."""
    for condition in conditions:
        if condition.holds(row):
            continue
        rest = [other for other in conditions if other.equal and other.column == condition.column]
        if not condition.equal or not any(other.holds(row) for other in rest):
            return f"not {' or '.join(map(str, rest))}" if condition.equal else f"not {condition}"
    return ""
