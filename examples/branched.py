"""How long to train, and how coarse may the grid be? Both from one trunk a learning rate.

    python examples/branched.py
    python examples/branched.py --task char-lm --from-scratch

Each learning rate is trained once at its peak. Two cooldowns branch off for each of four horizons, and every branch is
a training of its own, with the same loss to the last bit: --from-scratch trains them all without a trunk and compares.
"""

import argparse
import time
from dataclasses import replace

import char_lm_packed
import digits_torch
import numpy as np
import torch

from robust_lr import BranchedSweep, GeometricGrid, run_sweep
from robust_lr.sweep import BranchedResult
from robust_lr_torch import SupervisedTask

TASKS = {
    "digits": (digits_torch.make_task, GeometricGrid(0.25, 4.0, n_points=3), [100, 200, 300, 400]),
    "char-lm": (
        lambda: char_lm_packed.make_task(60),
        GeometricGrid(2.0**-11, 2.0**-7, n_points=3),
        [40, 50, 60, 70],
    ),
}
COOLDOWNS, WARMUP_STEPS = [0.1, 0.2], 20


def compare_with_scratch(result: BranchedResult, task: SupervisedTask, grid: GeometricGrid, seeds: int) -> str:
    """Train every branch from scratch, and say how many losses differ in any bit."""
    n_different = n_all = 0
    for horizon in dict.fromkeys(branch.total_steps for branch in result.branches.values()):
        at = result.at(horizon)
        alone = run_sweep(replace(task, total_steps=horizon), grid, at.schedules, seeds, progress=False)
        n_different += int(np.sum(at.loss != alone.loss))
        n_all += at.loss.size
    return f"{n_different} of {n_all} losses differ from those from scratch"


def main() -> None:
    """Run the sweep, print its answer, and compare if asked."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--task", choices=TASKS, default="digits")
    parser.add_argument("--points", type=int, default=3, help="learning rates")
    parser.add_argument("--horizons", type=lambda text: [int(n) for n in text.split(",")], help="steps, by commas")
    parser.add_argument("--seeds", type=int, default=1, help="trunks of each learning rate")
    parser.add_argument("--tolerance", help="excess loss that would not matter: 0.01 or 1%%")
    parser.add_argument("--journal", help="file that keeps finished branches; the same command continues from it")
    parser.add_argument("--from-scratch", action="store_true", help="train all without a trunk too, and compare")
    args = parser.parse_args()
    torch.set_num_threads(1)
    make_task, grid, horizons = TASKS[args.task]
    task, grid = make_task(), GeometricGrid(grid.lr_min, grid.lr_max, n_points=args.points)
    sweep = BranchedSweep(task, args.horizons or horizons, COOLDOWNS, warmup_steps=WARMUP_STEPS)
    task.start(lr=grid.lr_min, seed=0).advance([1.0])  # in the first step torch loads its parts
    start = time.process_time()
    result = sweep.run(grid, args.seeds, journal=args.journal)
    seconds = time.process_time() - start
    print(result.answer(tolerance=args.tolerance))
    print(f"{seconds:.1f} s of processor time")
    if args.from_scratch:
        start = time.process_time()
        found = compare_with_scratch(result, task, grid, args.seeds)
        print(f"{found}, which took {time.process_time() - start:.1f} s")


if __name__ == "__main__":
    main()
