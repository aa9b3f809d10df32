"""A file to which one process appends lines, each of them completely or not at all."""

from __future__ import annotations

import errno
import os
import stat
import sys
from pathlib import Path

from ..exceptions import JournalError
from ._owner import OwnerFile


class JournalFile:
    """A locked file, created if missing; its folder must exist.

    The operating system locks the open file, so the lock ends with the process, however that ends. For other machines,
    on a file system whose locks do not reach them, an `OwnerFile` beside it names the process. A forked child process
    closes the file.

    Raises:
        JournalError: when the file cannot be opened, is not a regular file, or another process has locked it.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        self._descriptor = -1
        self._owner: OwnerFile | None = None
        flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | getattr(os, "O_BINARY", 0)
        try:
            self._descriptor = os.open(self.path, flags, 0o666)
        except OSError as error:
            raise JournalError(f"cannot open the journal {self.path}: {error.strerror}") from None
        _open_files.add(self)
        if not stat.S_ISREG(os.fstat(self._descriptor).st_mode):  # reading it might never end
            self.close()
            raise JournalError(f"the journal must be a regular file, but {self.path} is a pipe or a device")
        try:
            self._owner = OwnerFile(self.path.with_name(f"{self.path.name}.lock"), is_locked=self._lock())
        except BaseException:
            self.close()
            raise

    def _lock(self) -> bool:
        """Lock the file; return whether this file system has locks. Raise if another process has locked it."""
        try:
            _lock(self._descriptor)
        except BlockingIOError:
            raise JournalError(
                f"the journal {self.path} is being written by another sweep: wait for that one, or name another journal"
            ) from None
        except OSError:
            return False
        return True

    @property
    def owner(self) -> OwnerFile:
        """The file beside this one that names its owner.

        Raises:
            JournalError: when this object is closed.
        """
        if self._owner is None or self._descriptor < 0:
            raise JournalError(f"the journal {self.path} is closed")
        return self._owner

    def read(self) -> bytes:
        """Return the contents of the file."""
        return self.path.read_bytes()

    def append(self, line: bytes, *, after: int | None = None) -> None:
        """Write `line` at the end, or after the first `after` bytes, and flush it to the disk.

        Raises:
            JournalError: when it cannot be written (the file stays as it was), this object is closed, or the file
                was deleted.
        """
        self.owner.check()
        if os.fstat(self._descriptor).st_nlink == 0:
            raise JournalError(
                f"the journal {self.path} was deleted while its sweep was running; begin the sweep again"
            )
        size = os.fstat(self._descriptor).st_size if after is None else after
        try:
            self.truncate(size)
            if os.write(self._descriptor, line) < len(line):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            os.fsync(self._descriptor)
            if size == 0:
                _sync_folder(self.path.parent)
        except OSError as error:
            self.truncate(size)
            raise JournalError(f"cannot write the journal {self.path}: {error.strerror}") from None

    def truncate(self, size: int) -> None:
        """Cut the file to its first `size` bytes."""
        if os.fstat(self._descriptor).st_size > size:
            os.ftruncate(self._descriptor, size)

    def close(self) -> None:
        """Close the file and release the lock; closing again does nothing."""
        if self._descriptor >= 0:
            if self._owner is not None:
                self._owner.release()
            os.close(self._descriptor)
            self._descriptor = -1
            _open_files.discard(self)


_open_files: set[JournalFile] = set()


def _close_all() -> None:
    for file in list(_open_files):
        file.close()


if hasattr(os, "register_at_fork"):
    # A forked child shares the lock, and would keep it after this process is killed.
    os.register_at_fork(after_in_child=_close_all)


if sys.platform == "win32":
    import msvcrt

    def _lock(descriptor: int) -> None:
        # Windows prevents others from reading locked bytes, so the locked byte lies far behind the end.
        os.lseek(descriptor, 1 << 40, os.SEEK_SET)
        try:
            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        except OSError:
            raise BlockingIOError from None

    def _sync_folder(folder: Path) -> None:
        """Windows cannot, and need not."""

else:
    import fcntl

    def _lock(descriptor: int) -> None:
        # flock, not lockf: a POSIX lock ends as soon as this process closes any other handle to the file.
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)

    def _sync_folder(folder: Path) -> None:
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
