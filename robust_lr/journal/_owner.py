"""The owner file beside a journal: which process writes it, also where file locks do not reach other machines."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import platform
import threading
import time
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..exceptions import JournalError

SECONDS_BETWEEN_BEATS = 5.0
SECONDS_TO_BE_GONE = 20.0  # without a beat

_log = logging.getLogger("robust_lr")


class OwnerFile:
    """A file that names the writing process, and whose time of change that process renews every few seconds.

    A file left by a process of this machine that has ended is taken over at once, that of another machine once it has
    not been renewed for `SECONDS_TO_BE_GONE`. Only changes are compared, never the clocks of two machines.

    Args:
        path: the file.
        is_locked: whether the operating system has locked the journal for this process, so that no other process of
            this machine can write it.

    Raises:
        JournalError: when another process owns the journal.
    """

    def __init__(self, path: Path, *, is_locked: bool) -> None:
        self._path, self._is_locked, self._process = path.absolute(), is_locked, os.getpid()  # training may chdir
        self._size = 0  # of the longest text so far
        self.left: Mapping[str, Any] = {}  # by the owner before, if it did not close the journal
        self._me: dict[str, Any] = {
            "host": platform.node(), "pid": self._process, "machine": machine(), "token": uuid.uuid4().hex,
        }  # fmt: skip
        while not self._create():
            self._take_over()
        self._last_beat, self._ended = time.time(), threading.Event()
        threading.Thread(target=self._beat_on, daemon=True).start()

    def check(self) -> None:
        """Raise a JournalError if another process has taken the journal over, as after this machine has slept."""
        if time.time() - self._last_beat > SECONDS_TO_BE_GONE / 2:
            self._beat()
        if self._ended.is_set():
            raise JournalError(
                f"another process has taken over {self._path.with_suffix('')}, since this one did not respond: it "
                "continues there"
            )

    def note(self, **what: object) -> None:
        """Keep something in the file, for a process that finds it after this one has died.

        Raises:
            JournalError: see `check`.
        """
        self.check()
        self._me |= what
        data = json.dumps(self._me).encode()
        self._size = max(self._size, len(data))
        with contextlib.suppress(OSError), self._path.open("r+b", buffering=0) as file:
            file.write(data.ljust(self._size))  # one write, so that a kill leaves the old text or the new

    def release(self) -> None:
        """Remove the file, unless this is a forked copy of its owner."""
        if not self._ended.is_set() and self._process == os.getpid():
            self._ended.set()
            if self._read().get("token") == self._me["token"]:
                self._path.unlink(missing_ok=True)

    def _create(self) -> bool:
        try:
            with self._path.open("x", encoding="utf-8") as file:
                file.write(json.dumps(self._me))
        except FileExistsError:
            return False
        except OSError as error:
            raise JournalError(f"cannot write {self._path}: {error.strerror}") from None
        return True

    def _take_over(self) -> None:
        """Remove the file of an owner that has ended; raise if it has not, or if the file is not one of an owner."""
        if _is_of_another_kind(self._path):
            raise JournalError(
                f"{self._path} is not robust-lr's lock, but a journal of that name needs one there: rename it, or name "
                "another journal"
            )
        other = self._read()
        if other.get("machine") == self._me["machine"]:
            if not self._is_locked and _is_alive(other.get("pid")):
                raise JournalError(self._said(other))
        elif self._is_renewed(other):
            raise JournalError(self._said(other))
        aside = self._path.with_name(f"{self._path.name}.{self._me['token']}")
        try:
            self._path.rename(aside)
        except FileNotFoundError:
            return  # another process was faster
        if _read(aside) != other:  # it has taken over from the same owner: give its file back
            with contextlib.suppress(OSError):
                os.link(aside, self._path)
            aside.unlink()
            raise JournalError(self._said(self._read()))
        aside.unlink()
        self.left = other

    def _is_renewed(self, other: Mapping[str, Any]) -> bool:
        deadline, seen = time.monotonic() + SECONDS_TO_BE_GONE, self._time_of_change()
        if other:
            _log.info("%s; waiting %g s for a sign of life", self._said(other), SECONDS_TO_BE_GONE)
        while time.monotonic() < deadline:
            time.sleep(min(0.5, SECONDS_TO_BE_GONE / 10))
            now = self._time_of_change()
            if now is not None and now != seen:
                return True
        return False

    def _said(self, other: Mapping[str, Any]) -> str:
        who = f"process {other.get('pid')} on {other.get('host')}"
        return (
            f"the journal {self._path.with_suffix('')} is being written by another sweep, {who}: wait for that one, or "
            "name another journal"
        )

    def _read(self) -> dict[str, Any]:
        return _read(self._path)

    def _time_of_change(self) -> int | None:
        try:
            return self._path.stat().st_mtime_ns
        except OSError:
            return None

    def _beat_on(self) -> None:
        while not self._ended.wait(SECONDS_BETWEEN_BEATS):
            self._beat()

    def _beat(self) -> None:
        token = self._read().get("token")
        if token is None and not os.path.lexists(self._path):
            with contextlib.suppress(JournalError):  # the folder was renamed, or is away for a moment
                self._create()  # somebody has tidied up
        elif token not in (None, self._me["token"]):
            self._ended.set()
            return
        with contextlib.suppress(OSError):
            os.utime(self._path)
            self._last_beat = time.time()


def _read(path: Path) -> dict[str, Any]:
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return record if isinstance(record, dict) else {}


def _is_of_another_kind(path: Path) -> bool:
    """Return whether something else has the name: a user's file, a folder. What a crash has cut off is an owner's."""
    if not path.is_file():
        return path.exists()
    if record := _read(path):
        return "machine" not in record
    try:
        text = path.read_text(encoding="utf-8", errors="replace").strip("\0 ")
    except OSError:
        return False
    return text != "" and (not text.startswith("{") or "\n" in text)


def machine() -> str:
    """Return what is the same for all processes of this machine since it was started, in its containers too."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return f"{platform.node()} {uuid.getnode()}"


def _is_alive(process: object) -> bool:
    try:
        os.kill(int(str(process)), 0)
    except (ValueError, ProcessLookupError):
        return False
    except OSError:
        return True
    return True
