"""Measurements on a GPU: the tests that need one, and the speed, memory and exactness of packs.

    benchmarks/gpu.sh                               the parts that fit into 8 minutes
    benchmarks/gpu.sh --parts tests-on-device       the tests with tasks on the GPU: look at what fails
    benchmarks/gpu.sh --parts mlp cnn --replicas 32
    benchmarks/gpu.sh --device cpu --tiny           the same code in 3 minutes, anywhere

Each part is a process with a time limit, and writes its log and what it has found so far: <out>/<part>.log, and
<out>/gpu.json for all of them. Needs torch, pytest and pytest-timeout, and neither Optuna nor Ray.

A model's part times a training step of a replica in each of these ways, in rounds in which each runs once; a ratio is
taken inside a round, and medians are given. "Loop" is what one writes by hand (module, optimizer, `LambdaLR`),
"alone" is `SupervisedTask` itself, one after the other; a pack runs its traced step kernel by kernel, or as a CUDA
graph. Blocks of `check_every` steps are timed, each with the reading of its losses at the end; neither the first one
of a loop nor the last one of a pack, which evaluates its models. Making a pack (tracing, compiling, capturing) is
timed apart. Memory is what torch's allocator has in use at the worst moment of making a pack, and of a block of its
steps, above what was in use before; "held" is what it keeps for a pack that is ready, with the pool of its CUDA
graph.
"""

from __future__ import annotations

import argparse
import json
import logging
import math
import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from importlib.util import find_spec
from itertools import islice
from pathlib import Path
from statistics import median
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.optim.lr_scheduler import LambdaLR

from robust_lr import PackedRunner, SerialRunner, TrialSpec, parse_schedule
from robust_lr.exceptions import NotVectorizable
from robust_lr.runners import TrialList
from robust_lr_torch import SupervisedTask
from robust_lr_torch.packing._pack import Pack

ROOT = Path(__file__).resolve().parent.parent
SCHEDULES = {"cosine": parse_schedule("cosine")}
N_LRS = 8  # the first seed of each of them is also trained alone
BLOCK = 50
ON_DEVICE = "ROBUST_LR_TESTS_DEVICE"


# The models


def draw(*shape: int, seed: int = 0) -> Tensor:
    """Return numbers of a normal distribution."""
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def labeled(inputs: Tensor) -> tuple[Tensor, Tensor]:
    """Return the inputs, and classes that a linear map gives them."""
    flat = inputs.flatten(1)
    return inputs, (flat @ draw(flat.shape[1], 10, seed=1)).argmax(1)


def make_mlp() -> nn.Module:
    """64-128-10."""
    return nn.Sequential(nn.Linear(64, 128), nn.ReLU(), nn.Linear(128, 10))


