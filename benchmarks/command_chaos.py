"""Does every cell of a sweep of commands get one result, and does no process stay, whatever is killed, and when?

    python benchmarks/command_chaos.py               100 kills, about 5 minutes on 2 cores
    python benchmarks/command_chaos.py --kills 20

A driver sweeps a command over many cells with two processes. Again and again, at a random moment, SIGKILL ends the
driver with its process group, or one running trial; a killed driver starts again and continues its journal. After each
end of a driver no trial may be alive; in the end each cell must have one result. Exits with 1 if that does not hold.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from robust_lr.journal.journal import read_journal

N_LRS, N_SEEDS = 40, 3
SECONDS_TO_END = 20.0
DRIVER = f"""
import sys
from robust_lr import CommandTask, ProcessPoolRunner, run_sweep

if __name__ == "__main__":
    task = CommandTask(sys.executable + " trial.py {{lr}} {{seed}}", trials_dir="trials", cwd=".")
    lrs = [10 ** (-k / 10) for k in range({N_LRS})]
    runner = ProcessPoolRunner(2, devices=())
    run_sweep(task, lrs, ["constant"], {N_SEEDS}, runner=runner, journal="j.jsonl", max_retries=1000)
"""
TRIAL = """
import os, sys, time

with open("pids", "a") as file:
    file.write(f"{os.getpid()}\\n")
time.sleep(0.2)
print('{"loss": %s}' % (float(sys.argv[1]) + int(sys.argv[2])))
"""


def alive(folder: Path) -> list[int]:
    """Return the trials that run."""
    pids = folder / "pids"
    started = [int(line) for line in pids.read_text().split()] if pids.exists() else []
    return [pid for pid in started[-20:] if _is_trial(pid)]


def _is_trial(pid: int) -> bool:
    try:
        return b"trial.py" in Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return False


def start(folder: Path) -> subprocess.Popen[bytes]:
    """Start the driver in a process group of its own."""
    words = [sys.executable, "driver.py"]
    return subprocess.Popen(words, cwd=folder, stderr=subprocess.DEVNULL, start_new_session=True, env={**os.environ})


def await_trials(folder: Path, driver: subprocess.Popen[bytes]) -> list[int]:
    """Return the trials that run, as soon as there are any."""
    while driver.poll() is None and not alive(folder):
        time.sleep(0.02)
    return alive(folder)


def wait_for_the_end_of_all(folder: Path) -> bool:
    """Return whether all trials end soon after their driver."""
    deadline = time.monotonic() + SECONDS_TO_END
    while alive(folder) and time.monotonic() < deadline:
        time.sleep(0.05)
    return not alive(folder)


def main() -> None:
    """Kill, continue, and count."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    rng, kills, orphans, rounds = random.Random(args.seed), {"driver": 0, "trial": 0}, 0, 0
    problems = list[str]()
    while sum(kills.values()) < args.kills:
        rounds += 1
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            (folder / "driver.py").write_text(DRIVER)
            (folder / "trial.py").write_text(TRIAL)
            driver = start(folder)
            while driver.poll() is None:
                time.sleep(rng.uniform(0.2, 3.0))
                if sum(kills.values()) >= args.kills or driver.poll() is not None:
                    driver.wait()
                    break
                running = await_trials(folder, driver) if rng.random() < 0.7 else []
                if running:
                    os.kill(rng.choice(running), signal.SIGKILL)
                    kills["trial"] += 1
                else:
                    os.killpg(driver.pid, signal.SIGKILL)
                    driver.wait()
                    kills["driver"] += 1
                    orphans += not wait_for_the_end_of_all(folder)
                    driver = start(folder)
            orphans += not wait_for_the_end_of_all(folder)
            results = read_journal(folder / "j.jsonl").results
            cells = {r.spec for r in results if r.status == "ok" and abs(r.loss - r.spec.lr - r.spec.seed) < 1e-9}
            if driver.returncode or len(results) != N_LRS * N_SEEDS or len(cells) != N_LRS * N_SEEDS:
                problems.append(
                    f"round {rounds}: exit code {driver.returncode}, {len(results)} results, {len(cells)} cells"
                )
        print(f"round {rounds}: {kills['driver']} drivers and {kills['trial']} trials killed so far", flush=True)
    print(f"{sum(kills.values())} kills in {rounds} sweeps of {N_LRS * N_SEEDS} cells: ", end="")
    print(f"{len(problems)} sweeps wrong, {orphans} ends with orphans")
    print("\n".join(problems))
    raise SystemExit(1 if problems or orphans else 0)


if __name__ == "__main__":
    main()
