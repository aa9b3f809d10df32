"""Every error that robust-lr raises on purpose. Each says in one line what was expected and what came."""

from __future__ import annotations

import warnings


class RobustLRError(Exception):
    """Base of all errors raised by robust-lr; catch it to catch them all."""


class OptionError(RobustLRError, ValueError):
    """An option is of the wrong type or out of its range, or two options exclude each other."""


class GridError(RobustLRError, ValueError):
    """A learning-rate grid was asked for that cannot exist, such as one with ``lr_min <= 0``."""


class ScheduleError(RobustLRError, ValueError):
    """A schedule or its spec is malformed, such as ``"cosine(flor=0.1)"``."""


class DataError(RobustLRError, ValueError):
    """Data that were handed in (a table, an array of losses, a training set) are not what they must be."""


class JournalError(RobustLRError):
    """A journal cannot be used: another process writes it, or it belongs to another sweep."""


class TrialError(RobustLRError):
    """Every one of the first trials of a sweep failed, so the sweep was stopped; the text is the first failure."""


class TrialDiverged(RobustLRError):
    """Raise this inside a training function to end a trial as *diverged*: a result, not a failure."""


class InsufficientDataError(RobustLRError):
    """The sweep cannot carry the conclusion asked for; `estimate` holds what it can carry.

    Attributes:
        estimate: the figure computed from the data at hand (a `Recommendation` without a grid, say), or None.
        needed: what would make it enough, in words ("about 6 more seeds").
    """

    def __init__(self, message: str, *, estimate: object = None, needed: str = "") -> None:
        super().__init__(f"{message}; needed: {needed}" if needed else message)
        self.estimate = estimate
        self.needed = needed


class NotVectorizable(RobustLRError):
    """A training function cannot be trained as a pack of replicas; raised before any training.

    Attributes:
        reason: what stands in the way, and what to do about it.
        where: the place in the user's code, as ``file:line``; empty when there is none.
    """

    def __init__(self, reason: str, where: str = "") -> None:
        super().__init__(f"{reason} ({where})" if where else reason)
        self.reason, self.where = reason, where

    def __reduce__(self) -> tuple[type[NotVectorizable], tuple[str, str]]:
        return type(self), (self.reason, self.where)


class RobustLRWarning(UserWarning):
    """A result is usable but weaker than it looks; the text says why."""


def __getattr__(name: str) -> type[RobustLRError]:
    if name == "NotVectorisable":  # what NotVectorizable was called in version 0.1
        warnings.warn("NotVectorisable is now NotVectorizable", DeprecationWarning, stacklevel=2)
        return NotVectorizable
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
