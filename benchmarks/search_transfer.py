"""What does a search gain from a start: one transferred from another schedule, or one that is off by a factor?

    python benchmarks/search_transfer.py                        all curves, ranges of two and four decades
    python benchmarks/search_transfer.py --decades 2 --thin 10  one range in ten

The curves and ranges are the cases of `benchmarks/search_tables.py`. The range is searched under each schedule of a
model. `transfer_learning_rate` takes the result to every other schedule whose optimum lies in the same range, and
there a warm search, from that start with its spread, is compared with a cold one. A start beyond the range is moved to
its end. The columns of the first table:

- range: its width in decades,
- cases: how many ranges,
- start: the start over the best learning rate of the curve, median,
- cold: trials of the cold search, mean,
- warm - cold: how many more trials the warm search needs, mean,
- most: how many more it needs at most,
- worse: the share of cases in which it needs more than one extra trial,
- right: the share in which the loss is within 0.005 of the least in the range, warm/cold.

The second table has the same for starts in the range that are off by a given factor from the best learning rate, with
no spread given, or that of `--start-factor`. The third has the mean number of trials from starts that are off at
random, by a normal deviate of log(lr) with this spread: a column for each `start_factor`, and one for a search without
a start.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from functools import cache, partial

import numpy as np
from search import TOLERANCE, markdown
from search_tables import Case, cases

from robust_lr import LearningRateSearch, SearchOptions, SearchResult, transfer_learning_rate

SCHEDULES = ("constant", "linear", "cosine")
FACTORS = (0.1, 0.3, 1.0, 3.0, 10.0)
SPREADS, TOLD = (1.1, 1.4, 2.0, 3.0), (1.4, 2.0, 4.0, 8.0)


@dataclass(frozen=True)
class Pair:
    """A warm and a cold search of one range: what the start came from, where it was, and what each needed."""

    origin: str
    target: str
    start: float
    trials: tuple[int, int]
    right: tuple[bool, bool]


@cache
def searched(case: Case, start: float | None = None, factor: float | None = None) -> SearchResult:
    """Return the result of a search, warm where there is a start."""
    search = LearningRateSearch(
        math.exp(case.low),
        math.exp(case.high),
        tolerance=TOLERANCE,
        schedule=schedule_of(case),
        options=SearchOptions(noise=0.0, extend=False, start=start, start_factor=factor),
    )
    while not search.done:
        for lr in search.ask():
            loss = case.loss(math.log(lr))
            search.tell(lr, loss, status="ok" if math.isfinite(loss) else "diverged")
    return search.result


def schedule_of(case: Case) -> str:
    """Return the schedule of a case, which is the last word of its name."""
    return case.name.split()[-1]


def pair(case: Case, start: float, factor: float | None, origin: str) -> Pair:
    """Return a warm search from a start with its spread, and a cold one."""
    results = searched(case, start, factor), searched(case)
    warm, cold = (case.loss(math.log(result.lr)) - case.least <= TOLERANCE for result in results)
    trials = results[0].n_trials, results[1].n_trials
    return Pair(origin, schedule_of(case), start / case.table.optimum, trials, (warm, cold))


def transferred(case: Case) -> list[Pair]:
    """Return the pairs for a start that was taken from a search of this case."""
    origin, pairs = schedule_of(case), []
    for schedule in SCHEDULES:
        other = replace(case, name=case.name.replace(origin, schedule))
        if schedule != origin and other.low < math.log(other.table.optimum) < other.high:
            start = transfer_learning_rate(searched(case), to_schedule=schedule)
            inside = min(max(start.lr, math.exp(other.low)), math.exp(other.high))
            pairs.append(pair(other, inside, start.factor, origin))
    return pairs


def displaced(case: Case, told: float | None) -> list[Pair]:
    """Return the pairs for starts that are off by a factor from the best learning rate of the curve."""
    starts = {f"{factor:g}": factor * case.table.optimum for factor in FACTORS}
    return [pair(case, start, told, off) for off, start in starts.items() if case.low < math.log(start) < case.high]


def spread_out(case: Case) -> list[float]:
    """Return the trials without a start, and from a start off by each spread, told each factor."""
    z = np.random.default_rng(case.number).standard_normal()
    starts = [min(max(case.table.optimum * spread**z, math.exp(case.low)), math.exp(case.high)) for spread in SPREADS]
    return [searched(case).n_trials, *(searched(case, start, told).n_trials for start in starts for told in TOLD)]


def all_of(case: Case, told: float | None) -> tuple[list[Pair], list[Pair], list[float]]:
    """Return the pairs of the first table, those of the second, and the trials of the third."""
    return transferred(case), displaced(case, told), spread_out(case)


def figures(pairs: Iterable[Pair]) -> dict[str, object]:
    """Return the columns that say what came of some pairs."""
    pairs = list(pairs)
    more = [warm - cold for warm, cold in (p.trials for p in pairs)]
    return {
        "cases": len(pairs),
        "start": float(np.median([p.start for p in pairs])),
        "cold": float(np.mean([p.trials[1] for p in pairs])),
        "warm - cold": float(np.mean(more)),
        "most": max(more),
        "worse": float(np.mean([m > 1 for m in more])),
        "right": [float(share) for share in np.mean([p.right for p in pairs], axis=0)],
    }


def by_schedules(decades: float, pairs: list[Pair]) -> Iterator[dict[str, object]]:
    """Yield a row for each two schedules, and one for all."""
    for origin in SCHEDULES:
        for target in SCHEDULES:
            if own := [p for p in pairs if (p.origin, p.target) == (origin, target)]:
                yield {"range": decades, "from": origin, "to": target, **figures(own)}
    if pairs:
        yield {"range": decades, "from": "all", "to": "all", **figures(pairs)}


def by_factor(decades: float, pairs: list[Pair]) -> Iterator[dict[str, object]]:
    """Yield a row for each factor that a start is off by."""
    for factor in FACTORS:
        if own := [p for p in pairs if p.origin == f"{factor:g}"]:
            yield {"range": decades, "off by": factor, **figures(own)}


def by_spread(decades: float, trials: list[list[float]]) -> Iterator[dict[str, object]]:
    """Yield a row for each spread."""
    cold, *means = np.mean(trials, axis=0).tolist()
    for spread, own in zip(SPREADS, np.reshape(means, (len(SPREADS), len(TOLD))).tolist(), strict=True):
        told = {f"factor {factor:g}": mean for factor, mean in zip(TOLD, own, strict=True)}
        yield {"range": decades, "spread": spread, "cases": len(trials), "cold": cold, **told}


def main() -> None:
    """Measure, and print both tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--decades", nargs="+", type=float, default=[2, 4])
    parser.add_argument("--thin", type=int, default=1, help="take every so many-th case")
    parser.add_argument("--start-factor", type=float, help="the spread that the second table is told")
    parser.add_argument("--jobs", type=int, default=2)
    args = parser.parse_args()
    schedules, factors, spreads = (list[dict[str, object]]() for _ in range(3))
    with ProcessPoolExecutor(args.jobs) as pool:
        for decades in args.decades:
            chosen = cases(decades, "mean", 1, told=False)[:: args.thin]
            if not chosen:
                sys.exit(f"--decades must be in the tables, which hold no range of {decades:g} decades")
            found = list(pool.map(partial(all_of, told=args.start_factor), chosen, chunksize=4))
            schedules += by_schedules(decades, [p for pairs, _, _ in found for p in pairs])
            factors += by_factor(decades, [p for _, pairs, _ in found for p in pairs])
            spreads += by_spread(decades, [trials for _, _, trials in found])
    print(f"a start from the search under another schedule\n\n{markdown(schedules)}\n")
    print(f"a start that is off by a factor\n\n{markdown(factors, without='start')}\n")
    print(f"a start with a spread\n\n{markdown(spreads)}")


if __name__ == "__main__":
    main()
