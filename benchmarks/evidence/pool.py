"""Kills on the pool: workers and their driver, at random moments, while a sweep runs; and trials that are commands.

A round is a kill. The driver is started again until the sweep has ended by itself.
"""

from __future__ import annotations

import os
import random
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from robust_lr import CommandTask, GeometricGrid, ProcessPoolRunner, run_sweep

from .cells import OF_SWEEP, LoggedTrain, begun, kill, results_in
from .rows import Row, main

_SCHEDULES, _N_LRS, _N_SEEDS = ("constant", "cosine"), 30, 5
_MANY_RETRIES = 1000  # no cell may be given up for a kill
_SECONDS = 0.1
_SCRIPT = f"""
import json, os, sys, time
lr, seed, log = float(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
cell = f"{{lr!r}} {{seed}}"
def note(word):
    with open(log, "a") as file:
        file.write(f"{{word}} {{os.getpid()}} {{cell}}\\n")
note("begin"); time.sleep({_SECONDS}); note("end")
print(json.dumps({{"loss": lr + seed}}))
"""


def sweep(folder: Path) -> None:
    """Run the sweep, or the rest of it."""
    train, grid = LoggedTrain(str(folder / "log"), _SECONDS), GeometricGrid(1e-3, 1.0, _N_LRS)
    run_sweep(
        train, grid, _SCHEDULES, _N_SEEDS, runner=ProcessPoolRunner(2), journal=folder / "sweep.jsonl",
        progress=False, max_retries=_MANY_RETRIES,
    )  # fmt: skip


def kills(rounds: int = 40, seed: int = 0) -> Iterable[Row]:
    """Kill the driver and its workers in turn."""
    rng, n_kills, again_though_written = random.Random(seed), Counter[str](), 0
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        journal, log = folder / "sweep.jsonl", folder / "log"
        cells = len(_SCHEDULES) * _N_LRS * _N_SEEDS
        pause = cells * _SECONDS / 2 / (rounds + 1)
        while True:
            held = set(results_in(journal))
            before = begun(log)[1]
            n_before = before.total()
            driver = subprocess.Popen(
                [sys.executable, "-m", __spec__.name, "--drive", name], env={**os.environ, OF_SWEEP: name}
            )
            while n_kills.total() < rounds and driver.poll() is None:
                time.sleep(rng.expovariate(1 / pause))
                running = begun(log)[0]
                if rng.random() < 0.5:
                    n_kills["worker"] += any(kill(process, name) for process in reversed(running))
                elif begun(log)[1].total() > n_before:
                    n_kills["driver"] += kill(driver.pid, name)
                    break
            code = driver.wait()
            time.sleep(0.5)  # its workers end
            again_though_written += sum((begun(log)[1] - before)[cell] for cell in held)
            if code == 0:
                break
        results = results_in(journal)
        n_begun = begun(log)[1].total()
    yield Row(
        "kills on the process pool",
        f"{n_kills['worker']} workers and {n_kills['driver']} drivers killed (SIGKILL) in a sweep of {cells} cells, "
        f"{_SECONDS:g} s each",
        f"{len(results)} of {cells} cells with a result, {results.total() - len(results)} twice; "
        f"{again_though_written} begun again after their result was written; {n_begun - cells} trainings lost, "
        f"{(n_begun - cells) / max(1, n_kills.total()):.1f} a kill",
        results.total() == len(results) == cells and not again_though_written and n_kills.total() >= rounds,
    )


def commands(rounds: int = 100, seed: int = 0) -> Iterable[Row]:
    """Kill trials that are commands, one after the other, while a sweep runs them."""
    import threading

    rng, n_kills, is_over = random.Random(seed), 0, threading.Event()
    with tempfile.TemporaryDirectory() as name:
        folder, log = Path(name), Path(name) / "log"
        (folder / "train.py").write_text(_SCRIPT)

        def keep_killing() -> None:
            nonlocal n_kills
            while n_kills < rounds and not is_over.is_set():
                time.sleep(rng.expovariate(1 / (1.5 * _SECONDS)))
                if running := begun(log)[0]:
                    n_kills += any(kill(process, name) for process in reversed(running))

        os.environ[OF_SWEEP] = name
        killer = threading.Thread(target=keep_killing)
        killer.start()
        try:
            task = CommandTask(
                f"{sys.executable} {folder}/train.py {{lr}} {{seed}} {log}", trials_dir=folder / "trials"
            )
            found = run_sweep(
                task, GeometricGrid(1e-3, 1.0, 75), ["constant"], 2, runner=ProcessPoolRunner(2),
                journal=folder / "sweep.jsonl", progress=False, max_retries=_MANY_RETRIES,
            )  # fmt: skip
        finally:
            is_over.set()
            killer.join()
        results = results_in(folder / "sweep.jsonl")
        n_begun = begun(log)[1].total()
    yield Row(
        "kills of trials that are commands",
        f"{n_kills} commands killed (SIGKILL) in a sweep of {found.loss.size} cells",
        f"{len(results)} of {found.loss.size} cells with a result, {results.total() - len(results)} twice; "
        f"{n_begun - found.loss.size} trainings lost",
        results.total() == len(results) == found.loss.size == found.n_trials,
    )


if __name__ == "__main__":
    if sys.argv[1:2] == ["--drive"]:
        sweep(Path(sys.argv[2]))
    else:
        main(kills, commands)
