"""Preemption: SIGTERM asks this process to end, usually half a minute before the machine is taken away."""

from __future__ import annotations

import contextlib
import logging
import signal
import threading
from collections.abc import Iterator
from types import FrameType

from ..exceptions import TrialPreempted

SECONDS_TO_SAVE = 25.0  # of the 30 s that clouds, Kubernetes and Slurm leave

_log = logging.getLogger("robust_lr")


class _Request:
    """What this process knows of its end: a signal is one for the whole process."""

    is_made = False
    is_in_trial = False
    is_awaited = False  # by the trial, which has asked


def preempted() -> bool:
    """Return whether this process is about to end; for training functions, which call it once in a while.

    A spot machine, a batch system and Kubernetes send SIGTERM about 30 seconds before the end. A trial that calls this
    function then has 25 seconds to save its state and raise `TrialPreempted`; any other ends at once. Either way the
    trial counts as not begun: it runs again, which uses up no retry. One that returns in time has its result.

    Example:
        >>> def train(*, lr, schedule, seed):
        ...     for step in range(3):
        ...         ...  # one step
        ...         if preempted():
        ...             ...  # save the state
        ...             raise TrialPreempted
        ...     return 0.5
        >>> preempted()
        False
    """
    if _Request.is_in_trial and not _Request.is_awaited and threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, _on_sigterm)  # in a worker too, which else ends by the signal
        _Request.is_awaited = True
    return _Request.is_made


def is_ending() -> bool:
    """Return whether this process has been asked to end."""
    return _Request.is_made


@contextlib.contextmanager
def trial_begins() -> Iterator[None]:
    """Inside, a trial runs, which may ask for a preemption. Raise `TrialPreempted` if it is too late to begin."""
    if _Request.is_made:
        raise TrialPreempted
    before = signal.getsignal(signal.SIGTERM)
    _Request.is_in_trial, _Request.is_awaited = True, False
    try:
        yield
        if _Request.is_made and not _Request.is_awaited:  # its handler of Ctrl-C has ended the training early
            raise TrialPreempted
    finally:
        if _Request.is_awaited:
            signal.signal(signal.SIGTERM, before)
        _Request.is_in_trial = _Request.is_awaited = False


@contextlib.contextmanager
def ending_by_sigterm() -> Iterator[None]:
    """Inside, SIGTERM ends what runs like Ctrl-C, and then this process, as it would have done without.

    It does nothing in other threads, and where the program has a handler of its own.
    """
    is_main = threading.current_thread() is threading.main_thread()
    if not is_main or signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL:
        yield
        return
    signal.signal(signal.SIGTERM, _on_sigterm)
    try:
        yield
    except TrialPreempted:
        why = "SIGTERM" if _Request.is_made else "a trial that raised TrialPreempted"
        _log.warning("ended by %s; every finished trial is in the journal, and the same command continues", why)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        signal.raise_signal(signal.SIGTERM)
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        _Request.is_made = False


def _on_sigterm(number: int, frame: FrameType | None) -> None:
    is_second, _Request.is_made = _Request.is_made, True
    if is_second or not _Request.is_awaited:
        raise TrialPreempted
