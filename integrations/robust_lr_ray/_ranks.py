"""Helpers for training functions in which several processes train one model, and the joint result.

A rank is one of these processes. Outside a process group of torch.distributed, everything here describes rank 0 of 1,
so the same training function also runs alone.
"""

from __future__ import annotations

import math
import re
import sys
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeVar, overload

from robust_lr.divergence import DivergenceWatch
from robust_lr.exceptions import DataError, TrialDiverged
from robust_lr.trials import TrialResult

if TYPE_CHECKING:
    import torch

_Batch = TypeVar("_Batch")
_COLLATERAL = re.compile(  # errors of a rank whose group has lost another rank
    r"gloo|nccl|DistBackendError|DistNetworkError|DistStoreError|process group|"
    r"connection (closed|reset) by peer|broken pipe",
    re.IGNORECASE,
)


def rank() -> int:
    """Return the number of this process, from 0 to ``world_size() - 1``. Only rank 0 should print and write files.

    Example:
        >>> rank()
        0
    """
    group = _group()
    return int(group.get_rank()) if group else 0


def world_size() -> int:
    """Return the number of processes that train together, at least 1.

    Example:
        >>> world_size()
        1
    """
    group = _group()
    return int(group.get_world_size()) if group else 1


def device() -> torch.device:
    """Return the device of this process: its own GPU, or the CPU if the ranks are on CPUs or there is no GPU.

    Example:
        >>> from torch import nn
        >>> model = nn.Linear(1, 1).to(device())
    """
    import torch

    group = _group()
    on_gpu = "nccl" in str(group.get_backend()) if group else torch.cuda.is_available()
    return torch.device("cuda", torch.cuda.current_device()) if on_gpu else torch.device("cpu")


@overload
def shard(batch: int) -> range: ...
@overload
def shard(batch: _Batch) -> _Batch: ...
def shard(batch: Any) -> Any:
    """Return this rank's part of a batch.

    The parts are slices in the order of the ranks, and their sizes differ by at most 1. DistributedDataParallel
    averages the ranks' gradients, which gives the gradient of the whole batch if the parts have equal sizes. If they do
    not, multiply each rank's mean loss by `shard_weight`. Layers that need the whole batch must be distributed too:
    ``torch.nn.SyncBatchNorm`` instead of BatchNorm.

    Args:
        batch: the indices or examples of the whole batch, the same on each rank; a slice is returned. Or their number,
            for which a range is returned.

    Raises:
        DataError: when there are fewer examples than ranks.

    Example:
        >>> shard(4), shard([7, 2, 5])
        (range(0, 4), [7, 2, 5])
    """
    n = batch if isinstance(batch, int) else len(batch)
    part = slice(*_bounds(n))
    return range(n)[part] if isinstance(batch, int) else batch[part]


def shard_weight(n: int) -> float:
    """Return the factor on this rank's mean loss with which the mean over ranks is that of a whole batch of size n.

    It is 1 if the parts have equal sizes.

    Raises:
        DataError: when there are fewer examples than ranks.

    Example:
        >>> shard_weight(3)
        1.0
    """
    start, stop = _bounds(n)
    return (stop - start) * world_size() / n


def mean_over_ranks(value: float) -> float:
    """Return the mean of a number over all ranks, in float64 and equal on each. Every rank must call it.

    The value may be a tensor of one element. If the ranks agree, the mean is their common value to the bit.

    Example:
        >>> mean_over_ranks(0.1)
        0.1
    """
    value = value.item() if hasattr(value, "item") else value
    group = _group()
    if not group:
        return float(value)
    import torch

    mine = torch.tensor([value], dtype=torch.float64, device=device())
    of_all = [torch.empty_like(mine) for _ in range(world_size())]
    group.all_gather(of_all, mine)
    return _mean(torch.cat(of_all).tolist())


def any_rank(flag: bool) -> bool:
    """Return whether the flag is true on any rank, equal on each. Every rank must call it.

    Example:
        >>> any_rank(False)
        False
    """
    return mean_over_ranks(float(bool(flag))) > 0


def raise_if_diverged(watch: DivergenceWatch, loss: float) -> float:
    """Pass a step's loss to a watch, and end the trial on all ranks at the same step once the run has diverged.

    Every rank must call it once per step, with an identical watch and its own loss, times `shard_weight` if parts
    differ in size. All ranks get the mean over ranks, which is returned, so none is left waiting for another.

    Raises:
        TrialDiverged: when the run has diverged.

    Example:
        >>> watch = DivergenceWatch(factor=1e6, patience=100)
        >>> raise_if_diverged(watch, 0.5)
        0.5
    """
    mean = mean_over_ranks(loss)
    if (step := watch.see([mean])) is not None:
        raise TrialDiverged(f"diverged at step {step}, with a loss of {mean:g}")
    return mean


def joint_result(results: Sequence[TrialResult]) -> TrialResult:
    """Combine the results of a trial's ranks into one.

    If any rank failed, the trial failed, with the error of the first. Otherwise, if any rank diverged, the trial
    diverged. Otherwise loss and metrics are means over ranks. A rank that failed only because it lost the connection to
    another does not count if some rank failed or diverged by itself. The time is that of the slowest rank. Results come
    in order of arrival; ranks that never finished are left out.
    """
    failed = [result for result in results if not result.is_final]
    by_themselves = [result for result in failed if not is_collateral(result)]
    diverged = [result for result in results if result.status == "diverged"]
    seconds = max(result.seconds for result in results)
    if by_themselves or (failed and not diverged):
        return replace((by_themselves or failed)[0], seconds=seconds)
    deciding = diverged or list(results)
    names = dict.fromkeys(name for result in deciding for name in result.metrics)
    metrics = {name: _mean([r.metrics[name] for r in deciding if name in r.metrics]) for name in names}
    error = next((result.error for result in deciding if result.error), None)
    loss = math.inf if diverged else _mean([result.loss for result in results])
    return TrialResult(results[0].spec, loss, "diverged" if diverged else "ok", seconds, metrics, error)


def is_collateral(result: TrialResult) -> bool:
    """Return whether a rank failed because it lost the connection to another, by the last line of its error."""
    lines = (result.error or "").strip().splitlines()
    return result.status == "failed" and bool(lines) and _COLLATERAL.search(lines[-1]) is not None


def _group() -> Any:
    if "torch" not in sys.modules:  # a process that has not loaded torch has no group
        return None
    import torch.distributed as dist

    return dist if dist.is_available() and dist.is_initialized() else None


def _bounds(n: int) -> tuple[int, int]:
    size, number = world_size(), rank()
    if n < size:
        raise DataError(f"a batch needs at least one example for each of {size} ranks, got {n}")
    return n * number // size, n * (number + 1) // size


def _mean(values: Sequence[float]) -> float:
    return values[0] if len(set(values)) == 1 else math.fsum(values) / len(values)
