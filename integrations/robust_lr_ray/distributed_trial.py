"""A trial of Ray Tune that several workers train together, by the TorchTrainer of Ray Train."""

from __future__ import annotations

import contextlib
import os
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from robust_lr import RobustLRError, Schedule, TrainFunction, TrialResult, TrialSpec
from robust_lr._checks import check_whole
from robust_lr._labels import label_of
from robust_lr.runners import evaluate_trial, failed_trial

from .cells import cell_config, cell_digest, schedule_of, spec_of
from .checkpoints import TrialCheckpoint, checkpointing
from .cluster import Cluster, check_resources
from .ranks import is_collateral, joint_result, world_size

# What a trial takes beside its workers: something, as Tune demands, and no CPU, which a worker may be waiting for.
TAKEN_BY_DRIVER: Mapping[str, float] = {"cpu": 0, "memory": 2**20}


def distributed_trial(
    train_loop_per_worker: TrainFunction,
    *,
    num_workers: int,
    use_gpu: bool | None = None,
    resources_per_worker: Mapping[str, float] | None = None,
    storage_path: str | os.PathLike[str] | None = None,
    max_failures: int = 2,
    placement_strategy: str = "PACK",
    wait_for_nodes: bool = False,
    scaling: Mapping[str, Any] | None = None,
) -> Callable[[dict[str, Any]], None]:
    """Return a function for a `tune.Tuner`, each of whose trials is a TorchTrainer with so many workers.

    Its config is one of `cell_config` or `param_space`. Each worker calls the training function with the same learning
    rate, schedule and seed, in a process group of torch.distributed, and `joint_result` makes one result of theirs. A
    worker that fails or diverges ends the others, so that none waits for it. The trial reports once, at its end, as
    every trial of robust_lr does; what the training function gives to `ray.train.report` stays with Ray Train. A worker
    or a node that dies costs a try: the training function is called again, and goes on where `trial_checkpoint` says.
    An exception fails the trial, for the Tuner to run it again.

    Tune counts the trial itself as no CPU; its workers come on top, and Tune does not know of them. So tell the Tuner
    how many trials the cluster holds; those above it would wait within Ray Train, each with its processes:

        tune.Tuner(
            distributed_trial(train, num_workers=4, use_gpu=True, storage_path="/shared/sweep"),
            param_space=param_space(grid, ["cosine"], seeds=3),
            tune_config=tune.TuneConfig(max_concurrent_trials=16 // 4),  # 16 GPUs
        )

    The start of a TorchTrainer takes about ten seconds. Where trials are short, ``RayRunner(num_workers=4)`` keeps its
    workers from trial to trial.

    Args:
        train_loop_per_worker: a training function as everywhere, ``train(*, lr, schedule, seed)``.
        num_workers: of each trial, at least 1.
        use_gpu: whether they train on GPUs, by nccl, or on CPUs, by gloo; by default on GPUs where the cluster has any.
        resources_per_worker: such as ``{"cpu": 8, "gpu": 1}``; by default 1 CPU, and 1 GPU with `use_gpu`.
        storage_path: absolute path of a folder that all nodes share, for checkpoints and the files of Ray Train; None
            keeps none, so that a worker that dies costs the whole try.
        max_failures: how often a trial is tried again after a worker has died, at least 0.
        placement_strategy: "PACK", "SPREAD", "STRICT_PACK" (all workers on one node) or "STRICT_SPREAD".
        wait_for_nodes: whether to wait where no node can hold a worker, on a cluster that starts nodes on demand;
            otherwise it is an error.
        scaling: further arguments of `ray.train.ScalingConfig`, such as ``{"accelerator_type": "H100"}``.

    Raises:
        RobustLRError: when an argument is wrong; within the trial, when the cluster cannot hold the workers.

    Example:
        >>> def train(*, lr, schedule, seed):
        ...     return lr
        >>> trial = distributed_trial(train, num_workers=2, use_gpu=False)
    """
    from ray import tune

    carry_out = TrainerRun(
        train_loop_per_worker,
        num_workers=num_workers,
        use_gpu=use_gpu,
        resources_per_worker=resources_per_worker,
        storage_path=storage_path,
        max_failures=max_failures,
        placement_strategy=placement_strategy,
        wait_for_nodes=wait_for_nodes,
        scaling=scaling,
    )

    def trial(config: dict[str, Any]) -> None:
        from .tune_backend import report_result

        report_result(carry_out(spec_of(config), schedule_of(config)))

    with_resources: Callable[[dict[str, Any]], None] = tune.with_resources(trial, dict(TAKEN_BY_DRIVER))
    return with_resources


