"""Which readers there are, and which of them reads a file or folder."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple
from urllib.parse import unquote, urlsplit

from .._text import count_of, listed, near_file, without_passwords
from ..exceptions import DataError
from ._journals import JOURNALS
from ._rows import Table
from ._tables import TABLES, TRACKERS
from ._walk import walk
from .reader import HistoryReader, Reader
from .sqlite import is_sqlite, tables_of

GROUP = "robust_lr.readers"


class Found(NamedTuple):
    """The reader for what the user named, its files or folders, and the path itself."""

    reader: Reader
    paths: list[Path]
    root: Path


def all_readers() -> list[Reader]:
    """Return the readers of this package, then those of installed plug-ins."""
    from importlib.metadata import entry_points

    return [JOURNALS, *TRACKERS, *(entry.load() for entry in sorted(entry_points(group=GROUP), key=lambda e: e.name))]


def find_results(path: str | Path) -> Found:
    """Return who reads a path: a file, a folder of files of one kind, or the URL of one of these.

    Raises:
        DataError: when there is nothing to read, or results of several kinds.
    """
    root, readers = _path_of(path), all_readers()
    try:
        if root.is_symlink():
            root = root.resolve()
        is_there = root.exists()
    except OSError as error:  # too long a name, a loop of links
        raise DataError(f"cannot read {root}: {error.strerror}") from None
    if not is_there:
        raise DataError(f"cannot read {root}: No such file or directory{near_file(root)}")
    if root.is_dir():
        return _in_folder(root, readers)
    if not root.is_file():
        raise DataError(f"cannot read {root}: it is neither a file nor a folder")
    reader = next((each for each in readers if each.recognizes(root)), None)
    if reader is None and is_sqlite(root):
        raise DataError(
            f"{root} is an SQLite file, but none of {listed(each.looks_for for each in readers)}; its tables are "
            f"{listed(sorted(tables_of(root))) or 'none'}"
        )
    return Found(reader or TABLES, [root], root.parent)


def read_histories(path: str | Path) -> Table:
    """Return what a path holds of the steps of training, as a table with one row for each step of each run.

    Raises:
        DataError: when there is nothing to read, or results without their steps.
    """
    found = find_results(path)
    if not isinstance(found.reader, HistoryReader):
        raise DataError(
            f"{path} holds {found.reader.name}, without the values at each step; give a table with a row for each step "
            f"of each run, or {listed(each.name for each in TRACKERS)}"
        )
    return found.reader.histories(found.paths, found.root)


def _path_of(path: str | Path) -> Path:
    """The path in a URL of a file, such as sqlite:///mlflow.db."""
    text = os.fspath(path)
    url = urlsplit(text)
    if url.scheme == "sqlite" and text.startswith("sqlite:///"):
        return Path(unquote(url.path[1:]))
    if url.scheme == "file":
        return Path(unquote(url.path))
    if "://" in text:
        raise DataError(
            f"{without_passwords(text)} is not on this machine; --optuna reads a study in a database, an export as CSV "
            "works for every tracker"
        )
    return Path(path)


def _in_folder(root: Path, readers: Sequence[Reader]) -> Found:
    found = _recognized(root, readers) or _recognized(root, [TABLES])
    if len(found) > 1:
        each = [f"{reader.name} ({_shown(paths)})" for reader, paths in found]
        raise DataError(f"{root} holds results of several kinds: {listed(each)}; give the path of one of them")
    if not found:
        looked_for = listed(each.looks_for for each in [*readers, TABLES])
        raise DataError(f"{root} holds no results: looked for {looked_for}")
    return Found(*found[0], root)


def _recognized(root: Path, readers: Sequence[Reader]) -> list[tuple[Reader, list[Path]]]:
    """What each reader recognizes in a folder."""
    found: list[tuple[Reader, list[Path]]] = [(reader, []) for reader in readers]

    errors = list[DataError]()

    def is_found(path: Path) -> bool:
        try:
            mine = next((paths for reader, paths in found if reader.recognizes(path)), None)
        except DataError as error:  # a damaged file among others
            errors.append(error)
            return True
        if mine is not None:
            mine.append(path)
        return mine is not None

    walk(root, is_found)
    if errors and not any(paths for _, paths in found):
        raise errors[0]
    return [(reader, paths) for reader, paths in found if paths]


def _shown(paths: Sequence[Path]) -> str:
    return str(paths[0]) if len(paths) == 1 else f"{paths[0]} and {count_of(len(paths) - 1, 'other')}"
