"""Trials in parallel processes on this machine, one GPU each if there are GPUs; dead workers are replaced."""

from __future__ import annotations

import multiprocessing
import os
import pickle
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass
from functools import cache

from .._checks import check_whole
from ..exceptions import OptionError, RobustLRError
from ..schedules.closed_forms import Schedule
from ..trials import TrainFunction, TrialResult
from .base import Evaluator, TrialSource
from .outgoing import outbox_of, saving
from .serial import SequentialEvaluator
from .time_limit import check_trial_timeout


@dataclass(frozen=True)
class ProcessPoolRunner:
    """Runs the trials in a pool of worker processes on this machine.

    A worker that dies (killed, out of memory, a crash in a C library) is replaced, and its trial fails. A worker in
    which a trial failed is replaced too, because its process may be broken, as after a failed assertion on a GPU. All
    workers end with the run, also when it is interrupted or the parent is killed. They start by "spawn", so the
    training function and the schedules must pickle, and a script must start its sweep under
    ``if __name__ == "__main__":``. Functions of a notebook or a prompt are sent by value, by cloudpickle.

    Args:
        n_jobs: number of worker processes, one trial each; by default one per device, 2 without devices.
        devices: worker i runs with CUDA_VISIBLE_DEVICES set to ``devices[i % len(devices)]`` before it imports
            anything; "auto" takes every visible GPU, if any.
        threads_per_worker: OMP_NUM_THREADS, MKL_NUM_THREADS and OPENBLAS_NUM_THREADS in the workers; by default the
            values in the environment, or else the number of cores divided by n_jobs.
        trial_timeout: seconds after which a trial is ended, with its worker and all processes that it has started; it
            has then failed, and is retried like any failed trial. None for no limit.
        trials_per_worker: number of trials after which a worker is replaced by a new process, for training that leaks
            memory; None for no limit.

    Raises:
        OptionError: when an argument is wrong.
        RobustLRError: by `run`, when the training function does not pickle, or no worker can start.

    Example:
        >>> ProcessPoolRunner(devices=("0", "1")).n_jobs
        2
    """

    n_jobs: int = None  # type: ignore[assignment]  # a number once it is made, as are all defaults below
    _: KW_ONLY
    devices: Sequence[str] = ()
    threads_per_worker: int | None = None
    trial_timeout: float | None = None
    trials_per_worker: int | None = None

    def __post_init__(self) -> None:
        devices = device_names(self.devices)
        n_jobs = (len(devices) or 2) if self.n_jobs is None else check_whole("n_jobs", self.n_jobs, at_least=1)
        if self.threads_per_worker is not None:
            check_whole("threads_per_worker", self.threads_per_worker, at_least=1)
        if self.trials_per_worker is not None:
            check_whole("trials_per_worker", self.trials_per_worker, at_least=1)
        object.__setattr__(self, "trial_timeout", check_trial_timeout(self.trial_timeout))
        object.__setattr__(self, "devices", devices)
        object.__setattr__(self, "n_jobs", n_jobs)

    def run(
        self, train: TrainFunction, source: TrialSource, schedules: Mapping[str, Schedule]
    ) -> Iterator[TrialResult]:
        """Run each trial and yield its result as it finishes; closing the iterator stops all. See `Runner.run`."""
        return self.evaluate(lambda capacity: SequentialEvaluator(train, dict(schedules)), 1, source, schedules)

    def evaluate(
        self,
        make_evaluator: Callable[[int], Evaluator],
        capacity: int,
        source: TrialSource,
        schedules: Mapping[str, Schedule],
    ) -> Iterator[TrialResult]:
        """Run the trials with an evaluator in each worker, and yield one result for each; `run` has a capacity of 1.

        The trials are shared out evenly. When a worker dies with several in flight, its replacement runs them again,
        half as many at a time, and none of them counts as failed.

        Args:
            make_evaluator: makes an evaluator, which must pickle, for at most so many trials at a time.
            capacity: how many trials a worker may have in flight, at least 1.
            source: hands out the trials.
            schedules: the schedule for each name in the trials; they must pickle.
        """
        from multiprocessing.connection import wait

        from ._process_worker import ProcessWorker
        from .pool import Pool

        if getattr(multiprocessing.current_process(), "_inheriting", False):
            raise RobustLRError(
                "a worker process imports this script again: start the sweep under `if __name__ == '__main__':`"
            )
        for name, schedule in schedules.items():
            _pickled(f"schedule {name!r}", schedule)
        outbox = outbox_of(source)
        payload_for = cache(lambda capacity: _pickled("train", saving(make_evaluator(capacity), outbox)))
        payload_for(capacity)  # refuse what does not pickle before any worker starts
        pool = Pool(
            lambda number, limit: ProcessWorker(number, payload_for, limit, self.environment(number)),
            source,
            n_workers=lambda: self.n_jobs,
            capacity=capacity,
            wait=wait,
            waiting="the worker processes: none of them has started in a long time",
            trial_timeout=self.trial_timeout,
            trials_per_worker=self.trials_per_worker,
        )
        return pool.results()

    @property
    def gpus_per_trial(self) -> float:
        """GPUs that each trial has to itself; less than 1 if workers share them, 0 without `devices`."""
        return min(1.0, len(self.devices) / self.n_jobs)

    def environment(self, worker: int) -> dict[str, str]:
        """Return the environment variables of worker number `worker`, in addition to those of this process."""
        threads = str(self.threads_per_worker or max(1, _n_cores() // self.n_jobs))
        variables = {
            name: threads
            for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
            if self.threads_per_worker is not None or name not in os.environ
        }
        if self.devices:
            variables["CUDA_VISIBLE_DEVICES"] = self.devices[worker % len(self.devices)]
        return variables


def device_names(devices: Sequence[str] | None) -> tuple[str, ...]:
    """Return the device names: those given, the visible ones for "auto", or none."""
    if not isinstance(devices, str):
        return tuple(str(d) for d in devices or ())
    if devices != "auto":
        raise OptionError(f"devices must be a sequence such as ('0', '1'), or 'auto', got {devices!r}")
    return visible_devices()


def visible_devices() -> tuple[str, ...]:
    """Return the GPUs this process may use, from CUDA_VISIBLE_DEVICES or else nvidia-smi; empty if there are none."""
    given = os.environ.get("CUDA_VISIBLE_DEVICES")
    if given is not None:
        return tuple(d.strip() for d in given.split(",") if d.strip() not in ("", "-1"))
    try:
        listing = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, timeout=10, check=True).stdout
    except (OSError, subprocess.SubprocessError):
        return ()
    return tuple(str(i) for i in range(sum(line.startswith("GPU ") for line in listing.splitlines())))


def _n_cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _pickled(what: str, value: object) -> bytes:
    try:
        return pickle.dumps(value) if hasattr(sys.modules["__main__"], "__file__") else _pickled_by_value(what, value)
    except RobustLRError:
        raise
    except Exception as error:
        raise RobustLRError(
            f"{what} must be importable by the worker processes: define it at module level (not as a lambda or inside "
            f"another function), or use SerialRunner; pickle says: {error}"
        ) from None


def _pickled_by_value(what: str, value: object) -> bytes:
    """In a notebook or at a prompt, no worker can import what ``__main__`` defines."""
    try:
        from cloudpickle import dumps
    except ModuleNotFoundError:
        pickled = pickle.dumps(value)
        if b"__main__" in pickled:
            raise RobustLRError(
                f"{what} is defined in a notebook or at a prompt, which the worker processes cannot import: "
                "pip install cloudpickle, or move it to a module, or use SerialRunner"
            ) from None
        return pickled
    return bytes(dumps(value))