def make_cnn() -> nn.Module:
    """Two convolutions, 1-16-32 channels, and a linear layer."""
    return nn.Sequential(
        *(nn.Conv2d(1, 16, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Conv2d(16, 32, 3, padding=1), nn.ReLU(), nn.AdaptiveAvgPool2d(1)),
        *(nn.Flatten(), nn.Linear(32, 10)),
    )


def mlp() -> tuple[SupervisedTask, tuple[float, float]]:
    """64-128-10 under AdamW, and its lowest and highest learning rate."""
    data = labeled(draw(512, 64))
    options: dict[str, Any] = {"loss": functional.cross_entropy, "optimizer": torch.optim.AdamW}
    return SupervisedTask(make_model=make_mlp, train_data=data, total_steps=1, batch_size=64, **options), (3e-4, 3e-3)


def cnn() -> tuple[SupervisedTask, tuple[float, float]]:
    """The CNN on images of 8 x 8 under SGD with momentum."""
    options = {"loss": functional.cross_entropy, "optimizer_options": {"momentum": 0.9}}
    data = labeled(draw(512, 1, 8, 8))
    return SupervisedTask(make_model=make_cnn, train_data=data, total_steps=1, batch_size=64, **options), (3e-3, 3e-2)


def char_lm() -> tuple[SupervisedTask, tuple[float, float]]:
    """The transformer of examples/char_lm_packed.py: two layers of width 64 over 64 characters, AdamW, batches of 8."""
    from char_lm_packed import make_task

    task = make_task(32)
    return replace(task, validation_data=None, evaluation_batch_size=256), (3e-4, 3e-3)


MODELS = {"mlp": mlp, "cnn": cnn, "cnn-fp32": cnn, "char-lm": char_lm}


# Their figures


class Bench:
    """One model; see the head of this file."""

    def __init__(self, name: str, args: argparse.Namespace, write: Callable[[Any], None]) -> None:
        if args.device == "cpu":
            torch.set_num_threads(1)  # as a pack has it
        if name.endswith("-fp32"):
            torch.backends.cudnn.allow_tf32 = False
        task, (low, high) = MODELS[name]()
        self.n_steps = 2 * BLOCK if args.tiny else 4 * BLOCK
        self.on_cuda, self.tiny, self.write = args.device == "cuda", args.tiny, write
        data = tuple(d.to(args.device) for d in task.train_data)
        self.task = replace(task, train_data=data, total_steps=self.n_steps, check_every=BLOCK, device=args.device)
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

        return seconds_of_step(steps())

    def alone(self, lr: float) -> tuple[float, float]:
        """Train a trial by the task itself; return its final loss, and the seconds of a step."""
        model = self.task.initial_model(0)
        with self.task.noise_of(0):
            seconds = seconds_of_step(self.task.steps(model, lr=lr, schedule=SCHEDULES["cosine"], seed=0))
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
            seconds.append((time.perf_counter() - start) / BLOCK / len(trials))
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


def seconds_of_step(steps: Iterator[Tensor]) -> float:
    """Return the median over blocks of steps, without the first, in which everything is slow."""
    seconds = []
    while True:
        start = time.perf_counter()
        block = list(islice(steps, BLOCK))
        if not block:
            return median(seconds[1:])
        torch.stack(block).tolist()
        seconds.append((time.perf_counter() - start) / len(block))


def sweep(args: argparse.Namespace, write: Callable[[Any], None]) -> None:
    """Run sweeps by `PackedRunner` as a user does, with each engine, and in two processes."""
    found: dict[str, Any] = {}
    for name, make in MODELS.items():
        if name.endswith("-fp32") or (args.tiny and name != "mlp"):
            continue
        n_steps = 20 if args.tiny else 1000 if name == "mlp" else 400
        task, (low, high) = make()
        task = replace(task, total_steps=n_steps, device=args.device)
        trials = [TrialSpec("cosine", low * (high / low) ** (i / 7), seed) for i in range(8) for seed in range(4)]
        runners: dict[str, Any] = {"alone, 2 of the trials": SerialRunner()}
        runners |= {"packed": PackedRunner(engine="packed", strict=True), "auto": PackedRunner(strict=True)}
        if name == "mlp":
            devices = ("0", "0") if args.device == "cuda" else None
            runners["two processes"] = PackedRunner(2, engine="packed", strict=True, devices=devices)
        for way, runner in runners.items():
            start = time.perf_counter()
            some = trials[:: len(trials) // 2] if way.startswith("alone") else trials
            try:
                results = list(runner.run(task, TrialList(some), SCHEDULES))
                losses = {f"{r.spec.lr:.3g} {r.spec.seed}": r.loss for r in results}
                failed = [r.error for r in results if r.status != "ok"][:1]
                entry = {"seconds": time.perf_counter() - start, "trials": len(results), "failed": failed}
            except NotVectorizable as error:
                losses, entry = {}, {"refused": str(error)}
            except Exception as error:
                losses, entry = {}, {"error": f"{type(error).__name__}: {error}"[:2000]}
            found.setdefault(name, {})[way] = entry
            print(name, way, json.dumps(entry), flush=True)
            for other, values in found.setdefault(f"{name}: losses", {}).items():
                if both := sorted(set(values) & set(losses)):
                    entry[f"largest difference to {other}"] = max(abs(values[t] - losses[t]) for t in both)
            found[f"{name}: losses"][way] = losses
            write(found)


# The tests


def pytest_configure() -> None:
    """As a plugin of pytest: let tasks train on another device than the CPU by default."""
    if device := os.environ.get(ON_DEVICE):
        SupervisedTask.__init__.__kwdefaults__["device"] = device


def pytest_runtest_logreport(report: Any) -> None:
    """As a plugin of pytest: say at once what has failed, for its time may run out."""
    if report.failed and not os.environ.get("PYTEST_XDIST_WORKER"):
        crash = getattr(report.longrepr, "reprcrash", None)
        print(f"\nFAILED {report.nodeid}: {str(crash or report.longrepr)[:600]}", flush=True)


def command_of_tests(args: argparse.Namespace, log: Path) -> list[str]:
    """Return the command that runs the tests."""
    folders = ["tests/torch"]
    if args.tiny:
        folders = sorted(str(path.relative_to(ROOT)) for path in (ROOT / "tests" / "torch").rglob("test_cuda*.py"))
    several = ["-n", "12", "--dist", "worksteal"] if find_spec("xdist") and not args.tiny else []
    report = ["-rfExs", "--tb=short", "--timeout=90", f"--junitxml={log.with_suffix('.xml')}", "-p", "no:cacheprovider"]
    return [sys.executable, "-m", "pytest", "-q", "-W", "default", *report, *several, *folders]


# All parts

LIMITS = {  # seconds of each part
    "tests": 100,
    "mlp": 70,
    "cnn": 90,
    "char-lm": 160,
    "sweep": 90,
    "wrn": 60,
    "char-lm-example": 60,
    "cnn-fp32": 60,
    "tests-on-device": 180,
}


def command_of(part: str, args: argparse.Namespace) -> list[str]:
    """Return the command of a part."""
    if part == "tests":
        return command_of_tests(args, args.out / part)
    if part == "tests-on-device":
        return [*command_of_tests(args, args.out / part), "-p", "gpu", "-s"]
    if part == "char-lm-example":
        steps = "20" if args.tiny else "400"
        more = ["--device", args.device, "--steps", steps, "--seeds", "1", "--jobs", "1"]
        return [sys.executable, "examples/char_lm_packed.py", *more]
    if part == "wrn":
        size = ["10-1", "--packs", "1,2", "--batch-size", "4", "--steps", "2"]
        if not args.tiny:
            size = ["16-4", "--packs", "1,4,8", "--steps", "20"]
        return [sys.executable, "examples/cifar10_wrn.py", "--speed", "--device", args.device, "--networks", *size]
    own = ["--part", part, "--device", args.device, "--out", str(args.out), "--rounds", str(args.rounds)]
    own += ["--engines", *args.engines, "--replicas", *map(str, args.replicas), *(["--tiny"] if args.tiny else [])]
    return [sys.executable, __file__, *own]


def run_parts(args: argparse.Namespace) -> dict[str, Any]:
    """Run each part, as far as the time goes, and return the report."""
    end = time.perf_counter() + args.seconds
    on_cuda = args.device == "cuda"
    report: dict[str, Any] = {
        "device": torch.cuda.get_device_name() if on_cuda else f"CPU, {platform.machine()}",
        "torch": torch.__version__,
        "python": platform.python_version(),
        "rounds": args.rounds,
        "parts": {},
    }
    print(f"{report['device']}; torch {torch.__version__}; Python {report['python']}", flush=True)
    for part in args.parts:
        limit = min(LIMITS[part], end - time.perf_counter())
        entry: dict[str, Any] = {"status": "no time left"}
        report["parts"][part] = entry
        if limit > 5:
            start = time.perf_counter()
            environment = {**os.environ, **({ON_DEVICE: args.device} if part == "tests-on-device" else {})}
            with (args.out / f"{part}.log").open("w") as log:
                streams: dict[str, Any] = {"stdout": log, "stderr": subprocess.STDOUT, "start_new_session": True}
                process = subprocess.Popen(command_of(part, args), cwd=ROOT, env=environment, **streams)
                try:
                    entry["status"] = process.wait(limit)
                except subprocess.TimeoutExpired:
                    entry["status"] = f"ended at its limit of {limit:.0f} s"
                    os.killpg(process.pid, 9)
                    process.wait()
            entry["seconds"] = time.perf_counter() - start
            found = args.out / f"{part}.json"
            if found.exists():
                entry["found"] = json.loads(found.read_text())
                found.unlink()
            log_end = (args.out / f"{part}.log").read_text().strip().splitlines()[-1:]
            entry["last_line"] = log_end[0] if log_end else ""
        print(f"{part}: {entry['status']}, {entry.get('seconds', 0):.0f} s", flush=True)
        (args.out / "gpu.json").write_text(json.dumps(report, indent=1) + "\n")
    return report


def print_tables(report: dict[str, Any]) -> None:
    """Print a line for each case."""
    print("model, replicas, engine, way | us a replica-step: loop, alone, pack | times the loop, the task alone")
    print("   kB a replica: estimated, in a step, in making, held | losses off by: median, most | s to prepare")
    for part, entry in report["parts"].items():
        for case in entry.get("found", {}).get("cases", []) if part in MODELS else []:
            for way in case.get("gain_over_loop", {}):
                us, gains = case["us_a_replica_step"], [case["gain_over_loop"][way], case["gain_over_alone"][way]]
                n_bytes = [case["bytes_a_replica"].get(key, 0) for key in ("estimated", way, "making", "held")]
                off = [case[f"{way}: {which} difference of losses"] for which in ("median", "largest")]
                print(f"{part}, {case['replicas']}, {case['engine']}, {way}", end=" | ")
                print(" ".join(f"{us[key]:.4g}" for key in ("loop", "alone", way)), end=" | ")
                print(" ".join(f"{gain:.3g}" for gain in gains), end=" | ")
                print(" ".join(f"{n / 1e3:.3g}" for n in n_bytes), end=" | ")
                print(" ".join(f"{value:.1e}" for value in off), end=f" | {case['seconds_to_prepare']:.2g}\n")
            if "error" in case:
                print(f"{part} {case['replicas']} {case['engine']} | {case['error'][:300]}")


def main() -> None:
    """Do what the command line says."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    cuda = torch.cuda.is_available()
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cuda" if cuda else "cpu")
    parser.add_argument("--tiny", action="store_true", default=not cuda, help="little of everything")
    parser.add_argument("--parts", nargs="+", choices=list(LIMITS), default=list(LIMITS)[:-1], metavar="PART")
    parser.add_argument("--replicas", type=int, nargs="+", help=f"in a pack, multiples of {N_LRS}")
    parser.add_argument("--engines", nargs="+", choices=("packed", "compiled"))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=480, help="for all parts together")
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "gpu", help="folder of the results")
    parser.add_argument("--part", choices=[*MODELS, "sweep"], help=argparse.SUPPRESS)
    args = parser.parse_args()
    args.out = args.out.resolve()
    args.out.mkdir(parents=True, exist_ok=True)
    args.engines = args.engines or ["packed", "compiled"][: 1 if args.tiny else 2]
    args.replicas = args.replicas or ([8] if args.tiny else [8, 32, 128])
    if args.part is None:
        print_tables(run_parts(args))
        return

    def write(found: Any) -> None:
        (args.out / f"{args.part}.json").write_text(json.dumps(found, default=str))

    logging.basicConfig(level=logging.INFO, format="%(message)s")
    if args.part == "sweep":
        sweep(args, write)
    else:
        Bench(args.part, args, write).run(args.replicas, args.engines, args.rounds)


if __name__ == "__main__":
    main()
