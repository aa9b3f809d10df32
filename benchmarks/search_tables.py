"""How many trials does a learning-rate search need on measured losses, and does it find what it claims?

    python benchmarks/search_tables.py                          all curves, ranges of two and four decades
    python benchmarks/search_tables.py --cases --strategies robust-lr      one line for each search of this library
    python benchmarks/search_tables.py --trials fresh --seeds 2             each trial is a training with another seed

A case is one curve of the tables (the validation loss of a model under a schedule) and a range of learning rates that
holds its minimum. The range is shifted over it in steps of 0.1618 decades, which no grid has, as far as the table
reaches. `--trials` chooses the result of a trial:

- mean: the mean over the seeds;
- seed: the loss of one seed, the same for all trials of a search, which is judged by this seed too;
- fresh: the loss of one seed, in random order at each learning rate; the search is judged by the mean.

A search is right if the loss of its learning rate is within 0.005 of the least in the range. The columns are those of
`benchmarks/search.py`, for cases instead of curves; "grid" is right in 98% of the cases of its range. Random
strategies (and the random order of a grid) run several times in each case, and are judged together. With `--trials
fresh` no search by gp ends early, and each takes about ten seconds.
"""

from __future__ import annotations

import argparse
import itertools
import json
import math
import sys
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path

import numpy as np
from search import (
    ENDLESS,
    SLOW,
    STRATEGIES,
    TOLERANCE,
    WORKERS,
    Run,
    check_installed,
    grid_in_hindsight,
    markdown,
    run,
    summary,
    thinned,
)
from table_curves import TableCurve, read_curves

DRAWING = (*ENDLESS, "grid")
SHIFT = 0.1618  # decades


@dataclass(frozen=True)
class Case:
    """A curve, a range in x = log(lr), what its trials give, and the number that a strategy draws by."""

    name: str
    low: float
    high: float
    trials: str
    seed: int
    told: bool
    number: int

    @property
    def table(self) -> TableCurve:
        """The curve."""
        return read_curves()[self.name]

    @property
    def noise(self) -> float:
        """The standard deviation over seeds, where a search is told."""
        return self.table.noise(4 * TOLERANCE) if self.told else 0.0

    @property
    def exact(self) -> bool:
        """Whether a trial gives the loss that a search is judged by."""
        return self.trials != "fresh"

    @cached_property
    def least(self) -> float:
        """The least loss in the range: it is at an end, or at a learning rate of the table."""
        xs = [x for x in np.log(self.table.learning_rates).tolist() if self.low < x < self.high]
        return min(self.loss(x) for x in (*xs, self.low, self.high))

    def loss(self, x: float) -> float:
        """Return what a search is judged by."""
        return self.table(math.exp(x), seed=self.seed if self.trials == "seed" else None)

    def measured(self, x: float, earlier: int, rng: np.random.Generator) -> float:
        """Return what a trial gives when there were so many at this learning rate before."""
        if self.exact:
            return self.loss(x)
        order = np.random.default_rng([self.seed, round(1e6 * (x + 100))]).permutation(self.table.n_seeds)
        return self.table(math.exp(x), seed=int(order[earlier % len(order)]))


def cases(decades: float, trials: str, n_seeds: int, told: bool) -> list[Case]:
    """Return every case with a range of so many decades."""
    found = []
    for name, curve in read_curves().items():
        for k, seed in itertools.product(range(int(decades / SHIFT)), range(n_seeds)):
            high = math.log(curve.optimum) + (k + 0.5) * SHIFT * math.log(10)
            low = high - decades * math.log(10)
            if curve.ends[0] <= math.exp(low) and math.exp(high) <= curve.ends[1]:
                found.append(Case(name, low, high, trials, seed, told, number=len(found)))
    return found


def searched(case: Case, name: str, budget: int) -> tuple[Run, Run]:
    """Return what came of a strategy in a case, one trial and four at a time."""
    alone, together = (run(name, case, case.number, budget, workers) for workers in (1, WORKERS))
    return alone, together


def main() -> None:
    """Measure, and print a table for each range."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--decades", nargs="+", type=float, default=[2, 4])
    parser.add_argument("--strategies", nargs="+", choices=STRATEGIES, default=list(STRATEGIES))
    parser.add_argument("--budget", type=int, default=60, help="most trials of one search")
    parser.add_argument("--trials", choices=["mean", "seed", "fresh"], default="mean", help="what a trial gives")
    parser.add_argument("--seeds", type=int, default=5, help="runs of what draws: strategies, or trials of one seed")
    parser.add_argument("--told", action="store_true", help="tell robust-lr the standard deviation over seeds")
    parser.add_argument("--cases", action="store_true", help="a line for each case")
    parser.add_argument(
        "--thin", type=int, default=4, help="gp, which takes seconds a search, has every so many-th case"
    )
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--json", type=Path, help="write the rows of all tables there")
    args = parser.parse_args()
    check_installed(args.strategies)
    if wide := [f"{decades:g}" for decades in args.decades if not cases(decades, args.trials, 1, args.told)]:
        sys.exit(f"--decades must be in the tables, which hold no range of {', '.join(wide)} decades")
    print(f"a trial gives: {args.trials}; {args.budget} trials at most{thinned(args.strategies, args.thin)}")
    everything = []
    with ProcessPoolExecutor(args.jobs) as pool:
        for decades in args.decades:
            rows, lines = [], []
            for name in args.strategies:
                n_seeds = args.seeds if args.trials != "mean" or name in DRAWING else 1
                chosen = cases(decades, args.trials, n_seeds, args.told)[:: args.thin if name in SLOW else 1]
                most = grid_in_hindsight(chosen) if name == "grid" else args.budget
                found = list(pool.map(partial(searched, name=name, budget=most), chosen, chunksize=8))
                rows.append({"range": decades, **summary(name, *zip(*found, strict=True))})
                lines += [line(name, case, *pair) for case, pair in zip(chosen, found, strict=True)]
            print("\n" + markdown(rows, without="doubt"), *(["", *lines] if args.cases else ()), sep="\n", flush=True)
            everything += rows
    if args.json:
        args.json.write_text(json.dumps(everything, allow_nan=False) + "\n")


def line(name: str, case: Case, alone: Run, together: Run) -> str:
    """Return what came of one case."""
    bound = "-" if alone.bound is None else f"{alone.bound:.4f}"
    return (
        f"    {name:9} {case.name:24} {math.exp(case.low):8.2g}..{math.exp(case.high):<8.2g} seed {case.seed} "
        f"trials {alone.trials:2} until {alone.until:3g} rounds {together.rounds:2} "
        f"excess {alone.excess:.4f} bound {bound} {alone.words}"
    )


if __name__ == "__main__":
    main()
