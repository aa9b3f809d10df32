"""Count whether each trial of a sweep gets exactly one result while nodes and drivers of a Ray cluster are killed.

    python benchmarks/ray_chaos.py                        everything, about 4 minutes on 2 cores
    python benchmarks/ray_chaos.py --cells 12 --seconds 0.3 --kills 1 --gpus 0.5

The cluster is emulated on this machine: a head and three nodes with 4 logical GPUs each. For each number of GPUs a
trial, there is a sweep of 48 cells; while it runs, one node is killed. Then the grid is refined in the same journal.
Then the same sweep runs in a journal of its own, under a driver that is killed (SIGKILL) at random moments and started
again. A trial writes a line when it begins and one when it ends. The journal must hold one result for each cell, and no
cell that it held when a driver died may begin again.

Prints a table, and exits with 1 if a cell is missing or ran again.
"""

from __future__ import annotations

import argparse
import functools
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

os.environ.update(RAY_AUTH_MODE="disabled", RAY_USAGE_STATS_ENABLED="0")

import ray
from ray.cluster_utils import Cluster

from robust_lr import GeometricGrid, SweepResult, run_sweep
from robust_lr_ray import RayRunner

GPUS_A_NODE, N_SEEDS = 4, 3
SCHEDULES = ("constant", "cosine")


def train(*, lr: float, schedule: object, seed: int, log: str, seconds: float) -> float:
    """Sleep, and write a line at the beginning and at the end."""
    _write(log, f"begin {schedule} {lr!r} {seed}")
    time.sleep(seconds)
    _write(log, f"end {schedule} {lr!r} {seed}")
    return (lr - 0.1) ** 2 + 0.01 * seed


def _write(log: str, line: str) -> None:
    with open(log, "a", encoding="utf-8") as file:  # noqa: PTH123  # one write of one line: appended whole
        file.write(line + "\n")


def sweep(
    *, address: str, folder: Path, name: str, n_points: int, refine: int, gpus: float, seconds: float
) -> SweepResult:
    """Run the sweep, or the rest of it."""
    grid = GeometricGrid(1e-3, 1.0, n_points)
    for _ in range(refine):
        grid = grid.refine()
    runner = RayRunner({"cpu": 0.5, "gpu": gpus}, address=address)
    function = functools.partial(train, log=str(folder / f"{name}.log"), seconds=seconds)
    return run_sweep(
        function, grid, SCHEDULES, N_SEEDS, runner=runner, journal=folder / f"{name}.jsonl", label="chaos",
        max_retries=0,  # a lost node is no failure
    )  # fmt: skip


@dataclass
class Count:
    """The outcomes of the cells."""

    cells: int
    results: int
    begun: int
    begun_again_though_finished: int = 0

    @property
    def is_right(self) -> bool:
        """Whether each cell has one result, and no cell with a result was begun again."""
        return self.results == self.cells and not self.begun_again_though_finished

    def __str__(self) -> str:
        return (
            f"{self.results} of {self.cells} cells with a result, {self.begun} begun, "
            f"{self.begun_again_though_finished} begun again though finished"
        )


def finished(journal: Path) -> set[str]:
    """Return the cells with a result in the journal, as the log names them; none twice."""
    if not journal.exists():
        return set()
    lines = [json.loads(line) for line in journal.read_bytes().split(b"\n")[:-1]]
    cells = [f"{r['schedule']} {r['lr']!r} {r['seed']}" for r in lines if r.get("record") == "trial"]
    twice = [cell for cell, n in Counter(cells).items() if n > 1]
    if twice:
        sys.exit(f"twice in {journal}: {twice}")
    return set(cells)


def begun(log: Path) -> Counter[str]:
    """Return how often each cell was begun."""
    lines = log.read_text().splitlines() if log.exists() else []
    return Counter(line.removeprefix("begin ") for line in lines if line.startswith("begin "))


