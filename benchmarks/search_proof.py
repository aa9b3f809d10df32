"""How few trials does a search need that knows the curve, and only has to prove that its best is good enough?

    python benchmarks/search_proof.py                  two decades
    python benchmarks/search_proof.py --decades 4

For each case of `benchmarks/search_tables.py` (means over seeds), it finds the smallest set of learning rates that
holds one within the tolerance and whose excess bound is at most the tolerance. They come from 29 places of the range,
ends included; the first of these that diverges counts as one more trial. "after initial points": the set has to hold
the three points that `LearningRateSearch` tries first. A case in which six trials are not enough counts as seven.
"""

from __future__ import annotations

import argparse
import itertools
import math
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial

import numpy as np
from search import TOLERANCE
from search_tables import Case, cases

from robust_lr.search._convex_bound import ConvexBound, Point, highest_ridge

N_PLACES = 29
MOST = 6
INITIAL_POINTS = (1 / 6, 1 / 2, 5 / 6)


def fewest(case: Case, initial_points: Sequence[float]) -> int:
    """Return the size of the smallest proof that holds the initial points, given as shares of the range."""
    width = case.high - case.low
    first = [case.low + share * width for share in initial_points]
    losses = {x: case.loss(x) for x in (*np.linspace(case.low, case.high, N_PLACES).tolist(), *first)}
    known = [x for x in first if math.isfinite(losses[x])]
    places = sorted(x for x in losses if x not in first and math.isfinite(losses[x]))
    walls = sorted(x for x in losses if not math.isfinite(losses[x]) and (not first or x in first))
    n_diverged = len(first) - len(known) if first else min(len(walls), 1)
    for n in range(max(MOST - len(known) - n_diverged, 0) + 1):
        for more in itertools.combinations(places, n):
            points = tuple(Point(x, losses[x]) for x in sorted({*known, *more}))
            if points and is_proof(points, case, walls[0] if walls else case.high):
                return len(points) + n_diverged
    return MOST + 1


def is_proof(points: tuple[Point, ...], case: Case, high: float) -> bool:
    """Return whether these trials show that the best of them is within the tolerance."""
    if min(p.loss for p in points) > case.least + TOLERANCE or highest_ridge(points):
        return False
    return ConvexBound(points, case.low, high).excess_bound <= TOLERANCE


def main() -> None:
    """Measure, and print the means."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--decades", type=int, choices=(2, 4), default=2)
    parser.add_argument("--thin", type=int, default=1, help="every so many-th case")
    parser.add_argument("--jobs", type=int, default=2)
    args = parser.parse_args()
    chosen = cases(args.decades, "mean", 1, False)[:: args.thin]
    print(f"{len(chosen)} cases over {args.decades} decades; the fewest trials that are a proof, on average:")
    with ProcessPoolExecutor(args.jobs) as pool:
        for name, initial_points in (("of all places", ()), ("after initial points", INITIAL_POINTS)):
            found = list(pool.map(partial(fewest, initial_points=initial_points), chosen, chunksize=2))
            print(f"{name}: {np.mean(found):.2f}, most {max(found)}", flush=True)


if __name__ == "__main__":
    main()
