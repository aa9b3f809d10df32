"""Are the claims of a search true when each trial has noise that the search is not told, and what do they cost?

With `--told` it is told.

    python benchmarks/search_noise.py                   200 runs for each shape and noise, and TPE
    python benchmarks/search_noise.py --runs 20 --shapes valley --tpe-runs 0
    python benchmarks/search_noise.py --told --runs 100 --tpe-runs 0

The curves are those of benchmarks/search.py, over three decades, with a tolerance of 0.005: "valley" is quadratic in
log(lr), "kink" is V-shaped, and "cliff" diverges above a valley; any other family can be named. Each
trial adds normal noise, whose standard deviation is a multiple of the tolerance. Columns:

- noise: the standard deviation over the tolerance,
- trials: median and 90th percentile until the search stops by itself,
- within: share of runs that stop with a bound within the tolerance,
- no bound: share of runs that end without a bound, since the losses contradicted one valley,
- bound: the median bound over the tolerance,
- bound true: share of the bounds that the true excess does not exceed,
- best in: share of the intervals for the best learning rate that hold it, and their median width as a factor,
- as good: share of the intervals "as good" in which every true loss is within the tolerance of the chosen one,
- success: share of runs whose choice is truly within the tolerance of the least loss,
- tpe: trials that Optuna's TPE needs until the same share of its runs have such a choice (the lowest observed loss);
  ">60" if 60 are not enough.
"""

from __future__ import annotations

import argparse
import itertools
import math
import sys
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from search import FAMILIES, TOLERANCE, Curve, OptunaSampler, markdown

from robust_lr.search import LearningRateSearch, SearchOptions, SearchResult

NOISES = (0.2, 0.5, 1.0, 2.0, 5.0)
LOW, HIGH = math.log(1e-3), math.log(1.0)
BUDGET = 60
SHAPES = ["valley", "kink", "cliff"]


def search(curve: Curve, rng: np.random.Generator, told: float | None) -> SearchResult:
    """Search to the end; None if the search does not know the noise."""
    options = SearchOptions(noise=told)
    found = LearningRateSearch(math.exp(LOW), math.exp(HIGH), tolerance=TOLERANCE, options=options)
    while asked := found.ask():
        for lr in asked:
            loss = curve.measured(math.log(lr), 0, rng)
            found.tell(lr, loss, status="ok" if math.isfinite(loss) else "diverged")
    return found.result


def tpe_successes(curve: Curve, seed: int, rng: np.random.Generator) -> list[bool]:
    """Return whether the choice of TPE is within the tolerance after each trial."""
    tpe, best, excess, found = OptunaSampler(curve, seed, BUDGET, "tpe"), math.inf, math.inf, list[bool]()
    least = curve.least
    for _ in range(BUDGET):
        (x,) = tpe.ask(1)
        loss = curve.measured(x, 0, rng)
        if loss < best:
            best, excess = loss, curve.loss(x) - least
        found.append(excess <= TOLERANCE)
        tpe.tell(x, loss)
    return found


def judge(result: SearchResult, curve: Curve) -> dict[str, object]:
    """Compare the claims of a result with the truth."""
    low, high = (math.log(lr) for lr in result.lr_range)
    mesh = np.linspace(low, high, 4001).tolist()
    losses = np.array([curve.loss(x) for x in mesh])
    least, chosen = losses.min(), curve.loss(math.log(result.lr))
    as_good = [curve.loss(x) for x in np.linspace(*np.log(result.good_interval), 101)] if result.good_interval else []
    best = None
    if result.best_interval is not None:
        lower, upper = result.best_interval
        # Every learning rate that attains the least loss, up to the mesh, must lie inside.
        at = mesh[int(losses.argmin())]
        best = math.log(lower) - 1e-3 <= at <= math.log(upper) + 1e-3
    bound = result.excess_bound
    return {
        "trials": result.n_trials,
        "within": bound is not None and bound <= result.tolerance,
        "bound": bound,
        "true": None if bound is None else chosen - least <= bound + 1e-9,
        "best": best,
        "width": None if result.best_interval is None else result.best_interval[1] / result.best_interval[0],
        "as good": max(as_good) <= chosen + result.tolerance + 1e-9 if as_good else None,
        "success": chosen - least <= TOLERANCE,
        "stop": result.stop,
    }


def mean(values: Sequence[object]) -> float | None:
    """Return the mean of what is not None."""
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else None


def row(shape: str, factor: float, runs: int, tpe_runs: int, told: bool) -> dict[str, object]:
    """Return a row of the table."""
    noise, judged, successes = factor * TOLERANCE, [], []
    for i in range(runs):
        curve = replace(FAMILIES[shape](np.random.default_rng([i, 1]), LOW, HIGH), noise=noise)
        judged.append(judge(search(curve, np.random.default_rng([i, 2]), noise if told else None), curve))
        if i < tpe_runs:
            successes.append(tpe_successes(curve, i, np.random.default_rng([i, 3])))
    columns = {key: [each[key] for each in judged] for key in judged[0]}
    bounds, widths = ([v for v in columns[key] if v is not None] for key in ("bound", "width"))
    success = mean(columns["success"])
    found = {
        "shape": shape,
        "noise": factor,
        "trials": [float(np.quantile(columns["trials"], q, method="higher")) for q in (0.5, 0.9)],
        "within": mean(columns["within"]),
        "no bound": 1 - len(bounds) / runs,
        "bound": float(np.median(bounds)) / TOLERANCE if bounds else None,
        "bound true": mean(columns["true"]),
        "best in": [mean(columns["best"]), float(np.median(widths)) if widths else None],
        "as good": mean(columns["as good"]),
        "success": success,
    }
    if successes:
        shares = np.mean(successes, axis=0)
        enough = np.flatnonzero(shares >= success)
        found["tpe"] = str(enough[0] + 1) if len(enough) else f">{BUDGET}"
    return found


def main() -> None:
    """Measure, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=200)
    parser.add_argument("--shapes", nargs="+", choices=FAMILIES, default=SHAPES)
    parser.add_argument("--noises", nargs="+", type=float, default=list(NOISES))
    parser.add_argument("--told", action="store_true", help="tell the search the noise")
    parser.add_argument("--tpe-runs", type=int, default=100, help="runs of TPE, which is slower")
    args = parser.parse_args()
    rows = []
    for shape, factor in itertools.product(args.shapes, args.noises):
        rows.append(row(shape, factor, args.runs, args.tpe_runs, args.told))
        print(rows[-1], file=sys.stderr, flush=True)
    print(markdown(rows))


if __name__ == "__main__":
    main()
