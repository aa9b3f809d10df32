"""The far side of the process pool: what a worker process does, and what it inherits from its parent."""

from __future__ import annotations

import contextlib
import os
import pickle
import signal
import threading
import traceback
from collections.abc import Iterator, Mapping
from multiprocessing.connection import Connection
from queue import SimpleQueue
from typing import Any

from ..trials import TrialResult
from .base import evaluate_trial

_environment_lock = threading.Lock()


@contextlib.contextmanager
def child_inherits(environment: Mapping[str, str]) -> Iterator[None]:
    """Set environment variables, and hold SIGINT back, for the process that is started inside.

    Both must be in place before the first import in the child: libraries read the variables when they are loaded, and
    Ctrl-C in a terminal reaches every process of its group. This process is as before afterwards.
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

    resource_tracker.ensure_running()  # starting it unblocks SIGINT, so it must have been started before
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def work(pipe: Connection) -> None:
    """Run trials until told to stop.

    Sends None when it is up; gets the pickled (train, schedules), then trials, then None. Sends a `TrialResult` for
    each trial, or the traceback when it cannot load what it was sent.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    inbox: SimpleQueue[Any] = SimpleQueue()
    threading.Thread(target=_listen, args=(pipe, inbox), daemon=True).start()
    _tell(pipe, None)
    payload = inbox.get()
    try:
        train, schedules = pickle.loads(payload)
    except Exception:
        _tell(pipe, traceback.format_exc())
        return
    while (spec := inbox.get()) is not None:
        _tell(pipe, evaluate_trial(train, spec, schedules[spec.schedule]))


def _tell(pipe: Connection, message: str | TrialResult | None) -> None:
    try:
        pipe.send(message)
    except OSError:
        os._exit(1)  # the parent is gone


def _listen(pipe: Connection, inbox: SimpleQueue[Any]) -> None:
    """Pass messages on; when the parent is gone, end this process at once, in the middle of a trial if need be."""
    try:
        while (message := pipe.recv()) is not None:
            inbox.put(message)
    except (EOFError, OSError):
        os._exit(1)
    inbox.put(None)
