"""A seat is a place on the cluster that trials run in: an actor of Ray, or a group of them."""

from __future__ import annotations

import re
from collections.abc import Set
from typing import Any, Protocol

import ray
from ray.exceptions import ActorUnavailableError, GetTimeoutError, OutOfMemoryError, RayActorError, RayError

from robust_lr import RobustLRError, TrialResult, TrialSpec

_SECONDS_TO_LEARN_WHY = 5.0
_COLOURS = re.compile("\x1b\\[[0-9;]*m")


class SeatLost(Exception):
    """A seat can run nothing more; its trials in flight have no result.

    Attributes:
        cause: why, in one line or as a traceback.
        node_lost: whether its node has gone, which is no fault of a trial.
        out_of_memory: whether it ended for the memory that it took.
    """

    def __init__(self, cause: str, *, node_lost: bool = False, out_of_memory: bool = False) -> None:
        super().__init__(cause)
        self.cause, self.node_lost, self.out_of_memory = cause, node_lost, out_of_memory


class Seat(Protocol):
    """Runs trials in a process of the cluster, or in several that belong together.

    Attributes:
        is_up: whether it has said that it is there; it takes trials only then.
    """

    is_up: bool

    @property
    def in_flight(self) -> tuple[TrialSpec, ...]:
        """The trials submitted and not finished, oldest first."""

    @property
    def room(self) -> int:
        """How many more trials it takes now."""

    def submit(self, trials: tuple[TrialSpec, ...]) -> None:
        """Begin these trials, at most as many as there is room for."""

    def refs(self) -> list[Any]:
        """Return the references of Ray to wait on; while it starts, what says that it is up."""

    def attend(self, ready: Set[Any]) -> list[TrialResult]:
        """Return the results that have come. Called after each wait, also when nothing is ready, about once a second.

        Raises:
            SeatLost: when it can run nothing more.
            RobustLRError: when no seat ever could.
        """

    def close(self) -> None:
        """Give back what it holds of the cluster; never blocks for long."""


def lost(error: RayError, actor: Any = None) -> SeatLost:
    """Return what has become of a seat, from what Ray raised in place of its answer.

    Where Ray only says that the actor cannot be reached, its method `hello` is called to learn why. Where that gives no
    answer either, its node is taken for lost.
    """
    if isinstance(error, ActorUnavailableError) and actor is not None:
        try:
            ray.get(actor.hello.remote(), timeout=_SECONDS_TO_LEARN_WHY)
        except RayActorError as known:
            error = known
        except GetTimeoutError:
            pass
    text = " ".join(_COLOURS.sub("", str(error)).split())
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
    return SeatLost(f"the worker died: {reason}", node_lost=node_lost, out_of_memory=out_of_memory)
