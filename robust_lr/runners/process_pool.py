"""Trials in parallel processes of this machine, one GPU each where there are GPUs, surviving workers that die."""

from __future__ import annotations

import multiprocessing
import os
import pickle
import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache

from .._checks import check_whole
from ..exceptions import RobustLRError
from ..schedules.closed_forms import Schedule
from ..trials import TrainFunction, TrialResult, TrialSpec
from .base import Evaluator
from .evaluators import OneByOne


@dataclass(frozen=True, init=False)
class ProcessPoolRunner:
    """Runs the trials in a pool of worker processes on this machine.

    A worker that dies (killed, out of memory, a crash in a C library) is replaced, and its trial is tried again. The
    workers end with the run, also when it is interrupted or the parent is killed. They are started by "spawn", so the
    training function and the schedules must pickle, and a script must start its sweep under
    ``if __name__ == "__main__":``.

    Args:
        n_workers: number of processes; by default one a device, 2 without devices.
        retries: how often a trial that failed, or whose worker died, is tried again, at least 0.
        devices: what CUDA_VISIBLE_DEVICES is set to in worker i, ``devices[i % len(devices)]``, before it imports
            anything; "auto" takes every visible GPU, and none when there is none.
        threads_per_worker: OMP_NUM_THREADS, MKL_NUM_THREADS and OPENBLAS_NUM_THREADS in the workers; by default what
            the environment says, and where it says nothing the number of cores divided by n_workers.

    Raises:
        RobustLRError: when an argument is wrong, the training function does not pickle, or no worker can start.

    Example:
        >>> ProcessPoolRunner(devices=("0", "1"))
        ProcessPoolRunner(n_workers=2, retries=2, devices=('0', '1'), threads_per_worker=None)
    """

    n_workers: int
    retries: int
    devices: tuple[str, ...]
    threads_per_worker: int | None

    def __init__(
        self,
        n_workers: int | None = None,
        *,
        retries: int = 2,
        devices: Sequence[str] | None = None,
        threads_per_worker: int | None = None,
    ) -> None:
        names = device_names(devices)
        if n_workers is None:
            n_workers = len(names) or 2
        if threads_per_worker is not None:
            threads_per_worker = check_whole("threads_per_worker", threads_per_worker, at_least=1, error=RobustLRError)
        object.__setattr__(self, "n_workers", check_whole("n_workers", n_workers, at_least=1, error=RobustLRError))
        object.__setattr__(self, "retries", check_whole("retries", retries, at_least=0, error=RobustLRError))
        object.__setattr__(self, "devices", names)
        object.__setattr__(self, "threads_per_worker", threads_per_worker)

    def run(
        self, train: TrainFunction, trials: Sequence[TrialSpec], schedules: Mapping[str, Schedule]
    ) -> Iterator[TrialResult]:
        """Run each trial and yield its result as it finishes; see `Runner.run`. Closing the iterator ends it all."""
        return self.evaluate(lambda slots: OneByOne(train, dict(schedules)), 1, trials, schedules)

    def evaluate(
        self,
        make_evaluator: Callable[[int], Evaluator],
        slots: int,
        trials: Sequence[TrialSpec],
        schedules: Mapping[str, Schedule],
    ) -> Iterator[TrialResult]:
        """Run the trials by an evaluator in each worker, and yield one result for each; `run` is its case of 1 slot.

        The trials are shared out evenly. When a worker that had several in flight dies, the one that replaces it runs
        them again, half as many at a time, which is not counted as a try.

        Args:
            make_evaluator: makes an evaluator, which must pickle, for at most so many trials at a time.
            slots: how many trials a worker may have in flight, at least 1.
            trials: distinct trials.
            schedules: the schedule for each name in `trials`; they must pickle.
        """
        from ._pool import Pool

        if getattr(multiprocessing.current_process(), "_inheriting", False):
            raise RobustLRError(
                "a worker process imports this script again: start the sweep under `if __name__ == '__main__':`"
            )
        for name, schedule in schedules.items():
            _pickled(f"schedule {name!r}", schedule)
        payload_for = cache(lambda slots: _pickled("train", make_evaluator(slots)))
        payload_for(slots)  # what does not pickle is refused here, before any worker starts
        return Pool(
            payload_for,
            trials,
            n_workers=self.n_workers,
            capacity=slots,
            retries=self.retries,
            environment=self.environment,
        ).results()

    def environment(self, worker: int) -> dict[str, str]:
        """Return the environment variables that worker number `worker` gets beside those of this process."""
        threads = str(self.threads_per_worker or max(1, _n_cores() // self.n_workers))
        variables = {
            name: threads
            for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
            if self.threads_per_worker is not None or name not in os.environ
        }
        if self.devices:
            variables["CUDA_VISIBLE_DEVICES"] = self.devices[worker % len(self.devices)]
        return variables


def device_names(devices: Sequence[str] | None) -> tuple[str, ...]:
    """Return the names of the devices asked for: those given, the visible ones for "auto", or none."""
    if not isinstance(devices, str):
        return tuple(str(d) for d in devices or ())
    if devices != "auto":
        raise RobustLRError(f"devices must be a sequence such as ('0', '1'), or 'auto', got {devices!r}")
    return visible_devices()


def visible_devices() -> tuple[str, ...]:
    """Return the GPUs this process may use, by CUDA_VISIBLE_DEVICES or else by nvidia-smi; empty when there is none."""
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
        return pickle.dumps(value)
    except Exception as error:
        raise RobustLRError(
            f"{what} must be importable by the worker processes: define it at module level (not as a lambda or inside "
            f"another function), or use SerialRunner; pickle says: {error}"
        ) from None
