"""What is fuzzed: each reader, the command lines, the functions for users, and the search."""

from __future__ import annotations

import contextlib
import math
import random
from pathlib import Path
from typing import Any

import numpy as np

import robust_lr
from robust_lr import theory
from robust_lr._tolerance import read_tolerance
from robust_lr.analysis import AdaptiveSeeds
from robust_lr.cli.main import run_command
from robust_lr.exceptions import RobustLRError
from robust_lr.readers.read import read_sweeps
from robust_lr.search import SearchOptions

from .fuzzer import Target
from .values import CELLS, FIELDS, WORDS, as_lines, journal, mutated, number, table, value


def read_and_analyze(path: Path, rng: random.Random) -> None:
    """Read a file, analyze it, and write every form of the answer."""
    for sweep in read_sweeps(path, repeats=rng.choice(["refuse", "last"])).values():
        analysis = robust_lr.analyze_sweep(sweep, tolerance=rng.choice([None, 0.01, "1%"]))
        str(analysis), repr(sweep), analysis.to_dict()


def tables(rng: random.Random, folder: Path) -> None:
    path = folder / rng.choice(["runs.csv", "runs.json", "runs.jsonl", "runs"])
    data = table(rng)
    path.write_bytes(mutated(rng, data) if rng.random() < 0.5 else data)
    read_and_analyze(path, rng)


def journals_by_field(rng: random.Random, folder: Path) -> None:
    path = folder / "j.jsonl"
    path.write_bytes(as_lines(journal(rng)))
    read_and_analyze(path, rng)


def journals_by_byte(rng: random.Random, folder: Path) -> None:
    path = folder / "j.jsonl"
    path.write_bytes(mutated(rng, as_lines(journal(rng))))
    read_and_analyze(path, rng)


def journals_continued(rng: random.Random, folder: Path) -> None:
    path = folder / "j.jsonl"
    path.write_bytes(mutated(rng, as_lines(journal(rng))) if rng.random() < 0.8 else table(rng))
    robust_lr.run_sweep(
        lambda *, lr, schedule, seed: lr + seed, [0.001, 0.01], ["cosine"], 2, journal=path, label="t:train",
        progress=False,
    )  # fmt: skip


def specs(rng: random.Random, folder: Path) -> None:
    spec = rng.choice(WORDS)
    if rng.random() < 0.7:
        spec = mutated(rng, spec.encode()).decode(errors="replace")
    schedule = robust_lr.parse_schedule(spec, import_functions=False)
    total = rng.choice([1, 2, 10, 1000])
    [schedule(step, total) for step in range(min(total, 20))]
    str(schedule), schedule.degree


def tolerances(rng: random.Random, folder: Path) -> None:
    read_tolerance(rng.choice([value(rng), rng.choice(CELLS), f"{number(rng)}%"]))


def _numbers(rng: random.Random, n: int) -> list[Any]:
    return [number(rng) if rng.random() < 0.9 else value(rng) for _ in range(n)]


def grids(rng: random.Random, folder: Path) -> None:
    low, high, more = _numbers(rng, 3)
    grid = (
        robust_lr.GeometricGrid(low, high, rng.choice([2, 5, 20, more]))
        if rng.random() < 0.5
        else robust_lr.GeometricGrid.from_ratio(low, high, more)
    )
    for method, options in (("refine", {}), ("coarsen", {"stride": value(rng)}), ("extend", {"above": value(rng)})):
        with contextlib.suppress(RobustLRError):
            getattr(grid, method)(**options)
    len(grid.values), grid.ratio, grid.max_gap, repr(grid)


def losses(rng: random.Random) -> np.ndarray:
    shape = rng.choice([1, 2]), rng.choice([1, 2, 3, 7, 16]), rng.choice([1, 2, 5])
    scale = 10 ** rng.uniform(-300, 300) if rng.random() < 0.2 else 1.0
    found = np.random.default_rng(rng.randrange(2**32)).random(shape) * scale
    for _ in range(rng.choice([0, 0, 1, 3, 30])):
        found[tuple(rng.randrange(n) for n in shape)] = rng.choice(
            [math.nan, math.inf, 0.0, 1e308, -1e308, 5e-324, 1e-300, 0.5, 0.5]
        )
    return found


def sweeps(rng: random.Random, folder: Path) -> None:
    loss = losses(rng)
    lrs = np.geomspace(1e-4, 1.0, loss.shape[1]) if loss.shape[1] > 1 else np.array([0.1])
    names = {"cosine": "cosine", "constant": "constant"}
    sweep = robust_lr.SweepResult(
        schedules=list(names)[: loss.shape[0]], learning_rates=lrs, seeds=list(range(loss.shape[2])), loss=loss
    )
    tolerance = rng.choice([None, 0.01, "1%", number(rng)])
    analysis = robust_lr.analyze_sweep(sweep, tolerance=tolerance, noise=rng.choice([None, None, number(rng)]))
    str(analysis), analysis.to_dict(), str(sweep)
    AdaptiveSeeds(tolerance=tolerance).next_cells(sweep)


