"""How many trials does a learning-rate search need, and are its claims true when it stops?

    python benchmarks/search.py                         every family and strategy, ranges of 2, 4 and 8 decades
    python benchmarks/search.py --curves 20 --strategies robust-lr tpe --decades 4 --json search.json

A family draws curves of the loss over x = log(lr): their shapes, where the minimum lies in the range (uniform over its
inner 80%), and how sharp it is (a factor of 4 from the optimum costs 0.005 to 0.1, log-uniform). Every strategy sees
the same curves through the same two calls, ask and tell. There is one table over all families and one for each.
Columns:

- range: its width in decades,
- until: trials until one of them is within the tolerance of the least loss in the range, which only this script knows;
  for 50%, 90% and 95% of the curves ("-": not within the budget),
- until x4: rounds until then with four trials at a time, for 50% and 90%,
- stop: trials until the strategy stops by itself, median, 90th percentile and mean ("-": it never does),
- stop x4: rounds until it stops with four trials at a time, median and 90th percentile,
- right: the share of curves on which its best is within the tolerance when it stops, alone/four at a time,
- bound: the share of curves with an excess bound on which the true excess is not above it,
- doubt: the share of curves on which it reported more than one valley.

Noisy losses are judged by the true loss of the chosen learning rate. "grid" is a geometric grid in random order, like
Optuna's GridSampler, with the fewest points that are right on 98% of the curves of the family and range; that number is
known only in hindsight. Optuna's samplers have their defaults, except that tpe has constant_liar, which is for parallel
trials, and qmc is scrambled. The last table shows how the mean number of trials of robust-lr grows with the range: at
worst like the logarithm of lr_max/lr_min, as long as "more a decade" does not grow itself.
"""

from __future__ import annotations

import argparse
import itertools
import json
import math
import os
import sys
import warnings
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import cached_property, partial
from importlib.util import find_spec
from pathlib import Path
from typing import Protocol

os.environ.setdefault("OMP_NUM_THREADS", "1")  # the processes are what runs side by side

import numpy as np

from robust_lr.search import LearningRateSearch, SearchOptions

TOLERANCE = 0.005
FLOOR = 0.3
WORKERS = 4
HINDSIGHT = 0.98


class Problem(Protocol):
    """A loss over x = log(lr) on a range, the result of a trial, and the truth that only the judge knows."""

    low: float
    high: float

    @property
    def noise(self) -> float:
        """The standard deviation of a result if the search gets it, else 0."""

    @property
    def exact(self) -> bool:
        """Whether a trial returns the loss by which the search is judged."""

    @property
    def least(self) -> float:
        """The least loss in the range."""

    def loss(self, x: float) -> float:
        """Return the loss by which a search is judged; +inf for a trial that diverges."""

    def measured(self, x: float, earlier: int, rng: np.random.Generator) -> float:
        """Return the result of a trial after `earlier` others at this x."""


@dataclass(frozen=True)
class Curve:
    """The problem of a family: a function of x, and noise around it that a search is told."""

    loss: Callable[[float], float]
    low: float
    high: float
    noise: float = 0.0

    @property
    def exact(self) -> bool:
        """Whether there is no noise."""
        return not self.noise

    @cached_property
    def least(self) -> float:
        """The least loss in the range."""
        return min(self.loss(x) for x in np.linspace(self.low, self.high, 20_001).tolist())

    def measured(self, x: float, earlier: int, rng: np.random.Generator) -> float:
        """Return the loss and its noise."""
        return self.loss(x) + self.noise * float(rng.normal()) if self.noise else self.loss(x)


# --- families -------------------------------------------------------------------------------------------------------


def valley(rng: np.random.Generator, low: float, high: float) -> Curve:
    """A parabola."""
    middle, bend = drawn_minimum(rng, low, high), drawn_bend(rng)
    return Curve(lambda x: FLOOR + bend * (x - middle) ** 2, low, high)


