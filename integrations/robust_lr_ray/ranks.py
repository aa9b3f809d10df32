"""What a training function asks when several processes train one model, and what their results make together.

A rank is one of these processes. Outside of a process group of torch.distributed all of this holds for rank 0 of 1, so
that the same training function runs alone.
"""

from __future__ import annotations

import math
import re
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, TypeVar, overload

from robust_lr import TrialDiverged, TrialResult
from robust_lr.divergence import DivergenceWatch
from robust_lr.exceptions import DataError

if TYPE_CHECKING:
    import torch

_Batch = TypeVar("_Batch")
_COLLATERAL = re.compile(  # what a rank says whose group has lost another one
    r"gloo|nccl|DistBackendError|DistNetworkError|DistStoreError|process group|"
    r"connection (closed|reset) by peer|broken pipe",
    re.IGNORECASE,
)


def rank() -> int:
    """Return the number of this process, from 0 to ``world_size() - 1``; only rank 0 prints and writes files.

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
    """Return where this process trains: its own GPU, or the CPU where the ranks are on CPUs or there is no GPU.

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
    """Return this rank's part of a batch, so that the ranks together train on the whole of it.

    The parts are slices, in the order of the ranks, whose sizes differ by at most 1. DistributedDataParallel takes the
    mean of the ranks' gradients, which is that of the whole batch where the parts are of one size. Where they are not,
    multiply each rank's mean loss by `shard_weight`. Layers that look at the whole batch must be told of the others:
    ``torch.nn.SyncBatchNorm`` in place of BatchNorm.

    Args:
        batch: the indices or examples of the whole batch, the same on each rank, as a list, an array or a tensor; or
            how many there are.

    Returns:
        A slice of it; for a number a range.

    Raises:
        DataError: when there are fewer than one for each rank.

    Example:
        >>> shard(4), shard([7, 2, 5])
        (range(0, 4), [7, 2, 5])
    """
    n = batch if isinstance(batch, int) else len(batch)
    part = slice(*_bounds(n))
    return range(n)[part] if isinstance(batch, int) else batch[part]


def shard_weight(n: int) -> float:
    """Return what this rank's mean loss is multiplied by, so that the mean over ranks is that of the whole batch.

    It is 1 where the parts are of one size.

    Args:
        n: the size of the whole batch.

    Raises:
        DataError: when it is less than one for each rank.

    Example:
        >>> shard_weight(3)
        1.0
    """
    start, stop = _bounds(n)
    return (stop - start) * world_size() / n


def mean_over_ranks(value: float) -> float:
    """Return the mean of a number over all ranks, in float64, the same on each. Every rank must call it.

    Where the ranks agree it is their common value, to the bit; NaN on one rank is NaN on all.

    Args:
        value: this rank's number, as a float or a tensor of one element.

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
    all_of_them = [torch.empty_like(mine) for _ in range(world_size())]
    group.all_gather(all_of_them, mine)
    return _mean(torch.cat(all_of_them).tolist())


def any_rank(flag: bool) -> bool:
    """Return whether the flag is true on any rank, the same on each. Every rank must call it.

    Example:
        >>> any_rank(False)
        False
    """
    return mean_over_ranks(float(bool(flag))) > 0


def raise_if_diverged(watch: DivergenceWatch, loss: float) -> float:
    """Show a step's loss to a watch, and end the trial on all ranks together once it says that the run has diverged.

    Every rank must call it, once a step. All see the mean over ranks, so that they stop at the same step, and none is
    left waiting for another.

    Args:
        watch: this rank's, made with the same arguments on each.
        loss: this rank's loss, as a float or a tensor of one element; with `shard_weight` where parts differ in size.

    Returns:
        The mean over ranks.

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
    """Return the result of a trial from those of its ranks.

    The trial failed where any rank did, with the text of the first; else it diverged where any rank did; else its loss
    and metrics are the means over ranks, which are their common values where they agree. A rank that failed because it
    lost the connection to another does not count beside one that failed or diverged by itself. The time is that of the
    slowest rank.

    Args:
        results: of one trial, at least one, in the order in which they came; ranks that never ended are left out.

    Example:
        >>> from robust_lr import TrialSpec
        >>> spec = TrialSpec("cosine", 0.1, 0)
        >>> joint_result([TrialResult(spec, 1.0, "ok"), TrialResult(spec, 2.0, "ok")]).loss
        1.5
        >>> joint_result([TrialResult(spec, 1.0, "ok"), TrialResult(spec, math.inf, "diverged")]).status
        'diverged'
    """
    failed = [result for result in results if not result.is_final]
    by_themselves = [result for result in failed if not is_collateral(result)]
    diverged = [result for result in results if result.status == "diverged"]
    seconds = max(result.seconds for result in results)
    if by_themselves or (failed and not diverged):
        first = (by_themselves or failed)[0]
        return TrialResult(first.spec, math.nan, first.status, seconds, {}, first.error)
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
    """Return torch.distributed where there is a process group. Who has not loaded torch has none."""
    if "torch" not in sys.modules:
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
