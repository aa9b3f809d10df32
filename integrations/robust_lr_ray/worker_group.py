"""A seat that is a group of actors, one a rank, in which each trial is trained by all of them together."""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import ray
from ray.exceptions import RayActorError, RayError, RayTaskError
from ray.util import get_node_ip_address, placement_group, remove_placement_group
from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

from robust_lr import RobustLRError, TrialResult, TrialSpec
from robust_lr._checks import check_number, check_whole
from robust_lr.runners import evaluate_trial

from .checkpoints import TrialCheckpoint, checkpointing
from .cluster import actor_options
from .ranks import is_collateral, joint_result
from .seats import SeatLost, lost
from .trial_seat import check_loaded, load_work
from .work import Work

_SECONDS_TO_FORGET = 1.0


class GroupSeat:
    """A process group of torch.distributed in actors, which is kept from trial to trial; it runs one at a time.

    The actors start together or not at all. Each calls the training function with the same arguments, in its main
    thread, with the environment that torchrun makes: RANK, LOCAL_RANK, WORLD_SIZE and so on, and CUDA_VISIBLE_DEVICES
    with the GPUs of all ranks on its node, its own being the current one. `joint_result` makes one result of theirs.

    When a rank has failed or diverged and another does not end soon after, since it waits for the one that has gone,
    the trial has its result all the same. The group is then lost, and so it is after any trial whose ranks did not end
    alike: their collectives may be out of step.

    Args:
        work: bytes of a pickled `Work`, in Ray's object store.
        num_workers: ranks, at least 1.
        resources_per_worker: of each rank, such as ``{"cpu": 4, "gpu": 1}``.
        use_gpu: whether the ranks train on GPUs, by nccl, a whole one at least for each; else on CPUs, by gloo.
        placement_strategy: "PACK", "SPREAD", "STRICT_PACK" or "STRICT_SPREAD", as in Ray.
        environment: environment variables of the ranks.
        grace_s: seconds that the other ranks have to end once one has failed or diverged, > 0.
        start_timeout_s: seconds until the ranks must have met, once they have started, > 0.
        collective_timeout_s: seconds after which a collective gives up waiting for a rank, > 0.

    Raises:
        RobustLRError: when an argument is wrong.
    """

    def __init__(
        self,
        work: ray.ObjectRef[bytes],
        *,
        num_workers: int,
        resources_per_worker: Mapping[str, float],
        use_gpu: bool,
        placement_strategy: str = "PACK",
        environment: Mapping[str, str] | None = None,
        grace_s: float = 10.0,
        start_timeout_s: float = 60.0,
        collective_timeout_s: float = 1800.0,
    ) -> None:
        check_whole("num_workers", num_workers, at_least=1, error=RobustLRError)
        for name, seconds in (
            ("grace_s", grace_s),
            ("start_timeout_s", start_timeout_s),
            ("collective_timeout_s", collective_timeout_s),
        ):
            check_number(name, seconds, above=0, error=RobustLRError)
        gpus = resources_per_worker.get("gpu", 0)
        if use_gpu and gpus < 1:
            raise RobustLRError(f"with use_gpu each worker needs a GPU of its own, got {gpus:g} GPUs per worker")
        self.is_up = False
        self.in_flight: tuple[TrialSpec, ...] = ()
        self._use_gpu, self._grace, self._start_timeout = use_gpu, grace_s, start_timeout_s
        self._collective_timeout = collective_timeout_s
        self._lost: SeatLost | None = None
        self._deadline: float | None = None
        options = actor_options(resources_per_worker, environment)
        self._place = placement_group([_bundle(resources_per_worker)] * num_workers, strategy=placement_strategy)
        self._actors: list[Any] = [
            ray.remote(_Rank)
            .options(
                **options,
                scheduling_strategy=PlacementGroupSchedulingStrategy(self._place, placement_group_bundle_index=i),
            )
            .remote(work, i)
            for i in range(num_workers)
        ]
        self._ask("hello")

    @property
    def room(self) -> int:
        """See `Seat.room`."""
        return 1 if self.is_up and not self.in_flight and self._lost is None else 0

    def submit(self, trials: tuple[TrialSpec, ...]) -> None:
        """See `Seat.submit`."""
        if not trials:
            return
        (spec,) = trials
        self.in_flight, self._deadline = (spec,), None
        self._ask("evaluate", spec, self._start_timeout)

    def refs(self) -> list[Any]:
        """See `Seat.refs`."""
        return list(self._asked)

    def attend(self, ready: Set[Any]) -> list[TrialResult]:
        """See `Seat.attend`."""
        if self._lost is not None:
            raise self._lost
        error = self._listen(ready)
        if self.is_up:
            return self._look_at_trial(error) if self.in_flight else []
        if error is not None:
            raise _loss(error)
        if not self._asked:
            self._go_on()
        elif self._deadline is not None and time.monotonic() > self._deadline:
            raise SeatLost(f"the {len(self._actors)} ranks of a trial did not meet in {self._start_timeout:g} s")
        return []

    def close(self) -> None:
        """See `Seat.close`."""
        for actor in self._actors:
            ray.kill(actor)
        remove_placement_group(self._place)

    def _ask(self, method: str, *arguments: Any) -> None:
        """Call a method of all ranks; `_listen` collects the answers."""
        self._asked = {getattr(actor, method).remote(*arguments): i for i, actor in enumerate(self._actors)}
        self._answers: dict[int, Any] = {}  # by rank, in the order in which they came

    def _listen(self, ready: Set[Any]) -> RayError | None:
        """Take the answers that are there; return what Ray raised in place of one, that of a dead rank first."""
        errors: list[RayError] = []
        for ref in [ref for ref in self._asked if ref in ready]:
            number = self._asked.pop(ref)
            try:
                self._answers[number] = ray.get(ref)
            except RayError as error:
                errors.append(error)
        return min(errors, key=lambda error: not isinstance(error, RayActorError), default=None)

    def _go_on(self) -> None:
        """Take the next step of the start: all ranks are there, or all have met."""
        if isinstance(self._answers[0], _Hello):
            hellos = [self._answers[i] for i in range(len(self._actors))]
            limits = (self._start_timeout, self._collective_timeout)
            self._ask("join", _seating(hellos), "nccl" if self._use_gpu else "gloo", *limits)
            self._deadline = time.monotonic() + self._start_timeout
        else:
            for error in self._answers.values():
                check_loaded(error)
            self.is_up, self._deadline = True, None

    def _look_at_trial(self, error: RayError | None) -> list[TrialResult]:
        results: list[TrialResult] = list(self._answers.values())
        ended_badly = [result for result in results if result.status != "ok"]
        is_decided = any(not is_collateral(result) for result in ended_badly)
        if error is not None and not is_decided:
            raise _loss(error)
        if error is None and self._asked:
            if not ended_badly:
                return []
            # A rank that only lost the connection says that another died, which Ray is about to say as well.
            limit = self._grace if is_decided else max(self._grace, self._start_timeout)
            now = time.monotonic()
            self._deadline = min(self._deadline or now + limit, now + limit)
            if now < self._deadline:
                return []
        result = joint_result(results)
        if result.is_final:
            self._forget(result.spec, next(iter(self._answers)))
        if error is not None or self._asked or len({result.status for result in results}) > 1 or not result.is_final:
            self._lost, self._asked = SeatLost("its ranks did not end together"), {}
        self.in_flight = ()
        return [result]

    def _forget(self, spec: TrialSpec, number: int) -> None:
        """Let a rank that has ended remove the checkpoint, before the seat can be closed."""
        forgotten = self._actors[number].forget.remote(spec)
        ray.wait([forgotten], timeout=_SECONDS_TO_FORGET)


