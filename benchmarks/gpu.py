"""Tests and figures on a GPU, in stages: what a bare machine with Python, torch, numpy and scipy can run in 10 minutes.

    benchmarks/gpu.sh                                        all stages, in 9.5 minutes at most
    benchmarks/gpu.sh --images fashion-mnist.tar             the four IDX files, in a folder or in one archive
    benchmarks/gpu.sh --parts fashion-mnist                  goes on with the sweep of an earlier run
    benchmarks/gpu.sh --parts tests-on-device                tests with tasks on the GPU: look at what fails
    benchmarks/gpu.sh --device cpu --tiny                    the same code in a minute, anywhere

Each stage is a process with its own time limit, and writes its log and what it has found so far: <out>/<stage>.log, and
<out>/gpu.json for all of them. A stage that fails, or runs out of time, leaves the others alone. A later run on the
same device keeps the figures of the stages that it does not run. The tables go into <out>/packed.md and
<out>/networks.md, copies of the pages in docs/; on a GPU, in full size, also into docs/ itself. The tests need pytest.

benchmarks/on_gpu/engines.py says how the engines are timed.
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
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from on_gpu.engines import N_LRS, Bench
from on_gpu.fashion import DEBIAN, train_on_fashion
from on_gpu.sharing import measure_sharing
from on_gpu.tables import fill, networks_page, packs_page

from robust_lr_torch import SupervisedTask

ROOT = Path(__file__).resolve().parent.parent
ON_DEVICE = "ROBUST_LR_TESTS_DEVICE"
PAGES = {"how-to/packed.md": packs_page, "explanation/networks.md": networks_page}
LIMITS = {  # seconds of each stage; the last one gets all that is left
    "tests": 60,
    "mlp": 50,
    "char-lm": 90,
    "cnn": 60,
    "wrn": 100,
    "sharing": 110,
    "fashion-mnist": 600,
    "cnn-fp32": 60,
    "tests-on-device": 180,
}
DEFAULT = list(LIMITS)[:-2]
SHORTEST = 5  # seconds that a stage needs to find anything


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


def command_of_tests(part: str, args: argparse.Namespace) -> list[str]:
    """Return the command that runs the tests which need a GPU, or all of torch's with tasks on it."""
    options = ["-rfExs", "--tb=short", f"--junitxml={args.out / part}.xml", "-p", "no:cacheprovider", "-W", "default"]
    # A bare machine has neither what conftest.py imports nor the plugin whose option pyproject.toml sets.
    options += ["--noconftest", "-o", "addopts=--import-mode=importlib"]
    options += ["--timeout=90"] if find_spec("pytest_timeout") else []
    options += ["-k", "on_a_gpu or cuda"] if part == "tests" or args.tiny else ["-p", "gpu", "-s"]
    several = part == "tests-on-device" and not args.tiny and find_spec("xdist")
    options += ["-n", "12", "--dist", "worksteal"] if several else []
    return [sys.executable, "-m", "pytest", "-q", *options, "tests/torch"]


# The stages


def missing(part: str, args: argparse.Namespace) -> str | None:
    """Return why a stage cannot run, if it cannot."""
    if part.startswith("tests") and find_spec("pytest") is None:
        return "not run: pytest is not installed"
    if part == "fashion-mnist" and not args.images.exists():
        return f"not run: no images at {args.images}; name a folder or an archive of the four IDX files with --images"
    return None


def command_of(part: str, args: argparse.Namespace, seconds: float) -> list[str]:
    """Return the command of a stage."""
    if part.startswith("tests"):
        return command_of_tests(part, args)
    own = ["--part", part, "--device", args.device, "--out", str(args.out), "--rounds", str(args.rounds)]
    own += ["--images", str(args.images), "--seconds", str(seconds), "--engines", *args.engines]
    own += ["--replicas", *map(str, args.replicas), *(["--tiny"] if args.tiny else [])]
    return [sys.executable, __file__, *own]


def run_part(part: str, args: argparse.Namespace, limit: float) -> dict[str, Any]:
    """Run a stage, as far as its time goes, and return how it ended and what it found."""
    if why := missing(part, args):
        return {"status": why}
    if limit < SHORTEST:
        return {"status": "not run: no time left"}
    start, log, found = time.perf_counter(), args.out / f"{part}.log", args.out / f"{part}.json"
    found.unlink(missing_ok=True)
    environment = {**os.environ, **({ON_DEVICE: args.device} if part == "tests-on-device" else {})}
    with log.open("w") as file:
        streams: dict[str, Any] = {"stdout": file, "stderr": subprocess.STDOUT, "start_new_session": True}
        process = subprocess.Popen(command_of(part, args, limit), cwd=ROOT, env=environment, **streams)
        try:
            code = process.wait(limit)
            entry: dict[str, Any] = {"status": f"failed with {code}" if code else "done"}
        except subprocess.TimeoutExpired:
            entry = {"status": f"ended at its limit of {limit:.0f} s"}
            os.killpg(process.pid, 9)
            process.wait()
    entry["seconds"] = time.perf_counter() - start
    if found.exists():
        entry["found"] = json.loads(found.read_text())
        found.unlink()
    entry["last_line"] = (log.read_text().strip().splitlines() or [""])[-1]
    return entry


