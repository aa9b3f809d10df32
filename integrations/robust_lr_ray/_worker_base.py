"""The base class of workers on the cluster: one Ray actor, or a group of them."""

from __future__ import annotations

import re
from collections.abc import Set
from typing import Any, Protocol

import ray
from ray.exceptions import ActorUnavailableError, GetTimeoutError, OutOfMemoryError, RayActorError, RayError

from robust_lr.exceptions import RobustLRError
from robust_lr.trials import TrialResult, TrialSpec

_SECONDS_TO_LEARN_WHY = 5.0
_COLORS = re.compile("\x1b\\[[0-9;]*m")


class WorkerLost(Exception):
    """A worker can run nothing more. The loss of its node is no trial's fault."""

    def __init__(self, cause: str, *, node_lost: bool = False, out_of_memory: bool = False) -> None:
        super().__init__(cause)
        self.cause, self.node_lost, self.out_of_memory = cause, node_lost, out_of_memory


class Worker(Protocol):
    """Runs trials in one process of the cluster, or in several that work together.

    Attributes:
        is_up: whether it has reported that it runs; only then does it take trials.
        capacity: how many trials it trains at a time, known once it is up.
        room: how many more trials it takes now.
    """

    is_up: bool
    capacity: int

    @property
    def room(self) -> int: ...

    def submit(self, trials: tuple[TrialSpec, ...]) -> None:
        """Begin these trials, at most `room` of them."""

    def refs(self) -> list[Any]:
        """Return the references of Ray to wait on."""

    def poll(self, ready: Set[Any]) -> list[TrialResult]:
        """Return the results that have arrived, or raise WorkerLost. Called about once a second if nothing is ready."""

    def stop(self) -> None:
        """Release the worker's resources, without blocking for long."""


def crash_report(error: RayError, actor: Any = None) -> WorkerLost:
    """Return what happened to a worker, from the exception that Ray raised instead of its answer.

    If Ray only says that the actor is unreachable, a call of its method `hello` finds out why. If that gets no answer
    either, the node counts as lost.
    """
    if isinstance(error, ActorUnavailableError) and actor is not None:
        try:
            ray.get(actor.hello.remote(), timeout=_SECONDS_TO_LEARN_WHY)
        except RayActorError as known:
            error = known
        except GetTimeoutError:
            pass
    text = " ".join(_COLORS.sub("", str(error)).split())
    if "failed to import on the worker" in text:
        raise RobustLRError(
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
    return WorkerLost(f"the worker died: {reason}", node_lost=node_lost, out_of_memory=out_of_memory)
