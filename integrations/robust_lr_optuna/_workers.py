"""The identity of a worker: enough to tell, on the same machine, whether its process is gone."""

from __future__ import annotations

import functools
import os
import socket
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any


def this_worker() -> dict[str, Any]:
    return {**_process(os.getpid()), "thread": threading.get_ident()}


def in_this_process(worker: Mapping[str, Any]) -> bool:
    return all(worker.get(name) == value for name, value in _process(os.getpid()).items())


def where(worker: Mapping[str, Any] | None) -> str:
    """Return where a worker runs, in words."""
    if worker is None:
        return "worker unknown"
    if in_this_process(worker):
        return "in this process"
    machine, here = (str(each["machine"]) for each in (worker, _process(os.getpid())))
    return f"process {worker['pid']}" + (f" on {machine.partition('/')[0]}" if machine != here else " on this machine")


def is_gone(worker: Mapping[str, Any]) -> bool:
    """Whether the process is known to be dead; False on another machine, where this is unknown."""
    if worker.get("machine") != _process(os.getpid())["machine"]:
        return False
    pid = int(worker["pid"])
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        pass
    return worker.get("started") is not None and _start_of(pid) != worker["started"]


@functools.cache
def _process(pid: int) -> dict[str, Any]:
    # Boot and process namespace are part of the name, so that two containers never count as one machine.
    machine = (socket.gethostname(), *map(_text_of, ("/proc/sys/kernel/random/boot_id", "/proc/self/ns/pid")))
    return {"machine": "/".join(machine), "pid": pid, "started": _start_of(pid)}


def _text_of(path: str) -> str:
    try:
        file = Path(path)
        return str(file.readlink()) if file.is_symlink() else file.read_text(encoding="ascii").strip()
    except OSError:
        return ""


def _start_of(pid: int) -> int | None:
    """Clock ticks from boot to the start of a process; None if the system does not tell, -1 for a zombie."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return -1 if fields[0] == "Z" else int(fields[19])