def node_is_killed(cluster: Cluster, folder: Path, options: argparse.Namespace, gpus: float) -> list[tuple[str, Count]]:
    """Run a sweep, kill a node in the middle, and refine the grid."""
    name = f"node-{gpus:g}"
    node = next(iter(cluster.worker_nodes))

    def kill_when_running() -> None:
        while len(finished(folder / f"{name}.jsonl")) < options.cells // 4:
            time.sleep(0.05)
        cluster.remove_node(node, allow_graceful=False)

    killer = threading.Thread(target=kill_when_running)
    killer.start()
    n_points = options.cells // (len(SCHEDULES) * N_SEEDS)
    common = {"address": cluster.address, "folder": folder, "name": name, "n_points": n_points}
    result = sweep(**common, refine=0, gpus=gpus, seconds=options.seconds)
    killer.join()
    before, log = finished(folder / f"{name}.jsonl"), begun(folder / f"{name}.log")
    rows = [(f"{gpus:g} GPU, a node killed", Count(result.loss.size, len(before), log.total()))]
    cluster.add_node(num_cpus=GPUS_A_NODE, num_gpus=GPUS_A_NODE)
    result = sweep(**common, refine=1, gpus=gpus, seconds=options.seconds)
    again = begun(folder / f"{name}.log") - log
    rows.append(
        (
            f"{gpus:g} GPU, refined",
            Count(
                result.loss.size,
                len(finished(folder / f"{name}.jsonl")),
                again.total(),
                sum(again[cell] for cell in before),
            ),
        )
    )
    return rows


def driver_is_killed(cluster: Cluster, folder: Path, options: argparse.Namespace, gpus: float) -> tuple[str, Count]:
    """Run a sweep under a driver that is killed at random moments, and started again, until it ends by itself."""
    name, random_moment, kills, again = f"driver-{gpus:g}", random.Random(options.seed), 0, 0
    n_points = options.cells // (len(SCHEDULES) * N_SEEDS)
    journal, log = folder / f"{name}.jsonl", folder / f"{name}.log"
    command = [sys.executable, __file__, "--drive", cluster.address, str(folder), name, str(n_points)]
    command += [str(gpus), str(options.seconds)]
    while True:
        held, before = finished(journal), begun(log)
        driver = subprocess.Popen(command, start_new_session=True)
        if kills < options.kills:
            # Once it has something to lose.
            goal = min(len(held) + random_moment.randint(1, max(1, options.cells // options.kills - 1)), options.cells)
            while driver.poll() is None and len(finished(journal)) < goal:
                time.sleep(0.02)
            time.sleep(random_moment.uniform(0, options.seconds))
            os.killpg(driver.pid, signal.SIGKILL)
            kills += 1
        code = driver.wait()
        time.sleep(1.0)  # its actors are about to end
        again += sum((begun(log) - before)[cell] for cell in held)
        if code == 0:
            break
        if code != -signal.SIGKILL:
            sys.exit(f"the driver ended with code {code}")
    n_cells = n_points * len(SCHEDULES) * N_SEEDS
    return f"{gpus:g} GPU, the driver killed {kills} times", Count(
        n_cells, len(finished(journal)), begun(log).total(), again
    )


def main() -> None:
    """Run everything."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cells", type=int, default=48, help="of a sweep, a multiple of 6 of at least 12")
    parser.add_argument("--nodes", type=int, default=3, help="beside the head")
    parser.add_argument("--seconds", type=float, default=1.0, help="of a trial")
    parser.add_argument("--kills", type=int, default=5, help="of the driver")
    parser.add_argument("--gpus", type=float, nargs="+", default=[1.0, 0.5], help="of a trial")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--drive", nargs=6, metavar="", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.drive:
        address, folder, name, n_points, gpus, seconds = options.drive
        sweep(
            address=address, folder=Path(folder), name=name, n_points=int(n_points), refine=0, gpus=float(gpus),
            seconds=float(seconds),
        )  # fmt: skip
        return
    home = Path(tempfile.mkdtemp(prefix="rlr-"))
    cluster = Cluster(
        initialize_head=True,
        head_node_args={"num_cpus": 1, "num_gpus": 0, "include_dashboard": False, "temp_dir": str(home / "ray")},
    )
    try:
        for _ in range(options.nodes):
            cluster.add_node(num_cpus=GPUS_A_NODE, num_gpus=GPUS_A_NODE)
        rows = []
        for gpus in options.gpus:
            start = time.perf_counter()
            rows += node_is_killed(cluster, home, options, gpus)
            rows.append(driver_is_killed(cluster, home, options, gpus))
            for name, count in rows[-3:]:
                print(f"{name:35} {count}", flush=True)
            print(f"{time.perf_counter() - start:.0f} s", flush=True)
    finally:
        if ray.is_initialized():
            ray.shutdown()
        cluster.shutdown()
        shutil.rmtree(home, ignore_errors=True)
    sys.exit(0 if all(count.is_right for _, count in rows) else 1)


if __name__ == "__main__":
    main()
