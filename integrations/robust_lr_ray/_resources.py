"""The resources of a trial: checked, in Ray's terms, and in words."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from robust_lr.exceptions import OptionError

NAMES = {"cpu": "CPU", "gpu": "GPU"}
_PLACEMENTS = ("PACK", "SPREAD", "STRICT_PACK", "STRICT_SPREAD")
_LEAST = 1e-4  # of a resource; Ray counts no finer
_SLACK = 1e-9  # in the division of a GPU into fractions


def check_resources(name: str, resources: Mapping[str, float]) -> dict[str, float]:
    """Return a trial's resources, with "cpu" and "gpu" in lower case and custom resources unchanged."""
    if not isinstance(resources, Mapping):
        raise OptionError(f"{name} must be a mapping such as {{'cpu': 1, 'gpu': 1}}, got {resources!r}")
    taken: dict[str, float] = {}
    for key, amount in resources.items():
        if isinstance(amount, bool) or not isinstance(amount, (int, float)) or not 0 <= amount < math.inf:
            raise OptionError(f"{name} must be numbers of at least 0, got {key!r}: {amount!r}")
        if 0 < amount < _LEAST:
            raise OptionError(f"{name} must be 0 or at least {_LEAST:g}, got {key!r}: {amount!r}")
        if key == "object_store_memory":
            raise OptionError("a trial cannot reserve object_store_memory")
        taken[key.lower() if key.upper() in ("CPU", "GPU") else str(key)] = amount
    gpus = taken.get("gpu", 0)
    if gpus > 1 and gpus != int(gpus):
        raise OptionError(f"a trial takes a fraction of one GPU, or whole GPUs, got {gpus:g}")
    if not any(taken.values()):
        raise OptionError(f"a trial must take something, such as {{'cpu': 1}}, got {dict(resources)!r}")
    return taken


def check_placement(strategy: str) -> str:
    if strategy not in _PLACEMENTS:
        raise OptionError(f"placement_strategy must be one of {', '.join(_PLACEMENTS)}, got {strategy!r}")
    return strategy


def actor_options(resources: Mapping[str, float], environment: Mapping[str, str] | None = None) -> dict[str, Any]:
    own = ("cpu", "gpu", "memory")
    return {
        "num_cpus": resources.get("cpu", 0),
        "num_gpus": resources.get("gpu", 0),
        "memory": resources.get("memory"),
        "resources": {name: n for name, n in resources.items() if name not in own and n} or None,
        "runtime_env": {"env_vars": dict(environment)} if environment else None,
    }


def bundle(resources: Mapping[str, float]) -> dict[str, float]:
    return {NAMES.get(name, name): amount for name, amount in resources.items() if amount}


def in_words(resources: Mapping[str, float], num_workers: int = 1) -> str:
    """Return a trial's resources, in words.

    Example:
        >>> in_words({"cpu": 4, "gpu": 0.5}), in_words({"gpu": 1}, 2)
        ('4 cpu, 0.5 gpu', '2 workers of 1 gpu each')
    """
    listed = ", ".join(f"{amount:g} {name}" for name, amount in resources.items())
    return listed if num_workers == 1 else f"{num_workers} workers of {listed} each"


def held_by(node: Mapping[str, float], resources: Mapping[str, float]) -> int:
    limits = []
    for name, amount in resources.items():
        there = node.get(NAMES.get(name, name), 0.0)
        if name == "gpu" and 0 < amount < 1:
            limits.append(int(there) * int(1 / amount + _SLACK))
        elif amount:
            limits.append(int(there / amount + _SLACK))
    return min(limits)
