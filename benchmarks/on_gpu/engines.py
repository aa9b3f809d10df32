"""Packs, traced, compiled and as CUDA graphs, against the loop that one writes by hand.

A training step of a replica is timed in each of these ways, in rounds in which each runs once; a ratio is taken inside
a round, and medians are given. "Loop" is what one writes by hand (module, optimizer, `LambdaLR`), "alone" is
`SupervisedTask` itself, one after the other; a pack runs its traced step kernel by kernel, or as a CUDA graph. Blocks
of `check_every` steps are timed, each with the reading of its losses at the end; neither the first one of a loop nor
the last one of a pack, which evaluates its models. Making a pack (tracing, compiling, capturing) is timed apart. Memory
is what torch's allocator has in use at the worst moment of making a pack, and of a block of its steps, above what was
in use before; "held" is what it keeps for a pack that is ready, with the pool of its CUDA graph.
"""

from __future__ import annotations

import gc
import json
import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from itertools import islice
from statistics import median
from typing import Any

import torch
from torch import Tensor
from torch.optim.lr_scheduler import LambdaLR

from on_gpu.models import MODELS
from robust_lr import TrialSpec, parse_schedule
from robust_lr_torch.packing._pack import Pack

SCHEDULES = {"cosine": parse_schedule("cosine")}
N_LRS = 8  # the first seed of each of them is also trained alone