def lopsided(rng: np.random.Generator, low: float, high: float) -> Curve:
    """Two halves of parabolas of different sharpness."""
    middle, left, right = drawn_minimum(rng, low, high), drawn_bend(rng), drawn_bend(rng)
    return Curve(lambda x: FLOOR + (left if x < middle else right) * (x - middle) ** 2, low, high)


def theory(rng: np.random.Generator, low: float, high: float) -> Curve:
    """The bound of convex theory: a cosh to the left, a power of the learning rate to the right."""
    middle, bend, power = drawn_minimum(rng, low, high), drawn_bend(rng), rng.uniform(0.3, 1.0)

    def loss(x: float) -> float:
        far = x - middle
        return FLOOR + 2 * bend * (math.cosh(far) - 1 if far < 0 else (math.expm1(power * far) / power - far) / power)

    return Curve(loss, low, high)


def kink(rng: np.random.Generator, low: float, high: float) -> Curve:
    """Nearly two straight lines."""
    middle, slope, soft = drawn_minimum(rng, low, high), rng.uniform(0.01, 0.08), rng.uniform(0.01, 0.3)
    return Curve(lambda x: FLOOR + slope * (math.hypot(x - middle, soft) - soft), low, high)


def flat_floor(rng: np.random.Generator, low: float, high: float) -> Curve:
    """A floor a factor of 2 to 30 wide between two halves of a parabola."""
    middle, bend, half = drawn_minimum(rng, low, high), drawn_bend(rng), rng.uniform(0.35, 1.7)
    return Curve(lambda x: FLOOR + bend * max(abs(x - middle) - half, 0.0) ** 2, low, high)


def cliff(rng: np.random.Generator, low: float, high: float) -> Curve:
    """A parabola that ends in divergence, a factor of 1.2 to 20 above its minimum."""
    middle, bend, edge = drawn_minimum(rng, low, high), drawn_bend(rng), rng.uniform(0.2, 3.0)
    return Curve(lambda x: FLOOR + bend * (x - middle) ** 2 if x < middle + edge else math.inf, low, high)


def early_cliff(rng: np.random.Generator, low: float, high: float) -> Curve:
    """A loss that falls until it diverges."""
    edge, bend, before = drawn_minimum(rng, low, high), drawn_bend(rng), rng.uniform(0.0, 1.5)
    return Curve(lambda x: FLOOR + bend * (x - edge - before) ** 2 if x < edge else math.inf, low, high)


def plateau(rng: np.random.Generator, low: float, high: float) -> Curve:
    """As a classifier: a plateau where nothing is learned, a descent, a valley, an end. Not convex on the left."""
    middle, bend = drawn_minimum(rng, low, high), drawn_bend(rng)
    descent, width, edge = rng.uniform(2.0, 5.0), rng.uniform(0.5, 1.0), rng.uniform(1.0, 3.0)

    def loss(x: float) -> float:
        if x > middle + edge:
            return math.inf
        learnt = 1 / (1 + math.exp(-(x - middle + descent) / width))
        return FLOOR + 2.0 * (1 - learnt) + (bend * (x - middle) ** 2) * learnt

    return Curve(loss, low, high)


def noisy(rng: np.random.Generator, low: float, high: float) -> Curve:
    """A parabola under noise of a standard deviation of a tenth to a half of the tolerance."""
    curve = lopsided(rng, low, high)
    return Curve(curve.loss, low, high, noise=TOLERANCE * rng.uniform(0.1, 0.5))


