"""The memory of a pack, in bytes: its estimate and its limit."""

from __future__ import annotations

import operator
import re
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.fx import GraphModule, Node


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


def peak_bytes(graph: GraphModule) -> int:
    """Return the bytes of the tensors that are alive at once when the graph runs node by node, with its inputs."""
    owner, last_use = dict[Node, Node](), dict[Node, int]()  # a view keeps alive the tensor that it is a view of
    for i, node in enumerate(graph.graph.nodes):
        owner[node] = owner[node.all_input_nodes[0]] if _shares_memory(node) else node
        last_use |= {owner[argument]: i for argument in node.all_input_nodes}
    alive = peak = 0
    for i, node in enumerate(graph.graph.nodes):
        if owner[node] is node:
            alive += bytes_of(node.meta.get("val"))
        peak = max(peak, alive)
        for argument in {owner[argument] for argument in node.all_input_nodes}:
            if last_use[argument] == i and argument.op != "placeholder":
                alive -= bytes_of(argument.meta.get("val"))
    return peak


def bytes_of(value: Any) -> int:
    if isinstance(value, Tensor):
        return value.numel() * value.element_size()
    return sum(map(bytes_of, value)) if isinstance(value, (list, tuple)) else 0


def _shares_memory(node: Node) -> bool:
    if not node.all_input_nodes:
        return False
    if node.target in (operator.getitem, torch.ops.aten._unsafe_view.default):
        return True
    return makes_view(node.target)


def makes_view(operation: object) -> bool:
    """Return whether an operation of torch gives back the memory of an argument."""
    schema = getattr(operation, "_schema", None)
    return schema is not None and any(r.alias_info is not None for r in schema.returns)


def _text_of(path: str) -> str:
    try:
        return Path(path).read_text(encoding="ascii").strip()
    except OSError:
        return ""
