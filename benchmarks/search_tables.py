"""How many trials does a search for the learning rate need on measured losses, and does it find what it claims?

    python benchmarks/search_tables.py                          all curves, ranges of two and four decades
    python benchmarks/search_tables.py --cases --strategies robust-lr      one line for each search of this library
    python benchmarks/search_tables.py --trials fresh --seeds 2             each trial is a training with another seed

A case is one curve of the tables (the validation loss of a model under a schedule) and a range of learning rates that
holds its minimum: the range is shifted over it in steps of 0.1618 decades, which no grid has, as far as the table
reaches. What a trial gives is chosen with `--trials`:

- mean: the mean over the seeds;
- seed: the loss of one seed, the same for all trials of a search, which is judged by this seed too;
- fresh: the loss of one seed; at each learning rate they come in a random order, and the mean is what is judged.

A search is right when the loss of its learning rate is within 0.005 of the least in the range. For each strategy:

- until: trials until the first learning rate within the tolerance, in 50 %, 90 % and 95 % of the cases,
- at stop: trials at its own end, median, 90th percentile and mean,
- right: the share of cases in which it is right at its own end, or when its budget is spent, alone/4 trials at a time,
- rounds: median and 90th percentile of the rounds at its end when four trials run at a time,
- bound: the share of cases in which the true excess is not above its excess bound, of those with one.

"grid" is the geometric grid with the fewest points that is right in 98 % of the cases, which only hindsight knows.
"""

from __future__ import annotations

import argparse
import itertools
import math
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial

import numpy as np
from search import TOLERANCE, WORKERS, Curve, GoldenSection, OptunaSampler, RobustLR, Strategy
from table_curves import TableCurve, read_curves

STRATEGIES: dict[str, Callable[[Curve, int, int], Strategy]] = {
    "robust-lr": RobustLR,
    "golden": GoldenSection,
    "tpe": partial(OptunaSampler, name="tpe"),
    "random": partial(OptunaSampler, name="random"),
}
RANDOM = ("tpe", "random")
HINDSIGHT = 0.98
SHIFT = 0.1618  # decades


@dataclass(frozen=True)
class Case:
    """A curve, a range in x = log(lr), what its trials give, and the number that random decisions follow from."""

    name: str
    low: float
    high: float
    trials: str
    seed: int

    @property
    def table(self) -> TableCurve:
        """The curve."""
        return read_curves()[self.name]

    @property
    def least(self) -> float:
        """The least loss in the range: it is at an end, or at a learning rate of the table."""
        xs = [x for x in np.log(self.table.learning_rates).tolist() if self.low < x < self.high]
        return min(self.loss(x) for x in (*xs, self.low, self.high))

    def loss(self, x: float) -> float:
        """Return what a search is judged by."""
        return self.table(math.exp(x), seed=self.seed if self.trials == "seed" else None)

    def measured(self, x: float, earlier: int) -> float:
        """Return what a trial gives when there were so many at this learning rate before."""
        if self.trials != "fresh":
            return self.loss(x)
        order = np.random.default_rng([self.seed, round(1e6 * (x + 100))]).permutation(self.table.n_seeds)
        return self.table(math.exp(x), seed=int(order[earlier % len(order)]))


@dataclass(frozen=True)
class Run:
    """What came of one strategy in one case."""

    case: Case
    until: float
    trials: int
    rounds: int
    excess: float
    bound: float | None = None
    words: str = ""


def cases(decades: float, trials: str, n_seeds: int) -> list[Case]:
    """Return every case with a range of so many decades."""
    found = []
    for name, curve in read_curves().items():
        for k, seed in itertools.product(range(int(decades / SHIFT)), range(n_seeds)):
            high = math.log(curve.optimum) + (k + 0.5) * SHIFT * math.log(10)
            low = high - decades * math.log(10)
            if curve.ends[0] <= math.exp(low) and math.exp(high) <= curve.ends[1]:
                found.append(Case(name, low, high, trials, seed))
    return found


def run(strategy_name: str, case: Case, budget: int, workers: int, told: bool) -> Run:
    """Drive a strategy to its end."""
    known = case.table.noise(4 * TOLERANCE) if told else 0.0
    curve = Curve(case.loss, case.low, case.high, noise=known)
    strategy = STRATEGIES[strategy_name](curve, case.seed, budget)
    least, until, xs, rounds, best, chosen = case.least, math.inf, list[float](), 0, math.inf, math.inf
    while len(xs) < budget and (asked := strategy.ask(min(workers, budget - len(xs)))):
        rounds += 1
        for x in asked:
            loss = case.measured(x, sum(abs(x - other) < 1e-9 for other in xs))
            xs.append(x)
            if loss < best:
                best, chosen = loss, curve.loss(x)
            if until == math.inf and curve.loss(x) <= least + TOLERANCE:
                until = len(xs)
            strategy.tell(x, loss)
    if not isinstance(strategy, RobustLR):
        return Run(case, until, len(xs), rounds, chosen - least)
    result = strategy.search.result
    excess = case.loss(math.log(result.lr)) - least if math.isfinite(result.lr) else math.inf
    words = f"{result.reason.partition(':')[0]}; {result.doubt or result.bound_note}"
    return Run(case, until, len(xs), rounds, excess, result.excess_bound, words)