def two_valleys(rng: np.random.Generator, low: float, high: float) -> Curve:
    """The adversary: the lower of two parabolas, a factor of 30 or more and 0.05 of loss (or more) apart."""
    while True:
        first, second = sorted(rng.uniform(low + 0.05 * (high - low), high - 0.05 * (high - low), size=2))
        bends, depths = [drawn_bend(rng), drawn_bend(rng)], [0.0, rng.uniform(0.0, 0.1)]
        rng.shuffle(depths)
        curve = Curve(
            lambda x, m=(first, second), b=bends, d=depths: (
                FLOOR + min(d[0] + b[0] * (x - m[0]) ** 2, d[1] + b[1] * (x - m[1]) ** 2)
            ),
            low,
            high,
        )
        top = max(curve.loss(x) for x in np.linspace(first, second, 201).tolist())
        if second - first >= min(math.log(30), 0.6 * (high - low)) and top - FLOOR - max(depths) >= 0.05:
            return curve


FAMILIES: dict[str, Callable[[np.random.Generator, float, float], Curve]] = {
    family.__name__.replace("_", " "): family
    for family in (
        valley, lopsided, theory, kink, flat_floor, cliff, early_cliff, plateau, noisy, two_valleys,
    )
}  # fmt: skip


def drawn_minimum(rng: np.random.Generator, low: float, high: float) -> float:
    """Return where the minimum lies."""
    return float(rng.uniform(0.9 * low + 0.1 * high, 0.1 * low + 0.9 * high))


def drawn_bend(rng: np.random.Generator) -> float:
    """Return a sharpness: what a factor of e from the minimum costs."""
    return float(np.exp(rng.uniform(np.log(0.005), np.log(0.1))) / math.log(4) ** 2)


# --- strategies -----------------------------------------------------------------------------------------------------


class Strategy(Protocol):
    """The interface of every search; learning rates are x = log(lr)."""

    def ask(self, n: int) -> list[float]:
        """Return up to n points to try at the same time; none when the search is over."""

    def tell(self, x: float, loss: float) -> None:
        """Take the result of one of them; +inf if it diverged."""


class RobustLR:
    """The search of this library."""

    def __init__(self, curve: Problem, seed: int, budget: int) -> None:
        low, high = math.exp(curve.low), math.exp(curve.high)
        noise = 0.0 if curve.exact else curve.noise or None
        options = SearchOptions(extend=False, max_trials=budget, noise=noise)
        self.search = LearningRateSearch(low, high, tolerance=TOLERANCE, options=options)
        self.lrs: dict[float, float] = {}

    def ask(self, n: int) -> list[float]:
        """Ask the search."""
        asked = {math.log(lr): lr for lr in self.search.ask(n)}
        self.lrs |= asked
        return list(asked)

    def tell(self, x: float, loss: float) -> None:
        """Tell the search."""
        self.search.tell(self.lrs[x], loss, status="ok" if math.isfinite(loss) else "diverged")


class OptunaSampler:
    """A sampler of Optuna; it never stops, so it runs until its budget is spent."""

    def __init__(self, curve: Problem, seed: int, budget: int, name: str) -> None:
        import optuna

        optuna.logging.set_verbosity(optuna.logging.ERROR)
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        warnings.filterwarnings("ignore", "Clip non-finite values")
        samplers = {
            "tpe": lambda: optuna.samplers.TPESampler(seed=seed, constant_liar=True),
            "gp": lambda: optuna.samplers.GPSampler(seed=seed),
            "cmaes": lambda: optuna.samplers.CmaEsSampler(seed=seed),
            "qmc": lambda: optuna.samplers.QMCSampler(seed=seed, scramble=True),
            "random": lambda: optuna.samplers.RandomSampler(seed=seed),
        }
        self.study, self.budget, self.curve = optuna.create_study(sampler=samplers[name]()), budget, curve
        self.trials: dict[float, optuna.Trial] = {}

    def ask(self, n: int) -> list[float]:
        """Ask the study for trials."""
        n = min(n, self.budget - len(self.study.get_trials(deepcopy=False)))
        asked = [self.study.ask() for _ in range(n)]
        low, high = math.exp(self.curve.low), math.exp(self.curve.high)
        found = {math.log(t.suggest_float("lr", low, high, log=True)): t for t in asked}
        self.trials |= found
        return list(found)

    def tell(self, x: float, loss: float) -> None:
        """Tell the study; gp takes +inf for the largest finite loss, and does worse when told some large number."""
        self.study.tell(self.trials[x], loss)


