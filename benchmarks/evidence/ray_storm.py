"""A storm on an emulated Ray cluster of a head and three nodes: everything that can go wrong, in one sweep.

One node is a black hole: each of its trials fails at once. Some trials fail and leave their process broken, some never
end, and every process runs out of memory after some trials. Meanwhile workers are killed (SIGKILL), a node is lost,
another one joins, and the driver is killed and started again.
"""

from __future__ import annotations

import json
import logging
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
from typing import Any

os.environ.update(RAY_AUTH_MODE="disabled", RAY_USAGE_STATS_ENABLED="0")

from robust_lr import GeometricGrid, run_sweep

GRID, SCHEDULES, SEEDS = GeometricGrid(1e-3, 1.0, 8), ["constant", "cosine"], 6
N_CELLS = len(GRID.values) * len(SCHEDULES) * SEEDS
CPUS_A_NODE, SECONDS, TIME_LIMIT = 2, 0.3, 4.0
SECONDS_AFTER_A_DRIVER = 2.0  # its actors end
MOST_SECONDS = 400.0
RETRIES = 8  # of one cell, which may meet a poisoned process, a hang, a leak and two kills
N_POISONED, N_HUNG, TRIALS_TO_FULL = 6, 4, 6
EVENTS = ["driver", "driver", "worker", "worker", "worker", "node lost", "node added"]
_poisoned, _trained = list[int](), list[int]()


@dataclass
class Outcome:
    """What came out of a storm."""

    results: int
    twice: int
    begun: int
    begun_again: int  # after the result of the cell was in the journal or in its outbox
    on_the_black_hole: int
    killed: Counter[str]
    faults: Counter[str]  # poison, hang, full
    seconds: float

    @property
    def is_exact(self) -> bool:
        """Whether each cell has one result, and none was begun again after it had one."""
        return (self.results, self.twice, self.begun_again) == (N_CELLS, 0, 0)


class StormyTrain:
    """Trains for a moment, unless something goes wrong; each fault of a cell happens once."""

    label = "storm"

    def __init__(self, folder: str, black_hole: str, faults: dict[str, str]) -> None:
        self.folder, self.black_hole, self.faults = folder, black_hole, faults

    def __call__(self, *, lr: float, schedule: object, seed: int) -> float:
        """Train a cell."""
        import ray

        cell = name_of(schedule, lr, seed)
        node = ray.get_runtime_context().get_node_id()
        self._note("begin", cell, node)
        if node == self.black_hole:
            raise FileNotFoundError("/data/images")
        self._suffer(cell, node)
        time.sleep(SECONDS)
        self._note("end", cell, node)
        return lr + seed

    def _suffer(self, cell: str, node: str) -> None:
        mark = Path(self.folder, f"{cell}.fault")
        fault = self.faults.get(cell, "") if not mark.exists() else ""
        if fault:
            mark.touch()
        _trained.append(1)
        if len(_trained) > TRIALS_TO_FULL:
            self._note("full", cell, node)
            raise MemoryError("the process is full")
        if fault:
            self._note(fault, cell, node)
        if _poisoned or fault == "poison":
            _poisoned.append(1)
            raise RuntimeError("device-side assert triggered")
        while fault == "hang":
            time.sleep(1)

    def _note(self, word: str, cell: str, node: str) -> None:
        line = json.dumps({"word": word, "cell": cell, "node": node, "process": os.getpid(), "time": time.time()})
        with open(f"{self.folder}/log", "a", encoding="utf-8") as file:  # noqa: PTH123  # one write: appended whole
            file.write(line + "\n")


def name_of(schedule: object, lr: float, seed: int) -> str:
    """Return the name of a cell."""
    return f"{schedule}-{lr!r}-{seed}"


class Watch(threading.Thread):
    """Notes when it first sees the result of each cell, in the journal or in its outbox."""

    def __init__(self, journal: Path) -> None:
        super().__init__(daemon=True)
        self._journal, self.seen, self._is_over = journal, dict[str, float](), threading.Event()

    def run(self) -> None:
        """Look again and again."""
        while not self._is_over.wait(0.05):
            self.look()

    def look(self) -> None:
        """Look once."""
        results = list(results_in(self._journal))
        for file in Path(f"{self._journal}.results").glob("*.json"):
            try:
                record = json.loads(file.read_bytes())
            except (OSError, ValueError):  # gone since, or half written
                continue
            results.append(name_of(record["schedule"], record["lr"], record["seed"]))
        for cell in results:
            self.seen.setdefault(cell, time.time())

    def end(self) -> None:
        """Look no more."""
        self._is_over.set()
        self.join()


def results_in(journal: Path) -> Counter[str]:
    """Return how many results each cell has in the journal."""
    lines = journal.read_bytes().split(b"\n")[:-1] if journal.exists() else []
    records = [record for record in map(json.loads, lines) if record.get("record") == "trial"]
    final = [record for record in records if record["status"] in ("ok", "diverged")]
    return Counter(name_of(record["schedule"], record["lr"], record["seed"]) for record in final)


