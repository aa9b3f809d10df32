"""The actor of one rank in a group that trains each trial together."""

from __future__ import annotations

import contextlib
import os
import pickle
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import ray
from ray.util import get_node_ip_address

from robust_lr.exceptions import RobustLRError
from robust_lr.trials import TrialResult, TrialSpec

from ._crash_report import preemption_told
from ._ranks import device, joint_result, world_size
from ._work_item import load_work

_TIMEOUT_OF_COLLECTIVES = timedelta(minutes=30)


@dataclass(frozen=True)
class Hello:
    """The place of a rank: its node, its GPUs, and the address of rank 0's store (port 0 for the others)."""

    node: str
    devices: tuple[str, ...]
    host: str
    port: int


@dataclass(frozen=True)
class Seating:
    host: str
    port: int
    nodes: tuple[str, ...]
    devices: tuple[tuple[str, ...], ...]

    @classmethod
    def of(cls, hellos: Sequence[Hello]) -> Seating:
        nodes, devices = tuple(hello.node for hello in hellos), tuple(hello.devices for hello in hellos)
        return cls(hellos[0].host, hellos[0].port, nodes, devices)

    def devices_beside(self, number: int) -> list[str]:
        """Return the GPUs of all ranks on the node of this rank, each once."""
        here = self.nodes[number]
        mine = [devices for node, devices in zip(self.nodes, self.devices, strict=True) if node == here]
        return list(dict.fromkeys(device for devices in mine for device in devices))

    def environment(self, number: int) -> dict[str, str]:
        # As torchrun sets them.
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


class RankActor:
    """One rank: it joins the others once, then trains one trial after the other with them."""

    def __init__(self, work: bytes, number: int) -> None:
        self._pickled, self._number = work, number
        self._store: Any = None
        self._n_trials = 0

    def hello(self) -> Hello:
        """Return the place of this rank. Rank 0 opens the port at which they meet."""
        host, port = str(get_node_ip_address()), 0  # type: ignore[no-untyped-call]
        if self._number == 0:
            self._store = _store(host, 0)
            port = self._store.port
        devices = os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",")
        node = ray.get_runtime_context().get_node_id()
        return Hello(node, tuple(device for device in devices if device), host, port)

    def join(self, seating: Seating, backend: str, meeting_timeout_s: float) -> None:
        import torch
        import torch.distributed as dist

        os.environ.update(seating.environment(self._number))
        if backend == "nccl":
            # As with torchrun, each rank sees all GPUs: code that takes its device by LOCAL_RANK finds its own.
            devices = seating.devices_beside(self._number)
            os.environ["CUDA_VISIBLE_DEVICES"] = ",".join(devices)
            if not torch.cuda.is_available():
                raise RobustLRError("the workers should train on GPUs, but torch finds none on their node")
            torch.cuda.set_device(devices.index(seating.devices[self._number][0]))
        self._work = load_work(self._pickled)
        if self._store is None:
            self._store = _store(seating.host, seating.port, meeting_timeout_s)
        dist.init_process_group(
            backend,
            store=self._store,
            rank=self._number,
            world_size=len(seating.nodes),
            timeout=_TIMEOUT_OF_COLLECTIVES,
        )

    def evaluate(self, spec: TrialSpec, meeting_timeout_s: float) -> TrialResult:
        _check_in_step(self._work.digest(spec), meeting_timeout_s)
        with preemption_told():
            result = self._work.run(spec)
        self._save_with_the_others(result)
        return result

    def _save_with_the_others(self, result: TrialResult) -> None:
        """Save the joint result, if this rank is the last to end. All are at the same trial: they are in step."""
        if self._work.outbox is None:
            return
        self._n_trials += 1
        key, n = f"trial {self._n_trials}", world_size()
        with contextlib.suppress(Exception):  # the driver gets the results all the same
            self._store.set(f"{key}, rank {self._number}", pickle.dumps(result))
            if self._store.add(key, 1) == n:
                self._work.save(joint_result([pickle.loads(self._store.get(f"{key}, rank {i}")) for i in range(n)]))

    def forget(self, spec: TrialSpec) -> None:
        self._work.forget(spec)


def _store(host: str, port: int, timeout_s: float = 300.0) -> Any:
    """Return the store at which the ranks meet; it is opened here if the port is 0."""
    from torch.distributed import TCPStore  # type: ignore[attr-defined]

    limit = timedelta(seconds=timeout_s)
    return TCPStore(host, port, is_master=port == 0, wait_for_workers=False, timeout=limit)


def _check_in_step(digest: str, timeout_s: float) -> None:
    import torch
    import torch.distributed as dist

    mine = torch.tensor([int(digest[:15], 16)], device=device())
    of_all = [torch.zeros_like(mine) for _ in range(world_size())]
    meeting = dist.all_gather(of_all, mine, async_op=True)
    meeting.wait(timedelta(seconds=timeout_s))
    if any(int(other) != int(mine) for other in of_all):
        raise RuntimeError("the ranks are out of step")