class Bench:
    """One model; see the head of this file."""

    def __init__(self, name: str, device: str, write: Callable[[Any], None], *, tiny: bool) -> None:
        if device == "cpu":
            torch.set_num_threads(1)  # as a pack has it
        if name.endswith("-fp32"):
            torch.backends.cudnn.allow_tf32 = False
        model = MODELS[name]
        task, (low, high) = model.make(tiny), model.lrs
        self.block = 3 if tiny else model.block
        self.n_steps = 2 * self.block if tiny else 4 * self.block
        self.on_cuda, self.tiny, self.write = device == "cuda", tiny, write
        data = tuple(d.to(device) for d in task.train_data)
        self.task = replace(task, train_data=data, total_steps=self.n_steps, check_every=self.block, device=device)
        self.lrs = [low * (high / low) ** (i / (N_LRS - 1)) for i in range(N_LRS)]
        self.found: dict[str, Any] = {"steps": self.n_steps, "batch_size": task.batch_size, "cases": []}

    def run(self, replicas: Sequence[int], engines: Sequence[str], n_rounds: int) -> None:
        """Measure all cases; what is found is written after each."""
        self.hand(self.lrs[0], 0)
        self.losses = {}
        for lr in self.lrs if not self.tiny else self.lrs[:2]:
            self.losses[TrialSpec("cosine", lr, 0)], _ = self.alone(lr)
        before = self.reset_peak()
        self.alone(self.lrs[0])
        self.found["bytes_alone"] = self.peak() - before
        usual = sorted(replicas, key=lambda n: n != 32)  # should time run out, it is the compiling of the others
        for engine in engines:
            for n in usual:
                case: dict[str, Any] = {"replicas": n, "engine": engine}
                self.found["cases"].append(case)
                try:
                    self.measure(n, engine, n_rounds, case)
                except Exception as error:
                    case["error"] = f"{type(error).__name__}: {error}"[:2000]
                self.write(self.found)
                print(json.dumps(case), flush=True)
                gc.collect()
                if self.on_cuda:
                    torch.cuda.empty_cache()

    def measure(self, n: int, engine: str, n_rounds: int, case: dict[str, Any]) -> None:
        """Fill in the figures of a pack of n, kernel by kernel and as a CUDA graph."""
        trials = [TrialSpec("cosine", lr, seed) for lr in self.lrs for seed in range(n // N_LRS)]
        held = torch.cuda.memory_reserved() if self.on_cuda else 0
        before, start = self.reset_peak(), time.perf_counter()
        pack = Pack(self.task, SCHEDULES, n, compiled=engine == "compiled")
        pack.steps(1)
        self.wait()
        case["seconds_to_prepare"] = time.perf_counter() - start
        replayed = getattr(pack, "_replayed", None)
        ways = {"kernels": None, **({} if replayed is None else {"graph": replayed})}
        case["bytes_a_replica"] = {"making": (self.peak() - before) // n, "estimated": pack.traced.bytes_per_replica}
        if self.on_cuda:
            torch.cuda.empty_cache()
            case["bytes_a_replica"]["held"] = (torch.cuda.memory_reserved() - held) // n
        for way, value in ways.items():
            pack._replayed = value
            for spec in trials:
                pack.load(spec)
            self.reset_peak()
            pack.run_block()
            case["bytes_a_replica"][way] = (self.peak() - before) // n
            pack.clear()
        rounds = []
        for i in range(n_rounds):
            lr = self.lrs[i % N_LRS]
            seconds = {"loop": self.hand(lr, 0), "alone": self.alone(lr)[1]}
            for way, value in ways.items():
                pack._replayed = value
                seconds[way], losses = self.pack(pack, trials)
                differences = [abs(losses[spec] - loss) for spec, loss in self.losses.items()]
                case[f"{way}: largest difference of losses"] = max(differences)
                case[f"{way}: median difference of losses"] = median(differences)
            rounds.append(seconds)
        case["us_a_replica_step"] = {way: median(r[way] for r in rounds) * 1e6 for way in rounds[0]}
        case["gain_over_loop"] = {way: median(r["loop"] / r[way] for r in rounds) for way in ways}
        case["gain_over_alone"] = {way: median(r["alone"] / r[way] for r in rounds) for way in ways}

    def hand(self, lr: float, seed: int) -> float:
        """Train as one writes it by hand; return the seconds of a step."""
        task = self.task
        inputs, targets = task.train_data
        torch.manual_seed(seed)
        model = task.make_model().to(inputs.device)
        optimizer = task.optimizer(model.parameters(), lr=lr, **task.optimizer_options)
        scheduler = LambdaLR(optimizer, lambda step: (1 + math.cos(math.pi * step / task.total_steps)) / 2)

        def steps() -> Iterator[Tensor]:
            for _ in range(task.total_steps):
                rows = torch.randint(len(inputs), (task.batch_size,), device=inputs.device)
                optimizer.zero_grad()
                loss = task.loss(model(inputs[rows]), targets[rows])
                loss.backward()
                optimizer.step()
                scheduler.step()
                yield loss.detach()

        return seconds_of_step(steps(), self.block)

    def alone(self, lr: float) -> tuple[float, float]:
        """Train a trial by the task itself; return its final loss, and the seconds of a step."""
        model = self.task.initial_model(0)
        with self.task.noise_of(0):
            seconds = seconds_of_step(self.task.steps(model, lr=lr, schedule=SCHEDULES["cosine"], seed=0), self.block)
        return self.task.evaluate(model)["loss"], seconds

    def pack(self, pack: Pack, trials: Sequence[TrialSpec]) -> tuple[float, dict[TrialSpec, float]]:
        """Train all trials in a pack; return the seconds of a step of one of them, and all final losses."""
        for spec in trials:
            pack.load(spec)
        self.wait()
        seconds = []
        while True:
            start = time.perf_counter()
            finished = pack.run_block()
            if finished:
                break
            seconds.append((time.perf_counter() - start) / self.block / len(trials))
        if wrong := [result for result in finished if result.status != "ok"] or len(finished) != len(trials):
            raise RuntimeError(f"not all trials are ok: {wrong}")
        return median(seconds), {result.spec: result.loss for result in finished}

    def wait(self) -> None:
        """Wait for the device."""
        if self.on_cuda:
            torch.cuda.synchronize()

    def reset_peak(self) -> int:
        """Return the bytes in use, and count from here."""
        if not self.on_cuda:
            return 0
        self.wait()
        torch.cuda.reset_peak_memory_stats()
        return torch.cuda.memory_allocated()

    def peak(self) -> int:
        """Return the most bytes in use since."""
        self.wait()
        return torch.cuda.max_memory_allocated() if self.on_cuda else 0


def seconds_of_step(steps: Iterator[Tensor], block_size: int) -> float:
    """Return the median over blocks of steps, without the first, in which everything is slow."""
    seconds = []
    while True:
        start = time.perf_counter()
        block = list(islice(steps, block_size))
        if not block:
            return median(seconds[1:])
        torch.stack(block).tolist()
        seconds.append((time.perf_counter() - start) / len(block))
