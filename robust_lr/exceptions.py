"""The exceptions of robust-lr. Each message says in one line what was expected and what came instead."""

from __future__ import annotations

import warnings


class RobustLRError(Exception):
    """Base class of all errors raised by robust-lr; catch it to catch them all."""


class OptionError(RobustLRError, ValueError):
    """An option has the wrong type or is out of range, or two options exclude each other."""


class GridError(RobustLRError, ValueError):
    """The learning-rate grid cannot exist, such as one with ``lr_min <= 0``."""


class ScheduleError(RobustLRError, ValueError):
    """A schedule or its spec is malformed, such as ``"cosine(flor=0.1)"``."""


class DataError(RobustLRError, ValueError):
    """Input data (a table, an array of losses, a training set) are malformed or missing."""


class JournalError(RobustLRError):
    """A journal cannot be used: another process is writing it, or it belongs to another sweep."""


class TrialError(RobustLRError):
    """The training function is wrong, so the run stopped: it returned no number, or all of the first trials failed."""


class TrialDiverged(RobustLRError):
    """Raise this inside a training function to end a trial as *diverged*: a result, not a failure."""


class TrialTimedOut(BaseException):
    """A trial in this process exceeded its time limit. Not an Exception: training code may catch those and go on."""


class TrialPreempted(KeyboardInterrupt):
    """This process was asked to end (SIGTERM), as before a machine is taken away; the trial counts as not begun.

    A training function raises it once it has saved its state; see `robust_lr.preempted`. Like Ctrl-C it ends a sweep.
    """


class CommandError(RobustLRError):
    """The command of a trial failed: it ended with an error or a signal, or exceeded its time limit."""


class InsufficientDataError(RobustLRError):
    """The sweep does not support the requested conclusion; `estimate` holds what it does support.

    Attributes:
        estimate: the figure computed from the data at hand (a `Recommendation` without a grid, say), or None.
        needed: what is missing, in words ("about 6 more seeds").
    """

    def __init__(self, message: str, *, estimate: object = None, needed: str = "") -> None:
        super().__init__(f"{message}; needed: {needed}" if needed else message)
        self.estimate = estimate
        self.needed = needed


class NotVectorizable(RobustLRError):
    """A training function cannot be trained as a pack of replicas; raised before any training.

    Attributes:
        reason: why it cannot be packed, and what to do about it.
        where: the place in the user's code, as ``file:line``; empty if there is none.
    """

    def __init__(self, reason: str, where: str = "") -> None:
        super().__init__(f"{reason} ({where})" if where else reason)
        self.reason, self.where = reason, where

    def __reduce__(self) -> tuple[type[NotVectorizable], tuple[str, str]]:
        return type(self), (self.reason, self.where)


class RobustLRWarning(UserWarning):
    """A result is usable but weaker than it looks; the message says why."""


def __getattr__(name: str) -> type[RobustLRError]:
    if name == "NotVectorisable":  # the name of NotVectorizable in version 0.1
        text = "NotVectorisable is now NotVectorizable; version 0.3 removes the old name"
        warnings.warn(text, DeprecationWarning, stacklevel=2)
        return NotVectorizable
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
