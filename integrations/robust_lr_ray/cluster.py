"""The cluster that trials run on: connect to it, or start one on this machine; and how many trials it can hold."""

from __future__ import annotations

import contextlib
import logging
import math
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Iterator, Mapping
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ray
import ray.util.client
from ray.exceptions import RayError

from robust_lr import RobustLRError
from robust_lr.exceptions import RobustLRWarning

_SECONDS_TO_ANSWER, _SECONDS_TO_BE_HEALTHY = 5.0, 10.0
_PORT = 6379  # of a head node, where an address names none
_NAMES = {"cpu": "CPU", "gpu": "GPU"}
_LEAST = 1e-4  # of a resource: Ray counts no finer
_SLACK = 1e-9  # of the division of a GPU into parts

_log = logging.getLogger("robust_lr")
_is_ours = ContextVar("is_ours", default=False)  # whether `connected` has started the Ray that is up here


@dataclass(frozen=True)
class Cluster:
    """A Ray that is up.

    Attributes:
        is_own: whether it was started for this sweep on this machine, so that no node will ever join it.
    """

    is_own: bool

    @property
    def is_client(self) -> bool:
        """Whether this process talks to it through a ``ray://`` server."""
        return bool(ray.util.client.ray.is_connected())  # type: ignore[no-untyped-call]

    def nodes(self) -> dict[str, dict[str, float]]:
        """Return the resources of each node that is alive, by its id."""
        return {node["NodeID"]: node["Resources"] for node in ray.nodes() if node["Alive"]}  # type: ignore[no-untyped-call]

    def default_resources(self) -> dict[str, float]:
        """Return what a trial takes where nobody says: one CPU, and one GPU where there are GPUs."""
        has_gpus = any(node.get("GPU", 0) >= 1 for node in self.nodes().values())
        return {"cpu": 1, "gpu": 1} if has_gpus else {"cpu": 1}

    def capacity(
        self, resources: Mapping[str, float], *, num_workers: int = 1, placement_strategy: str = "PACK"
    ) -> int:
        """Return how many trials of so many workers, each with these resources, all nodes together can hold at once.

        A worker, and a part of a GPU, cannot be on several nodes. With "STRICT_PACK" a trial cannot either, and with
        "STRICT_SPREAD" each of its workers needs a node of its own. What else runs on the cluster is not subtracted.
        """
        held = [_held_by(node, resources) for node in self.nodes().values()]
        if placement_strategy == "STRICT_PACK":
            return sum(n // num_workers for n in held)
        most = sum(held) // num_workers
        if placement_strategy == "STRICT_SPREAD":
            # Of k trials each node can hold one worker each.
            return next((k for k in range(most, 0, -1) if sum(min(n, k) for n in held) >= k * num_workers), 0)
        return most

    def check_can_hold(
        self, resources: Mapping[str, float], *, num_workers: int = 1, placement_strategy: str = "PACK"
    ) -> None:
        """Say at once that no trial could ever start.

        Raises:
            RobustLRError: when this is a Ray of our own, which no node can join. On any other cluster it is a
                `RobustLRWarning`, since a node that can hold it may be about to join.
        """
        if self.capacity(resources, num_workers=num_workers, placement_strategy=placement_strategy):
            return
        nodes = self.nodes().values()
        largest = ", ".join(
            f"{max((node.get(_NAMES.get(name, name), 0) for node in nodes), default=0):g} {name}" for name in resources
        )
        there = f"there {_are(len(nodes))} with at most {largest}"
        how = f", {placement_strategy}" if num_workers > 1 and placement_strategy.startswith("STRICT") else ""
        said = f"the cluster cannot hold a trial of {in_words(resources, num_workers)}{how}: {there}"
        if self.is_own:
            raise RobustLRError(said)
        warnings.warn(f"{said}; waiting for one that can", RobustLRWarning, stacklevel=4)


@contextlib.contextmanager
def connected(address: str | None = None, *, runtime_env: Mapping[str, Any] | None = None) -> Iterator[Cluster]:
    """Connect to a cluster, and disconnect at the end.

    Where this process is connected already, also by this function, that is used, and left as it was.

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
        yield Cluster(is_own=_is_ours.get())
        return
    address = (None if address == "auto" else address) or os.environ.get("RAY_ADDRESS") or address
    is_own = address in (None, "local")
    options: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
    if runtime_env is not None:
        options["runtime_env"] = dict(runtime_env)
    folder = _short_folder() if is_own else None
    try:
        if is_own:
            options |= {"address": "local", "include_dashboard": False, "_temp_dir": folder and str(folder)}
        else:
            _check_answers(str(address))
            options["address"] = address
        _init(options)
        _is_ours.set(is_own)
        with _notices_logged():
            yield Cluster(is_own=is_own)
    finally:
        _is_ours.set(False)
        ray.shutdown()
        if folder is not None:
            shutil.rmtree(folder, ignore_errors=True)


def _init(options: Mapping[str, Any]) -> None:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of settings of later versions, which nobody here can change
            ray.init(**options)
    except (ConnectionError, ValueError, RuntimeError, OSError, RayError) as error:
        where = "this machine" if options["address"] == "local" else options["address"]
        raise RobustLRError(f"cannot connect to Ray at {where}: {_first_line(error)}") from None


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
        if 0 < amount < _LEAST:
            raise RobustLRError(f"resources_per_trial must be 0 or at least {_LEAST:g}, got {name!r}: {amount!r}")
        if name == "object_store_memory":
            raise RobustLRError("a trial cannot reserve object_store_memory")
        taken[name.lower() if name.upper() in ("CPU", "GPU") else str(name)] = amount
    gpus = taken.get("gpu", 0)
    if gpus > 1 and gpus != int(gpus):
        raise RobustLRError(f"a trial takes a part of one GPU, or whole ones, got {gpus:g}")
    if not any(taken.values()):
        raise RobustLRError(f"a trial must take something, such as {{'cpu': 1}}, got {dict(resources)!r}")
    return taken


def actor_options(resources: Mapping[str, float], environment: Mapping[str, str] | None = None) -> dict[str, Any]:
    """Return the options of an actor of Ray that takes these resources, with these environment variables."""
    own = ("cpu", "gpu", "memory")
    return {
        "num_cpus": resources.get("cpu", 0),
        "num_gpus": resources.get("gpu", 0),
        "memory": resources.get("memory"),
        "resources": {name: n for name, n in resources.items() if name not in own and n} or None,
        "runtime_env": {"env_vars": dict(environment)} if environment else None,
    }


def in_words(resources: Mapping[str, float], num_workers: int = 1) -> str:
    """Return what a trial takes.

    Example:
        >>> in_words({"cpu": 4, "gpu": 0.5}), in_words({"gpu": 1}, 2)
        ('4 cpu, 0.5 gpu', '2 workers of 1 gpu each')
    """
    listed = ", ".join(f"{amount:g} {name}" for name, amount in resources.items())
    return listed if num_workers == 1 else f"{num_workers} workers of {listed} each"


def _held_by(node: Mapping[str, float], resources: Mapping[str, float]) -> int:
    limits = []
    for name, amount in resources.items():
        there = node.get(_NAMES.get(name, name), 0.0)
        if name == "gpu" and 0 < amount < 1:
            limits.append(int(there) * int(1 / amount + _SLACK))
        elif amount:
            limits.append(int(there / amount + _SLACK))
    return min(limits)


def _check_same(address: str | None) -> None:
    if address in (None, "auto", "local"):
        return
    here = ray.get_runtime_context().gcs_address
    (host, port), (own_host, own_port) = _host_and_port(str(address)), _host_and_port(here)
    if port != own_port or _addresses(host).isdisjoint(_addresses(own_host)):
        raise RobustLRError(f"this process is connected to Ray at {here} already, not to {address}")


def _addresses(host: str) -> set[str]:
    """The numbers of a host; those of this machine are all one."""
    with contextlib.suppress(OSError):
        found = {str(info[4][0]) for info in socket.getaddrinfo(host, None)}
        own = {"127.0.0.1", "::1", str(ray.util.get_node_ip_address())}  # type: ignore[no-untyped-call]
        return found if found.isdisjoint(own) else found | own
    return {host}


def _check_answers(address: str) -> None:
    """Raise unless a Ray listens there: Ray itself would try for minutes, and then end the process."""
    if address == "auto":
        return
    host, port = _host_and_port(address)
    try:
        socket.create_connection((host, port), timeout=_SECONDS_TO_ANSWER).close()
    except OSError as error:
        raise RobustLRError(f"no Ray answers at {address}: {_first_line(error)}") from None
    if "//" not in address and not _is_head(f"{host}:{port}"):
        raise RobustLRError(
            f"what answers at {address} is no head of Ray, or one that asks for a token (RAY_AUTH_TOKEN); its port is "
            f"{_PORT} unless it was told otherwise"
        )


def _is_head(address: str) -> bool:
    command = [sys.executable, "-m", "ray.scripts.scripts", "health-check", "--address", address]
    try:
        return subprocess.run(command, capture_output=True, timeout=_SECONDS_TO_BE_HEALTHY, check=False).returncode == 0
    except subprocess.TimeoutExpired:
        return False


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


def _are(n: int) -> str:
    return "is 1 node" if n == 1 else f"are {n} nodes"
