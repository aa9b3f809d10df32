"""The gain of packing: sweeps of R trials of six small models, by each engine, against a hand-written loop.

    python benchmarks/packed.py                          R = 32, 3 rounds, about 8 minutes on one core
    python benchmarks/packed.py --quick --json packed.json
    python benchmarks/packed.py --replicas 8 32 128 --rounds 5 --write-docs
    python benchmarks/packed.py --device cuda --replicas 8 32 128 --write-docs

R trials are R / 4 learning rates x 4 seeds. "Loop" is what an Optuna objective does: a module, an optimizer of
`torch.optim`, `LambdaLR`, a batch by indexing, backward; a few of the trials are run and scaled to R, as they are for
Optuna itself and for `task(lr=, schedule=, seed=)` ("one by one"). The engines run the whole sweep: initial models,
tables, evaluation. Tracing and compiling, which a sweep does once however long it is, are timed apart. The table of
engine "auto" holds them: for sweeps of 0.01 to 100 times what choosing takes in a long sweep, it really chooses, and
the rest of such a sweep takes what it takes in a round, times the steps.

In a round each of them runs once, in another order each time; a ratio is taken inside a round, and the median over the
rounds is given, with its quartiles where there is room. On the CPU it is one core, one thread, and the time that this
thread got (for Optuna, which has two, the wall clock); on a GPU it is the wall clock.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import platform
import pydoc_data.topics
import random
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from statistics import median
from typing import Any, Literal

import numpy as np
import optuna
import torch
import torch._inductor.config
from rich.console import Console
from rich.table import Table
from sklearn.datasets import load_digits
from threadpoolctl import threadpool_limits
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.optim.lr_scheduler import LambdaLR
from torch.utils.flop_counter import FlopCounterMode

import robust_lr
from robust_lr import CosineDecay, Schedule, SerialRunner, TrialResult, TrialSpec
from robust_lr.exceptions import NotVectorizable
from robust_lr.runners import Runner, TrialList
from robust_lr.runners.base import Evaluator, TrialSource
from robust_lr.runners.packed import PackPlan
from robust_lr.runners.worker_slots import evaluate_here
from robust_lr_torch import SupervisedTask
from robust_lr_torch.packing._pack import Pack, PackEvaluator

DOCS = Path(__file__).parents[1] / "docs" / "how-to" / "packed.md"
SCHEDULES = {"cosine": CosineDecay()}
SEEDS = 4
OPTUNA_JOBS = 2
CONTEXT, N_CHARACTERS = 64, 128
ENGINES = ("packed", "compiled", "closed_form")
COLUMNS = ("optuna", "one by one", *ENGINES)
LONG_SWEEP = 2000.0  # seconds one by one: long enough for "auto" to try all there is
PILOTS = (0.01, 0.1, 1, 10, 100)  # lengths of sweeps one by one, in times of what "auto" takes to choose for a long one
AUTO_COLUMNS = ["model", "R", "sweep, s one by one", "choosing, s", "auto", "one by one / auto", "best / auto"]
BEHIND_COLUMNS = ["model", "R", "engine", "slots", "us a replica-step", "bound, us", "t / bound", "prepare, s"]
BEHIND_COLUMNS += ["kB a replica", "kB on the GPU", "difference of losses: median; largest"]
Data = tuple[Tensor, Tensor]


@dataclass(frozen=True, kw_only=True)
class Workload:
    """A model to sweep.

    Attributes:
        name, title: what it is called, on the command line and in the table.
        total_steps: steps of a trial in a round.
        sample: trials that stand for all where they run one after the other.
        aim: gain that is wanted of the best engine at R = 32 on a CPU core.
    """

    name: str
    title: str
    make_model: Callable[[], nn.Module]
    make_data: Callable[[], Data]
    loss: Callable[[Any, Any], Tensor]
    batch_size: int
    optimizer: Callable[..., torch.optim.Optimizer]
    optimizer_options: Mapping[str, Any] = field(default_factory=dict)
    lrs: tuple[float, float]
    total_steps: int
    sample: int
    aim: float

    def task(self, total_steps: int, device: str) -> SupervisedTask:
        """Return the task that robust-lr trains."""
        inputs, targets = self.make_data()
        return SupervisedTask(
            make_model=self.make_model,
            train_data=(inputs.to(device), targets.to(device)),
            loss=self.loss,
            total_steps=total_steps,
            batch_size=self.batch_size,
            optimizer=self.optimizer,
            optimizer_options=self.optimizer_options,
            device=device,
        )

    def train_by_hand(self, data: Data, lr: float, seed: int, total_steps: int) -> float:
        """Train once, as one writes it in the objective of an Optuna study."""
        inputs, targets = data
        torch.manual_seed(seed)
        model = self.make_model().to(inputs.device)
        optimizer = self.optimizer(model.parameters(), lr=lr, **self.optimizer_options)
        scheduler = LambdaLR(optimizer, lambda step: (1 + math.cos(math.pi * step / total_steps)) / 2)
        for _ in range(total_steps):
            rows = torch.randint(len(inputs), (self.batch_size,), device=inputs.device)
            optimizer.zero_grad()
            self.loss(model(inputs[rows]), targets[rows]).backward()
            optimizer.step()
            scheduler.step()
        model.eval()
        with torch.no_grad():
            return float(self.loss(model(inputs), targets))


class CharTransformer(nn.Module):
    """Two pre-norm blocks of width 64 with 4 heads, over 64 ASCII characters."""

    def __init__(self, width: int = 64, n_blocks: int = 2) -> None:
        super().__init__()
        self.token, self.place = nn.Embedding(N_CHARACTERS, width), nn.Embedding(CONTEXT, width)
        self.blocks = nn.ModuleList(_Block(width) for _ in range(n_blocks))
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, N_CHARACTERS)

    def forward(self, tokens: Tensor) -> Tensor:
        """Return the logits of each next character, shape (B, context, characters)."""
        x = self.token(tokens) + self.place.weight
        for block in self.blocks:
            x = block(x)
        return self.head(self.norm(x))


class _Block(nn.Module):
    def __init__(self, width: int, n_heads: int = 4) -> None:
        super().__init__()
        self.n_heads = n_heads
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.mlp = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = (
            part.unflatten(-1, (self.n_heads, -1)).transpose(1, 2) for part in self.qkv(self.norm1(x)).chunk(3, -1)
        )
        attended = functional.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.out(attended.transpose(1, 2).flatten(2))
        return x + self.mlp(self.norm2(x))


def logistic_data() -> Data:
    """1024 points in 100 dimensions, in two classes that overlap."""
    draw = torch.Generator().manual_seed(0)
    inputs = torch.randn(1024, 100, generator=draw)
    logits = inputs @ torch.randn(100, 1, generator=draw) / 5
    return inputs, (torch.rand(1024, 1, generator=draw) < logits.sigmoid()).float()


def digits_data() -> Data:
    """The 1797 digits as 64 numbers each."""
    inputs, targets = load_digits(return_X_y=True)
    return torch.as_tensor(inputs, dtype=torch.float32) / 16, torch.as_tensor(targets)


def image_data() -> Data:
    """512 of the digits as images."""
    inputs, targets = digits_data()
    return inputs[:512].reshape(-1, 1, 8, 8), targets[:512]


def text_data() -> Data:
    """64 windows of 64 characters of Python's help texts, and for each character the next."""
    characters = "".join(pydoc_data.topics.topics.values())[: 64 * CONTEXT + 1]
    numbers = torch.tensor([min(ord(c), N_CHARACTERS - 1) for c in characters])
    return numbers[:-1].reshape(64, CONTEXT), numbers[1:].reshape(64, CONTEXT)


