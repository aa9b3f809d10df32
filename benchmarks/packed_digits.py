"""Time README's packed sweep: the network of examples/digits_torch.py, 81 trainings, packed and sequentially.

    python benchmarks/packed_digits.py

Both run in this process on one thread, in turn; medians of three rounds.
"""

from __future__ import annotations

import statistics
import sys
import time
from pathlib import Path

import torch

from robust_lr import GeometricGrid, PackedRunner, SerialRunner, run_sweep

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "examples"))


def main() -> None:
    """Print the seconds of each way, and their ratio."""
    from digits_torch import make_task

    torch.set_num_threads(1)
    grid, schedules = GeometricGrid(2.0**-4, 2.0**4, n_points=9), ["constant", "linear", "cosine"]
    seconds: dict[str, list[float]] = {"sequential": [], "packed": []}
    for _ in range(3):
        for name, runner in (("sequential", SerialRunner()), ("packed", PackedRunner())):
            start = time.perf_counter()
            sweep = run_sweep(make_task(), grid, schedules, seeds=3, runner=runner)
            seconds[name].append(time.perf_counter() - start)
    medians = {name: statistics.median(each) for name, each in seconds.items()}
    said = ", ".join(f"{name} {median:.1f} s" for name, median in medians.items())
    print(f"{sweep.n_trials} trainings: {said}, {medians['sequential'] / medians['packed']:.1f} times as fast")


if __name__ == "__main__":
    main()