def run_parts(args: argparse.Namespace) -> dict[str, Any]:
    """Run each stage, as far as the time goes, and return the report."""
    end = time.perf_counter() + args.seconds
    name = torch.cuda.get_device_name() if args.device == "cuda" else f"CPU, {platform.machine()}"
    machine = {"device": name, "torch": torch.__version__, "python": platform.python_version(), "tiny": args.tiny}
    path = args.out / "gpu.json"
    before = json.loads(path.read_text()) if path.exists() else {}
    is_same = all(before.get(key) == value for key, value in machine.items())
    report: dict[str, Any] = {**machine, "rounds": args.rounds, "parts": before["parts"] if is_same else {}}
    print(", ".join(map(str, machine.values())), flush=True)
    for part in args.parts:
        entry = run_part(part, args, min(LIMITS[part], end - time.perf_counter()))
        report["parts"][part] = entry
        print(f"{part}: {entry['status']}, {entry.get('seconds', 0):.0f} s", flush=True)
        write_json(path, report)
        for page, text in PAGES.items():
            filled = fill(ROOT / "docs" / page, text(report))
            (args.out / Path(page).name).write_text(filled, encoding="utf-8")
            if args.device == "cuda" and not args.tiny:
                (ROOT / "docs" / page).write_text(filled, encoding="utf-8")
    return report


def write_json(path: Path, value: Any) -> None:
    """Replace a file at once; a number that JSON does not have is None, infinity is a text."""

    def plain(value: Any) -> Any:
        if isinstance(value, dict):
            return {str(key): plain(v) for key, v in value.items()}
        if isinstance(value, list | tuple):
            return [plain(v) for v in value]
        if isinstance(value, float) and not math.isfinite(value):
            return None if math.isnan(value) else str(value)
        return value

    part = path.with_suffix(".part")
    part.write_text(json.dumps(plain(value), indent=1, default=str) + "\n", encoding="utf-8")
    part.replace(path)


def parse_arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Return the options."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    cuda, archive = torch.cuda.is_available(), ROOT / "fashion-mnist.tar"
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cuda" if cuda else "cpu")
    parser.add_argument("--tiny", action="store_true", default=not cuda, help="little of everything")
    parser.add_argument("--parts", nargs="+", choices=list(LIMITS), default=DEFAULT, metavar="STAGE")
    parser.add_argument(
        "--images", type=Path, default=archive if archive.exists() else DEBIAN, help="folder or archive"
    )
    parser.add_argument("--replicas", type=int, nargs="+", help=f"in a pack, multiples of {N_LRS}")
    parser.add_argument("--engines", nargs="+", choices=("packed", "compiled"))
    parser.add_argument("--rounds", type=int, help="of each comparison, by default 3")
    parser.add_argument("--seconds", type=float, default=570, help="for all stages together")
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "gpu", help="folder of the results")
    parser.add_argument("--part", choices=DEFAULT, help=argparse.SUPPRESS)
    args = parser.parse_args(arguments)
    args.out, args.images = args.out.resolve(), args.images.resolve()
    args.out.mkdir(parents=True, exist_ok=True)
    args.engines = args.engines or ["packed", "compiled"][: 1 if args.tiny else 2]
    args.replicas = args.replicas or ([8] if args.tiny else [8, 32, 128])
    if wrong := [n for n in args.replicas if n < N_LRS or n % N_LRS]:
        parser.error(f"--replicas must be multiples of {N_LRS}, got {wrong[0]}")
    args.rounds = args.rounds or (1 if args.tiny else 3)
    return args


def main(arguments: Sequence[str] | None = None) -> None:
    """Do what the command line says."""
    args = parse_arguments(arguments)
    if args.part is None:
        report = run_parts(args)
        print("", packs_page(report), networks_page(report), sep="\n")
        return

    def write(found: Any) -> None:
        write_json(args.out / f"{args.part}.json", found)

    logging.basicConfig(level=logging.INFO, format="%(message)s")
    if args.part == "sharing":
        measure_sharing(args.device, write, tiny=args.tiny)
    elif args.part == "fashion-mnist":
        journal = args.out / f"fashion-mnist{'-tiny' * args.tiny}.jsonl"
        train_on_fashion(args.device, write, images=args.images, journal=journal, seconds=args.seconds, tiny=args.tiny)
    else:
        Bench(args.part, args.device, write, tiny=args.tiny).run(args.replicas, args.engines, args.rounds)


if __name__ == "__main__":
    main()
