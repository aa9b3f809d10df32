"""What a reader of results is: it recognizes files or folders of one kind, and makes sweeps of them."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Protocol, runtime_checkable

from ..exceptions import DataError, OptionError, RobustLRError
from ..sweep.results import SweepResult
from ._names import is_lr
from ._rows import Table
from .runs import Direction, Repeats


@dataclass(frozen=True, kw_only=True)
class ReadOptions:
    """The options of `read_sweeps`, which explains them."""

    lr_name: str | None = None
    metric: str | None = None
    schedule_name: str | None = None
    seed_name: str | None = None
    group_by: Sequence[str] = ()
    where: Sequence[str] = ()
    repeats: Repeats = "refuse"
    direction: Direction | None = None

    def refuse(self, names: Sequence[str], path: Path, what: str) -> None:
        """Raise an `OptionError` if one of these options was given for results that have no columns."""
        given = [each.name for each in fields(self) if each.name in names and getattr(self, each.name)]
        if given:
            raise OptionError(f"{given[0]} is for tables; {path} is {what}")


class Reader(Protocol):
    """Reads results of one kind. A package adds one by an entry point in the group ``robust_lr.readers``.

    Nothing that it reads may be run, imported or unpickled, and no link be followed.

    Attributes:
        name: what it reads, such as "MLflow runs".
        looks_for: by which files it knows them, such as "an SQLite file of MLflow".
    """

    name: str
    looks_for: str

    def recognizes(self, path: Path) -> bool:
        """Return whether one file or folder is of this kind, by its name and first bytes."""
        ...

    def read(self, paths: Sequence[Path], root: Path, options: ReadOptions) -> dict[str, SweepResult]:
        """Return the sweeps in these files or folders below `root`, by group; a single one is named ""."""
        ...


@runtime_checkable
class HistoryReader(Reader, Protocol):
    """A `Reader` of results that hold the values at each step, for pruning audits and the doctor."""

    def histories(self, paths: Sequence[Path], root: Path) -> Table:
        """Return a table with one row for each step of each run."""
        ...


def find_lr(names: Iterable[str]) -> str | None:
    """Return the one name that may be that of a learning rate, None if there is none or several may be.

    Example:
        >>> find_lr(["seed", "optimizer.lr"]), find_lr(["lr", "learning_rate"])
        ('optimizer.lr', None)
    """
    found = [name for name in names if is_lr(name)]
    return found[0] if len(found) == 1 else None


def one_each(
    paths: Sequence[Path], root: Path, read: Callable[[Path], dict[str, SweepResult]]
) -> dict[str, SweepResult]:
    """Return the sweeps of several files, each read by itself.

    A file that holds none is left out with a note, and so is a copy of another.

    Args:
        paths: the files or folders.
        root: what the user named; the sweeps are named by their paths from there.
        read: returns the sweeps in one of them.

    Raises:
        RobustLRError: when none can be read.
    """
    if len(paths) == 1:
        return read(paths[0])
    found, errors, seen = dict[str, SweepResult](), list[str](), dict[bytes, str]()
    for path in paths:
        name = path.relative_to(root).as_posix()
        try:
            if (original := seen.setdefault(_identity(path), name)) != name:
                raise DataError(f"{name} is a copy of {original}")
            sweeps = read(path)
        except RobustLRError as error:
            errors.append(str(error))
            continue
        found |= {f"{name}, {group}" if group else name: sweep for group, sweep in sweeps.items()}
    if not found:
        raise DataError(f"none of the {len(paths)} results in {root} can be read: {errors[0]}")
    notes = [f"left out: {error}" for error in errors]
    if len(seen) == 1 and len(found) == 1:
        found = {"": found.popitem()[1]}
    return {name: replace(sweep, notes=(*sweep.notes, *notes)) for name, sweep in found.items()}


def _identity(path: Path) -> bytes:
    """The same for files with the same content."""
    if not path.is_file():
        return os.fsencode(path)
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").digest()
