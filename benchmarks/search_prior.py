"""What does a prior from earlier sweeps save, is its claim true, and what does it cost where it does not fit?

    python benchmarks/search_prior.py runs.csv --group-by params,tokens,batch_size --leave-out params
    python benchmarks/search_prior.py runs.csv --group-by params,tokens,batch_size --foreign

The table holds one run per row. All sweeps that share the columns `--leave-out` are left out together; the prior is
learned from the others, and each left-out sweep is searched cold and with it. The result of a trial is the loss of the
sweep, linear in log(lr) between two neighbors; the range is that of the sweep. With `--foreign` the prior of all sweeps
is used on other families: the tables of three small models (see `benchmarks/search_tables.py`) and made-up curves (see
`benchmarks/search.py`), with the best learning rate anywhere. These losses are exact, and both searches are told so.
Columns:

- cold, prior: mean trials of the search without and with the prior,
- cold within: share of searches without the prior whose best is within the tolerance, and of their true bounds,
- within: share of searches with the prior whose best is within the tolerance of the best in the sweep,
- by prior: share whose claim the prior carries; the others end by the convex bound,
- claim: share of all stated bounds that the true excess does not exceed, and the same for those of the prior alone,
- most: the most trials more than without the prior; >2: share of searches that take more than two more.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from search import FAMILIES, markdown
from search_tables import cases

from robust_lr import LearningRateSearch, SearchOptions, SearchResult, SweepCollection
from robust_lr.prior import LearningRatePrior, ValleyPrior

BUDGET = 40


@dataclass(frozen=True)
class Problem:
    """A loss over x = log(lr), its range and its least value there."""

    loss: Callable[[float], float]
    low: float
    high: float
    least: float


def search(problem: Problem, prior: ValleyPrior | None, tolerance: float, noise: float | None) -> SearchResult:
    """Search to the end in the range."""
    low, high = math.exp(problem.low), math.exp(problem.high)
    options = SearchOptions(extend=False, noise=noise, max_trials=BUDGET)
    found = LearningRateSearch(low, high, tolerance=tolerance, prior=prior, options=options)
    while asked := found.ask():
        for lr in asked:
            loss = problem.loss(math.log(lr))
            found.tell(lr, loss, status="ok" if math.isfinite(loss) else "diverged")
    return found.result


def judged(
    runs: Sequence[tuple[Problem, ValleyPrior]], found: Sequence[SearchResult]
) -> tuple[list[float], list[tuple[bool, str | None]]]:
    """Return the true excess of each result, and of each bound whether it is true and what carries it."""
    excess = [p.loss(math.log(r.lr)) - p.least for (p, _), r in zip(runs, found, strict=True)]
    return excess, [(e <= r.excess_bound + 1e-9, r.claim) for e, r in zip(excess, found, strict=True) if r.excess_bound]


def share(excess: Sequence[float], tolerance: float) -> float:
    """Return the share within the tolerance."""
    return float(np.mean([each <= tolerance + 1e-9 for each in excess]))


def row(
    name: str, runs: Sequence[tuple[Problem, ValleyPrior]], tolerance: float, told: float | None = None
) -> dict[str, object]:
    """Return a row of the table; both searches are told the noise, or only the prior knows it."""
    cold = [search(problem, None, tolerance, 0.0) for problem, _ in runs]
    warm = [search(problem, prior, tolerance, told if prior.noise else 0.0) for problem, prior in runs]
    excess, stated = judged(runs, warm)
    before, proved = judged(runs, cold)
    by_prior = [is_true for is_true, claim in stated if claim == "prior"]
    more = [w.n_trials - c.n_trials for w, c in zip(warm, cold, strict=True)]
    return {
        "left out": name,
        "sweeps": len(runs),
        "cold": float(np.mean([r.n_trials for r in cold])),
        "cold within": [
            share(before, tolerance),
            float(np.mean([is_true for is_true, _ in proved])) if proved else None,
        ],
        "prior": float(np.mean([r.n_trials for r in warm])),
        "within": share(excess, tolerance),
        "by prior": len(by_prior) / len(runs),
        "claim": [
            float(np.mean([is_true for is_true, _ in stated])) if stated else None,
            float(np.mean(by_prior)) if by_prior else None,
        ],
        "most": max(more),
        ">2": float(np.mean([each > 2 for each in more])),
    }


def left_out(collection: SweepCollection, columns: Sequence[str], tolerance: float) -> list[dict[str, object]]:
    """Return a row for each left-out group, and one for all of them."""
    rows, everything = [], []
    for values, sweeps in collection.clusters(columns).items():
        out = {id(each) for each in sweeps}
        known = SweepCollection(tuple(each for each in collection if id(each) not in out))
        prior, runs = LearningRatePrior.fit(known), []
        for each in sweeps:
            points = each.points(each.sweep.schedules[0])
            finite = np.isfinite(points.loss)
            x, y = np.log(points.learning_rates[finite]), points.loss[finite]
            problem = Problem(
                lambda at, x=x, y=y: float(np.interp(at, x, y)), float(x[0]), float(x[-1]), float(y.min())
            )
            runs.append((problem, prior.at(**each.covariates)))
        rows.append(
            row(", ".join(f"{value:.4g}" if isinstance(value, float) else value for value in values), runs, tolerance)
        )
        everything += runs
    return [*rows, row("all", everything, tolerance)]


def foreign(prior: ValleyPrior, tolerance: float, n_curves: int, thin: int) -> list[dict[str, object]]:
    """Return a row for each other family; the prior expects its best in the middle, or a decade off."""
    rows = []
    for decades in (2.0, 4.0):
        for lr in (1e-3, 1e-2, 1e-1):
            moved = replace(prior, lr=lr)
            runs = [(Problem(c.loss, c.low, c.high, c.least), moved) for c in cases(decades, "mean", 1, False)[::thin]]
            rows.append(row(f"tables, {decades:g} decades, prior at {lr:g}", runs, tolerance, 0.0))
    center, half = math.log(prior.lr), 2 * math.log(10)
    for name in ("valley", "lopsided", "kink", "cliff", "early cliff", "plateau", "flat floor", "two valleys"):
        curves = [FAMILIES[name](np.random.default_rng([i, 7]), center - half, center + half) for i in range(n_curves)]
        runs = [(Problem(c.loss, c.low, c.high, c.least), prior) for c in curves]
        rows.append(row(f"{name}, 4 decades", runs, tolerance, 0.0))
    return rows


def main() -> None:
    """Measure, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("table", type=Path, help="runs, one per row")
    parser.add_argument("--group-by", required=True, help="columns that tell the sweeps apart")
    parser.add_argument("--leave-out", help="columns whose groups are left out, one at a time")
    parser.add_argument("--metric", help="column of the final loss")
    parser.add_argument("--tolerance", type=float, default=0.005)
    parser.add_argument("--foreign", action="store_true", help="use the prior on other families")
    parser.add_argument("--curves", type=int, default=30, help="made-up curves of each family")
    parser.add_argument("--thin", type=int, default=1, help="take every so many-th case of the tables")
    args = parser.parse_args()
    columns = args.group_by.split(",")
    collection = SweepCollection.from_table(args.table, group_by=columns, metric=args.metric)
    if args.leave_out:
        print(markdown(left_out(collection, args.leave_out.split(","), args.tolerance)))
    if args.foreign:
        prior = LearningRatePrior.fit(collection)
        middle = {
            name: math.exp(float(np.mean([math.log(s.covariates[name]) for s in collection]))) for name in columns
        }
        print(markdown(foreign(prior.at(**middle), args.tolerance, args.curves, args.thin)))


if __name__ == "__main__":
    main()
