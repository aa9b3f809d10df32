"""Storages for several processes: a journal file that survives a torn line, SQLite that claims atomically."""

from __future__ import annotations

import contextlib
import os
import re
import time
from pathlib import Path
from typing import Any

import sqlalchemy
from optuna.storages import JournalStorage, RDBStorage
from optuna.storages.journal import JournalFileBackend, JournalFileOpenLock, JournalFileSymlinkLock
from sqlalchemy.engine import make_url

from robust_lr import RobustLRError

_WAITS = (0.1, 0.2, 0.5, 1.0, 2.0)  # seconds
_PATIENCE = 60.0  # seconds for the file's turn; by default a worker on a busy machine fails after 5


def journal_storage(path: str | os.PathLike[str]) -> JournalStorage:
    """Return a storage in one file, which any number of processes may use: what we recommend.

    A process that was killed while it wrote leaves half a line at the end, after which Optuna can write to the file
    but not read it any more. Such a line is cut off first, under the file's lock.

    Args:
        path: the file; it is made when it is not there.

    Raises:
        RobustLRError: when the file cannot be read or written.

    Example:
        >>> import optuna, tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     study = optuna.create_study(storage=journal_storage(f"{folder}/study.log"))
        ...     len(study.trials)
        0
    """
    # The lock's link must lead to the file, or Optuna never gives up the lock of a process that was killed.
    name = os.path.abspath(path)  # noqa: PTH100 - resolve() would follow a link
    # Symbolic links are what NFS does atomically; Windows does not always allow them.
    lock = JournalFileOpenLock(name) if os.name == "nt" else JournalFileSymlinkLock(name)
    try:
        if Path(name).exists():
            mend_journal(name, lock)
        return JournalStorage(JournalFileBackend(name, lock_obj=lock))
    except OSError as error:
        raise RobustLRError(f"cannot use {name} as a journal: {error.strerror}") from None


def mend_journal(path: str | os.PathLike[str], lock: Any) -> int:
    """Cut off what follows the last whole line, under the lock; return how many bytes that were."""
    lock.acquire()
    try:
        with Path(path).open("r+b") as file:
            size = end = file.seek(0, os.SEEK_END)
            while end > 0:
                start = max(0, end - 65536)
                file.seek(start)
                newline = file.read(end - start).rfind(b"\n")
                if newline >= 0:
                    end = start + newline + 1
                    break
                end = start
            if end < size:
                file.truncate(end)
            return size - end
    finally:
        lock.release()


def safe_sqlite_storage(url: str, **options: Any) -> RDBStorage:
    """Return an `optuna.storages.RDBStorage` in SQLite in which every transaction locks the file from its beginning.

    SQLite as Optuna opens it lets two processes read that a trial is waiting, and then both take it; one of them ends
    with an error. Enqueued trials and Optuna's own retries need this; a `GeometricGridSampler` alone does not.

    Args:
        url: such as ``sqlite:///study.db``.
        options: those of `RDBStorage`, such as ``heartbeat_interval=60``.

    Raises:
        RobustLRError: when the URL is not that of a file of SQLite.

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
        raise RobustLRError("url must be that of an SQLite database, such as sqlite:///study.db") from None
    if parsed.get_backend_name() != "sqlite":
        raise RobustLRError(
            f"url must be that of an SQLite database, got {parsed.render_as_string(hide_password=True)}"
        )
    if parsed.database in (None, "", ":memory:"):
        raise RobustLRError(f"url must name a file, such as sqlite:///study.db, got {url}")
    for wait in _WAITS:
        # Of several processes that make the tables of a new file, all but one find some that were not there before.
        with contextlib.suppress(sqlalchemy.exc.OperationalError, sqlalchemy.exc.IntegrityError):
            return _SafeSQLiteStorage(url, **options)
        time.sleep(wait)
    return _SafeSQLiteStorage(url, **options)


class _SafeSQLiteStorage(RDBStorage):
    def __init__(self, url: str, **options: Any) -> None:
        engine_kwargs = dict(options.pop("engine_kwargs", None) or {})
        engine_kwargs["connect_args"] = {"timeout": _PATIENCE, **engine_kwargs.get("connect_args", {})}
        super().__init__(url, engine_kwargs=engine_kwargs, **options)
        self._lock_at_the_beginning()

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)  # which makes a new engine
        self._lock_at_the_beginning()

    def _lock_at_the_beginning(self) -> None:
        @sqlalchemy.event.listens_for(self.engine, "connect")
        def begin_by_hand(connection: Any, record: object) -> None:
            connection.isolation_level = None  # the driver begins no transaction by itself

        @sqlalchemy.event.listens_for(self.engine, "begin")
        def begin_immediately(connection: Any) -> None:
            connection.exec_driver_sql("BEGIN IMMEDIATE")

        self.engine.dispose()  # connections made before know nothing of this


def redacted(url: str) -> str:
    """Return a storage URL as it may be printed: without the password."""
    try:
        return make_url(url).render_as_string(hide_password=True)
    except sqlalchemy.exc.ArgumentError:
        return re.sub(r":[^:@/]*@", ":***@", url)