def searches(rng: random.Random, folder: Path) -> None:
    options: dict[str, Any] = {}
    for name, choices in (
        ("noise", [number(rng), 0.01]), ("ratio", [number(rng), 3.0]), ("start", [number(rng), 0.01]),
        ("max_trials", [5, value(rng)]), ("extend", [True, False, value(rng)]), ("noise_trials", [0, 6, value(rng)]),
    ):  # fmt: skip
        if rng.random() < 0.25:
            options[name] = rng.choice(choices)
    low, high = rng.choice([(1e-4, 1.0), (1e-3, 0.1), tuple(_numbers(rng, 2))])
    tolerance = rng.choice([0.005, "1%", 0.1, number(rng)])
    search = robust_lr.LearningRateSearch(low, high, tolerance=tolerance, options=SearchOptions(**options))
    best, floor, curvature = 10 ** rng.uniform(-5, 1), rng.choice([0.0, 0.3, 1e-6, -5.0]), 10 ** rng.uniform(-3, 1)
    for _ in range(30):
        if search.done:
            break
        for lr in search.ask(rng.choice([1, 1, 2, 4])):
            loss = floor + curvature * math.log(lr / best) ** 2 + rng.gauss(0, rng.choice([0, 0, 0.01]))
            search.tell(
                lr, loss if rng.random() < 0.85 else rng.choice([math.nan, math.inf, 1e308, 5e-324, -1e308, 0.0])
            )
    str(search.result), repr(search.result)


def theories(rng: random.Random, folder: Path) -> None:
    schedule, x, y = rng.choice(WORDS[:7]), number(rng), value(rng)
    steps = rng.choice([1, 2, 10, 1000, value(rng)])
    call = rng.randrange(5)
    if call == 0:
        theory.grid_guarantee(schedule, x, total_steps=steps)
    elif call == 1:
        theory.resolution_for_tolerance(schedule, x, total_steps=steps)
    elif call == 2:
        theory.transfer_ratio(schedule, rng.choice(WORDS[:7]), total_steps=steps)
    elif call == 3:
        theory.misspecification_curve(schedule, [x, y], total_steps=steps)
    else:
        theory.asymptotic_exponent(y)


def results(rng: random.Random, folder: Path) -> None:
    def train(*, lr: float, schedule: object, seed: int) -> Any:
        return returned() if callable(returned) else returned

    kinds = [{"loss": value(rng)}, {"loss": 0.5, "acc": value(rng)}, {value(rng) if False else "acc": 0.5}]
    returned: Any = rng.choice([value(rng), number(rng), *kinds])
    robust_lr.run_sweep(
        train, [0.1, 0.2], ["cosine"], rng.choice([1, 2, value(rng)]), metric=rng.choice(["loss", "acc"]),
        max_retries=0, progress=False,
    )  # fmt: skip


def command_lines(rng: random.Random, folder: Path) -> None:
    path = folder / "runs.csv"
    path.write_bytes(table(rng) if rng.random() < 0.7 else as_lines(journal(rng)))
    (folder / "t.py").write_text("def train(*, lr, schedule, seed):\n    return lr + seed\n")
    lines = {
        "analyze": ["analyze", "runs.csv"],
        "plan": ["plan", "cosine", "--lr-min", "1e-3", "--lr-max", "1"],
        "search": ["search", "t.py:train", "--lr-min", "1e-3", "--lr-max", "1", "--max-trials", "5",
                   "--tolerance", "0.1"],
        "run": ["run", "t.py:train", "--lr-min", "1e-3", "--lr-max", "1", "--n-points", "3", "--schedules", "cosine",
                "--seeds", "1"],
    }  # fmt: skip
    words = lines[rng.choice(list(lines))]
    options = ["--tolerance", "--metric", "--direction", "--where", "--group-by", "--lr", "--seed", "--noise",
               "--ratio",               "--n-points", "--seeds", "--label", "--max-retries", "--report",
               "--json", "--refine", "--start",
               "--time-budget", "--trial-timeout", "--noise-trials", "--repeats"]  # fmt: skip
    for _ in range(rng.choice([0, 1, 1, 2, 3])):
        given = rng.choice([*CELLS, *WORDS[:6], *FIELDS, str(number(rng)), "r.html", "r.json"])
        words += [f"{rng.choice(options)}={given}"]
    if rng.random() < 0.2:
        words[rng.randrange(len(words))] = rng.choice(CELLS)
    words = [word.replace("\x00", "") for word in words]
    if any("/etc" in word or "../" in word for word in words):
        return  # a user may write where he likes
    with contextlib.suppress(SystemExit):
        run_command(words)


TARGETS: dict[str, Target] = {
    "tables": tables,
    "journals-by-field": journals_by_field,
    "journals-by-byte": journals_by_byte,
    "journals-continued": journals_continued,
    "specs": specs,
    "tolerances": tolerances,
    "grids": grids,
    "sweeps": sweeps,
    "searches": searches,
    "theory": theories,
    "results": results,
    "command-line": command_lines,
}