def storm(seed: int) -> Outcome:
    """Run a sweep through a storm."""
    import ray
    from ray.cluster_utils import Cluster

    home, began = Path(tempfile.mkdtemp(prefix="rlr-")), time.perf_counter()
    head = {"num_cpus": 0, "include_dashboard": False, "temp_dir": str(home / "ray")}
    cluster = Cluster(initialize_head=True, head_node_args=head)
    try:
        nodes = [cluster.add_node(num_cpus=CPUS_A_NODE, resources={f"node{i}": 1}) for i in range(3)]
        ray.init(address=cluster.address, log_to_driver=False, logging_level=logging.ERROR)
        black_hole = next(node["NodeID"] for node in ray.nodes() if "node2" in node["Resources"])
        ray.shutdown()
        return _through(cluster, nodes[0], home, black_hole, random.Random(seed), began)
    finally:
        cluster.shutdown()
        shutil.rmtree(home, ignore_errors=True)


def _through(cluster: Any, to_lose: Any, home: Path, black_hole: str, draw: random.Random, began: float) -> Outcome:
    cells = [name_of(s, float(lr), seed) for s in SCHEDULES for lr in GRID.values for seed in range(SEEDS)]
    struck = draw.sample(cells, N_POISONED + N_HUNG)
    faults = {cell: "poison" if i < N_POISONED else "hang" for i, cell in enumerate(struck)}
    (home / "storm.json").write_text(json.dumps([cluster.address, black_hole, faults]), encoding="utf-8")
    journal, events, killed = home / "journal.jsonl", draw.sample(EVENTS, len(EVENTS)), Counter[str]()
    watch, driver = Watch(journal), _driver(home)
    watch.start()
    n_between = N_CELLS // (len(EVENTS) + 1)
    while (code := driver.poll()) is None or events:
        if code not in (None, -signal.SIGKILL):
            break  # it ended before the last event, or failed
        if time.perf_counter() - began > MOST_SECONDS:
            os.killpg(driver.pid, signal.SIGKILL)
            break
        if events and len(watch.seen) >= n_between * (len(EVENTS) - len(events) + 1):
            event = events.pop()
            time.sleep(draw.uniform(0, SECONDS))
            killed[event] += _happen(event, cluster, to_lose, home, driver)
            if event == "driver":
                driver.wait()
                time.sleep(SECONDS_AFTER_A_DRIVER)
                driver = _driver(home)
        time.sleep(0.05)
    watch.end()
    if driver.wait() != 0:
        print((home / "driver.log").read_text(encoding="utf-8")[-3000:], file=sys.stderr)
    return _counted(home, journal, watch, black_hole, killed, time.perf_counter() - began)


def _driver(home: Path) -> subprocess.Popen[bytes]:
    with (home / "driver.log").open("ab") as log:
        command = [sys.executable, "-m", __name__, str(home)]
        return subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)


def _happen(event: str, cluster: Any, to_lose: Any, home: Path, driver: subprocess.Popen[bytes]) -> bool:
    if event == "driver":
        os.killpg(driver.pid, signal.SIGKILL)
    elif event == "worker":
        running = dict[int, str]()
        for line in log_of(home):
            running[line["process"]] = line["word"]
        processes = [process for process, word in running.items() if word != "end" and _is_worker(process)]
        if not processes:
            return False
        os.kill(processes[-1], signal.SIGKILL)
    elif event == "node lost":
        cluster.remove_node(to_lose, allow_graceful=False)
    else:
        cluster.add_node(num_cpus=CPUS_A_NODE)
    return True


def _is_worker(process: int) -> bool:
    try:
        return b"ray::" in Path(f"/proc/{process}/cmdline").read_bytes()
    except OSError:
        return False


def log_of(home: Path) -> list[dict[str, Any]]:
    """Return what the trials noted."""
    lines = (home / "log").read_text(encoding="utf-8").splitlines() if (home / "log").exists() else []
    return [json.loads(line) for line in lines]


def _counted(home: Path, journal: Path, watch: Watch, black_hole: str, killed: Counter[str], seconds: float) -> Outcome:
    begins, results = [line for line in log_of(home) if line["word"] == "begin"], results_in(journal)
    again = [line for line in begins if line["time"] > watch.seen.get(line["cell"], float("inf"))]
    return Outcome(
        len(results),
        sum(n > 1 for n in results.values()),
        len(begins),
        len(again),
        sum(line["node"] == black_hole for line in begins),
        killed,
        Counter(line["word"] for line in log_of(home)),
        seconds,
    )


def drive(home: Path) -> None:
    """Run the sweep, or the rest of it."""
    from robust_lr_ray import RayRunner

    address, black_hole, faults = json.loads((home / "storm.json").read_text(encoding="utf-8"))
    runner = RayRunner({"cpu": 1}, address=address, trial_timeout=TIME_LIMIT)
    train = StormyTrain(str(home), black_hole, faults)
    journal = home / "journal.jsonl"
    sweep = run_sweep(
        train, GRID, SCHEDULES, SEEDS, runner=runner, journal=journal, max_retries=RETRIES, progress=False
    )
    print(sweep, flush=True)


if __name__ == "__main__":
    drive(Path(sys.argv[1]))
