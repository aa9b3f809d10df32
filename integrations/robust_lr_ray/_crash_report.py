"""What happened to a worker on the cluster, from the exception that Ray raised instead of its answer."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from typing import Any

import ray
from ray.exceptions import (
    ActorUnavailableError,
    GetTimeoutError,
    OutOfMemoryError,
    RayActorError,
    RayError,
    RayTaskError,
)

from robust_lr.exceptions import RobustLRError, TrialPreempted
from robust_lr.runners.pool import WorkerLost
from robust_lr.trials import Status

_SECONDS_TO_LEARN_WHY = 5.0
_COLORS = re.compile("\x1b\\[[0-9;]*m")


class _PreemptedError(Exception):
    """What `TrialPreempted` becomes on its way to the driver: Ray takes a KeyboardInterrupt for its own."""


@contextlib.contextmanager
def preemption_told() -> Iterator[None]:
    """Let `crash_report` tell a preempted trial, which runs in this context, from a failure."""
    try:
        yield
    except TrialPreempted:
        raise _PreemptedError from None


def crash_report(error: RayError, actor: Any = None) -> WorkerLost | RobustLRError:
    """Return why a worker is lost, or the RobustLRError that its actor raised, or that says why no worker can start.

    If Ray only says that the actor is unreachable, a call of its method `hello` finds out why. If that gets no answer
    either, the node counts as lost.
    """
    if isinstance(error, RayTaskError):
        if isinstance(error.cause, RobustLRError):
            return error.cause
        if isinstance(error.cause, _PreemptedError):
            return WorkerLost("its node is about to be taken away", is_blameless=True)
        return WorkerLost(f"the worker could not continue: {type(error.cause).__name__}: {error.cause}")
    if isinstance(error, ActorUnavailableError) and actor is not None:
        try:
            ray.get(actor.hello.remote(), timeout=_SECONDS_TO_LEARN_WHY)
        except RayActorError as known:
            error = known
        except GetTimeoutError:
            pass
    text = " ".join(_COLORS.sub("", str(error)).split())
    if "failed to import on the worker" in text:
        return RobustLRError(
            f"robust-lr must be installed on every node of the cluster: {text.rpartition(' ModuleNotFoundError: ')[2]}"
        )
    said = re.search(r"(?:is dead because|died because|unavailable because) (.*?)(?:\. Some common causes|$)", text)
    reason = said[1] if said else text
    out_of_memory = isinstance(error, OutOfMemoryError) or "low on memory" in text or "OOM killer due" in reason
    node_lost = isinstance(error, RayActorError) and (
        isinstance(error, ActorUnavailableError)
        or bool(getattr(error, "preempted", False))
        or "node has died" in text
        or "node was terminated" in text
    )
    status: Status = "out_of_memory" if out_of_memory else "failed"
    return WorkerLost(f"the worker died: {reason}", status, is_blameless=node_lost)
