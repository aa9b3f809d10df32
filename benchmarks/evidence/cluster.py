"""Nodes and drivers killed on an emulated Ray cluster of a head and three nodes; and all faults at once, a storm.

A round of `kills` is one of `benchmarks/ray_chaos.py`, which kills one node and two drivers, and refines a grid.
"""

from __future__ import annotations

import re
import subprocess
import sys
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from .ray_storm import N_CELLS, TRIALS_TO_FULL, storm
from .rows import Row, main

_SCRIPT = Path(__file__).parents[1] / "ray_chaos.py"
_KILLS = 2
_COUNT = re.compile(r"(\d+) of (\d+) cells with a result, (\d+) begun, (\d+) begun again though finished")


def kills(rounds: int = 10, seed: int = 0) -> Iterable[Row]:
    """Nodes lost, drivers killed, grids refined."""
    found, n_whole = list[list[int]](), 0
    for each in range(seed, seed + rounds):
        options = ["--cells", "24", "--seconds", "0.5", "--kills", str(_KILLS), "--gpus", "1", "--seed", str(each)]
        done = subprocess.run([sys.executable, str(_SCRIPT), *options], capture_output=True, text=True, check=False)
        counts = [list(map(int, count)) for count in _COUNT.findall(done.stdout)]
        n_whole += done.returncode == 0 and len(counts) == 3
        if done.returncode:
            print(done.stdout, done.stderr[-2000:], file=sys.stderr)
        found += counts
    results, cells, begun, again = (sum(column) for column in zip(*found, strict=True)) if found else (0, 0, 0, 0)
    # The second count of a round is a refined grid, of which only the new cells begin.
    expected = cells - sum(count[0] for count in found[::3])
    yield Row(
        "nodes lost and drivers killed on Ray",
        f"{rounds} rounds on an emulated cluster of three nodes: {rounds} nodes lost, {_KILLS * rounds} drivers killed "
        "(SIGKILL)",
        f"{n_whole} of {rounds} rounds exact: {results} of {cells} cells with a result, {again} begun again after "
        f"their result was written; {begun - expected} trainings lost",
        n_whole == rounds,
    )  # fmt: skip


def storms(rounds: int = 10, seed: int = 0) -> Iterable[Row]:
    """All faults in each sweep: see `ray_storm`."""
    outcomes = [storm(each) for each in range(seed, seed + rounds)]
    killed, faults = (
        sum((getattr(outcome, name) for outcome in outcomes), Counter[str]()) for name in ("killed", "faults")
    )
    results, begun, again, on_the_black_hole = (
        sum(getattr(outcome, name) for outcome in outcomes)
        for name in ("results", "begun", "begun_again", "on_the_black_hole")
    )
    n_cells, n_exact = N_CELLS * rounds, sum(outcome.is_exact for outcome in outcomes)
    yield Row(
        "storms on Ray: a black hole, poisoned and hung trials, leaks, kills",
        f"{rounds} sweeps of {N_CELLS} cells on three nodes, of which one fails each trial; {faults['poison']} trials "
        f"poison their process, {faults['hang']} never end, {faults['full']} run out of memory because their process "
        f"is full after {TRIALS_TO_FULL}; "
        f"{killed['driver']} drivers and {killed['worker']} workers killed (SIGKILL), {killed['node lost']} nodes "
        f"lost, {killed['node added']} added",
        f"{n_exact} of {rounds} sweeps exact: {results} of {n_cells} cells with a result, {again} begun again after "
        f"their result was written; {on_the_black_hole} trials wasted on the black hole, "
        f"{begun - on_the_black_hole - n_cells} others lost",
        n_exact == rounds,
    )  # fmt: skip


if __name__ == "__main__":
    main(kills, storms)
