"""The cluster that trials run on: connect to it, or start one on this machine; and how many trials it can hold."""

from __future__ import annotations

import contextlib
import logging
import math
import os
import shutil
import socket
import tempfile
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ray

from robust_lr import RobustLRError, RobustLRWarning

_SECONDS_TO_ANSWER = 5.0
_PORT = 6379  # of a head node, where an address names none
_SLACK = 1e-9  # of the division of a GPU into parts

_log = logging.getLogger("robust_lr")


@dataclass(frozen=True)
class Cluster:
    """A Ray that is up.

    Attributes:
        is_own: whether it was started for this sweep on this machine, so that no node will ever join it.
    """

    is_own: bool

    def nodes(self) -> dict[str, dict[str, float]]:
        """Return the resources of each node that is alive, by its id."""
        return {node["NodeID"]: node["Resources"] for node in ray.nodes() if node["Alive"]}  # type: ignore[no-untyped-call]

    def default_resources(self) -> dict[str, float]:
        """Return what a trial takes where nobody says: one CPU, and one GPU where there are GPUs."""
        has_gpus = any(node.get("GPU", 0) >= 1 for node in self.nodes().values())
        return {"cpu": 1, "gpu": 1} if has_gpus else {"cpu": 1}

    def capacity(self, resources: Mapping[str, float], *, num_workers: int = 1) -> int:
        """Return how many trials of so many workers, each with these resources, all nodes together can hold at once.

        The workers of one trial may be on several nodes; a worker, and a part of a GPU, cannot. What else runs on the
        cluster is not subtracted.
        """
        return sum(_held_by(node, resources) for node in self.nodes().values()) // num_workers

    def check_can_hold(self, resources: Mapping[str, float], *, num_workers: int = 1) -> None:
        """Say at once that no trial could ever start.

        Raises:
            RobustLRError: when this is a Ray of our own, which no node can join. On any other cluster it is a
                `RobustLRWarning`, since a node that can hold it may be about to join.
        """
        if self.capacity(resources, num_workers=num_workers):
            return
        nodes = self.nodes().values()
        names = {"cpu": "CPU", "gpu": "GPU"}
        largest = ", ".join(
            f"{max((node.get(names.get(name, name), 0) for node in nodes), default=0):g} {name}" for name in resources
        )
        trial = _listed(resources) if num_workers == 1 else f"{num_workers} workers of {_listed(resources)} each"
        there = f"there {_are(len(nodes))} with at most {largest}"
        said = f"the cluster cannot hold a trial of {trial}: {there}"
        if self.is_own:
            raise RobustLRError(said)
        warnings.warn(f"{said}; waiting for one that can", RobustLRWarning, stacklevel=4)


@contextlib.contextmanager
def connected(address: str | None = None, *, runtime_env: Mapping[str, Any] | None = None) -> Iterator[Cluster]:
    """Connect to a cluster, and disconnect at the end.

    Where this process is connected already, that is used, and left as it was.

    Args:
        address: ``"auto"`` for the cluster that this machine is part of, ``"host:port"`` of its head, or
            ``"ray://host:port"``. None takes the cluster of the environment variable RAY_ADDRESS, which is set in a
            job of Ray, or else starts one on this machine, and stops it at the end.
        runtime_env: what the workers need beside what is installed on their nodes, in Ray's terms.

    Raises:
        RobustLRError: when nothing answers at the address, or this process is connected to another cluster.
    """
    if ray.is_initialized():
        _check_same(address)
        yield Cluster(is_own=False)
        return
    address = address or os.environ.get("RAY_ADDRESS") or None
    options: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR, "configure_logging": True}
    if runtime_env is not None:
        options["runtime_env"] = dict(runtime_env)
    folder = _short_folder() if address in (None, "local") else None
    if address in (None, "local"):
        options |= {"address": "local", "include_dashboard": False, "_temp_dir": folder and str(folder)}
    else:
        _check_answers(str(address))
        options["address"] = address
    try:
        with _without_warnings():
            ray.init(**options)
    except (ConnectionError, ValueError, RuntimeError, OSError) as error:
        raise RobustLRError(f"cannot connect to Ray at {address or 'this machine'}: {_first_line(error)}") from None
    try:
        with _notices_logged():
            yield Cluster(is_own=address in (None, "local"))
    finally:
        ray.shutdown()
        if folder is not None:
            shutil.rmtree(folder, ignore_errors=True)