class TrainerRun:
    """Carries out one trial by a TorchTrainer, in any process that is connected to Ray; see `distributed_trial`.

    Example:
        >>> run = TrainerRun(lambda *, lr, schedule, seed: lr, num_workers=2, use_gpu=False)
    """

    def __init__(
        self,
        train: TrainFunction,
        *,
        num_workers: int,
        use_gpu: bool | None = None,
        resources_per_worker: Mapping[str, float] | None = None,
        storage_path: str | os.PathLike[str] | None = None,
        max_failures: int = 2,
        placement_strategy: str = "PACK",
        wait_for_nodes: bool = False,
        scaling: Mapping[str, Any] | None = None,
        label: str | None = None,
    ) -> None:
        # Made here, since the text of an object may be another in another process.
        self._train, self._label = train, label_of(train) if label is None else label
        self._num_workers = check_whole("num_workers", num_workers, at_least=1, error=RobustLRError)
        self._tries = 1 + check_whole("max_failures", max_failures, at_least=0, error=RobustLRError)
        self._use_gpu = use_gpu
        self._resources = None if resources_per_worker is None else check_resources(resources_per_worker)
        if use_gpu is not None and self._resources is not None and use_gpu != (self._resources.get("gpu", 0) >= 1):
            raise RobustLRError(f"use_gpu={use_gpu} does not go with resources_per_worker={dict(self._resources)!r}")
        self._storage = None if storage_path is None else os.fspath(storage_path)
        if self._storage is not None and not Path(self._storage).is_absolute():
            raise RobustLRError(
                f"storage_path must be the absolute path of a folder that all nodes share, got {self._storage!r}"
            )
        self._placement, self._waits, self._scaling = placement_strategy, wait_for_nodes, dict(scaling or {})

    def __call__(self, spec: TrialSpec, schedule: Schedule) -> TrialResult:
        """Run one trial and return its result.

        Raises:
            RobustLRError: when no node can hold a worker.
        """
        resources = self._resources_on(Cluster(is_own=False))
        digest, start = cell_digest(spec, schedule, self._label), time.perf_counter()
        checkpoints = None if self._storage is None else str(Path(self._storage, "checkpoints"))
        causes: list[str] = []
        with _folder_for_train(self._storage) as folder:
            while len(causes) < self._tries:
                result = self._try(spec, schedule, checkpoints, digest, resources, folder)
                if isinstance(result, TrialResult):
                    break
                causes.append(result)
            else:
                return failed_trial(spec, causes[-1], time.perf_counter() - start)
        if result.is_final:
            TrialCheckpoint(checkpoints, digest).remove()
        return result

    def _resources_on(self, cluster: Cluster) -> dict[str, float]:
        has_gpus = cluster.default_resources().get("gpu", 0) > 0 if self._use_gpu is None else self._use_gpu
        resources = self._resources or ({"cpu": 1, "gpu": 1} if has_gpus else {"cpu": 1})
        if not self._waits and not cluster.capacity(
            resources, num_workers=self._num_workers, placement_strategy=self._placement
        ):
            asked = ", ".join(f"{amount:g} {name}" for name, amount in resources.items())
            raise RobustLRError(
                f"the cluster cannot hold {self._num_workers} workers of {asked}; on one that starts nodes on demand "
                "pass wait_for_nodes=True"
            )
        return dict(resources)

    def _try(
        self,
        spec: TrialSpec,
        schedule: Schedule,
        checkpoints: str | None,
        digest: str,
        resources: Mapping[str, float],
        folder: str,
    ) -> TrialResult | str:
        """Run a trainer to its end; return the result, or why there is none where a worker died."""
        from ray.train import FailureConfig, RunConfig, ScalingConfig, TrainingFailedError
        from ray.train.torch import TorchTrainer

        names = {"cpu": "CPU", "gpu": "GPU"}
        trainer: Any = TorchTrainer(
            _loop_of_rank(self._train, cell_config(spec, schedule), checkpoints, digest),
            scaling_config=ScalingConfig(
                num_workers=self._num_workers,
                use_gpu=resources.get("gpu", 0) > 0,
                resources_per_worker={names.get(name, name): amount for name, amount in resources.items()},
                placement_strategy=self._placement,
                **self._scaling,
            ),
            # Ray Train would run a trial that diverged again as well; so the tries are ours.
            run_config=RunConfig(name=digest, storage_path=folder, failure_config=FailureConfig(max_failures=0)),
        )
        try:
            result: TrialResult = trainer.fit().return_value
        except TrainingFailedError as error:
            return _result_of_failure(error)
        return result


class _RankEnded(Exception):
    """Tells Ray Train to end the group, since a rank has no loss to give; carries what it has."""

    def __init__(self, result: TrialResult) -> None:
        super().__init__(result)
        self.result = result

    def __str__(self) -> str:
        return self.result.error or self.result.status


def _loop_of_rank(train: TrainFunction, config: Mapping[str, Any], checkpoints: str | None, digest: str) -> Any:
    def loop() -> TrialResult:
        with checkpointing(checkpoints, digest):
            result = evaluate_trial(train, spec_of(config), schedule_of(config))
        if result.status != "ok":
            raise _RankEnded(result)
        return joint_result(_of_all_ranks(result))

    return loop


def _of_all_ranks(result: TrialResult) -> list[TrialResult]:
    if world_size() == 1:
        return [result]
    import torch.distributed as dist

    results: list[Any] = [None] * world_size()
    dist.all_gather_object(results, result)
    return results


def _result_of_failure(error: Exception) -> TrialResult | str:
    """Return the result that the ranks which ended by themselves give; else why a worker is gone."""
    failures: Sequence[BaseException] = list(getattr(error, "worker_failures", {}).values())
    ended = [found.result for failure in failures if (found := _ended(failure)) is not None]
    if any(not is_collateral(result) for result in ended) or (ended and len(ended) == len(failures)):
        return joint_result(ended)
    others = [failure for failure in failures if _ended(failure) is None]
    return str(others[0] if others else error)


def _ended(failure: BaseException) -> _RankEnded | None:
    """Find what a rank raised, which Ray Train wraps."""
    return next((found for found in (failure, *failure.args) if isinstance(found, _RankEnded)), None)


@contextlib.contextmanager
def _folder_for_train(storage_path: str | None) -> Iterator[str]:
    if storage_path is not None:
        yield str(Path(storage_path, "train"))
    else:
        with tempfile.TemporaryDirectory(prefix="robust-lr-", ignore_cleanup_errors=True) as folder:
            yield folder
