"""Storages for several processes: a journal file that survives a torn line, SQLite that hands out trials atomically."""

from __future__ import annotations

import contextlib
import mmap
import os
import time
from pathlib import Path
from typing import Any

import sqlalchemy
from optuna.storages import BaseStorage, JournalStorage, RDBStorage
from optuna.storages.journal import JournalFileBackend, JournalFileOpenLock, JournalFileSymlinkLock
from sqlalchemy.engine import make_url

from robust_lr._text import without_passwords
from robust_lr.exceptions import DataError, OptionError, RobustLRError
from robust_lr.readers.sqlite import read_only_uri

from ._long_journal import LongJournalStorage

_WAITS = (0.1, 0.2, 0.5, 1.0, 2.0)  # seconds
_TIMEOUT = 60.0  # seconds to wait for the file; with the default, a worker on a busy machine fails after 5


def journal_storage(path: str | os.PathLike[str]) -> JournalStorage:
    """Return a storage in one file for any number of processes; the storage that we recommend.

    A process that is killed while it writes a line of more than 4 kB, or that fills the disk, leaves half a line. The
    next line is appended to it, and then Optuna cannot read the file any more. So half a line at the end is removed
    first, under the file's lock.

    Args:
        path: the file; it is created if it does not exist.

    Raises:
        RobustLRError: if the file cannot be read or written.

    Example:
        >>> import optuna, tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     study = optuna.create_study(storage=journal_storage(f"{folder}/study.log"))
        ...     len(study.trials)
        0
    """
    # The lock's link must lead to the file, or Optuna never breaks the lock of a process that was killed.
    name = os.path.abspath(path)  # noqa: PTH100 - resolve() would follow a link
    # Symbolic links are what NFS does atomically; Windows does not always allow them.
    lock = JournalFileOpenLock(name) if os.name == "nt" else JournalFileSymlinkLock(name)
    try:
        if Path(name).exists():
            mend_journal(name, lock)
        return LongJournalStorage(JournalFileBackend(name, lock_obj=lock))
    except OSError as error:
        raise RobustLRError(f"cannot use {name} as a journal: {error.strerror}") from None


def mend_journal(path: str | os.PathLike[str], lock: Any) -> int:
    """Remove an incomplete last line, under the lock; return its number of bytes."""
    lock.acquire()
    try:
        with Path(path).open("r+b") as file:
            size = file.seek(0, os.SEEK_END)
            if not size:
                return 0
            with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as text:
                end = text.rfind(b"\n") + 1
            if end < size:
                file.truncate(end)
            return size - end
    finally:
        lock.release()


def safe_sqlite_storage(url: str, **options: Any) -> RDBStorage:
    """Return an `optuna.storages.RDBStorage` in SQLite whose transactions lock the file from their start.

    With SQLite as Optuna opens it, two processes can take the same waiting trial, and one of them fails. Enqueued
    trials and Optuna's own retries need this storage; a `GeometricGridSampler` alone does not.

    Args:
        url: such as ``sqlite:///study.db``.
        options: options of `RDBStorage`, such as ``heartbeat_interval=60``.

    Raises:
        OptionError: if the URL is not that of an SQLite file.

    Example:
        >>> import optuna, tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     study = optuna.create_study(storage=safe_sqlite_storage(f"sqlite:///{folder}/study.db"))
        ...     len(study.trials)
        0
    """
    try:
        parsed = make_url(url)
    except sqlalchemy.exc.ArgumentError:
        raise OptionError("url must be that of an SQLite database, such as sqlite:///study.db") from None
    if parsed.get_backend_name() != "sqlite":
        shown = parsed.render_as_string(hide_password=True)
        raise OptionError(f"url must be that of an SQLite database, such as sqlite:///study.db, got {shown}")
    if parsed.database in (None, "", ":memory:"):
        raise OptionError(f"url must name a file, such as sqlite:///study.db, got {url}")
    for wait in _WAITS:
        # If several processes create the tables of a new file, all but one find tables that were not there before.
        with contextlib.suppress(sqlalchemy.exc.OperationalError, sqlalchemy.exc.IntegrityError):
            return _SafeSQLiteStorage(url, **options)
        time.sleep(wait)
    return _SafeSQLiteStorage(url, **options)


class _SafeSQLiteStorage(RDBStorage):
    def __init__(self, url: str, **options: Any) -> None:
        engine_kwargs = dict(options.pop("engine_kwargs", None) or {})
        engine_kwargs["connect_args"] = {"timeout": _TIMEOUT, **engine_kwargs.get("connect_args", {})}
        super().__init__(url, engine_kwargs=engine_kwargs, **options)
        self._lock_at_the_start()

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)  # which makes a new engine
        self._lock_at_the_start()

    def _lock_at_the_start(self) -> None:
        @sqlalchemy.event.listens_for(self.engine, "connect")
        def begin_by_hand(connection: Any, record: object) -> None:
            connection.isolation_level = None  # the driver begins no transaction by itself

        @sqlalchemy.event.listens_for(self.engine, "begin")
        def begin_immediately(connection: Any) -> None:
            connection.exec_driver_sql("BEGIN IMMEDIATE")

        self.engine.dispose()  # connections that were made before do neither


def open_to_read(where: str) -> BaseStorage:
    """Return the storage at a URL or the path of a journal; never create one."""
    shown = without_passwords(where)
    if "://" not in where:
        if not Path(where).is_file():
            raise DataError(f"cannot read {shown}: no such file")
        try:
            return JournalStorage(JournalFileBackend(where))
        except OSError as error:
            raise DataError(f"cannot read {shown}: {error.strerror}") from None
        except Exception:  # whatever a reader that expects other lines makes of these
            text = f"{shown} is not a journal of Optuna (an SQLite file is given as sqlite:///{shown})"
            raise DataError(text) from None
    try:
        _check_tables(where, shown)
        url = make_url(where)
        if url.get_backend_name() == "sqlite" and url.database:  # else Optuna adds tables that the file lacks
            where = f"sqlite:///{read_only_uri(Path(url.database))}&uri=true"
        return RDBStorage(where, skip_table_creation=True)
    except DataError:
        raise
    except Exception as error:  # the drivers have errors of their own, besides those of sqlalchemy and Optuna
        raise DataError(f"cannot read {shown}: {_in_one_line(error, where)}") from None


def _check_tables(url: str, shown: str) -> None:
    parsed = make_url(url)
    file = parsed.database if parsed.get_backend_name() == "sqlite" else None
    if file and not Path(file).is_file():
        raise DataError(f"cannot read {shown}: no such file")
    engine = sqlalchemy.create_engine(parsed)
    try:
        if not sqlalchemy.inspect(engine).has_table("studies"):
            raise DataError(f"{shown} holds no study")
    finally:
        engine.dispose()


def _in_one_line(error: Exception, url: str) -> str:
    text = " ".join(str(getattr(error, "orig", None) or error).split())
    try:
        password = make_url(url).password
    except sqlalchemy.exc.ArgumentError:
        return f"not the URL of a database ({type(error).__name__})"
    # A password with an @ in it that is not written as %40 is taken for a part of the host.
    rest = url.partition("://")[2].partition("/")[0].split("@")[1:-1]
    for part in [f"{'@'.join(rest[i:])}@" for i in range(len(rest))]:
        text = text.replace(part, "***@")
    return without_passwords(text.replace(str(password), "***") if password else text)