def grid_in_hindsight(all_cases: Sequence[Case]) -> tuple[int, float]:
    """Return the fewest points of a geometric grid that is right in 98 % of the cases, and its share."""
    for n in range(2, 200):
        right = 0
        for case in all_cases:
            step = (case.high - case.low) / n
            losses = [case.loss(case.low + (i + 0.5) * step) for i in range(n)]
            right += min(losses) <= case.least + TOLERANCE
        if right >= HINDSIGHT * len(all_cases):
            return n, right / len(all_cases)
    return 200, math.nan


def quantiles(values: Sequence[float], *shares: float) -> str:
    """Return the quantiles as text; "-" for one that is infinite."""
    found = [float(np.quantile(values, share, method="higher")) for share in shares]
    return "/".join("-" if math.isinf(value) else f"{value:g}" for value in found)


def row(decades: float, name: str, alone: Sequence[Run], together: Sequence[Run]) -> str:
    """Return one row of the table."""
    ends = name not in RANDOM
    trials, bounds = [r.trials for r in alone], [r for r in alone if r.bound is not None]
    stop = f"{quantiles(trials, 0.5, 0.9)}/{np.mean(trials):.2f}" if ends else "-"
    rounds = quantiles([r.rounds for r in together], 0.5, 0.9) if ends else "-"
    right = "/".join(f"{np.mean([r.excess <= TOLERANCE for r in runs]):.3f}" for runs in (alone, together) if runs)
    bound = f"{np.mean([r.excess <= r.bound + 1e-9 for r in bounds]):.3f}" if bounds else "-"
    until = quantiles([r.until for r in alone], 0.5, 0.9, 0.95)
    return f"{decades:7g} {name:16} {len(alone):5} {until:>14} {stop:>14} {right:>11} {rounds:>7} {bound:>6}"


def main() -> None:
    """Measure, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--decades", nargs="+", type=float, default=[2, 4])
    parser.add_argument("--strategies", nargs="+", choices=STRATEGIES, default=list(STRATEGIES))
    parser.add_argument("--budget", type=int, default=60, help="most trials of one search")
    parser.add_argument("--trials", choices=["mean", "seed", "fresh"], default="mean", help="what a trial gives")
    parser.add_argument("--seeds", type=int, default=5, help="runs of what draws: strategies, or trials of one seed")
    parser.add_argument("--told", action="store_true", help="tell robust-lr the standard deviation over seeds")
    parser.add_argument("--cases", action="store_true", help="a line for each case")
    parser.add_argument("--jobs", type=int, default=2)
    args = parser.parse_args()
    print("decades strategy         cases    until 50/90/95  at stop 50/90/mean       right  rounds  bound")
    with ProcessPoolExecutor(args.jobs) as pool:
        for decades in args.decades:
            for name in args.strategies:
                chosen = cases(decades, args.trials, args.seeds if args.trials != "mean" or name in RANDOM else 1)
                ways = {1: [], WORKERS: []}
                for workers in ways if name not in RANDOM else (1,):
                    one = partial(run, name, budget=args.budget, workers=workers, told=args.told)
                    ways[workers] = list(pool.map(one, chosen, chunksize=8))
                print(row(decades, name, ways[1], ways[WORKERS]), flush=True)
                if args.cases:
                    for alone, together in zip(ways[1], ways[WORKERS] or ways[1], strict=True):
                        print(line(alone, together))
            if args.trials == "mean":
                n, right = grid_in_hindsight(cases(decades, args.trials, 1))
                print(f"{decades:7g} {'grid':16} {'':5} {'':14} {n:>14} {right:11.3f} {math.ceil(n / WORKERS):>7}")


def line(alone: Run, together: Run) -> str:
    """Return what came of one case."""
    case, bound = alone.case, "-" if alone.bound is None else f"{alone.bound:.4f}"
    return (
        f"    {case.name:24} {math.exp(case.low):8.2g}..{math.exp(case.high):<8.2g} seed {case.seed} "
        f"trials {alone.trials:2} until {alone.until:3g} rounds {together.rounds:2} "
        f"excess {alone.excess:.4f} bound {bound} {alone.words}"
    )


if __name__ == "__main__":
    main()
