"""A runner that carries out the trials of `run_sweep` on a Ray cluster."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal, get_args

from robust_lr import RobustLRError, Schedule, TrainFunction, TrialResult, TrialSpec
from robust_lr._checks import check_whole

from .cells import schedule_of, spec_of
from .cluster import Cluster, actor_options, check_resources, connected, in_words
from .distributed_trial import TAKEN_BY_DRIVER, TrainerRun
from .pack_seat import Packing, PackSeat
from .pool import Pool
from .seats import Seat
from .trial_seat import TrialSeat
from .work import Work

Backend = Literal["actors", "tune"]
_PLACEMENTS = ("PACK", "SPREAD", "STRICT_PACK", "STRICT_SPREAD")
_UNBOUNDED = 2**31  # replicas in a pack: as many as its plan says


@dataclass(frozen=True, init=False)
class RayRunner:
    """Runs the trials of a sweep on a Ray cluster: a GPU each, several on one GPU, or several GPUs each.

    The trials run in actors, which take one after the other, so that a process starts once and not for each trial. The
    driver, where `run_sweep` is called, writes the journal as trials finish, so that the same command goes on after it
    was killed, and a larger grid runs only what is new. A trial that raised, or whose worker died, is run again up to
    `max_failures` times; a trial whose node has gone runs again elsewhere, which is not counted. With a `storage_path`
    a training function that uses `trial_checkpoint` continues where it was.

    The training function must pickle, or be in a module that the nodes can import. Schedules travel as their texts.
    Each actor gets its GPUs by CUDA_VISIBLE_DEVICES, and by OMP_NUM_THREADS as many threads as it has CPUs, unless that
    was set where Ray was started. A Ray that this process is connected to is used and left as it is; see `address`.

    Args:
        resources_per_trial: what a trial takes, such as ``{"cpu": 4, "gpu": 0.5}``: "cpu", "gpu" (a part of one GPU,
            or whole ones) and custom resources of the cluster; with `num_workers` above 1 what each worker of it takes.
            A part of a GPU is a share of its time and memory that nothing enforces. By default 1 CPU, and 1 GPU where
            the cluster has GPUs.
        num_workers: processes that train a trial together, at least 1. Each calls the training function with the same
            arguments in a process group of torch.distributed, and the losses are averaged; see `GroupSeat`.
        address: ``"auto"`` for the cluster that this machine is part of, ``"host:port"`` of its head, or
            ``"ray://host:port"``, by which neither packs nor Tune work. None takes the cluster of the environment
            variable RAY_ADDRESS, which is set in a job of Ray, or else starts one on this machine, and stops it at the
            end.
        storage_path: folder that all nodes share, for the checkpoints of trials that are not finished; one for each
            experiment. With ``backend="tune"`` Tune writes there too, and it may be a URI, without checkpoints.
        max_failures: how often a trial that failed is run again, at least 0.
        max_concurrent: trials at a time, at least 1. "auto" is as many as the nodes can hold, and changes as nodes come
            and go; where nodes are started on demand, name the number that you want.
        slots: None runs one trial at a time in an actor. A number, or "auto", trains so many replicas of a small model
            together in each actor, on its GPU if it has one, where the task says how; see `robust_lr.PackedRunner`.
        engine, strict: of the packs; see `robust_lr.PackedRunner`.
        placement_strategy: of the workers of one trial: "PACK" puts them on as few nodes as possible; or "SPREAD",
            "STRICT_PACK" (one node, or not at all), "STRICT_SPREAD".
        threads_per_worker: threads of the numerical libraries, at least 1; None leaves it to Ray.
        runtime_env: what the workers need beside what is installed on their nodes, in Ray's terms, such as
            ``{"working_dir": "."}``. Of no effect where this process is connected already.
        backend: "actors"; or "tune", which runs the same trials through a Tuner, for its loggers, callbacks and
            dashboard, at many times the overhead.
        callbacks: of the Tuner.
        label: what tells this experiment from others in the folder of checkpoints. `run_sweep` sets it to its own; by
            default it is the name and the bound arguments of the training function.

    Raises:
        RobustLRError: when an argument is wrong; by `run`, when there is no cluster at the address, when it can hold no
            trial, or when its workers cannot load the training function.
        ScheduleError: by `run`, when a schedule has no text that a worker could read it from.

    Example:
        >>> from robust_lr import GeometricGrid, run_sweep
        >>> def train(*, lr, schedule, seed):
        ...     return (lr - 0.1) ** 2
        >>> run_sweep(train, GeometricGrid(0.01, 1.0, 3), ["cosine"], 2, runner=RayRunner({"cpu": 1})).n_trials
        6
    """

    resources_per_trial: Mapping[str, float] | None
    num_workers: int
    address: str | None
    storage_path: str | None
    max_failures: int
    max_concurrent: int | Literal["auto"]
    slots: int | Literal["auto"] | None
    engine: str
    strict: bool
    placement_strategy: str
    threads_per_worker: int | None
    runtime_env: Mapping[str, Any] | None
    backend: Backend
    callbacks: tuple[Any, ...]
    label: str | None

    def __init__(
        self,
        resources_per_trial: Mapping[str, float] | None = None,
        *,
        num_workers: int = 1,
        address: str | None = None,
        storage_path: str | os.PathLike[str] | None = None,
        max_failures: int = 2,
        max_concurrent: int | Literal["auto"] = "auto",
        slots: int | Literal["auto"] | None = None,
        engine: str = "auto",
        strict: bool = False,
        placement_strategy: str = "PACK",
        threads_per_worker: int | None = None,
        runtime_env: Mapping[str, Any] | None = None,
        backend: Backend = "actors",
        callbacks: Sequence[Any] = (),
        label: str | None = None,
    ) -> None:
        if backend not in get_args(Backend):
            raise RobustLRError(f"backend must be one of {', '.join(get_args(Backend))}, got {backend!r}")
        if placement_strategy not in _PLACEMENTS:
            known = ", ".join(_PLACEMENTS)
            raise RobustLRError(f"placement_strategy must be one of {known}, got {placement_strategy!r}")
        if address is not None and (not isinstance(address, str) or not address):
            raise RobustLRError(f"address must be 'auto', 'host:port' or 'ray://host:port', got {address!r}")
        if max_concurrent != "auto":
            check_whole("max_concurrent", max_concurrent, at_least=1, error=RobustLRError)
        if slots is not None and slots != "auto":
            check_whole("slots", slots, at_least=1, error=RobustLRError)
        if threads_per_worker is not None:
            check_whole("threads_per_worker", threads_per_worker, at_least=1, error=RobustLRError)
        check_whole("num_workers", num_workers, at_least=1, error=RobustLRError)
        check_whole("max_failures", max_failures, at_least=0, error=RobustLRError)
        resources = None if resources_per_trial is None else check_resources(resources_per_trial)
        values: dict[str, Any] = {
            "resources_per_trial": resources,
            "num_workers": num_workers,
            "address": address,
            "storage_path": None if storage_path is None else _folder(os.fspath(storage_path)),
            "max_failures": max_failures,
            "max_concurrent": max_concurrent,
            "slots": slots,
            "engine": engine,
            "strict": strict,
            "placement_strategy": placement_strategy,
            "threads_per_worker": threads_per_worker,
            "runtime_env": runtime_env,
            "backend": backend,
            "callbacks": tuple(callbacks),
            "label": label,
        }
        for name, value in values.items():
            object.__setattr__(self, name, value)
        self._check_what_goes_together()

    def _check_what_goes_together(self) -> None:
        slots, is_of_tune = self.slots, self.backend == "tune"
        if slots is not None and self.num_workers > 1:
            raise RobustLRError(
                f"slots are for trials of one worker, got {slots!r} with num_workers={self.num_workers}"
            )
        if slots is not None and is_of_tune:
            raise RobustLRError("slots are for backend='actors'; packed_trial makes a trial of Tune that is a pack")
        if self.storage_path is not None and "://" in self.storage_path and not (is_of_tune and self.num_workers == 1):
            raise RobustLRError(f"storage_path must be a folder that every node mounts, got {self.storage_path!r}")
        if self.address is not None and self.address.startswith("ray://"):
            self._check_works_by_client()
        if self.callbacks and not is_of_tune:
            raise RobustLRError("callbacks are for backend='tune'")

    def _check_works_by_client(self) -> None:
        if self.slots is not None or self.backend == "tune":
            what = "slots" if self.slots is not None else "backend='tune'"
            raise RobustLRError(
                f"{what} cannot be used through ray://: submit a job, or connect to host:port of the head"
            )

    def run(
        self, train: TrainFunction, trials: Sequence[TrialSpec], schedules: Mapping[str, Schedule]
    ) -> Iterator[TrialResult]:
        """Run each trial and yield its result as it finishes; see `Runner.run`. Closing the iterator ends it all."""
        if not trials:
            return
        folder = None
        if self.storage_path is not None and "://" not in self.storage_path:
            folder = str(Path(self.storage_path, "checkpoints"))
        work = Work.of(train, schedules, label=self.label, checkpoints=folder)
        with connected(self.address, runtime_env=self.runtime_env) as cluster:
            if cluster.is_client:
                self._check_works_by_client()
            resources = self.resources_per_trial or cluster.default_resources()
            cluster.check_can_hold(resources, num_workers=self.num_workers, placement_strategy=self.placement_strategy)
            carry_out = self._with_tune if self.backend == "tune" else self._with_actors
            yield from carry_out(work, trials, cluster, dict(resources))

    def labelled(self, label: str) -> RayRunner:
        """Return this runner for an experiment of that name."""
        return replace(self, label=label)

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """Stay connected from one `run` to the next, so that a Ray that is started here starts once.

        Raises:
            RobustLRError: when there is no cluster at the address.
        """
        with connected(self.address, runtime_env=self.runtime_env):
            yield

    def _with_actors(
        self, work: Work, trials: Sequence[TrialSpec], cluster: Cluster, resources: dict[str, float]
    ) -> Iterator[TrialResult]:
        stored, options = work.stored(), self._options(resources)

        def n_seats() -> int:
            if self.max_concurrent != "auto":
                return self.max_concurrent
            return self._n_at_once(cluster, resources)

        def make_seat(capacity: int) -> Seat:
            if self.num_workers > 1:
                from .worker_group import GroupSeat

                return GroupSeat(
                    stored,
                    num_workers=self.num_workers,
                    resources_per_worker=resources,
                    use_gpu=resources.get("gpu", 0) > 0,
                    placement_strategy=self.placement_strategy,
                    environment=self._environment(),
                )
            if self.slots is None:
                return TrialSeat(stored, options)
            packing = Packing(self.slots, self.engine, self.strict)
            return PackSeat(
                stored, options, packing=packing, trials=trials, n_seats=max(1, n_seats()), at_most=capacity
            )

        yield from Pool(
            make_seat,
            trials,
            n_seats=n_seats,
            capacity=1 if self.slots is None else _UNBOUNDED if self.slots == "auto" else self.slots,
            max_failures=self.max_failures,
            asked_for=in_words(resources, self.num_workers),
        ).results()

    def _with_tune(
        self, work: Work, trials: Sequence[TrialSpec], cluster: Cluster, resources: dict[str, float]
    ) -> Iterator[TrialResult]:
        from .tune_backend import run_with_tune

        n_trials = self._n_at_once(cluster, resources)
        make_trainable = partial(_one_process, label=work.label, checkpoints=work.checkpoints)
        if self.num_workers > 1:
            make_trainable = partial(_several_workers, runner=self, resources=resources, label=work.label)
        yield from run_with_tune(
            work.train,
            trials,
            work.schedules,
            # Of several workers, which Ray Train counts, Tune has only the process that waits for them.
            resources=resources if self.num_workers == 1 else TAKEN_BY_DRIVER,
            storage_path=self.storage_path,
            name=None,
            max_failures=self.max_failures,
            max_concurrent=max(1, n_trials) if self.max_concurrent == "auto" else self.max_concurrent,
            callbacks=self.callbacks,
            make_trainable=make_trainable,
        )

    def _n_at_once(self, cluster: Cluster, resources: Mapping[str, float]) -> int:
        return cluster.capacity(resources, num_workers=self.num_workers, placement_strategy=self.placement_strategy)

    def _options(self, resources: Mapping[str, float]) -> dict[str, Any]:
        return actor_options(resources, self._environment()) | {"scheduling_strategy": "SPREAD"}

    def _environment(self) -> dict[str, str]:
        if self.threads_per_worker is None:
            return {}
        names = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
        return dict.fromkeys(names, str(self.threads_per_worker))


def _several_workers(
    train: TrainFunction, *, runner: RayRunner, resources: Mapping[str, float], label: str
) -> Callable[[dict[str, Any]], None]:
    """Return what Tune calls with the config of a trial that several workers train."""
    from .tune_backend import report_result

    run = TrainerRun(
        train,
        num_workers=runner.num_workers,
        use_gpu=resources.get("gpu", 0) > 0,
        resources_per_worker=resources,
        storage_path=runner.storage_path,
        max_failures=0,  # it is Tune that tries again
        placement_strategy=runner.placement_strategy,
        wait_for_nodes=True,
        label=label,
    )
    return lambda config: report_result(run(spec_of(config), schedule_of(config)))


def _one_process(train: TrainFunction, *, label: str, checkpoints: str | None) -> Callable[[dict[str, Any]], None]:
    """Return what Tune calls in a worker with the config of a trial: it trains as our own workers do."""
    from .tune_backend import report_result

    def trial(config: dict[str, Any]) -> None:
        spec = spec_of(config)
        report_result(Work(train, {spec.schedule: config["schedule"]}, label, checkpoints).evaluate(spec))

    return trial


def _folder(path: str) -> str:
    """A folder as all processes name it: a relative one would be another in each worker."""
    return path if "://" in path else str(Path(path).absolute())
