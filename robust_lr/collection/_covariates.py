"""The values that tell the sweeps of a collection apart: numbers where a whole column is numeric, else texts."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from numbers import Real
from pathlib import PurePath

from .._text import listed
from ..exceptions import DataError
from ..readers._rows import number_or_nan

Value = float | str
_GROUP = re.compile(r"(?:^|, )([^,=]*[^,= ]) = ")
_ENTRY = re.compile(r"([A-Za-z][\w.-]*)=([^=]+)")


def read_covariates(each: Sequence[Mapping[str, object]]) -> list[dict[str, Value]]:
    """Return the covariates of all sweeps, each column as numbers if all its values are finite ones, else as texts.

    Raises:
        DataError: when the sweeps have different columns, or a value is neither a number nor a text.
    """
    names = list(each[0]) if each else []
    for position, values in enumerate(each):
        if set(values) != set(names):
            raise DataError(
                f"the sweeps of a collection need the same covariates: sweep 0 has {listed(names) or 'none'}, "
                f"sweep {position} {listed(values) or 'none'}"
            )
    columns = {name: _column(name, [values[name] for values in each]) for name in names}
    return [{name: columns[name][i] for name in names} for i in range(len(each))]


def covariate_text(value: Value) -> str:
    """Return a covariate for people: whole numbers below 1e15 in full, others with six digits."""
    if isinstance(value, str):
        return value
    return f"{value:.0f}" if value.is_integer() and abs(value) < 1e15 else f"{value:.6g}"


def label_of(covariates: Mapping[str, Value]) -> str:
    """Return the name of a sweep, such as ``params = 1000000, data = c4``."""
    return ", ".join(f"{name} = {covariate_text(value)}" for name, value in covariates.items())


def of_names(names: Sequence[str]) -> list[dict[str, str]]:
    """Return the covariates in the names that readers give to sweeps: those of groups, and those of paths.

    A group is named like ``steps = 100, data = c4``. Paths count where their parts read like
    ``params=1e9/tokens=2e10,batch_size=64.jsonl``; other paths are a covariate "file". If the names say different
    things, each is its own covariate "sweep".
    """
    found = [_of_name(name) for name in names]
    if len({each.get("file") for each in found}) == 1:
        found = [{name: value for name, value in each.items() if name != "file"} for each in found]
    if len({frozenset(each) for each in found}) > 1:
        return [{"sweep": name} for name in names]
    return found


def _of_name(name: str) -> dict[str, str]:
    groups = list(_GROUP.finditer(name))
    path = PurePath(name[: groups[0].start()] if groups else name)
    parts = path.with_suffix("").parts if path.name else ()
    entries = [_ENTRY.fullmatch(entry) for part in parts for entry in part.split(",")]
    found = {entry[1]: entry[2] for entry in entries if entry} or ({"file": str(path)} if path.name else {})
    for group, stop in zip(groups, [*(group.start() for group in groups[1:]), len(name)], strict=False):
        found[group[1]] = name[group.end() : stop]
    return found


def _column(name: str, values: Iterable[object]) -> list[Value]:
    found: list[Value] = []
    for value in values:
        if isinstance(value, bool) or not isinstance(value, Real | str):
            raise DataError(f"covariate {name!r} must be a number or a text, got {value!r}")
        found.append(value if isinstance(value, str) else float(value))
    numbers = [number_or_nan(value) if isinstance(value, str) else value for value in found]
    if all(map(math.isfinite, numbers)):
        return list(numbers)
    return [value if isinstance(value, str) else covariate_text(value) for value in found]
