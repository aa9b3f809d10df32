"""A worker made of several actors, one per rank, which train each trial together."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence, Set
from typing import Any

import ray
from ray.exceptions import RayActorError, RayError
from ray.util import placement_group, remove_placement_group
from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

from robust_lr._checks import check_whole
from robust_lr.exceptions import OptionError
from robust_lr.runners.pool import Worker, WorkerLost
from robust_lr.trials import TrialResult, TrialSpec

from ._crash_report import crash_report
from ._rank_actor import Hello, RankActor, Seating
from ._ranks import is_collateral, joint_result
from ._resources import actor_options, bundle

_SECONDS_TO_FORGET, _SECONDS_TO_MEET = 1.0, 60.0


class GroupWorker(Worker):
    """A process group of torch.distributed in actors, kept from trial to trial; it runs one trial at a time.

    The actors start together or not at all. Each calls the training function with the same arguments, in its main
    thread, with the environment variables of torchrun, and CUDA_VISIBLE_DEVICES with the GPUs of all ranks on its node.
    `joint_result` combines their results.

    If a rank fails or diverges and another keeps waiting for it, the trial still gets its result. After a trial whose
    ranks did not end alike, the group is lost, because their collectives may be out of step.

    `resources` are per rank; with GPUs the ranks use nccl, else gloo. `place` is a placement group with a bundle per
    rank, made by default. Once a rank has failed or diverged, the others have `grace_s` seconds to finish.
    """

    def __init__(
        self,
        work: ray.ObjectRef[bytes],
        *,
        num_workers: int,
        resources: Mapping[str, float],
        placement_strategy: str = "PACK",
        place: Any = None,
        environment: Mapping[str, str] | None = None,
        grace_s: float = 10.0,
    ) -> None:
        check_ranks(num_workers, resources)
        self._grace, self._backend = grace_s, "nccl" if resources.get("gpu", 0) else "gloo"
        self._deadline: float | None = None
        self._own_place = None
        if place is None:
            place = self._own_place = placement_group([bundle(resources)] * num_workers, strategy=placement_strategy)
        options = actor_options(resources, environment)
        where = [PlacementGroupSchedulingStrategy(place, placement_group_bundle_index=i) for i in range(num_workers)]
        self._actors: list[Any] = [
            ray.remote(RankActor).options(**options, scheduling_strategy=there).remote(work, i)
            for i, there in enumerate(where)
        ]
        self._ask("hello")

    def submit(self, trials: Sequence[TrialSpec]) -> None:
        (spec,) = trials
        self.room, self._deadline = 0, None
        self._ask("evaluate", spec, _SECONDS_TO_MEET)

    def refs(self) -> list[Any]:
        return list(self._asked)

    def poll(self, ready: Set[Any]) -> list[TrialResult]:
        error = self._receive(ready)
        if self.is_up:
            return [] if self.room else self._poll_trial(error)
        if error is not None:
            self.lost = crash_report(error)
        elif not self._asked:
            self._continue_start()
        elif self._deadline is not None and time.monotonic() > self._deadline:
            self.lost = WorkerLost(f"the {len(self._actors)} ranks of a trial did not meet in {_SECONDS_TO_MEET:g} s")
        return []

    def stop(self) -> None:
        for actor in self._actors:
            ray.kill(actor)
        if self._own_place is not None:
            remove_placement_group(self._own_place)

    def _ask(self, method: str, *arguments: Any) -> None:
        self._asked = {getattr(actor, method).remote(*arguments): i for i, actor in enumerate(self._actors)}
        self._answers: dict[int, Any] = {}  # by rank, in order of arrival

    def _receive(self, ready: Set[Any]) -> RayError | None:
        """Collect the available answers; return the error that Ray raised instead, that of a dead rank first."""
        errors: list[RayError] = []
        for ref in [ref for ref in self._asked if ref in ready]:
            number = self._asked.pop(ref)
            try:
                self._answers[number] = ray.get(ref)
            except RayError as error:
                errors.append(error)
        return min(errors, key=lambda error: not isinstance(error, RayActorError), default=None)

    def _continue_start(self) -> None:
        if isinstance(self._answers[0], Hello):
            hellos = [self._answers[i] for i in range(len(self._actors))]
            self._ask("join", Seating.of(hellos), self._backend, _SECONDS_TO_MEET)
            self._deadline = time.monotonic() + _SECONDS_TO_MEET
        else:
            self.is_up, self.room, self._deadline = True, 1, None

    def _poll_trial(self, error: RayError | None) -> list[TrialResult]:
        results: list[TrialResult] = list(self._answers.values())
        ended_badly = [result for result in results if result.status != "ok"]
        is_decided = any(not is_collateral(result) for result in ended_badly)
        if error is not None and not is_decided:
            self.lost = crash_report(error)
            return []
        if error is None and self._asked:
            if not ended_badly:
                return []
            # A rank that only lost its connection shows that another died, which Ray is about to report too.
            limit = self._grace if is_decided else max(self._grace, _SECONDS_TO_MEET)
            now = time.monotonic()
            self._deadline = min(self._deadline or now + limit, now + limit)
            if now < self._deadline:
                return []
        result = joint_result(results)
        if result.is_final:
            self._forget(result.spec, next(iter(self._answers)))
        if error is not None or self._asked or len({result.status for result in results}) > 1:
            self.lost = WorkerLost("its ranks did not end together")
        self.room = 1
        return [result]

    def _forget(self, spec: TrialSpec, number: int) -> None:
        """Let a rank that is free remove the checkpoint, before the group may be stopped."""
        ray.wait([self._actors[number].forget.remote(spec)], timeout=_SECONDS_TO_FORGET)


def check_ranks(num_workers: int, resources: Mapping[str, float]) -> None:
    check_whole("num_workers", num_workers, at_least=1)
    if 0 < resources.get("gpu", 0) < 1:
        raise OptionError(f"each worker needs a GPU of its own, got {resources['gpu']:g} GPUs per worker")
