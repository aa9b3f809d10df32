"""Who is running a trial: enough to tell, on the same machine, that the process is gone."""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Any


def this_worker() -> dict[str, Any]:
    """Return the identity of this process: machine, process number, and when the process started.

    Processes of two containers are never taken for processes of one machine: the machine's name holds its boot and its
    process namespace, where the system tells them.
    """
    return {"machine": _machine(), "pid": os.getpid(), "started": _start_of(os.getpid())}


def is_gone(worker: Mapping[str, Any]) -> bool:
    """Return whether the process is known to be dead; False for one on another machine, of which nothing is known."""
    if worker.get("machine") != _machine():
        return False
    pid = int(worker["pid"])
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        pass
    return worker.get("started") is not None and _start_of(pid) != worker["started"]


def _machine() -> str:
    return "/".join((socket.gethostname(), *map(_text_of, ("/proc/sys/kernel/random/boot_id", "/proc/self/ns/pid"))))


def _text_of(path: str) -> str:
    try:
        file = Path(path)
        return str(file.readlink()) if file.is_symlink() else file.read_text(encoding="ascii").strip()
    except OSError:
        return ""


def _start_of(pid: int) -> int | None:
    """Clock ticks from the boot to the start of a process, None where the system does not tell or it is a zombie."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return -1 if fields[0] == "Z" else int(fields[19])