def token_loss(outputs: Tensor, targets: Tensor) -> Tensor:
    """Cross-entropy over all characters."""
    return functional.cross_entropy(outputs.flatten(0, 1), targets.flatten())


def make_logistic() -> nn.Module:
    """100 weights and a bias."""
    return nn.Linear(100, 1)


def make_softmax() -> nn.Module:
    """64-10."""
    return nn.Linear(64, 10)


def make_mlp() -> nn.Module:
    """64-128-10."""
    return nn.Sequential(nn.Linear(64, 128), nn.ReLU(), nn.Linear(128, 10))


def make_cnn() -> nn.Module:
    """Two convolutions, 1-16-32 channels, and a linear layer."""
    return nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(16, 32, 3, padding=1),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(32, 10),
    )


SGD = {"optimizer": torch.optim.SGD}
MOMENTUM = {**SGD, "optimizer_options": {"momentum": 0.9}}
ADAMW = {"optimizer": torch.optim.AdamW}
DIGITS = {"make_data": digits_data, "loss": functional.cross_entropy}
WORKLOADS = (
    Workload(
        name="logistic",
        title="logistic regression, d=100, B=32",
        make_model=make_logistic,
        make_data=logistic_data,
        loss=functional.binary_cross_entropy_with_logits,
        batch_size=32,
        lrs=(0.03, 0.3),
        total_steps=1000,
        sample=3,
        aim=150,
        **SGD,
    ),
    Workload(
        name="softmax",
        title="softmax regression, 64-10, B=32",
        make_model=make_softmax,
        batch_size=32,
        lrs=(0.03, 0.3),
        total_steps=1000,
        sample=3,
        aim=40,
        **DIGITS,
        **SGD,
    ),
    Workload(
        name="mlp-sgd",
        title="MLP 64-128-10, SGD + momentum, B=64",
        make_model=make_mlp,
        batch_size=64,
        lrs=(0.003, 0.03),
        total_steps=400,
        sample=4,
        aim=math.nan,
        **DIGITS,
        **MOMENTUM,
    ),
    Workload(
        name="mlp-adamw",
        title="MLP 64-128-10, AdamW, B=64",
        make_model=make_mlp,
        batch_size=64,
        lrs=(0.0003, 0.003),
        total_steps=400,
        sample=4,
        aim=6,
        **DIGITS,
        **ADAMW,
    ),
    Workload(
        name="cnn",
        title="CNN 1-16-32 on 8x8, SGD + momentum, B=64",
        make_model=make_cnn,
        make_data=image_data,
        loss=functional.cross_entropy,
        batch_size=64,
        lrs=(0.003, 0.03),
        total_steps=80,
        sample=4,
        aim=1.4,
        **MOMENTUM,
    ),
    Workload(
        name="char-lm",
        title="transformer, 2 layers, d=64, context 64, AdamW, B=8",
        make_model=CharTransformer,
        make_data=text_data,
        loss=token_loss,
        batch_size=8,
        lrs=(0.0003, 0.003),
        total_steps=30,
        sample=2,
        aim=1.5,
        **ADAMW,
    ),
)