class Grid:
    """A geometric grid with as many points as the budget, in random order; it learns nothing."""

    def __init__(self, curve: Problem, seed: int, budget: int) -> None:
        self.left = np.random.default_rng(seed).permutation(grid_points(curve, budget)).tolist()

    def ask(self, n: int) -> list[float]:
        """Return the next points."""
        points, self.left = self.left[:n], self.left[n:]
        return points

    def tell(self, x: float, loss: float) -> None:
        """Ignore it."""


def grid_points(curve: Problem, n: int) -> list[float]:
    """Return the points of a grid: the middles of n equal parts of the range."""
    return (curve.low + (curve.high - curve.low) / n * (np.arange(n) + 0.5)).tolist()


def grid_in_hindsight(curves: Sequence[Problem]) -> int:
    """Return the fewest points of a grid that is right on 98% of the curves; 200 when no number below is."""
    for n in range(2, 200):
        right = sum(min(map(curve.loss, grid_points(curve, n))) <= curve.least + TOLERANCE for curve in curves)
        if right >= HINDSIGHT * len(curves):
            return n
    return 200


class GoldenSection:
    """Golden-section search until its bracket is no wider than a factor of 1.5; one trial at a time."""

    def __init__(self, curve: Problem, seed: int, budget: int) -> None:
        self.low, self.high, self.known = curve.low, curve.high, dict[float, float]()

    def ask(self, n: int) -> list[float]:
        """Return the one point that is missing."""
        share = (math.sqrt(5) - 1) / 2
        while self.high - self.low > math.log(1.5):
            left, right = self.high - share * (self.high - self.low), self.low + share * (self.high - self.low)
            for x in (left, right):
                near = next((k for k in self.known if abs(k - x) < 1e-9), None)
                if near is None:
                    return [x]
                left, right = (near, right) if x == left else (left, near)
            if self.known[left] <= self.known[right] and math.isfinite(self.known[left]):
                self.high = right
            elif math.isfinite(self.known[right]):
                self.low = left
            else:
                self.high = left
        return []

    def tell(self, x: float, loss: float) -> None:
        """Keep the loss."""
        self.known[x] = loss


STRATEGIES: dict[str, Callable[[Problem, int, int], Strategy]] = {
    "robust-lr": RobustLR,
    "golden": GoldenSection,
    "grid": Grid,
    **{name: partial(OptunaSampler, name=name) for name in ("tpe", "gp", "cmaes", "qmc", "random")},
}
ENDLESS = ("tpe", "gp", "cmaes", "qmc", "random")
SLOW = ("gp",)
NEEDS = dict.fromkeys(ENDLESS, ("optuna",)) | {"gp": ("optuna", "torch"), "cmaes": ("optuna", "cmaes")}


def check_installed(strategies: Iterable[str]) -> None:
    """Exit with one line if a package that a strategy needs is missing."""
    missing = {name: [p for p in NEEDS.get(name, ()) if find_spec(p) is None] for name in strategies}
    if lacking := [f"{name} needs {' and '.join(packages)}" for name, packages in missing.items() if packages]:
        sys.exit(f"not installed: {', '.join(lacking)}; install that, or name other --strategies")


# --- one run --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Run:
    """What came of one strategy on one curve; the two `until` are +inf when no trial was within the tolerance."""

    until: float
    rounds_until: float
    trials: int
    rounds: int
    excess: float
    bound: float | None = None
    doubt: bool = False
    words: str = ""


