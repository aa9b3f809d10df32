"""Measure the overhead of a trial, for each way to run trials in parallel on this machine.

    python benchmarks/ray_overhead.py                    about 4 minutes on 2 cores
    python benchmarks/ray_overhead.py --rounds 1 --trials 20 --long 0

The first trials do nothing. The table shows milliseconds a trial for sweeps of N trials, with Ray up and the start and
end of workers included: medians over rounds (lower to upper quartile), and the ratio to bare tasks of Ray within a
round. Every way begins without processes: bare tasks that find those of an earlier sweep take 0.6 ms, and not 3. Each
round runs every way once, in random order. Then come trials of one second of arithmetic, two at a time: the table shows
which share of two cores' time went into them.
"""

from __future__ import annotations

import argparse
import logging
import os
import random
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

os.environ.update(RAY_AUTH_MODE="disabled", RAY_USAGE_STATS_ENABLED="0", RAY_AIR_NEW_OUTPUT="0")

import ray
from ray import tune

from robust_lr import Constant, ProcessPoolRunner, TrialSpec
from robust_lr.runners import TrialList
from robust_lr_ray import RayRunner

N_CORES = 2
SCHEDULES = {"constant": Constant()}


def trivial(*, lr: float, schedule: object, seed: int) -> float:
    """Do nothing."""
    return lr


def one_second(*, lr: float, schedule: object, seed: int) -> float:
    """Keep a core busy for a second."""
    end = time.perf_counter() + 1.0
    while time.perf_counter() < end:
        pass
    return lr


def trials(n: int) -> list[TrialSpec]:
    """Return n distinct trials."""
    return [TrialSpec("constant", 0.1, seed) for seed in range(n)]


def by_runner(make: Callable[[], object]) -> Callable[[Callable[..., float], int, Path], float]:
    """Return the way of a runner."""

    def way(train: Callable[..., float], n: int, folder: Path) -> float:
        start = time.perf_counter()
        found = list(make().run(train, TrialList(trials(n)), SCHEDULES))  # type: ignore[attr-defined]
        seconds = time.perf_counter() - start
        check(n, [result.loss for result in found])
        return seconds

    return way


def by_tune(*, reuse_actors: bool) -> Callable[[Callable[..., float], int, Path], float]:
    """Return the way of a plain Tuner."""

    def way(train: Callable[..., float], n: int, folder: Path) -> float:
        def trainable(config: dict[str, int]) -> None:
            tune.report({"loss": train(lr=0.1, schedule=None, seed=config["seed"])})

        start = time.perf_counter()
        grid = tune.Tuner(
            tune.with_resources(trainable, {"cpu": 1}),
            param_space={"seed": tune.grid_search(list(range(n)))},
            tune_config=tune.TuneConfig(metric="loss", mode="min", reuse_actors=reuse_actors),
            run_config=tune.RunConfig(storage_path=str(folder), verbose=0),
        ).fit()
        seconds = time.perf_counter() - start
        check(n, [result.metrics["loss"] for result in grid])
        return seconds

    return way


def by_tasks(train: Callable[..., float], n: int, folder: Path) -> float:
    """Run the trials as tasks of Ray, all submitted at once."""
    task = ray.remote(num_cpus=1)(lambda seed: train(lr=0.1, schedule=None, seed=seed))
    start = time.perf_counter()
    waiting, losses = [task.remote(seed) for seed in range(n)], []
    while waiting:
        done, waiting = ray.wait(waiting)
        losses += ray.get(done)
    seconds = time.perf_counter() - start
    check(n, losses)
    return seconds


def check(n: int, losses: list[float]) -> None:
    """Stop if a way did not run all its trials."""
    if len(losses) != n or set(losses) != {0.1}:
        sys.exit(f"{len(losses)} results instead of {n}")


WAYS = {
    "RayRunner": by_runner(lambda: RayRunner({"cpu": 1})),
    "ray.remote tasks": by_tasks,
    "Tune, reuse_actors": by_tune(reuse_actors=True),
    "Tune, default": by_tune(reuse_actors=False),
    "ProcessPoolRunner": by_runner(lambda: ProcessPoolRunner(N_CORES)),
}


def quartiles(values: list[float]) -> str:
    """Return the median, and the quartiles if there are several values."""
    if len(values) < 3:
        return f"{statistics.median(values):.3g}"
    low, middle, high = statistics.quantiles(values, n=4, method="inclusive")
    return f"{middle:.3g} ({low:.3g} to {high:.3g})"


def main() -> None:
    """Run everything and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--trials", type=int, nargs="+", default=[50, 500], help="in a sweep")
    parser.add_argument("--most-of-tune", type=int, default=50, help="trials in a sweep of Tune by its defaults")
    parser.add_argument("--long", type=int, default=30, help="trials of a second, 0 for none")
    options = parser.parse_args()
    home = Path(tempfile.mkdtemp(prefix="rlr-"))
    ray.init(
        address="local",
        num_cpus=N_CORES,
        include_dashboard=False,
        log_to_driver=False,
        logging_level=logging.ERROR,
        _temp_dir=str(home / "ray"),
    )
    order = random.Random(0)
    try:
        for n in options.trials:
            ways = [way for way in WAYS if way != "Tune, default" or n <= options.most_of_tune]
            seconds: dict[str, list[float]] = {way: [] for way in ways}
            for _ in range(options.rounds):
                for way in order.sample(ways, len(ways)):
                    WAYS["RayRunner"](trivial, 2 * N_CORES, home / "tune")  # which ends the processes that tasks reuse
                    seconds[way].append(WAYS[way](trivial, n, home / "tune"))
            print(f"\n{n} trials that do nothing: ms a trial; ratio to tasks", flush=True)
            for way, values in seconds.items():
                ratios = [mine / tasks for mine, tasks in zip(values, seconds["ray.remote tasks"], strict=True)]
                print(f"{way:20} {quartiles([1e3 * value / n for value in values]):28} {quartiles(ratios)}", flush=True)
        if options.long:
            print(f"\n{options.long} trials of a second, {N_CORES} at a time: share of the time of {N_CORES} cores")
            for way in ("RayRunner", "ray.remote tasks", "Tune, reuse_actors", "ProcessPoolRunner"):
                seconds_taken = WAYS[way](one_second, options.long, home / "tune")
                print(f"{way:20} {options.long / (N_CORES * seconds_taken):.1%}", flush=True)
    finally:
        ray.shutdown()
        shutil.rmtree(home, ignore_errors=True)


if __name__ == "__main__":
    main()
