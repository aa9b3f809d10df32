"""How many replicas a pack should hold on a CPU core: the gain over a step alone, by slots.

    python benchmarks/packed_slots.py                          three models, about 6 minutes
    python benchmarks/packed_slots.py --workloads cnn --slots 2 3 8 --rounds 5

Packs and a step alone are timed in turns, and a gain is the ratio of two times that follow each other: the median over
the rounds, with its quartiles. The slots that `auto` takes are those whose memory fits into 8 MB, 4 MB compiled.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from itertools import islice

import numpy as np
import torch
import torch._inductor.config
from packed import SCHEDULES, WORKLOADS, Workload
from rich.console import Console
from rich.table import Table

from robust_lr import TrialSpec
from robust_lr_torch.packing._pack import Pack

REPLICA_STEPS = 64  # of a timed call
STEPS_ALONE = 10


def seconds(run: Callable[[], object]) -> float:
    """Return the time that this thread got."""
    start = time.thread_time()
    run()
    return time.thread_time() - start


def gains(work: Workload, slots: list[int], rounds: int) -> dict[tuple[int, bool], list[float]]:
    """Return how many times as fast as a step alone each pack is, by slots and whether it is compiled."""
    task = work.task(10**6, "cpu")
    trials = [TrialSpec("cosine", work.lrs[0], seed) for seed in range(max(slots))]
    alone = task.steps(task.initial_model(0), lr=work.lrs[0], schedule=SCHEDULES["cosine"], seed=0)
    packs = {(n, compiled): Pack(task, SCHEDULES, n, compiled=compiled) for n in slots for compiled in (False, True)}
    found: dict[tuple[int, bool], list[float]] = {key: [] for key in packs}
    for (n, _), pack in packs.items():
        for spec in trials[:n]:
            pack.load(spec)
    for _ in range(rounds):
        for key, pack in packs.items():
            one = seconds(lambda: list(islice(alone, STEPS_ALONE))) / STEPS_ALONE
            pack.steps(1)
            n_steps = max(1, REPLICA_STEPS // key[0])
            found[key].append(one * n_steps * key[0] / seconds(lambda p=pack, n=n_steps: p.steps(n)))
    return found


def main() -> None:
    """Measure, and print a table for each model."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    names = [work.name for work in WORKLOADS]
    usual = ["mlp-adamw", "cnn", "char-lm"]
    parser.add_argument("--workloads", nargs="+", choices=names, default=usual, metavar="NAME", help=", ".join(names))
    parser.add_argument("--slots", type=int, nargs="+", default=[2, 3, 4, 8, 16, 32])
    parser.add_argument("--rounds", type=int, default=9)
    options = parser.parse_args()
    torch.set_num_threads(1)
    for work in (work for work in WORKLOADS if work.name in options.workloads):
        table = Table("slots", "packed, x", "compiled, x", title=work.title)
        found = gains(work, options.slots, options.rounds)
        for n in options.slots:
            quartiles = [np.quantile(found[n, compiled], (0.5, 0.25, 0.75)) for compiled in (False, True)]
            table.add_row(str(n), *(f"{middle:.2f} ({low:.2f} to {high:.2f})" for middle, low, high in quartiles))
        Console().print(table)


if __name__ == "__main__":
    main()
