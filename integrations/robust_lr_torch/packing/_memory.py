"""The memory limit of a pack, in bytes."""

from __future__ import annotations

import re
from pathlib import Path

import torch


def free_memory(device: str | torch.device, n_workers: int) -> int:
    """Return the share of one worker: 80 % of the free memory of a GPU, half of that of the CPU."""
    if torch.device(device).type == "cuda":
        return int(0.8 * torch.cuda.mem_get_info(torch.device(device))[0]) // n_workers
    found = [4 << 30]  # if neither the system nor the container reports a number
    if match := re.search(r"MemAvailable:\s+(\d+) kB", _text_of("/proc/meminfo")):
        found = [int(match[1]) << 10]
    limit, used = _text_of("/sys/fs/cgroup/memory.max"), _text_of("/sys/fs/cgroup/memory.current")
    if limit.isdigit() and used.isdigit():
        found.append(int(limit) - int(used))
    return max(1, min(found)) // (2 * n_workers)


def _text_of(path: str) -> str:
    try:
        return Path(path).read_text(encoding="ascii").strip()
    except OSError:
        return ""
