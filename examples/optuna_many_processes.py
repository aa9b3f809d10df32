"""Four workers on one study in a journal file; one is killed on the way, and no cell is lost or runs twice.

    python examples/optuna_many_processes.py

The same works on several machines that share the file: each runs the same few lines.
"""

import collections
import math
import multiprocessing
import os
import signal
import tempfile
import time

import numpy as np
import optuna

from robust_lr import GeometricGrid, analyze_sweep
from robust_lr.report.console import make_console, print_analysis
from robust_lr_optuna import GeometricGridSampler, cell_of, fail_stale_trials, journal_storage, sweep_from_study

GRID = GeometricGrid(1e-2, 3.0, n_points=9)


def objective(trial: optuna.Trial) -> float:
    """A noisy quadratic, 100 steps of gradient descent under cosine or a constant learning rate."""
    lr = trial.suggest_float("lr", 1e-4, 10.0, log=True)
    cosine = trial.suggest_categorical("schedule", ["constant", "cosine"]) == "cosine"
    noise = np.random.default_rng(trial.suggest_int("seed", 0, 99)).normal(size=100)
    x = 5.0
    for step, z in enumerate(noise):
        multiplier = (1 + math.cos(math.pi * step / 100)) / 2 if cosine else 1.0
        x -= lr * multiplier * (x + z)
    time.sleep(0.02)  # a stand-in for training
    return x * x / 2


def work(path: str) -> None:
    """Run trials until none is left."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    sampler = GeometricGridSampler(GRID, schedules=["constant", "cosine"], seeds=8)
    study = optuna.create_study(study_name="sweep", storage=journal_storage(path), sampler=sampler, load_if_exists=True)
    fail_stale_trials(study)
    study.optimize(objective)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        path = f"{folder}/study.log"
        workers = [multiprocessing.get_context("spawn").Process(target=work, args=(path,)) for _ in range(4)]
        for worker in workers:
            worker.start()
        time.sleep(2)
        os.kill(workers[0].pid, signal.SIGKILL)
        for worker in workers:
            worker.join()
        work(path)  # reruns the trial of the killed worker, if it was in the middle of one
        study = optuna.load_study(study_name="sweep", storage=journal_storage(path))
        runs = collections.Counter(cell_of(t) for t in study.get_trials(states=[optuna.trial.TrialState.COMPLETE]))
        print(f"{len(runs)} of {len(GRID) * 2 * 8} cells, each run {set(runs.values())} time, worker 0 killed")
        print_analysis(analyze_sweep(sweep_from_study(study), tolerance=0.02), make_console(), every_detail=False)
