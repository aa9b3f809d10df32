"""Does the recommendation of many sweeps hold on sweeps that it has not seen?

    python benchmarks/pooled.py runs.csv --group-by params,tokens,batch_size
    python benchmarks/pooled.py runs.csv --group-by params,tokens,batch_size --cluster-by params --leave-out
    python benchmarks/pooled.py                         the bound on synthetic populations

The table has one run per row, like those that `robust-lr analyze` reads. Half of the clusters recommend a ratio, the
other half checks it, in 400 random splits; with --leave-out each cluster is left out once instead, and all others
recommend. A held-out sweep is within the tolerance if the worst sub-grid of that ratio loses no more against the full
grid of that sweep. Columns:

- ratios: the recommended ones, with the share of the splits; the smallest keeps the grid of the sweeps,
- trials: mean number of learning rates of the recommended grid, and of the full one,
- recommended: share of the splits with a recommendation, which may be to keep the grid of the sweeps,
- coarser: share of the splits in which it is a coarser one,
- within: share of the held-out sweeps within the tolerance, the mean over the splits,
- worst 5%: the same, the mean over the worst 5% of the splits, and the worst of all.

"clusters found" is what the analysis does by itself, without being told the clusters of the splits; "given" is told
them; "sweeps" takes each sweep for independent.

Without a file, the bound itself is tested: on excesses drawn from populations of clusters, the share of sweeps of new
clusters above it (0.05 is promised), and the share of the draws in which more than 0.1 are.
"""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import chain

import numpy as np
from numpy.typing import NDArray

from robust_lr import SweepCollection
from robust_lr._tolerance import read_tolerance
from robust_lr.collection._bound import upper_limit
from robust_lr.collection._excess import SweepExcess, sweep_excess
from robust_lr.collection.pooled import PooledRecommendation, pool_sweeps

Sweeps = list[SweepExcess]