def check_resources(resources: Mapping[str, float]) -> dict[str, float]:
    """Return what a trial takes by lower-case names for cpu and gpu, custom resources as they are.

    Raises:
        RobustLRError: when an amount is no number of at least 0, there is none above 0, or GPUs above 1 are not whole.
    """
    if not isinstance(resources, Mapping):
        raise RobustLRError(f"resources_per_trial must be a mapping such as {{'cpu': 1, 'gpu': 1}}, got {resources!r}")
    taken: dict[str, float] = {}
    for name, amount in resources.items():
        if isinstance(amount, bool) or not isinstance(amount, (int, float)) or not 0 <= amount < math.inf:
            raise RobustLRError(f"resources_per_trial must be numbers of at least 0, got {name!r}: {amount!r}")
        taken[name.lower() if name.upper() in ("CPU", "GPU") else str(name)] = amount
    gpus = taken.get("gpu", 0)
    if gpus > 1 and gpus != int(gpus):
        raise RobustLRError(f"a trial takes a part of one GPU, or whole ones, got {gpus:g}")
    if not any(taken.values()):
        raise RobustLRError(f"a trial must take something, such as {{'cpu': 1}}, got {dict(resources)!r}")
    return taken


def _held_by(node: Mapping[str, float], resources: Mapping[str, float]) -> int:
    limits = []
    for name, amount in resources.items():
        there = node.get({"cpu": "CPU", "gpu": "GPU"}.get(name, name), 0.0)
        if name == "gpu" and 0 < amount < 1:
            limits.append(int(there) * int(1 / amount + _SLACK))
        elif amount:
            limits.append(int(there / amount + _SLACK))
    return min(limits)


def _check_same(address: str | None) -> None:
    if address is None or address == "auto":
        return
    here = ray.get_runtime_context().gcs_address
    if address != "local" and _host_and_port(address) != _host_and_port(here):
        raise RobustLRError(f"this process is connected to Ray at {here} already, not to {address}")


def _check_answers(address: str) -> None:
    """Raise unless something listens there: Ray itself would try for minutes, and then end the process."""
    if address == "auto":
        return
    host, port = _host_and_port(address)
    try:
        socket.create_connection((host, port), timeout=_SECONDS_TO_ANSWER).close()
    except OSError as error:
        raise RobustLRError(f"no Ray answers at {address}: {_first_line(error)}") from None


def _host_and_port(address: str) -> tuple[str, int]:
    place = address.rpartition("//")[2].partition("/")[0]
    host, colon, port = place.rpartition(":")
    if not colon:
        return place, 10001 if "//" in address else _PORT
    if not host or not port.isdecimal():
        raise RobustLRError(f"address must be 'auto', 'host:port' or 'ray://host:port', got {address!r}")
    return host, int(port)


def _short_folder() -> Path | None:
    """A folder for Ray's files where names of sockets, which have a limit, stay short; None leaves it to Ray."""
    folder = Path(tempfile.gettempdir())
    return Path(tempfile.mkdtemp(prefix="ray-")) if len(str(folder)) < 20 else None


@contextlib.contextmanager
def _without_warnings() -> Iterator[None]:
    """Ray warns of what nobody here can change, such as settings of its later versions."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


@contextlib.contextmanager
def _notices_logged() -> Iterator[None]:
    """Ray prints a kilobyte on stdout for each worker that dies, whatever it is told; log it instead."""
    from ray._private import worker

    printed = getattr(worker, "print_to_stdstream", None)
    if printed is None:  # of another version
        yield
        return

    def log(data: Mapping[str, Any], *args: Any, **options: Any) -> None:
        for line in data.get("lines", ()):
            _log.debug("%s", line)

    worker.print_to_stdstream = log
    try:
        yield
    finally:
        worker.print_to_stdstream = printed


def _first_line(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def _listed(resources: Mapping[str, float]) -> str:
    return ", ".join(f"{amount:g} {name}" for name, amount in resources.items())


def _are(n: int) -> str:
    return "is 1 node" if n == 1 else f"are {n} nodes"
