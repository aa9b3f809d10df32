"""The longest sweep: does a cell cost more time in a long sweep than in a short one, and how much memory is needed?

A round is 1,000 cells. The cells are trivial, so the figures are the overhead alone. Each sweep runs in a process of
its own, and in a folder in memory where there is one (/dev/shm): the disk's time to flush would hide what grows.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from statistics import median
from typing import Any

from robust_lr import GeometricGrid, ProcessPoolRunner, run_sweep

from .rows import Row, main

_MOST_MB = 1000
_MOST_GROWTH = 1.2  # of the time a cell
_IN_MEMORY = Path("/dev/shm")
_GRID = GeometricGrid(1e-4, 1.0, 50)


def train(*, lr: float, schedule: object, seed: int) -> Mapping[str, float]:
    """Return a loss at once, and when that was."""
    return {"loss": lr + seed, "at": time.time()}


def on_the_pool(n: int, path: Path) -> dict[str, float]:
    """Run a sweep of n cells on two processes."""
    runner, began, cpu = ProcessPoolRunner(2), time.perf_counter(), time.process_time()
    sweep = run_sweep(train, _GRID, ["constant", "cosine"], n // 100, runner=runner, journal=path, progress=False)
    at = sorted(sweep.metrics["at"].ravel())
    return {
        "cells": sweep.n_trials, "wall": time.perf_counter() - began, "cell": (at[-1] - at[0]) / (len(at) - 1),
        "cpu": (time.process_time() - cpu) / n,
    }  # fmt: skip


def in_a_study(n: int, path: Path, *, ours: bool = True) -> dict[str, float]:
    """Run n cells in a study on a journal file; without our sampler and storage as plain Optuna runs random ones."""
    import optuna
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend

    from robust_lr_optuna import GeometricGridSampler, journal_storage

    def objective(trial: optuna.Trial) -> float:
        return trial.suggest_float("lr", 1e-5, 10.0, log=True) + trial.suggest_int("seed", 0, 10**6)

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    storage = journal_storage(path) if ours else JournalStorage(JournalFileBackend(str(path)))
    sampler = GeometricGridSampler(_GRID, seeds=n // 50) if ours else optuna.samplers.RandomSampler(seed=0)
    study = optuna.create_study(storage=storage, sampler=sampler)
    began, cpu = time.perf_counter(), time.process_time()
    study.optimize(objective, n_trials=None if ours else n)
    seconds, used = time.perf_counter() - began, time.process_time() - cpu
    cells = {(t.params["lr"], t.params["seed"]) for t in study.get_trials(deepcopy=False) if t.value is not None}
    return {"cells": len(cells), "wall": seconds, "cell": seconds / n, "cpu": used / n}


KINDS = {
    "pool": on_the_pool,
    "study": in_a_study,
    "plain": lambda n, path: in_a_study(n, path, ours=False),
}


def measured(kind: str, n: int) -> dict[str, float]:
    """Run n cells in a new process, and return its figures."""
    with tempfile.TemporaryDirectory(dir=_IN_MEMORY if _IN_MEMORY.is_dir() else None) as folder:
        command = [sys.executable, "-m", __spec__.name, "--measure", kind, str(n), folder]
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, env=environment)
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def row(what: str, kind: str, rounds: int, *, promised: bool = True) -> Row:
    """Compare a long sweep with the median of five of 1,000 cells, three before it and two after."""
    shorts = [measured(kind, 1000) for _ in range(3)]
    long = measured(kind, 1000 * rounds)
    shorts += [measured(kind, 1000) for _ in range(2)]
    growth = {name: long[name] / median(short[name] for short in shorts) for name in ("cell", "cpu")}
    text = (
        f"{1e3 * long['cell']:.2f} ms a cell, {growth['cell']:.2f} times that of 1,000 cells (processor time "
        f"{1e3 * long['cpu']:.2f} ms, {growth['cpu']:.2f} times); {long['wall']:.0f} s, {long['mb']:.0f} MB of memory, "
        f"a file of {long['file'] / 1e6:.0f} MB"
    )
    is_right = long["cells"] == 1000 * rounds and long["mb"] < _MOST_MB and growth["cpu"] <= _MOST_GROWTH
    return Row(what, f"{1000 * rounds:,} trivial cells", text, is_right or not promised)


def pool(rounds: int = 100) -> Iterable[Row]:
    """A sweep on the pool."""
    yield row("longest sweep, two processes", "pool", rounds)


def study(rounds: int = 100) -> Iterable[Row]:
    """A study of our sampler on `journal_storage`."""
    yield row("longest study, journal file", "study", rounds)


def plain_optuna(rounds: int = 10) -> Iterable[Row]:
    """The same with Optuna's own storage and random sampler."""
    yield row("for comparison: Optuna's RandomSampler and JournalStorage", "plain", rounds, promised=False)


def _measure(kind: str, n: int, folder: str) -> dict[str, Any]:
    path = Path(folder) / "sweep.log"
    found = KINDS[kind](n, path)
    megabytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {**found, "mb": megabytes, "file": path.stat().st_size}


if __name__ == "__main__":
    if sys.argv[1:2] == ["--measure"]:
        print(json.dumps(_measure(sys.argv[2], int(sys.argv[3]), sys.argv[4])))
    else:
        main(pool, study, plain_optuna)
