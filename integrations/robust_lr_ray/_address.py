"""The address of a cluster: checks that a Ray answers there, and that this process is not connected to another."""

from __future__ import annotations

import contextlib
import socket
import subprocess
import sys

import ray

from robust_lr._text import first_line
from robust_lr.exceptions import OptionError, RobustLRError

_SECONDS_TO_ANSWER, _SECONDS_TO_BE_HEALTHY = 5.0, 10.0
_PORT = 6379  # of a head, if an address names none


def check_same(address: str | None) -> None:
    if address in (None, "auto", "local"):
        return
    here = ray.get_runtime_context().gcs_address
    (host, port), (own_host, own_port) = _host_and_port(str(address)), _host_and_port(here)
    if port != own_port or _addresses(host).isdisjoint(_addresses(own_host)):
        raise RobustLRError(f"this process is connected to Ray at {here} already, not to {address}")


def _addresses(host: str) -> set[str]:
    """Return the IP addresses of a host; all addresses of this machine count as equal."""
    with contextlib.suppress(OSError):
        found = {str(info[4][0]) for info in socket.getaddrinfo(host, None)}
        own = {"127.0.0.1", "::1", str(ray.util.get_node_ip_address())}  # type: ignore[no-untyped-call]
        return found if found.isdisjoint(own) else found | own
    return {host}


def check_answers(address: str) -> None:
    """Raise unless a Ray listens there. Ray itself would try for minutes, then end the process."""
    if address == "auto":
        with contextlib.suppress(ImportError, AttributeError):  # another version of Ray
            from ray._private.services import find_bootstrap_address

            address = find_bootstrap_address(None) or address  # left by the last `ray start`, maybe long ago
        if address == "auto":
            return
    host, port = _host_and_port(address)
    try:
        socket.create_connection((host, port), timeout=_SECONDS_TO_ANSWER).close()
    except OSError as error:
        raise RobustLRError(f"no Ray answers at {address}: {first_line(error)}") from None
    if "//" not in address and not _is_head(f"{host}:{port}"):
        raise RobustLRError(
            f"what answers at {address} is not the head of a Ray, or it asks for a token (RAY_AUTH_TOKEN); the port of "
            f"a head is {_PORT} by default"
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
        raise OptionError(f"address must be 'auto', 'host:port' or 'ray://host:port', got {address!r}")
    return host, int(port)