def run(name: str, curve: Problem, seed: int, budget: int, workers: int) -> Run:
    """Drive a strategy to its end, with as many trials at a time as there are workers."""
    strategy, rng = STRATEGIES[name](curve, seed, budget), np.random.default_rng(seed)
    least, best, chosen, until, rounds_until = curve.least, math.inf, math.inf, math.inf, math.inf
    xs, rounds = list[float](), 0
    # Without noise, a strategy that never ends learns nothing more that the tables show once it is right.
    while not (name in ENDLESS and curve.exact and until < math.inf):
        if len(xs) == budget or not (asked := strategy.ask(min(workers, budget - len(xs)))):
            break
        rounds += 1
        for x in asked:
            true, loss = curve.loss(x), curve.measured(x, sum(abs(x - other) < 1e-9 for other in xs), rng)
            xs.append(x)
            if loss < best:
                best, chosen = loss, true
            if true <= least + TOLERANCE and until == math.inf:
                until, rounds_until = len(xs), rounds
            strategy.tell(x, loss)
    if not isinstance(strategy, RobustLR):
        return Run(until, rounds_until, len(xs), rounds, chosen - least)
    result = strategy.search.result
    excess = curve.loss(math.log(result.lr)) - least if math.isfinite(result.lr) else math.inf
    words = f"{result.stop or 'not stopped'}; {result.assumption_violation or result.bound_note}"
    return Run(
        until,
        rounds_until,
        len(xs),
        rounds,
        excess,
        result.excess_bound,
        doubt=result.assumption_violation is not None,
        words=words,
    )


# --- the tables -----------------------------------------------------------------------------------------------------


def summary(name: str, alone: Sequence[Run], together: Sequence[Run]) -> dict[str, object]:
    """Return one row: the results of a strategy, one trial and four at a time; None for what is missing."""
    trials, rounds = [r.trials for r in alone], [r.rounds for r in together]
    bounds = [r.excess <= r.bound + 1e-9 for r in alone if r.bound is not None]
    ends = name not in ENDLESS
    return {
        "strategy": name,
        "cases": len(alone),
        "until": quantiles([r.until for r in alone], 0.5, 0.9, 0.95),
        "until x4": quantiles([r.rounds_until for r in together], 0.5, 0.9),
        "stop": [*quantiles(trials, 0.5, 0.9), float(np.mean(trials))] if ends else None,
        "stop x4": quantiles(rounds, 0.5, 0.9) if ends else None,
        "right": [float(np.mean([r.excess <= TOLERANCE for r in runs])) for runs in (alone, together)],
        "bound": float(np.mean(bounds)) if bounds else None,
        "doubt": float(np.mean([r.doubt for r in alone])) if name == "robust-lr" else None,
    }


def quantiles(values: Sequence[float], *shares: float) -> list[float | None]:
    """Return the quantiles, each one of the values; None for one that is infinite."""
    found = [float(np.quantile(values, share, method="higher")) for share in shares]
    return [value if math.isfinite(value) else None for value in found]


def text(value: object) -> str:
    """Return a cell; "-" for what is missing."""
    if isinstance(value, list):
        return "/".join(map(text, value))
    return "-" if value is None else f"{value:.3g}" if isinstance(value, float) else str(value)


