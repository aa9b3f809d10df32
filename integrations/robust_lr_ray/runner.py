"""A runner for sweeps and searches on a Ray cluster."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import ray

from robust_lr import Schedule
from robust_lr._checks import check_whole
from robust_lr.exceptions import OptionError
from robust_lr.runners import TrialSource
from robust_lr.runners.outgoing import outbox_of
from robust_lr.runners.packed import Engine, PackedRunner
from robust_lr.runners.pool import Pool, Worker
from robust_lr.runners.time_limit import check_trial_timeout
from robust_lr.trials import TrainFunction, TrialResult

from ._cluster import Cluster, connected, wait
from ._pack_worker import PackWorker
from ._resources import actor_options, check_placement, check_resources, in_words
from ._trial_worker import AT_MOST, TrialWorker
from ._work_item import Work

_UNBOUNDED = 2**31  # replicas in a pack: as many as its plan says
_THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")


@dataclass(frozen=True, kw_only=True)
class RayRunner:
    """Runs trials on a Ray cluster: with a GPU each, several on one GPU, or several GPUs each.

    The trials run in actors, one after the other, so that processes start once and not for each trial. The driver,
    which calls `run_sweep`, writes the journal as trials finish: the same command continues after the driver was
    killed, and a larger grid runs only the new trials. A trial that raises, or whose worker dies, runs again up to
    `max_retries` times, an argument of `run_sweep`. A trial whose node is lost runs again elsewhere, which does not
    count as a retry. With a `storage_path`, a training function that uses `trial_checkpoint` continues where it was.

    The training function must pickle, or be in a module that the nodes can import. Schedules travel as text. Each actor
    sees its own GPUs (CUDA_VISIBLE_DEVICES) and uses as many threads as it has CPUs (OMP_NUM_THREADS), unless that was
    set where Ray was started. If this process is already connected to a Ray, that one is used and left as it is.

    Args:
        resources_per_trial: resources of a trial, such as ``{"cpu": 4, "gpu": 0.5}``: "cpu", "gpu" (a fraction of one
            GPU, or whole GPUs) and custom resources of the cluster; with `num_workers` above 1, those of each worker.
            Nothing enforces a fraction of a GPU as a share of its time and memory. By default 1 CPU, and 1 GPU if the
            cluster has GPUs.
        num_workers: processes that train a trial together, at least 1. Each calls the training function with the same
            arguments in a process group of torch.distributed, and the losses are averaged.
        address: ``"auto"`` for the cluster that this machine is part of, ``"host:port"`` of its head, or
            ``"ray://host:port"``, which does not support packs. None takes the cluster of the environment variable
            RAY_ADDRESS, which is set in a job of Ray, or else starts one on this machine, and stops it at the end.
        storage_path: folder that all nodes share, for the checkpoints of unfinished trials; one per experiment.
        max_concurrent: trials at a time, at least 1. "auto" is as many as the nodes can hold, and changes as nodes come
            and go. If nodes start on demand, give the number that you want.
        slots: None runs one trial at a time in an actor. A number, or "auto", trains so many replicas of a small model
            together in each actor, on its GPU if it has one; see `robust_lr.PackedRunner`.
        engine, strict: options of the packs; see `robust_lr.PackedRunner`.
        placement_strategy: placement of one trial's workers: "PACK" puts them on as few nodes as possible; or "SPREAD",
            "STRICT_PACK" (one node, or not at all), "STRICT_SPREAD".
        threads_per_worker: threads of the numerical libraries, at least 1; None leaves it to Ray.
        runtime_env: what the workers need beyond their nodes' installation, in Ray's terms, such as
            ``{"working_dir": "."}``. It has no effect if this process is already connected.
        trial_timeout: seconds after which a trial is ended, with its workers; it has then failed. None for no limit.
        trials_per_worker: number of trials after which an actor is replaced by a new one, for training that leaks
            memory; None for no limit.

    Raises:
        OptionError: when an argument is wrong.
        RobustLRError: by `run`, when there is no cluster at the address, it can hold no trial, or its workers cannot
            load the training function.
        ScheduleError: by `run`, when a schedule has no text that a worker could read.

    Example:
        >>> from robust_lr import GeometricGrid, run_sweep
        >>> def train(*, lr, schedule, seed):
        ...     return (lr - 0.1) ** 2
        >>> run_sweep(train, GeometricGrid(0.01, 1.0, 3), ["cosine"], 2, runner=RayRunner({"cpu": 1})).n_trials
        6
    """

    resources_per_trial: Mapping[str, float] | None = field(default=None, kw_only=False)
    num_workers: int = 1
    address: str | None = None
    storage_path: str | os.PathLike[str] | None = None
    max_concurrent: int | Literal["auto"] = "auto"
    slots: int | Literal["auto"] | None = None
    engine: Engine = "auto"
    strict: bool = False
    placement_strategy: str = "PACK"
    threads_per_worker: int | None = None
    runtime_env: Mapping[str, Any] | None = None
    trial_timeout: float | None = None
    trials_per_worker: int | None = None

    def __post_init__(self) -> None:
        if self.resources_per_trial is not None:
            checked = check_resources("resources_per_trial", self.resources_per_trial)
            object.__setattr__(self, "resources_per_trial", checked)
        if self.storage_path is not None:
            object.__setattr__(self, "storage_path", _absolute(os.fspath(self.storage_path)))
        check_placement(self.placement_strategy)
        check_trial_timeout(self.trial_timeout)
        auto = {
            "max_concurrent": ("auto",), "threads_per_worker": (None,), "trials_per_worker": (None,), "num_workers": (),
        }  # fmt: skip
        for name, words in auto.items():
            if (value := getattr(self, name)) not in words:
                check_whole(name, value, at_least=1)
        if self.address is not None and (not isinstance(self.address, str) or not self.address):
            raise OptionError(f"address must be 'auto', 'host:port' or 'ray://host:port', got {self.address!r}")
        if self.slots is not None and self.num_workers > 1:
            raise OptionError(f"slots are for trials of one worker, got slots={self.slots!r} and num_workers above 1")
        self._check_works_by_client(str(self.address).startswith("ray://"))
        self._packing(1)  # which checks its options

    def run(
        self, train: TrainFunction, source: TrialSource, schedules: Mapping[str, Schedule]
    ) -> Iterator[TrialResult]:
        """Run the trials of the source, and yield each result as it finishes; see `robust_lr.runners.Runner`.

        Closing the iterator stops the trials and the workers.
        """
        if not source.waiting:
            return
        folder = None if self.storage_path is None else str(Path(self.storage_path, "checkpoints"))
        work = Work.of(train, schedules, label=source.label, checkpoints=folder, outbox=outbox_of(source))
        with connected(self.address, runtime_env=self.runtime_env) as cluster:
            self._check_works_by_client(cluster.is_client)
            resources = dict(self.resources_per_trial or cluster.default_resources())
            cluster.check_can_hold(resources, num_workers=self.num_workers, placement_strategy=self.placement_strategy)
            yield from self._pool(work, source, cluster, resources).results()

    @property
    def n_jobs(self) -> int:
        """Number of learning rates that a search tries at a time: `max_concurrent`, or 1 for "auto"."""
        return 1 if self.max_concurrent == "auto" else self.max_concurrent

    @property
    def gpus_per_trial(self) -> float:
        """GPUs of a trial, all its workers together; by default known only while it runs."""
        resources = self.resources_per_trial
        if resources is None:
            resources = Cluster(is_own=False).default_resources() if ray.is_initialized() else {}
        return resources.get("gpu", 0.0) * self.num_workers

    @property
    def _capacity(self) -> int:
        if self.slots is None:
            return AT_MOST
        return _UNBOUNDED if self.slots == "auto" else self.slots

    def _packing(self, n_workers: int) -> PackedRunner:
        slots = "auto" if self.slots is None else self.slots
        return PackedRunner(n_workers, slots=slots, engine=self.engine, strict=self.strict)

    def _check_works_by_client(self, is_client: bool) -> None:
        if is_client and self.slots is not None:
            raise OptionError("packs cannot be used through ray://: submit a job, or connect to host:port of the head")

    def _pool(self, work: Work, source: TrialSource, cluster: Cluster, resources: dict[str, float]) -> Pool:
        stored = work.stored()
        threads = {} if self.threads_per_worker is None else dict.fromkeys(_THREADS, str(self.threads_per_worker))
        options = actor_options(resources, threads) | {"scheduling_strategy": "SPREAD"}

        def n_workers() -> int:
            if self.max_concurrent != "auto":
                return self.max_concurrent
            return cluster.capacity(resources, num_workers=self.num_workers, placement_strategy=self.placement_strategy)

        def start(number: int, capacity: int) -> Worker:
            if self.num_workers > 1:
                from ._group_worker import GroupWorker

                return GroupWorker(
                    stored,
                    num_workers=self.num_workers,
                    resources=resources,
                    placement_strategy=self.placement_strategy,
                    environment=threads,
                )
            if self.slots is None:
                return TrialWorker(stored, options)
            return PackWorker(stored, options, tuple(source.waiting), self._packing(max(1, n_workers())), capacity)

        asked_for = in_words(resources, self.num_workers)
        return Pool(
            start,
            source,
            n_workers=n_workers,
            capacity=self._capacity,
            wait=wait,
            waiting=f"room on the cluster: a trial takes {asked_for}, and nothing is free",
            trial_timeout=self.trial_timeout,
            trials_per_worker=self.trials_per_worker,
        )


def _absolute(path: str) -> str:
    if "://" in path:
        raise OptionError(f"storage_path must be a folder that every node mounts, got {path!r}")
    return str(Path(path).absolute())
