"""The child's side of the process pool: the work of a worker process, and what it inherits from its parent."""

from __future__ import annotations

import contextlib
import os
import pickle
import signal
import threading
import traceback
from collections.abc import Iterable, Iterator, Mapping
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path

from .._text import main_line
from ..exceptions import RobustLRError, TrialPreempted
from .base import Evaluator
from .pool import send_results
from .trial_sources import TrialQueue

_environment_lock = threading.Lock()


@contextlib.contextmanager
def child_inherits(environment: Mapping[str, str]) -> Iterator[None]:
    """Set environment variables and block SIGINT for a process started inside the context.

    Both must be in place before the first import in the child: libraries read the variables when they are loaded, and
    Ctrl-C in a terminal reaches every process of its group. Afterwards this process is as before.
    """
    with _environment_lock, _sigint_blocked():
        before = {name: os.environ.get(name) for name in environment}
        os.environ.update(environment)
        try:
            yield
        finally:
            for name, value in before.items():
                if value is None:
                    del os.environ[name]
                else:
                    os.environ[name] = value


@contextlib.contextmanager
def _sigint_blocked() -> Iterator[None]:
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    from multiprocessing import resource_tracker

    resource_tracker.ensure_running()  # starting it unblocks SIGINT, so it must start before
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def work(pipe: Connection) -> None:
    """Run trials until told to stop.

    The worker sends None once it is up, and receives the pickled `Evaluator`. It requests trials, receives them in
    lists, and sends a `TrialResult` for each, or the reason why there is none. It ends when it receives None.
    """
    if hasattr(os, "setpgid"):
        os.setpgid(0, 0)  # so that what training starts, such as a data loader, ends with this process
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    queue = TrialQueue(partial(_send, pipe))
    _send(pipe, None)
    try:
        pickled = pipe.recv()
    except (EOFError, OSError):
        return  # the parent is gone
    threading.Thread(target=_listen, args=(pipe, queue), daemon=True).start()
    try:
        evaluator: Evaluator = pickle.loads(pickled)
    except Exception:
        _send(
            pipe,
            RobustLRError(
                "the worker processes cannot load train: define it in a module or script that they can import, or use "
                f"SerialRunner; {main_line(traceback.format_exc())}"
            ),
        )
        return
    try:
        send_results(evaluator, queue, partial(_send, pipe))
    except TrialPreempted:  # end as without a handler, which tells the parent
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        signal.raise_signal(signal.SIGTERM)


def descendants(process: int) -> list[int]:
    """Return the processes that a process has started, and those that they have, as far as the system shows them."""
    children = dict[int, list[int]]()
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):  # it has just ended
            parent = stat.read_text(errors="replace").rpartition(")")[2].split()[1]
            children.setdefault(int(parent), []).append(int(stat.parent.name))
    found = list(children.get(process, ()))
    for child in found:  # which grows
        found += children.get(child, ())
    return found


def end_family(process: int, others: Iterable[int] = ()) -> None:
    """Kill what is left of the process group of a worker, and ask other processes that it had started to end."""
    if not hasattr(os, "killpg"):
        return
    for other in others:  # by SIGTERM: a command has its own watchdog, which gives it time
        with contextlib.suppress(OSError):
            os.kill(other, signal.SIGTERM)
    with contextlib.suppress(OSError):
        os.killpg(process, signal.SIGKILL)


def _send(pipe: Connection, message: object) -> None:
    try:
        pipe.send(message)
    except OSError:
        os._exit(1)  # the parent is gone


def _listen(pipe: Connection, queue: TrialQueue) -> None:
    """Pass messages on; once the parent is gone, end this process at once, even in the middle of a trial."""
    try:
        while (message := pipe.recv()) is not None:
            queue.put(message)
    except (EOFError, OSError):
        end_family(os.getpid(), descendants(os.getpid()))
        os._exit(1)
    queue.put(None)