@dataclass(frozen=True)
class _Hello:
    """What a rank says of where it is."""

    node: str
    devices: tuple[str, ...]
    host: str
    port: int  # of the store that rank 0 keeps; 0 for the others


@dataclass(frozen=True)
class _Seating:
    """Where all ranks are."""

    host: str
    port: int
    nodes: tuple[str, ...]
    devices: tuple[tuple[str, ...], ...]

    def devices_beside(self, number: int) -> list[str]:
        """Return the GPUs of all ranks on the node of this one, each once."""
        here = self.nodes[number]
        mine = [devices for node, devices in zip(self.nodes, self.devices, strict=True) if node == here]
        return list(dict.fromkeys(device for devices in mine for device in devices))

    def environment(self, number: int) -> dict[str, str]:
        """Return the environment variables of a rank, those of torchrun."""
        here = self.nodes[number]
        values = {
            "MASTER_ADDR": self.host,
            "MASTER_PORT": self.port,
            "RANK": number,
            "WORLD_SIZE": len(self.nodes),
            "LOCAL_RANK": self.nodes[:number].count(here),
            "LOCAL_WORLD_SIZE": Counter(self.nodes)[here],
            "GROUP_RANK": list(dict.fromkeys(self.nodes)).index(here),
        }
        return {name: str(value) for name, value in values.items()}


