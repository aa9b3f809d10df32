"""What happened to the cells of a sweep: which began and ended, by a log of their own, and which have a result."""

from __future__ import annotations

import json
import os
import signal
import time
from collections import Counter
from pathlib import Path

OF_SWEEP = "ROBUST_LR_EVIDENCE"  # variable in the environment of a sweep's processes


class LoggedTrain:
    """Sleeps a little, and notes in a file when it begins and ends, and in which process."""

    label = "evidence"

    def __init__(self, log: str, seconds: float) -> None:
        self.log, self.seconds = log, seconds

    def __call__(self, *, lr: float, schedule: object, seed: int) -> float:
        """Train a cell."""
        note(self.log, "begin", lr, schedule, seed)
        time.sleep(self.seconds)
        note(self.log, "end", lr, schedule, seed)
        return lr + seed


def note(log: str, word: str, *cell: object) -> None:
    """Write that this process begins or ends the training of a cell."""
    with open(log, "a", encoding="utf-8") as file:  # noqa: PTH123  # one write of one line: appended whole
        file.write(f"{word} {os.getpid()} {' '.join(map(str, cell))}\n")


def results_in(journal: Path) -> Counter[str]:
    """Return how many results each cell has in a journal, counted line by line."""
    if not journal.exists():
        return Counter()
    records = [json.loads(line) for line in journal.read_bytes().split(b"\n")[:-1]]
    trials = [r for r in records if r["record"] == "trial" and r["status"] in ("ok", "diverged")]
    return Counter(f"{r['lr']} {r['schedule']} {r['seed']}" for r in trials)


def begun(log: Path) -> tuple[list[int], Counter[str], Counter[str]]:
    """Return the processes of the trials that run now, and how often each cell was begun and ended."""
    lines = [line.split(" ", 2) for line in log.read_text().splitlines()] if log.exists() else []
    running = dict[int, None]()
    for word, process, _ in lines:
        if word == "begin":
            running[int(process)] = None
        else:
            running.pop(int(process), None)
    counts = [Counter(cell for word, _, cell in lines if word == wanted) for wanted in ("begin", "end")]
    return list(running), counts[0], counts[1]


def kill(process: int, folder: str) -> bool:
    """Kill a process if it still is one of the sweep in this folder, by its environment; return whether it was."""
    try:
        if f"{OF_SWEEP}={folder}".encode() not in Path(f"/proc/{process}/environ").read_bytes().split(b"\0"):
            return False
        os.kill(process, signal.SIGKILL)
    except (FileNotFoundError, ProcessLookupError):
        return False
    return True