def markdown(rows: Sequence[dict[str, object]], without: str = "") -> str:
    """Return the rows, without one of their columns, as an aligned Markdown table."""
    rows = [{column: value for column, value in row.items() if column != without} for row in rows]
    lines = [list(rows[0]), *(list(map(text, row.values())) for row in rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    sides = ["<" if isinstance(value, str) else ">" for value in rows[0].values()]
    lines.insert(
        1, ["-" * (width - 1) + ("-" if side == "<" else ":") for width, side in zip(widths, sides, strict=True)]
    )
    shape = "| " + " | ".join(f"{{:{side}{width}}}" for width, side in zip(widths, sides, strict=True)) + " |"
    return "\n".join(shape.format(*line) for line in lines)


Pairs = tuple[list[Run], list[Run]]


def measure(
    family: str, decades: int, strategies: Sequence[str], n_curves: int, budget: int, thin: int
) -> dict[str, Pairs]:
    """Return the runs of each strategy on the curves of a family, one trial and four at a time."""
    center, half = math.log(1e-2), decades * math.log(10) / 2
    rngs = (np.random.default_rng([decades, seed]) for seed in range(n_curves))
    curves = [FAMILIES[family](rng, center - half, center + half) for rng in rngs]
    found, first = {}, n_curves * list(FAMILIES).index(family)
    for name in strategies:
        most = grid_in_hindsight(curves) if name == "grid" else budget
        chosen = list(enumerate(curves, first))[:: thin if name in SLOW else 1]
        found[name] = tuple(
            [run(name, curve, seed, most, workers) for seed, curve in chosen] for workers in (1, WORKERS)
        )
    return found


def growth(runs: dict[int, dict[str, list[Run]]]) -> list[dict[str, object]]:
    """Return how the mean number of trials of runs by range and family grows with the range."""
    rows = []
    for decades, families in runs.items():
        means = {family: float(np.mean([r.trials for r in those])) for family, those in families.items()}
        mean, most = float(np.mean([r.trials for those in families.values() for r in those])), max(means, key=means.get)
        slope = (mean - rows[-1]["mean"]) / (decades - rows[-1]["range"]) if rows else None
        row = {"range": decades, "mean": mean, "more a decade": slope, "most": means[most], "in the family": most}
        rows.append(row)
    return rows


def main() -> None:
    """Measure, and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--curves", type=int, default=100, help="curves of each family and range")
    parser.add_argument("--budget", type=int, default=40, help="most trials of one search")
    parser.add_argument("--families", nargs="+", choices=FAMILIES, default=list(FAMILIES))
    parser.add_argument("--strategies", nargs="+", choices=STRATEGIES, default=list(STRATEGIES))
    parser.add_argument("--decades", nargs="+", type=int, default=[2, 4, 8])
    parser.add_argument(
        "--thin", type=int, default=10, help="gp, which takes seconds a search, has every so many-th curve"
    )
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--json", type=Path, help="write the rows of all tables there")
    args = parser.parse_args()
    check_installed(args.strategies)
    decades = sorted(set(args.decades))
    cases = list(itertools.product(args.families, decades))
    options = {"strategies": args.strategies, "n_curves": args.curves, "budget": args.budget, "thin": args.thin}
    with ProcessPoolExecutor(args.jobs) as pool:
        runs = dict(zip(cases, pool.map(partial(measure, **options), *zip(*cases, strict=True)), strict=True))

    def rows(families: Sequence[str]) -> list[dict[str, object]]:
        found = []
        for many, name in itertools.product(decades, args.strategies):
            alone, together = ([r for f in families for r in runs[f, many][name][way]] for way in (0, 1))
            found.append({"range": many, **summary(name, alone, together)})
        return found

    tables = {"all families": rows(args.families), **{family: rows([family]) for family in args.families}}
    shape = f"{args.curves} curves of each family and range{thinned(args.strategies, args.thin)}"
    print(f"{shape}; {args.budget} trials at most")
    for title, table in tables.items():
        print(f"\n### {title}\n\n{markdown(table, without='cases')}")
    if "robust-lr" in args.strategies:
        trained = {many: {f: runs[f, many]["robust-lr"][0] for f in args.families} for many in decades}
        print(f"\n### robust-lr: trials at its end\n\n{markdown(growth(trained))}")
    if args.json:
        named = [{"family": title, **row} for title, table in tables.items() for row in table]
        args.json.write_text(json.dumps(named, allow_nan=False) + "\n")


def thinned(strategies: Sequence[str], thin: int) -> str:
    """Return which strategies had fewer cases, in words that go after those of how many there are."""
    return "".join(f" ({name}: one in {thin})" for name in strategies if name in SLOW and thin > 1)


if __name__ == "__main__":
    main()