class _Rank:
    """The actor."""

    def __init__(self, work: bytes, number: int) -> None:
        self._pickled, self._number = work, number
        self._work: Work
        self._store: Any = None

    def hello(self) -> _Hello:
        """Say where it is. Rank 0 opens the port at which they meet."""
        host, port = str(get_node_ip_address()), 0  # type: ignore[no-untyped-call]
        if self._number == 0:
            self._store = _store(host, 0)
            port = self._store.port
        devices = os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",")
        node = ray.get_runtime_context().get_node_id()
        return _Hello(node, tuple(device for device in devices if device), host, port)

    def join(self, seating: _Seating, backend: str, start_timeout_s: float, timeout_s: float) -> str | None:
        """Meet the others; return why the training function cannot be loaded here, None if it can."""
        import torch
        import torch.distributed as dist

        os.environ.update(seating.environment(self._number))
        if backend == "nccl":
            # All see all, as with torchrun: code that takes its device by LOCAL_RANK finds its own.
            devices = seating.devices_beside(self._number)
            os.environ["CUDA_VISIBLE_DEVICES"] = ",".join(devices)
            if not torch.cuda.is_available():
                raise RobustLRError("the workers are to train on GPUs, and torch finds none on their node")
            torch.cuda.set_device(devices.index(seating.devices[self._number][0]))
        self._work, error = load_work(self._pickled)
        if self._store is None:
            self._store = _store(seating.host, seating.port, start_timeout_s)
        dist.init_process_group(
            backend,
            store=self._store,
            rank=self._number,
            world_size=len(seating.nodes),
            timeout=timedelta(seconds=timeout_s),
        )
        return error

    def evaluate(self, spec: TrialSpec, meeting_timeout_s: float) -> TrialResult:
        """Run one trial with the others, from its last checkpoint if it has one."""
        digest = self._work.digest(spec)
        _check_all_at(digest, meeting_timeout_s)
        with checkpointing(self._work.checkpoints, digest):
            return evaluate_trial(self._work.train, spec, self._work.schedules[spec.schedule])

    def forget(self, spec: TrialSpec) -> None:
        """Remove the checkpoint of a trial that has its result."""
        TrialCheckpoint(self._work.checkpoints, self._work.digest(spec)).remove()


def _store(host: str, port: int, timeout_s: float = 300.0) -> Any:
    """Return the store that ranks meet at, which is opened here when the port is 0."""
    from torch.distributed import TCPStore  # type: ignore[attr-defined]

    limit = timedelta(seconds=timeout_s)
    return TCPStore(host, port, is_master=port == 0, wait_for_workers=False, timeout=limit)


def _check_all_at(digest: str, timeout_s: float) -> None:
    """Raise unless all ranks are about to run the same trial, and in step."""
    import torch
    import torch.distributed as dist

    from .ranks import device, world_size

    mine = torch.tensor([int(digest[:15], 16)], device=device())
    all_of_them = [torch.zeros_like(mine) for _ in range(world_size())]
    meeting = dist.all_gather(all_of_them, mine, async_op=True)
    meeting.wait(timedelta(seconds=timeout_s))
    if any(int(other) != int(mine) for other in all_of_them):
        raise RuntimeError("the ranks are out of step")


def _seating(hellos: Sequence[_Hello]) -> _Seating:
    nodes, devices = tuple(hello.node for hello in hellos), tuple(hello.devices for hello in hellos)
    return _Seating(hellos[0].host, hellos[0].port, nodes, devices)


def _loss(error: RayError) -> SeatLost | RobustLRError:
    """Return what to raise for what Ray raised: a rank died, or could not do what was asked of it."""
    if not isinstance(error, RayTaskError):
        return lost(error)
    if isinstance(error.cause, RobustLRError):
        return RobustLRError(str(error.cause))
    return SeatLost(f"a rank could not go on: {type(error.cause).__name__}: {error.cause}")


def _bundle(resources: Mapping[str, float]) -> dict[str, float]:
    return {{"cpu": "CPU", "gpu": "GPU"}.get(name, name): amount for name, amount in resources.items() if amount}
