"""SQLite files of other tools, opened to read only: nothing is created, migrated or run."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from urllib.parse import quote

from ..exceptions import DataError

_HEADER = b"SQLite format 3\x00"
_WAL = b"\x02\x02"  # bytes 18 and 19 of a file with a write-ahead log
_TIMEOUT = 5.0  # seconds to wait for a writer


def tables_of(path: Path) -> set[str]:
    """Return the names of the tables in an SQLite file; none for any other file. Views and virtual tables do not count.

    Raises:
        DataError: when the file is damaged or stays locked.
    """
    if not is_sqlite(path):
        return set()
    with open_sqlite(path) as database:
        found = database.execute("SELECT name FROM sqlite_master WHERE type = 'table' AND sql LIKE 'CREATE TABLE%'")
        return {name for (name,) in found}


def is_sqlite(path: Path) -> bool:
    """Return whether a file begins as SQLite files do."""
    return path.is_file() and start_of(path).startswith(_HEADER)


def start_of(path: Path, n: int = 100) -> bytes:
    """Return the first bytes of a file, none if it cannot be read."""
    try:
        with path.open("rb") as file:
            return file.read(n)
    except OSError:
        return b""


def read_only_uri(path: Path) -> str:
    """Return the URI under which SQLite opens a file to read only."""
    # A write-ahead log has two more files, which SQLite creates unless it may take the database for immutable.
    is_at_rest = _has_wal(path) and not _beside(path, "-wal").exists()
    return f"file:{quote(str(path.absolute()))}?mode=ro{'&immutable=1' if is_at_rest else ''}"


def _has_wal(path: Path) -> bool:
    return start_of(path)[18:20] == _WAL


def _beside(path: Path, suffix: str) -> Path:
    return path.with_name(f"{path.name}{suffix}")


@contextmanager
def _readable(path: Path) -> Iterator[Path]:
    """The file itself; or a copy, where the log of a writer that was killed is to be read in."""
    wal = _beside(path, "-wal")
    if not _has_wal(path) or not wal.exists() or _beside(path, "-shm").exists():
        yield path
        return
    with TemporaryDirectory() as folder:
        shutil.copy(wal, folder)
        yield Path(shutil.copy(path, folder))


@contextmanager
def open_sqlite(path: Path) -> Iterator[sqlite3.Connection]:
    """Open an SQLite file to read it; an error of SQLite becomes a `DataError` of one line."""
    try:
        with (
            _readable(path) as file,
            closing(sqlite3.connect(read_only_uri(file), uri=True, timeout=_TIMEOUT)) as database,
        ):
            database.text_factory = lambda text: text.decode("utf-8", "replace")
            database.execute("PRAGMA trusted_schema = OFF")
            yield database
    except (sqlite3.Error, OSError) as error:
        text = " ".join(str(error).split())
        way_out = "; another program is writing it: try again, or read a copy" if "locked" in text else ""
        raise DataError(f"cannot read {path}: {text}{way_out}") from None


def rows_of(database: sqlite3.Connection, table: str, tables: set[str]) -> Iterator[dict[str, Any]]:
    """Yield the rows of a table by column, in the order in which they were written; none if there is no such table."""
    if table in tables:
        cursor = database.execute(f'SELECT * FROM "{table}"')
        names = [column[0] for column in cursor.description]
        for row in cursor:
            yield dict(zip(names, row, strict=True))
