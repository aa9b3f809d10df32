"""How many trials does a search for the learning rate need, and is what it claims at its end true?

    python benchmarks/search.py                         every family and strategy, ranges of 2, 4 and 8 decades
    python benchmarks/search.py --curves 20 --strategies robust-lr tpe --decades 4 --json search.json

A family draws curves of the loss over x = log(lr): their shapes, where the minimum lies in the range (uniform over its
inner 80 %), and how sharp it is: a factor of 4 from the optimum costs 0.005 to 0.1, log-uniform. Every strategy sees
the same curves through the same two calls, ask and tell. For each family, range and strategy the table has

- until: trials until one of them is within the tolerance of the least loss in the range, which only this script knows;
  for 50 %, 90 % and 95 % of the curves ("-": not within the budget),
- at stop: trials at the strategy's own end, median and 90th percentile, and their mean,
- success: the share of curves on which its best is within the tolerance at that end,
- rounds: median and 90th percentile of the rounds at its end when four trials run at a time,
- bound: the share of curves on which the true excess is not above the excess bound, of those with one,
- doubt: the share of curves on which it reported more than one valley.

Losses with noise are compared by the true loss of the learning rate that was chosen. A table of measured losses enters
as one more family: `Curve` needs a function of x, and `tabulated` makes one.
"""

from __future__ import annotations

import argparse
import itertools
import json
import math
import warnings
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

from robust_lr.search import LearningRateSearch

TOLERANCE = 0.005
FLOOR = 0.3
WORKERS = 4


@dataclass(frozen=True)
class Curve:
    """A loss over x = log(lr) on a range, and the noise around it; +inf is a trial that diverges."""

    loss: Callable[[float], float]
    low: float
    high: float
    noise: float = 0.0

    @property
    def least(self) -> float:
        """The least loss in the range."""
        return min(self.loss(x) for x in np.linspace(self.low, self.high, 20_001).tolist())


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
    """As a classifier: a plateau where nothing is learnt, a descent, a valley, an end. Not convex on the left."""
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


def tabulated(lrs: Sequence[float], losses: Sequence[float]) -> Curve:
    """Return the curve through measured losses, straight in x between them; +inf from a diverged one on."""
    xs, ys = np.log(lrs), np.array(losses, dtype=float)
    finite = np.isfinite(ys)

    def loss(x: float) -> float:
        i = int(np.clip(np.searchsorted(xs, x), 1, len(xs) - 1))
        return float(np.interp(x, xs[finite], ys[finite])) if finite[i - 1] and finite[i] else math.inf

    return Curve(loss, float(xs[0]), float(xs[-1]))


# --- strategies -----------------------------------------------------------------------------------------------------


class Strategy(Protocol):
    """What every search is driven through; learning rates as x = log(lr)."""

    def ask(self, n: int) -> list[float]:
        """Return up to n points to try at the same time; none when it is at its end."""

    def tell(self, x: float, loss: float) -> None:
        """Hear what one of them gave; +inf when it diverged."""


class RobustLR:
    """The search of this library."""

    def __init__(self, curve: Curve, seed: int, budget: int) -> None:
        low, high = math.exp(curve.low), math.exp(curve.high)
        noise = curve.noise or None
        self.search = LearningRateSearch(low, high, tolerance=TOLERANCE, extend=False, max_trials=budget, noise=noise)
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

    def __init__(self, curve: Curve, seed: int, budget: int, name: str) -> None:
        import optuna

        optuna.logging.set_verbosity(optuna.logging.ERROR)
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
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
        """Tell the study."""
        # Optuna refuses an infinite value: users tell some large loss.
        self.study.tell(self.trials[x], loss if math.isfinite(loss) else 10.0)


class Grid:
    """A geometric grid, in a random order; the best ratio in hindsight is that of the fewest points that do."""

    def __init__(self, curve: Curve, seed: int, n_points: int) -> None:
        step = (curve.high - curve.low) / n_points
        self.left = list(np.random.default_rng(seed).permutation(curve.low + step * (np.arange(n_points) + 0.5)))

    def ask(self, n: int) -> list[float]:
        """Return the next points."""
        points, self.left = self.left[:n], self.left[n:]
        return [float(x) for x in points]

    def tell(self, x: float, loss: float) -> None:
        """A grid learns nothing."""


class GoldenSection:
    """Golden-section search until its bracket is no wider than a factor of 1.5; one trial at a time."""

    def __init__(self, curve: Curve, seed: int, budget: int) -> None:
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


STRATEGIES: dict[str, Callable[[Curve, int, int], Strategy]] = {
    "robust-lr": RobustLR,
    "golden": GoldenSection,
    **{f"grid-{n}": lambda curve, seed, budget, n=n: Grid(curve, seed, n) for n in (5, 9, 13, 17)},
    **{
        name: lambda curve, seed, budget, name=name: OptunaSampler(curve, seed, budget, name)
        for name in ("tpe", "gp", "cmaes", "qmc", "random")
    },
}


