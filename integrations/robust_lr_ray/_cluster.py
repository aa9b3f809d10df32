"""The cluster for the trials: connects to it or starts one on this machine, and computes how many trials fit."""

from __future__ import annotations

import contextlib
import logging
import os
import shutil
import signal
import tempfile
import threading
import warnings
from collections.abc import Iterator, Mapping
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ray
import ray.util.client
from ray.exceptions import RayError

from robust_lr._text import count_of, first_line
from robust_lr.exceptions import RobustLRError, RobustLRWarning

from ._address import check_answers, check_same
from ._resources import NAMES, held_by, in_words

_log = logging.getLogger("robust_lr")
_is_ours = ContextVar("is_ours", default=False)  # whether `connected` started the Ray of this process


@dataclass(frozen=True)
class Cluster:
    is_own: bool  # started for this run on this machine: no node will ever join it

    @property
    def is_client(self) -> bool:
        """Whether this process is connected through a ``ray://`` server."""
        return bool(ray.util.client.ray.is_connected())  # type: ignore[no-untyped-call]

    def nodes(self) -> list[dict[str, float]]:
        return [node["Resources"] for node in ray.nodes() if node["Alive"]]  # type: ignore[no-untyped-call]

    def default_resources(self) -> dict[str, float]:
        return {"cpu": 1, "gpu": 1} if any(node.get("GPU", 0) >= 1 for node in self.nodes()) else {"cpu": 1}

    def capacity(
        self, resources: Mapping[str, float], *, num_workers: int = 1, placement_strategy: str = "PACK"
    ) -> int:
        """Return how many trials with so many workers, each with these resources, fit on an idle cluster at once.

        A worker, and a fraction of a GPU, is on one node. With "STRICT_PACK" a whole trial is, and with
        "STRICT_SPREAD" each worker of a trial needs a node of its own.
        """
        held = [held_by(node, resources) for node in self.nodes()]
        if placement_strategy == "STRICT_PACK":
            return sum(n // num_workers for n in held)
        most = sum(held) // num_workers
        if placement_strategy == "STRICT_SPREAD":
            # Each node can hold one worker of each of k trials.
            return next((k for k in range(most, 0, -1) if sum(min(n, k) for n in held) >= k * num_workers), 0)
        return most

    def check_can_hold(
        self, resources: Mapping[str, float], *, num_workers: int = 1, placement_strategy: str = "PACK"
    ) -> None:
        """Report at once if no trial could ever start.

        This is an error on a Ray started here, which no node can join, and a warning on any other cluster.
        """
        if self.capacity(resources, num_workers=num_workers, placement_strategy=placement_strategy):
            return
        nodes = self.nodes()
        largest = ", ".join(
            f"{max((node.get(NAMES.get(name, name), 0) for node in nodes), default=0):g} {name}" for name in resources
        )
        there = f"it has {count_of(len(nodes), 'node')} with at most {largest}"
        how = f", {placement_strategy}" if num_workers > 1 and placement_strategy.startswith("STRICT") else ""
        said = f"the cluster cannot hold a trial of {in_words(resources, num_workers)}{how}: {there}"
        if self.is_own:
            raise RobustLRError(said)
        warnings.warn(f"{said}; waiting for a node that can", RobustLRWarning, stacklevel=4)


def wait(refs: list[Any], timeout: float) -> list[Any]:
    ready, _ = ray.wait(refs, num_returns=1, timeout=timeout)
    if ready and len(refs) > 1:
        ready, _ = ray.wait(refs, num_returns=len(refs), timeout=0)
    return list(ready)


@contextlib.contextmanager
def connected(address: str | None = None, *, runtime_env: Mapping[str, Any] | None = None) -> Iterator[Cluster]:
    """Connect to a cluster, and disconnect at the end. An existing connection is used and left as it was.

    See `RayRunner` for the arguments. Raises a RobustLRError if nothing answers at the address, or this process is
    connected to another cluster.
    """
    if ray.is_initialized():
        check_same(address)
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
            check_answers(str(address))
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
        with warnings.catch_warnings(), _sigterm_kept():
            warnings.simplefilter("ignore")  # about settings that later versions will change
            ray.init(**options)
    except (ConnectionError, ValueError, RuntimeError, OSError, RayError) as error:
        where = "this machine" if options["address"] == "local" else options["address"]
        raise RobustLRError(f"cannot connect to Ray at {where}: {first_line(error)}") from None


@contextlib.contextmanager
def _sigterm_kept() -> Iterator[None]:
    """Keep the handler of SIGTERM: that of Ray prints a stack of C++ and aborts."""
    before = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, before)


def _short_folder() -> Path | None:
    """Make a folder for Ray's files; None if its path is too long, since the names of sockets have a limit."""
    folder = Path(tempfile.gettempdir())
    return Path(tempfile.mkdtemp(prefix="ray-")) if len(str(folder)) < 20 else None


@contextlib.contextmanager
def _notices_logged() -> Iterator[None]:
    """Redirect to the log what Ray prints on stdout for each dead worker; no setting turns this off."""
    from ray._private import worker

    printed = getattr(worker, "print_to_stdstream", None)
    if printed is None:  # another version of Ray
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
