"""How long it takes to read 10,000 runs from MLflow's SQLite file: `python benchmarks/read_trackers.py [n_runs]`.

The runs are written by SQL into a file that MLflow itself created, since MLflow takes an hour for so many.
"""

from __future__ import annotations

import math
import sqlite3
import sys
import tempfile
import time
from pathlib import Path

from mlflow.tracking import MlflowClient

from robust_lr.readers.read import read_sweeps

N_METRICS, N_STEPS = 8, 10


def write_runs(path: Path, n_runs: int) -> None:
    """Write runs with 10 params, 8 metrics of 10 steps each, and 5 tags."""
    MlflowClient(f"sqlite:///{path}").create_experiment("sweep", artifact_location=str(path.parent))
    with sqlite3.connect(path) as database:
        for i in range(n_runs):
            run, lr, seed = f"{i:032x}", 10 ** (-4 + (i // 10 % 33) / 8), i % 10 + 10 * (i // 330)
            state = "KILLED" if i % 97 == 0 else "FINISHED"
            database.execute(
                "INSERT INTO runs (run_uuid, name, status, start_time, lifecycle_stage, experiment_id) VALUES "
                "(?, ?, ?, ?, 'active', 1)",
                (run, f"run-{i}", state, 1_700_000_000_000 + i),
            )
            params = {"optimizer.lr": lr, "seed": seed, **{f"setting_{k}": "same" for k in range(8)}}
            rows = [(name, str(value), run) for name, value in params.items()]
            database.executemany("INSERT INTO params (key, value, run_uuid) VALUES (?, ?, ?)", rows)
            rows = [(f"tag_{k}", str(i), run) for k in range(5)]
            database.executemany("INSERT INTO tags (key, value, run_uuid) VALUES (?, ?, ?)", rows)
            loss = 0.3 + (math.log10(lr) + 2) ** 2 / 10 + seed % 7 / 1000
            names = ["val_loss", "lr", *(f"metric_{k}" for k in range(N_METRICS - 2))]
            steps = [
                (name, lr * (1 - step / N_STEPS) if name == "lr" else loss + N_STEPS - step, step, run)
                for name in names
                for step in range(1, N_STEPS + 1)
            ]
            database.executemany(
                "INSERT INTO metrics (key, value, timestamp, step, is_nan, run_uuid) VALUES (?, ?, 0, ?, 0, ?)", steps
            )
            last = [each for each in steps if each[2] == N_STEPS]
            database.executemany(
                "INSERT INTO latest_metrics (key, value, timestamp, step, is_nan, run_uuid) VALUES (?, ?, 0, ?, 0, ?)",
                last,
            )


def main() -> None:
    """Write the runs, read them, and print both times."""
    n_runs = int(sys.argv[1]) if len(sys.argv) > 1 else 10_000
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "mlflow.db"
        start = time.perf_counter()
        write_runs(path, n_runs)
        written, cpu = time.perf_counter(), time.process_time()
        (sweep,) = read_sweeps(path).values()
        seconds, cpu = time.perf_counter() - written, time.process_time() - cpu
        size = path.stat().st_size / 1e6
    print(f"{n_runs} runs, {size:.0f} MB, written in {written - start:.1f} s")
    print(f"read in {seconds:.2f} s ({cpu:.2f} s of the processor): {sweep.describe()}")


if __name__ == "__main__":
    main()
