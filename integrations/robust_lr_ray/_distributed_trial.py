"""A trial in a Tuner that several workers train together."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

from robust_lr.exceptions import OptionError, TrialError
from robust_lr.runners import TrialList
from robust_lr.runners.pool import Pool
from robust_lr.trials import TrainFunction

from ._cells import report_of, spec_of
from ._resources import bundle, check_placement, check_resources, in_words
from ._work_item import Work, checkpoint_label


def distributed_trial(
    train: TrainFunction,
    *,
    num_workers: int,
    resources_per_worker: Mapping[str, float] | None = None,
    storage_path: str | os.PathLike[str] | None = None,
    placement_strategy: str = "PACK",
) -> Callable[[dict[str, Any]], None]:
    """Return a function for a `tune.Tuner` that trains each trial with several workers.

    Its config is that of `param_space` or `GridSearcher`. Each worker calls the training function with the same
    learning rate, schedule and seed, in a process group of torch.distributed: nccl with GPUs, gloo without. The trial
    reports once, at its end, the mean over the workers. Tune reserves the resources of all workers together, so it runs
    as many trials at a time as fit.

    A trial that raises or loses a worker fails, and Tune retries it if its ``tune.FailureConfig(max_failures=...)``
    allows that. With a `storage_path` it then continues from its `trial_checkpoint`.

    ``RayRunner(num_workers=4)`` keeps its workers from trial to trial; here they start for each trial, which takes a
    few seconds.

    Args:
        train: a training function, ``train(*, lr, schedule, seed)``.
        num_workers: workers of each trial, at least 1.
        resources_per_worker: such as ``{"cpu": 8, "gpu": 1}``; by default 1 CPU.
        storage_path: absolute path of a folder that all nodes share, for checkpoints; None keeps none.
        placement_strategy: "PACK", "SPREAD", "STRICT_PACK" (all workers on one node) or "STRICT_SPREAD".

    Raises:
        OptionError: when an argument is wrong.
        RobustLRError: when a `storage_path` is given and the name of `train` does not identify it.

    Example:
        >>> def train(*, lr, schedule, seed):
        ...     return lr
        >>> trial = distributed_trial(train, num_workers=2)
    """
    from ray import tune

    from ._cluster import wait
    from ._group_worker import GroupWorker, check_ranks

    resources = check_resources("resources_per_worker", resources_per_worker or {"cpu": 1})
    check_ranks(num_workers, resources)
    strategy = check_placement(placement_strategy)
    if storage_path is not None and not Path(storage_path).is_absolute():
        raise OptionError(
            f"storage_path must be an absolute path that all nodes share, got {os.fspath(storage_path)!r}"
        )
    checkpoints = None if storage_path is None else str(Path(storage_path, "checkpoints"))
    label = checkpoint_label(train, checkpoints)

    def trial(config: dict[str, Any]) -> None:
        from ray.util import get_current_placement_group

        spec, place = spec_of(config), get_current_placement_group()
        work = Work(train, {spec.schedule: config["schedule"]}, label, checkpoints).stored()
        pool = Pool(
            lambda number, limit: GroupWorker(work, num_workers=num_workers, resources=resources, place=place),
            TrialList([spec]),
            n_workers=lambda: 1,
            capacity=1,
            wait=wait,
            waiting=f"the workers of a trial, which take {in_words(resources, num_workers)}",
        )
        with closing(pool.results()) as results:
            for result in results:
                if not result.is_final:
                    raise TrialError(result.error or "no reason given")
                tune.report(report_of(result))

    # The first bundle is empty, because the function itself needs nothing.
    place = tune.PlacementGroupFactory([{}] + [bundle(resources)] * num_workers, strategy=strategy)
    with_resources: Callable[[dict[str, Any]], None] = tune.with_resources(trial, place)
    return with_resources