# --- one run, and the tables ----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Run:
    """What came of one strategy on one curve."""

    until: float  # the trials until the first within the tolerance, +inf when none was
    trials: int
    success: bool
    rounds: int
    bound_true: bool | None
    doubt: bool


def run(make: Callable[[Curve, int, int], Strategy], curve: Curve, seed: int, budget: int, workers: int) -> Run:
    """Drive a strategy to its end, with as many trials at a time as there are workers."""
    strategy, rng = make(curve, seed, budget), np.random.default_rng(seed)
    least, best, chosen, until, trials, rounds = curve.least, math.inf, math.inf, math.inf, 0, 0
    while trials < budget and (asked := strategy.ask(min(workers, budget - trials))):
        rounds += 1
        for x in asked:
            trials, true = trials + 1, curve.loss(x)
            measured = true + curve.noise * float(rng.normal()) if curve.noise else true
            if measured < best:
                best, chosen = measured, true
            if true <= least + TOLERANCE and until == math.inf:
                until = trials
            strategy.tell(x, measured)
    if not isinstance(strategy, RobustLR):
        return Run(until, trials, chosen <= least + TOLERANCE, rounds, None, False)
    result = strategy.search.result
    excess = curve.loss(math.log(result.lr)) - least if math.isfinite(result.lr) else math.inf
    bound_true = None if result.excess_bound is None else excess <= result.excess_bound + 1e-9
    return Run(until, trials, excess <= TOLERANCE, rounds, bound_true, result.doubt is not None)


def measure(family: str, decades: int, name: str, n_curves: int, budget: int) -> dict[str, object]:
    """Return one row of the table."""
    half, make = decades * math.log(10) / 2, STRATEGIES[name]
    centre = math.log(1e-2)
    alone, together = [], []
    for seed in range(n_curves):
        curve = FAMILIES[family](np.random.default_rng([decades, seed]), centre - half, centre + half)
        alone.append(run(make, curve, seed, budget, 1))
        together.append(run(make, curve, seed, budget, WORKERS))
    until, trials = np.array([r.until for r in alone]), np.array([r.trials for r in alone])
    rounds, bounds = np.array([r.rounds for r in together]), [r.bound_true for r in alone if r.bound_true is not None]
    ends = name not in ("tpe", "gp", "cmaes", "qmc", "random")
    return {
        "family": family,
        "decades": decades,
        "strategy": name,
        **{f"until{q}": float(np.quantile(until, q / 100, method="higher")) for q in (50, 90, 95)},
        "trials": [float(np.median(trials)), float(np.quantile(trials, 0.9)), float(trials.mean())] if ends else None,
        "success": float(np.mean([r.success for r in alone])),
        "rounds": [float(np.median(rounds)), float(np.quantile(rounds, 0.9))] if ends else None,
        "bound": float(np.mean(bounds)) if bounds else None,
        "doubt": float(np.mean([r.doubt for r in alone])),
    }


def table(rows: Sequence[dict[str, object]]) -> str:
    """Return the rows as text."""
    lines = [
        f"{'family':12} {'decades':>7} {'strategy':10} {'until 50/90/95 %':>17} {'at stop 50/90/mean':>19} "
        f"{'success':>7} {'rounds':>7} {'bound':>6} {'doubt':>6}"
    ]
    for r in rows:
        until = "/".join("-" if math.isinf(r[f"until{q}"]) else f"{r[f'until{q}']:g}" for q in (50, 90, 95))
        stop = "-" if r["trials"] is None else "{:g}/{:g}/{:.2f}".format(*r["trials"])
        rounds = "-" if r["rounds"] is None else "{:g}/{:g}".format(*r["rounds"])
        bound = "-" if r["bound"] is None else f"{r['bound']:.3f}"
        lines.append(
            f"{r['family']:12} {r['decades']:7} {r['strategy']:10} {until:>17} {stop:>19} {r['success']:7.3f} "
            f"{rounds:>7} {bound:>6} {r['doubt']:6.3f}"
        )
    return "\n".join(lines)


def main() -> None:
    """Measure, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--curves", type=int, default=100, help="curves of each family and range")
    parser.add_argument("--budget", type=int, default=40, help="most trials of one search")
    parser.add_argument("--families", nargs="+", choices=FAMILIES, default=list(FAMILIES))
    parser.add_argument("--strategies", nargs="+", choices=STRATEGIES, default=list(STRATEGIES))
    parser.add_argument("--decades", nargs="+", type=int, default=[2, 4, 8])
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    cases = list(itertools.product(args.families, args.decades, args.strategies))
    with ProcessPoolExecutor(args.jobs) as pool:
        n = len(cases)
        rows = list(pool.map(measure, *zip(*cases, strict=True), [args.curves] * n, [args.budget] * n))
    print(table(rows))
    if args.json:
        args.json.write_text(json.dumps(rows) + "\n")


if __name__ == "__main__":
    main()