@dataclass(frozen=True)
class Way:
    """A way to train.

    Attributes:
        run: trains and returns the losses.
        n_trials: how many trials that are.
        engine, slots: of robust-lr, if it is one of its.
        seconds_to_prepare: what tracing or compiling took, on the wall clock.
        bytes_estimated, bytes_measured: memory of a replica, as the engine estimates it, and as it was on a GPU.
    """

    run: Callable[[], Mapping[TrialSpec, float]]
    n_trials: int
    engine: str = ""
    slots: int = 1
    seconds_to_prepare: float = 0.0
    bytes_estimated: int | None = None
    bytes_measured: int | None = None


class Prepared:
    """The `Runner` of an evaluator that is ready, or is made at no cost."""

    def __init__(self, evaluator: Evaluator, slots: int) -> None:
        self.evaluator, self.slots = evaluator, slots

    def run(self, train: object, source: TrialSource, schedules: Mapping[str, Schedule]) -> Iterator[TrialResult]:
        """See `Runner.run`."""
        return evaluate_here(lambda slots: self.evaluator, self.slots, source)


class Bench:
    """One workload; what its engines made ready for one number of trials is there for the next."""

    def __init__(self, work: Workload, device: str, *, quick: bool) -> None:
        self.work, self.device, self.quick = work, device, quick
        self.task = work.task(-(-work.total_steps // (10 if quick else 1)), device)
        self.packs: dict[tuple[str, int], tuple[Pack, float, int]] = {}
        work.train_by_hand(self.task.train_data, work.lrs[0], 0, 3)  # the first call of anything is slow

    def measure(self, n_replicas: int, n_rounds: int) -> dict[str, Any]:
        """Return all that there is to say about a sweep of so many trials."""
        lrs = [float(lr) for lr in np.geomspace(*self.work.lrs, n_replicas // SEEDS)]
        trials = [TrialSpec("cosine", lr, seed) for lr in lrs for seed in range(SEEDS)]
        some = random.Random(0).sample(trials, min(self.work.sample, n_replicas))
        ways = {
            "loop": Way(lambda: self.loop(some), len(some)),
            "optuna": Way(lambda: self.optuna(lrs, 2 * OPTUNA_JOBS), 2 * OPTUNA_JOBS),
            "one by one": Way(lambda: self.losses(SerialRunner(), some), len(some), "sequential"),
        }
        for engine in ENGINES:
            if not (engine == "compiled" and self.quick):
                ways |= self.engine(engine, engine, trials)
        pilots = self.pilots(trials, some[0])
        for pilot in pilots:
            pilot["way"] = next(
                (n for n, w in ways.items() if (w.engine, w.slots) == (pilot["engine"], pilot["slots"])),
                f"{pilot['engine']}, {pilot['slots']} slot{'s' * (pilot['slots'] > 1)}",
            )
            if pilot["way"] not in ways:
                ways |= self.engine(pilot["way"], pilot["engine"], trials, pilot["slots"])
        rounds: list[dict[str, dict[str, float]]] = []
        losses: dict[str, Mapping[TrialSpec, float]] = {}
        for number in range(n_rounds):
            seconds = {}
            for name in random.Random(number).sample(list(ways), len(ways)):
                clocks, losses[name] = self.timed(ways[name].run)
                seconds[name] = {clock: s * n_replicas / ways[name].n_trials for clock, s in clocks.items()}
            rounds.append(seconds)
        return {
            "workload": self.work.name,
            "replicas": n_replicas,
            "total_steps": self.task.total_steps,
            "ways": {name: self.figures(name, way, rounds, losses) for name, way in ways.items()},
            "auto": [{**pilot, **self.figures_of_auto(pilot, ways, rounds)} for pilot in pilots],
        }

    def pilots(self, trials: Sequence[TrialSpec], one: TrialSpec) -> list[dict[str, Any]]:
        """Return what "auto" chooses in sweeps of several lengths, and what choosing takes; see `PILOTS`."""
        clocks, _ = self.timed(lambda: self.losses(SerialRunner(), [one]))
        step = clocks[self.clock("one by one")] / self.task.total_steps * len(trials)
        whole = self.pilot(trials, round(LONG_SWEEP / step))["seconds"]
        return [self.pilot(trials, max(1, round(n * whole / step))) for n in PILOTS]

    def pilot(self, trials: Sequence[TrialSpec], total_steps: int) -> dict[str, Any]:
        """Return what engine "auto" chooses for trials of so many steps, and what choosing takes."""
        task = replace(self.task, total_steps=total_steps)
        start = _spent(self.device)
        try:
            plan = self.plan(task, "auto", trials)
            choice = {"engine": plan.engine, "slots": plan.slots, "note": plan.note}
        except NotVectorizable as error:
            choice = {"engine": "sequential", "slots": 1, "note": str(error)}
        return {**choice, "seconds": _spent(self.device) - start, "total_steps": total_steps}

    def engine(
        self, name: str, engine: str, trials: Sequence[TrialSpec], slots: int | Literal["auto"] = "auto"
    ) -> dict[str, Way]:
        """Return the engine, ready to run all trials; nothing when it cannot train this model."""
        try:
            plan = self.plan(self.task, engine, trials, slots)
        except NotVectorizable as error:
            if engine != "closed_form":
                print(f"{self.work.name}, {name}: {error}")
            return {}
        evaluator = plan.make_evaluator(plan.slots)
        if not isinstance(evaluator, PackEvaluator):
            runner = Prepared(evaluator, plan.slots)
            return {name: Way(lambda: self.losses(runner, trials), len(trials), engine, plan.slots)}
        pack, seconds, n_bytes = self.pack(engine, plan.slots)
        runner = Prepared(replace(evaluator, ready=pack), plan.slots)

        def run() -> Mapping[TrialSpec, float]:
            for table in vars(pack.tables).values():  # each round makes its tables and models itself
                if hasattr(table, "cache_clear"):
                    table.cache_clear()
            return self.losses(runner, trials)

        estimate = pack.traced.bytes_per_replica
        return {name: Way(run, len(trials), engine, plan.slots, seconds, estimate, n_bytes or None)}

    def pack(self, engine: str, slots: int) -> tuple[Pack, float, int]:
        """Return an empty pack, the seconds that it took to make it, and its bytes a replica on the GPU."""
        if (engine, slots) not in self.packs:
            before = _reset_peak(self.device)
            start = _spent(self.device)
            pack = Pack(self.task, SCHEDULES, slots, compiled=engine == "compiled")
            pack.steps(1)
            self.synchronize()
            seconds = _spent(self.device) - start
            self.packs[engine, slots] = pack, seconds, (_peak(self.device) - before) // slots
        return self.packs[engine, slots]

    def plan(
        self, task: SupervisedTask, engine: str, trials: Sequence[TrialSpec], slots: int | Literal["auto"] = "auto"
    ) -> PackPlan:
        """Return what `PackedRunner` would do in one process."""
        return task.plan_packs(
            trials, SCHEDULES, engine=engine, slots=slots, n_workers=1, device=None, memory_limit=None
        )

    def loop(self, trials: Sequence[TrialSpec]) -> Mapping[TrialSpec, float]:
        """Train by hand."""
        task = self.task
        return {t: self.work.train_by_hand(task.train_data, t.lr, t.seed, task.total_steps) for t in trials}

    def optuna(self, lrs: Sequence[float], n_trials: int) -> Mapping[TrialSpec, float]:
        """Let Optuna do that, in threads."""

        def objective(trial: optuna.Trial) -> float:
            lr, seed = trial.suggest_float("lr", lrs[0], lrs[-1]), trial.suggest_int("seed", 0, SEEDS - 1)
            return self.work.train_by_hand(self.task.train_data, lr, seed, self.task.total_steps)

        sampler = optuna.samplers.GridSampler({"lr": list(lrs), "seed": list(range(SEEDS))}, seed=0)
        study = optuna.create_study(sampler=sampler)
        study.optimize(objective, n_trials=n_trials, n_jobs=OPTUNA_JOBS)
        return {}

    def losses(self, runner: Runner, trials: Sequence[TrialSpec]) -> Mapping[TrialSpec, float]:
        """Run the trials, all of which must converge: one that diverges is spared the rest of its steps."""
        results = list(runner.run(self.task, TrialList(trials), SCHEDULES))
        if wrong := [r for r in results if r.status != "ok"]:
            raise RuntimeError(f"{self.work.name}: {len(wrong)} trials are not ok; the first: {wrong[0]}")
        return {r.spec: r.loss for r in results}

    def timed(self, run: Callable[[], Mapping[TrialSpec, float]]) -> tuple[dict[str, float], Mapping[TrialSpec, float]]:
        """Return the seconds on both clocks, and what came of it."""
        self.synchronize()
        cpu, wall = time.thread_time(), time.perf_counter()
        losses = run()
        self.synchronize()
        return {"cpu": time.thread_time() - cpu, "wall": time.perf_counter() - wall}, losses

    def synchronize(self) -> None:
        """Wait for the device."""
        if self.device != "cpu":
            torch.cuda.synchronize()

    def clock(self, name: str) -> str:
        """Return the clock that counts: the thread's own, where all is done in one."""
        return "wall" if name == "optuna" or self.device != "cpu" else "cpu"

    def figures(
        self,
        name: str,
        way: Way,
        rounds: Sequence[Mapping[str, Mapping[str, float]]],
        losses: Mapping[str, Mapping[TrialSpec, float]],
    ) -> dict[str, Any]:
        """Return the time a replica-step of a way, its gain over the loop, what it needs, how exact it is."""
        clock = self.clock(name)
        reference = losses["one by one"]
        differences = [abs(losses[name][trial] - loss) for trial, loss in reference.items()] if way.engine else []
        return {
            "engine": way.engine,
            "slots": way.slots,
            "clock": clock,
            "seconds_of_sweep": quartiles([r[name][clock] for r in rounds]),
            "gain": quartiles([r["loop"][clock] / r[name][clock] for r in rounds]),
            "seconds_to_prepare": way.seconds_to_prepare,
            "bytes_estimated": way.bytes_estimated,
            "bytes_measured": way.bytes_measured,
            "differences": differences,
        }

    def figures_of_auto(
        self, pilot: Mapping[str, Any], ways: Mapping[str, Way], rounds: Sequence[Mapping[str, Mapping[str, float]]]
    ) -> dict[str, Any]:
        """Return the speed of "auto" over one by one and over the best engine, choosing and preparation included.

        The seconds of a sweep are those of a round, scaled by the steps.
        """
        longer = pilot["total_steps"] / self.task.total_steps
        ratios: dict[str, list[float]] = {"over_one_by_one": [], "over_best": []}
        for r in rounds:
            seconds = {
                name: r[name][self.clock(name)] * longer + way.seconds_to_prepare
                for name, way in ways.items()
                if way.engine
            }
            pack = ways[pilot["way"]].seconds_to_prepare
            auto = pilot["seconds"] + seconds[pilot["way"]] - pack
            ratios["over_one_by_one"].append(seconds["one by one"] / auto)
            ratios["over_best"].append(min(seconds.values()) / auto)
        one_by_one = median(r["one by one"][self.clock("one by one")] for r in rounds) * longer
        return {"seconds_one_by_one": one_by_one, **{name: quartiles(values) for name, values in ratios.items()}}

    def bound(self, flops_per_second: float, bytes_per_second: float) -> dict[str, float]:
        """Return what a step must compute and move, and the least time that takes on this machine."""
        task, n_state = self.task, {"SGD": 0, "AdamW": 2}[self.work.optimizer.__name__]
        n_state += "momentum" in self.work.optimizer_options
        model = task.initial_model(0)
        inputs, targets = (data[: task.batch_size] for data in task.train_data)
        with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH):
            task.objective(model, inputs, targets).backward()
        n_parameters = sum(p.numel() for p in model.parameters())
        n_bytes = 4 * n_parameters * (1 + 2 + 2 * n_state)  # gradients are read, parameters and state read and written
        seconds = max(counter.get_total_flops() / flops_per_second, n_bytes / bytes_per_second)
        return {
            "parameters": n_parameters,
            "flops": counter.get_total_flops(),
            "bytes": n_bytes,
            "seconds": seconds,
        }


def quartiles(values: Sequence[float]) -> list[float]:
    """Return lower quartile, median and upper quartile."""
    return [float(q) for q in np.quantile(values, (0.25, 0.5, 0.75))]


def rates(device: str) -> tuple[float, float]:
    """Return what one thread, or the GPU, can do: flop/s of a matrix product, byte/s of adding in place."""
    n, n_numbers = (512, 16 << 20) if device == "cpu" else (4096, 256 << 20)
    a, numbers = torch.randn(n, n, device=device), torch.zeros(n_numbers, device=device)

    def shortest(call: Callable[[], object]) -> float:
        times = []
        for _ in range(20):
            start = time.perf_counter()
            call()
            if device != "cpu":
                torch.cuda.synchronize()
            times.append(time.perf_counter() - start)
        return min(times)

    return 2 * n**3 / shortest(lambda: a @ a), 8 * n_numbers / shortest(lambda: numbers.add_(1.0))


def _spent(device: str) -> float:
    """Return the seconds so far: on the CPU those of this process and of its compilers, busy as the machine may be."""
    return time.perf_counter() if device != "cpu" else time.process_time() + sum(os.times()[2:4])


def _reset_peak(device: str) -> int:
    if device == "cpu":
        return 0
    torch.cuda.reset_peak_memory_stats()
    return torch.cuda.memory_allocated()


def _peak(device: str) -> int:
    return 0 if device == "cpu" else torch.cuda.max_memory_allocated()


def machine(device: str) -> str:
    """Return the name of what it ran on."""
    if device != "cpu":
        return torch.cuda.get_device_name()
    info = Path("/proc/cpuinfo")
    names = [line for line in info.read_text().splitlines() if line.startswith("model name")] if info.exists() else []
    return f"{names[0].partition(':')[2].strip() if names else platform.machine()}, one core"


def tables(report: Mapping[str, Any]) -> list[tuple[str, list[str], list[list[str]]]]:
    """Return title, header and rows of each table: the gains, and what is behind them."""
    titles = {work.name: work.title for work in WORKLOADS}
    gains, autos, behind = [], [], []
    for case in report["cases"]:
        ways, bound = case["ways"], report["bounds"][case["workload"]]
        n_steps = case["replicas"] * case["total_steps"]
        gains.append(
            [titles[case["workload"]], str(case["replicas"])]
            + [f"{ways['loop']['seconds_of_sweep'][1] / n_steps * 1e6:.4g}"]
            + [_times(ways[name]["gain"]) if name in ways else "" for name in COLUMNS]
        )
        autos += [
            [titles[case["workload"]], str(case["replicas"]), f"{auto['seconds_one_by_one']:.3g}"]
            + [f"{auto['seconds']:.2g}", auto["way"].replace("_", " ")]
            + [_times(auto[name]) for name in ("over_one_by_one", "over_best")]
            for auto in case["auto"]
        ]
        for name in [n for n in ways if ways[n]["engine"] not in ("", "sequential")]:
            way, seconds = ways[name], ways[name]["seconds_of_sweep"][1] / n_steps
            behind.append(
                [titles[case["workload"]], str(case["replicas"]), name.replace("_", " "), str(way["slots"])]
                + [f"{seconds * 1e6:.3g}", f"{bound['seconds'] * 1e6:.3g}", f"{seconds / bound['seconds']:.3g}"]
                + [f"{way['seconds_to_prepare']:.2g}" if way["seconds_to_prepare"] else "0"]
                + [
                    _kilobytes(way["bytes_estimated"]),
                    _kilobytes(way["bytes_measured"]),
                    f"{np.median(way['differences']):.1g}; {max(way['differences']):.1g}",
                ]
            )
    columns = [f"{name.replace('_', ' ')}, x" for name in COLUMNS]
    return [
        ("How many times as fast as the loop", ["model", "R", "loop, us a step", *columns], gains),
        ("What auto makes of sweeps of several lengths", AUTO_COLUMNS, autos),
        ("What is behind it", BEHIND_COLUMNS, behind),
    ]


def aims(report: Mapping[str, Any]) -> list[str]:
    """Return one line a workload: the gain of its fastest engine at R = 32, and the gain that is wanted."""
    lines = []
    for case in report["cases"]:
        aim = next(work.aim for work in WORKLOADS if work.name == case["workload"])
        gains = {name: way["gain"][1] for name, way in case["ways"].items() if way["engine"]}
        best = max(gains, key=lambda name: gains[name])
        if case["replicas"] == 32 and not math.isnan(aim) and report["machine"].endswith("core"):
            verdict = "met" if gains[best] >= aim else "MISSED"
            lines.append(f"{case['workload']:10} {gains[best]:6.3g} ({best}), wanted {aim:g}: {verdict}")
    return lines


def _times(gain: Sequence[float]) -> str:
    low, middle, high = (f"{g:.3g}" for g in gain)
    return middle if low == high else f"{middle} ({low} to {high})"


def _kilobytes(n: int | None) -> str:
    return "" if n is None else f"{n / 1e3:.3g}"


def write_docs(report: Mapping[str, Any], path: Path) -> None:
    """Put the tables between the markers of this kind of device; the rest of the page stays as it is."""
    begin, end = (
        f"<!-- {word} of the tables of benchmarks/packed.py, {report['device']} -->" for word in ("begin", "end")
    )
    before, found_begin, rest = path.read_text(encoding="utf-8").partition(begin)
    _, found_end, after = rest.partition(end)
    if not (found_begin and found_end):
        raise SystemExit(f"{path.name} must hold the lines {begin} and {end}")
    lines = [said(report)]
    for title, header, rows in tables(report):
        lines += ["", f"### {title}", "", _line(header), _line(["---"] * len(header)), *map(_line, rows)]
    path.write_text("\n".join([before + begin, *lines, end]) + after, encoding="utf-8")


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def said(report: Mapping[str, Any]) -> str:
    """Return in a sentence where and how it was measured."""
    versions = ", ".join(f"{name} {version}" for name, version in report["versions"].items())
    gemm, bandwidth = report["flops_per_second"] / 1e9, report["bytes_per_second"] / 1e9
    rounds = f"{report['rounds']} round{'s' * (report['rounds'] > 1)}"
    return f"{report['machine']}: {gemm:.3g} GFLOP/s, {bandwidth:.3g} GB/s; {rounds}; {versions}."


def main() -> None:
    """Measure what was asked for, and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    names = [work.name for work in WORKLOADS]
    parser.add_argument("--workloads", nargs="+", choices=names, default=names, metavar="NAME", help=", ".join(names))
    parser.add_argument("--replicas", type=int, nargs="+", default=[32], help="trials of a sweep, multiples of 4")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--quick", action="store_true", help="a tenth of the steps, and nothing is compiled on purpose")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--json", type=Path, help="write all figures to this file")
    parser.add_argument("--write-docs", action="store_true", help="put the tables into docs/how-to/packed.md")
    args = parser.parse_args()
    if any(n < SEEDS or n % SEEDS for n in args.replicas):
        parser.error(f"--replicas must be multiples of {SEEDS}, got {args.replicas}")
    if args.rounds < 1:
        parser.error(f"--rounds must be at least 1, got {args.rounds}")
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    torch.set_num_threads(1)
    torch._inductor.config.compile_threads = 1  # whose seconds `_spent` sees
    torch._inductor.config.force_disable_caches = True  # what compiling takes is what it takes the first time
    with threadpool_limits(1):
        report = run(args)
    console = Console()
    console.width = max(console.width, 160)
    for title, header, rows in tables(report):
        table = Table(*header, title=title)
        for row in rows:
            table.add_row(*row)
        console.print(table)
    print(said(report))
    print("\n".join(aims(report)))
    if args.json:
        args.json.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    if args.write_docs:
        write_docs(report, DOCS)


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Return the report: the machine, the bounds, the cases."""
    flops_per_second, bytes_per_second = rates(args.device)
    report: dict[str, Any] = {
        "machine": machine(args.device),
        "device": args.device,
        "versions": {"python": platform.python_version(), "torch": torch.__version__, "numpy": np.__version__}
        | {"optuna": optuna.__version__, "robust-lr": robust_lr.__version__},
        "rounds": args.rounds,
        "quick": args.quick,
        "flops_per_second": flops_per_second,
        "bytes_per_second": bytes_per_second,
        "bounds": {},
        "cases": [],
    }
    if not args.quick:  # what the first compilation of a process takes longer belongs to no model
        Pack(WORKLOADS[1].task(1, args.device), SCHEDULES, 2, compiled=True).steps(1)
    for work in WORKLOADS:
        if work.name in args.workloads:
            bench = Bench(work, args.device, quick=args.quick)
            report["bounds"][work.name] = bench.bound(flops_per_second, bytes_per_second)
            for n_replicas in args.replicas:
                start = time.perf_counter()
                report["cases"].append(bench.measure(n_replicas, args.rounds))
                print(f"{work.name}, R = {n_replicas}: {time.perf_counter() - start:.0f} s", flush=True)
    return report


if __name__ == "__main__":
    main()