def splits(clusters: Sequence[Sweeps], n: int, *, leave_out: bool) -> Iterator[tuple[Sweeps, Sweeps]]:
    """Yield the sweeps that recommend, and those that check."""
    rng = np.random.default_rng(0)
    for i in range(len(clusters) if leave_out else n):
        order = rng.permutation(len(clusters))
        checks = [i] if leave_out else order[len(order) // 2 :].tolist()
        found = [list(chain.from_iterable(clusters[j] for j in order if (j in checks) == held)) for held in (0, 1)]
        yield found[0], found[1]


def within(advice: PooledRecommendation, sweeps: Sweeps) -> float:
    """Return the share of sweeps that lose no more than the tolerance."""
    excess = np.array([advice.excess_of(each, advice.ratio) for each in sweeps])
    return float(np.mean(np.isnan(excess) | (excess <= advice.tolerance)))  # NaN: that sweep's own grid is no finer


def row(name: str, tolerance: str, found: Sequence[tuple[PooledRecommendation, float]]) -> str:
    """Return one row of the table."""
    held = np.sort([share for _, share in found])
    ratios = Counter(f"{advice.ratio:.2g}" for advice, _ in found)
    worst = held[: max(len(held) // 20, 1)].mean()
    trials = np.mean([advice.n_trials for advice, _ in found]), np.mean([advice.n_trials_full for advice, _ in found])
    cells = [
        tolerance, name, ", ".join(f"{ratio} ({n / len(found):.0%})" for ratio, n in sorted(ratios.items())),
        f"{trials[0]:.1f} of {trials[1]:.1f}", f"{np.mean([not advice.beyond for advice, _ in found]):.0%}",
        f"{np.mean([not advice.keeps_the_grid for advice, _ in found]):.0%}", f"{held.mean():.3f}",
        f"{worst:.3f} ({held[0]:.3f})",
    ]  # fmt: skip
    return f"| {' | '.join(cells)} |"


def population(kind: str, n_clusters: int, n_each: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """Return excesses of shape (n_clusters, n_each)."""
    shape, effect = (n_clusters, n_each), rng.normal(size=(n_clusters, 1))
    if kind == "gamma":
        return rng.gamma(1.0, 1.0, size=shape) * np.exp(0.5 * effect)
    if kind == "lognormal":
        return np.exp(0.6 * effect + 0.6 * rng.normal(size=shape))
    if kind == "alike":
        return np.exp(0.7 * effect + 0.02 * rng.normal(size=shape))
    if kind == "outliers":
        return rng.gamma(2.0, 1.0, size=shape) * np.where(rng.random(shape) < 0.03, 8, 1)
    if kind == "outlying clusters":
        return rng.gamma(2.0, 1.0, size=shape) * np.where(rng.random((n_clusters, 1)) < 0.06, 4, 1)
    # The best of every second learning rate of a quadratic valley with a random optimum.
    at = rng.random(shape)
    worst = np.maximum(np.minimum(at**2, (2 - at) ** 2), np.minimum((1 + at) ** 2, (1 - at) ** 2))
    return (worst - np.minimum(at**2, (1 - at) ** 2)) * np.exp(0.5 * effect)


def print_populations(n_draws: int) -> None:
    """Print how often further sweeps exceed the bound."""
    sizes, rng = ((6, 10), (12, 10), (40, 1), (150, 10)), np.random.default_rng(0)
    names = [f"{m} clusters of {n}" for m, n in sizes]
    print(f"| population | {' | '.join(names)} |\n|{' --- |' * (1 + len(sizes))}")
    for kind in ("gamma", "lognormal", "alike", "outliers", "outlying clusters", "valley"):
        cells = []
        for m, n in sizes:
            further, cluster = population(kind, 5000, n, rng), np.repeat(np.arange(m), n)
            above = np.array([
                np.mean(further > upper_limit(population(kind, m, n, rng).ravel(), cluster, 0.95))
                for _ in range(n_draws)
            ])  # fmt: skip
            cells.append(f"{above.mean():.3f} ({np.mean(above > 0.1):.2f})")
        print(f"| {kind} | {' | '.join(cells)} |", flush=True)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", nargs="?")
    parser.add_argument("--group-by", default="", metavar="A,B")
    parser.add_argument("--cluster-by", metavar="A,B", help="of the splits [default: found by the data]")
    parser.add_argument("--schedule")
    parser.add_argument("--tolerance", nargs="+", default=["0.01", "0.02", "0.03"])
    parser.add_argument("--splits", type=int, default=400)
    parser.add_argument("--leave-out", action="store_true")
    options = parser.parse_args()
    if options.file is None:
        print_populations(options.splits)
        return
    collection = SweepCollection.from_table(options.file, group_by=options.group_by.split(","))
    schedule = options.schedule or collection.schedules[0]
    found = [each for member in collection if isinstance(each := sweep_excess(member, schedule), SweepExcess)]
    whole = pool_sweeps(found, schedule, tolerance=read_tolerance(options.tolerance[0]), share=0.95)
    columns = options.cluster_by.split(",") if options.cluster_by else whole.cluster_by
    clusters: dict[tuple[object, ...], Sweeps] = {}
    for each in found:
        clusters.setdefault(tuple(each.sweep.covariates[name] for name in columns), []).append(each)
    print(f"{len(found)} sweeps, {len(clusters)} clusters by {', '.join(columns)}\n")
    header = ("tolerance", "clusters", "ratios", "trials", "recommended", "coarser", "within", "worst 5%")
    print(f"| {' | '.join(header)} |\n|{' --- |' * len(header)}")
    for tolerance in options.tolerance:
        for name, given in {"found": None, "given": columns, "sweeps": ()}.items():
            both = splits(list(clusters.values()), options.splits, leave_out=options.leave_out)
            advised = [
                (advice := pool_sweeps(a, schedule, tolerance=read_tolerance(tolerance), share=0.95, cluster_by=given),
                 within(advice, b))
                for a, b in both
            ]  # fmt: skip
            print(row(name, tolerance, advised), flush=True)


if __name__ == "__main__":
    main()
