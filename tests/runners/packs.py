"""A task that trains in packs, for the tests: gradient descent on a noisy quadratic, with accidents on request."""

from __future__ import annotations

import functools
import math
import os
import signal
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from robust_lr import TrialResult
from robust_lr.runners import PackPlan

N_STEPS = 20


@dataclass(frozen=True)
class Quadratic:
    """Called, it trains one replica by a plain loop; packed, `slots` of them in one array.

    With a folder, a file "<lr>-<seed>" gets a line with the size of the pack for each time that the trial begins, and a
    file "worker-<pid>" the sizes of the packs of a process. At the learning rate `accident_at` something happens the
    first `n_accidents` times that a trial begins: "kill" (SIGKILL), "fail" (a failed result) or "raise" (MemoryError).
    """

    folder: str = ""
    accident: str = ""
    accident_at: float = math.nan
    n_accidents: int = 0
    at_most: int = 10**6  # more replicas in training are out of memory
    at_most_slots: int = 10**6  # more slots are out of memory before the first trial
    pause: float = 0.0  # seconds a step
    n_workers: int = 0  # no pack ends before so many workers have begun

    label = "quadratic"

    def __call__(self, *, lr, schedule, seed):
        noise = np.random.default_rng(seed).normal(size=N_STEPS)
        x = np.float64(1.0)
        with np.errstate(over="ignore", invalid="ignore"):
            for rate, z in zip(lr * schedule(np.arange(N_STEPS), N_STEPS), noise, strict=True):
                x -= rate * (x + z)
            return {"loss": x * x / 2}

    def plan_packs(self, trials, schedules, *, engine, slots, n_workers, device, memory_limit):
        most = 8 if slots == "auto" else slots
        slots = min(most, math.ceil(len(trials) / n_workers))
        note = f"{engine} gave packed: {slots} slots, {n_workers} workers, device {device}, memory {memory_limit}"
        return PackPlan("packed", slots, math.nan, functools.partial(Pack, self, dict(schedules)), note)

    def begin(self, spec, size):
        """Log that a trial begins, and have the accident it is due; return whether the trial fails."""
        if not self.folder:
            return False
        log = Path(self.folder, f"{spec.lr!r}-{spec.seed}")
        with log.open("a") as file:
            print(size, file=file)
        if spec.lr == self.accident_at and len(log.read_text().splitlines()) <= self.n_accidents:
            if self.accident == "kill":
                os.kill(os.getpid(), signal.SIGKILL)
            if self.accident == "raise":
                raise MemoryError("too many at once")
            return True
        return False


@dataclass(frozen=True)
class Pack:
    task: Quadratic
    schedules: dict
    slots: int

    def results(self, source):
        if self.slots > self.task.at_most_slots:
            raise MemoryError(f"{self.slots} slots are too many")
        x, step, begun = np.ones(self.slots), np.zeros(self.slots, int), np.zeros(self.slots, int)
        specs, rates, noise = [None] * self.slots, np.zeros((self.slots, N_STEPS)), np.zeros((self.slots, N_STEPS))
        now, has_begun = 0, False
        while True:
            free = [i for i in range(self.slots) if specs[i] is None]
            trials = source.take(len(free), wait=len(free) == self.slots) if free else []
            if len(free) == self.slots and not trials:
                return
            if self.task.folder and not has_begun:  # with its share of the trials
                has_begun = True
                with Path(self.task.folder, f"worker-{os.getpid()}").open("a") as file:
                    print(self.slots, file=file)
            for i, spec in zip(free, trials, strict=False):
                if self.task.begin(spec, self.slots):
                    yield TrialResult(spec, math.nan, "failed", 0.0, {}, "an accident")
                    continue
                specs[i], x[i], step[i], begun[i] = spec, 1.0, 0, now
                rates[i] = spec.lr * self.schedules[spec.schedule](np.arange(N_STEPS), N_STEPS)
                noise[i] = np.random.default_rng(spec.seed).normal(size=N_STEPS)
            busy = [i for i in range(self.slots) if specs[i] is not None]
            if len(busy) > self.task.at_most:
                raise MemoryError(f"{len(busy)} replicas are too many")
            with np.errstate(over="ignore", invalid="ignore"):
                x[busy] -= rates[busy, step[busy]] * (x[busy] + noise[busy, step[busy]])
            step[busy] += 1
            now += 1
            time.sleep(self.task.pause)
            for i in busy:
                if step[i] == N_STEPS or not math.isfinite(x[i]):
                    self._wait_for_the_others()
                    loss = x[i] * x[i] / 2 if abs(x[i]) < 1e150 else math.inf
                    status = "ok" if math.isfinite(loss) else "diverged"
                    metrics = {"begun": float(begun[i]), "pid": float(os.getpid())}
                    yield TrialResult(specs[i], float(loss) if status == "ok" else math.inf, status, 0.0, metrics)
                    specs[i] = None

    def _wait_for_the_others(self):
        deadline = time.monotonic() + 120
        while self.task.n_workers and time.monotonic() < deadline:
            if len(list(Path(self.task.folder).glob("worker-*"))) >= self.task.n_workers:
                return
            time.sleep(0.01)
