"""A command in a process group of its own, which ends when this process ends, however that happens."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from multiprocessing.connection import wait
from pathlib import Path
from typing import IO

from ..runners.preemption import SECONDS_TO_SAVE, is_ending

SECONDS_TO_STOP = 5  # between SIGTERM and SIGKILL

TIME_LIMIT = b"\n[time limit reached: ending the command]\n"

# The command waits for a line, which comes once the watchdog is on guard. If this process dies first, no line comes.
_GATE = 'read -r go && exec "$@" </dev/null'
# The watchdog's input ends when this process does; the kernel closes the pipe even after a SIGKILL.
_WATCHDOG = """
trap '' HUP INT TERM
read -r nothing
kill -s TERM -- "-$1" || exit
n=0
while [ "$n" -lt "$2" ] && kill -s 0 -- "-$1"; do n=$((n + 1)); sleep 1; done
kill -s KILL -- "-$1"
"""


def run_logged(
    words: Sequence[str],
    *,
    folder: Path,
    environment: Mapping[str, str],
    log: Path,
    see: Callable[[bytes], None],
    timeout: float | None,
) -> int | None:
    """Run a command; return its exit code (-n: ended by signal n), or None if it took longer than `timeout` seconds.

    Its standard output and standard error go to the log, as they come; `see` gets each line of standard output. What
    the command leaves running in its process group is ended. An error of `see` is raised after the end.
    """
    errors = list[Exception]()

    def see_safely(line: bytes) -> None:  # a dead thread would leave the pipe full, and the command hanging
        try:
            see(line)
        except Exception as error:
            errors.append(error)

    log.unlink(missing_ok=True)
    with log.open("ab", buffering=0) as stream:
        process = subprocess.Popen(
            ["/bin/sh", "-c", _GATE, "sh", *words], cwd=folder, env=dict(environment), stdin=subprocess.PIPE,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True,
        )  # fmt: skip
        assert process.stdin is not None  # noqa: S101
        tee = threading.Thread(target=_copy, args=(process, stream, see_safely), daemon=True)
        with process.stdin as gate, _watchdog(process.pid):
            tee.start()
            try:
                gate.write(b"\n")
                gate.close()
                code: int | None = process.wait(timeout)
            except subprocess.TimeoutExpired:
                stream.write(TIME_LIMIT)
                code = None
            finally:
                _end_group(process)
                tee.join(SECONDS_TO_STOP)  # a process that has left the group may hold the pipe
    if errors:
        raise errors[0]
    return code


@contextlib.contextmanager
def _watchdog(group: int) -> Iterator[None]:
    watchdog = subprocess.Popen(
        ["/bin/sh", "-c", _WATCHDOG, "sh", str(group), str(SECONDS_TO_STOP)], cwd="/", stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
    )  # fmt: skip
    assert watchdog.stdin is not None  # noqa: S101
    try:
        yield
    finally:
        watchdog.kill()
        watchdog.wait()
        watchdog.stdin.close()


def _copy(process: subprocess.Popen[bytes], log: IO[bytes], see: Callable[[bytes], None]) -> None:
    """Copy both outputs, standard output first if both have something, by lines: neither splits a line of the other."""
    outputs = {out.fileno(): out for out in (process.stdout, process.stderr) if out}
    unfinished = dict.fromkeys(outputs, b"")

    def write(number: int, line: bytes) -> None:
        log.write(line)
        if outputs[number] is process.stdout:
            see(line)

    with contextlib.suppress(ValueError):  # the log is closed once nobody waits for it
        while outputs:
            ready = wait(outputs)
            for number in [each for each in outputs if each in ready]:
                chunk = os.read(number, 1 << 16)
                *lines, last = (unfinished[number] + chunk).splitlines(keepends=True) or [b""]
                is_whole = not chunk or last.endswith((b"\n", b"\r"))
                for line in [*lines, last] if is_whole else lines:
                    write(number, line)
                unfinished[number] = b"" if is_whole else last
                if not chunk:
                    outputs.pop(number).close()


def _end_group(process: subprocess.Popen[bytes]) -> None:
    """Send SIGTERM to what is left of the group, and SIGKILL to what is left after that."""
    deadline = time.monotonic() + (SECONDS_TO_SAVE if is_ending() else SECONDS_TO_STOP)
    is_left = _signal_group(process.pid, signal.SIGTERM)
    while is_left and time.monotonic() < deadline:
        time.sleep(0.01)
        process.poll()
        is_left = _signal_group(process.pid, 0)
    if is_left:
        _signal_group(process.pid, signal.SIGKILL)
    process.wait()


def _signal_group(group: int, number: int) -> bool:
    """Send a signal to a process group; return whether it has a process."""
    try:
        os.killpg(group, number)
    except OSError:
        return False
    return True
