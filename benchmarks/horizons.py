"""What do short trainings save in the search for a long one's learning rate? On a table of sweeps at several lengths.

    python benchmarks/horizons.py runs.csv --length tokens --same params,batch_size --leave-out params

The table has one run a row, with the columns lr and loss, and those named here. Two sweeps that agree in `--same`, and
of which one is at least four times as long, are a pair: (short, long). A trial between two learning rates of a sweep
has the loss on the line between their losses, over log(lr); beyond them the last line goes on. Full schedules of both
lengths, so nothing is ranked by the middle of a run. The rows:

- full length: the search at the long length alone;
- short one kept: the search at the short length, and one long trial at its best;
- horizons: `search_learning_rate(..., horizons=[short / long, 1])`;
- horizons, law: the same with `start_at=`, a law for the best learning rate that was fitted to the sweeps of all other
  values of `--leave-out`: quadratic in the logs of the length and the other columns of `--same`, linear in that one;
- horizons, prior: the same with a prior (`robust-lr learn`) from the sweeps of all other values of `--leave-out`;
- prior alone: `search_learning_rate(..., horizons=[1])` with that prior, so without short trainings.

The columns: pairs; cost: the mean in trainings of full length, of which short trials and long trials; within: the share
of pairs whose learning rate is within the tolerance of the least loss of the long sweep, of 95% at most so much above
it; stated: the share of the searches that state such a claim.

The second table is the drift of the best learning rate from the shorter to the longer of any two sweeps that agree in
`--same`, by how many times as long it is: its mean and its root mean square, as factors; the exponent is the mean of
log(lr ratio) / log(length ratio), and its correlation is that with the log of each column of `--same`.
"""

from __future__ import annotations

import argparse
import csv
import math
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import combinations_with_replacement, pairwise
from pathlib import Path

import numpy as np
from search import markdown

from robust_lr import SearchOptions, SearchResult, SweepCollection, search_learning_rate
from robust_lr.prior import LearningRatePrior, ValleyPrior
from robust_lr.search import SearchStart

LEAST_RATIO, LEAST_RUNS = 4 * (1 - 1e-9), 8
RIDGE = 1e-3
OPTIONS = SearchOptions(noise=0.0, extend=False)

Key = tuple[float, ...]
Law = Callable[["Sweep"], SearchStart | ValleyPrior]


@dataclass(frozen=True)
class Sweep:
    """Losses over learning rates at one length."""

    length: float
    same: Key
    losses: dict[float, float] = field(compare=False)

    def __call__(self, lr: float) -> float:
        """Return the loss on the line between the neighbors of a learning rate."""
        xs, ys, x = *self._arrays, math.log(lr)
        i = int(np.clip(np.searchsorted(xs, x) - 1, 0, len(xs) - 2))
        return float(ys[i] + (ys[i + 1] - ys[i]) / (xs[i + 1] - xs[i]) * (x - xs[i]))

    @property
    def least(self) -> float:
        """The least loss."""
        return min(self.losses.values())

    def optimum(self, tolerance: float) -> float:
        """Return log(lr) at the minimum of a parabola through the losses near the least."""
        xs, ys = self._arrays
        best = int(np.clip(ys.argmin(), 1, len(xs) - 2))
        near = (ys <= ys.min() + 4 * tolerance) | (abs(np.arange(len(xs)) - best) <= 1)
        square, slope, _ = np.polyfit(xs[near] - xs[best], ys[near], 2)
        return float(np.clip(xs[best] - slope / (2 * square) if square > 0 else xs[best], xs[0], xs[-1]))

    @property
    def _arrays(self) -> tuple[np.ndarray, np.ndarray]:
        lrs = sorted(self.losses)
        return np.log(lrs), np.array([self.losses[lr] for lr in lrs])


def read_sweeps(path: Path, length: str, same: list[str]) -> list[Sweep]:
    """Return the sweeps of a table with at least eight runs."""
    found: dict[Key, dict[float, float]] = defaultdict(dict)
    with path.open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            found[tuple(float(row[name]) for name in (length, *same))][float(row["lr"])] = float(row["loss"])
    return [Sweep(key[0], key[1:], losses) for key, losses in sorted(found.items()) if len(losses) >= LEAST_RUNS]


def fitted_law(sweeps: list[Sweep], left_out: int, tolerance: float) -> Law:
    """Return a law for the best learning rate, with its error beyond the fit."""

    def features(sweep: Sweep) -> list[float]:
        others = [math.log(v) for i, v in enumerate(sweep.same) if i != left_out]
        logs = [math.log(sweep.length), *others] - middle
        squares = [a * b for a, b in combinations_with_replacement(logs, 2)]
        return [1.0, *logs, *squares, math.log(sweep.same[left_out])]

    middle = np.mean(
        [[math.log(s.length), *(math.log(v) for i, v in enumerate(s.same) if i != left_out)] for s in sweeps], axis=0
    )
    rows, wanted = np.array([features(s) for s in sweeps]), np.array([s.optimum(tolerance) for s in sweeps])
    inverse = np.linalg.inv(rows.T @ rows + RIDGE * np.eye(rows.shape[1]))
    weights = inverse @ rows.T @ wanted
    variance = float(np.sum((wanted - rows @ weights) ** 2)) / (len(sweeps) - rows.shape[1])

    def law(sweep: Sweep) -> SearchStart:
        row = np.array(features(sweep))
        std = math.sqrt(variance * (1 + row @ inverse @ row))
        return SearchStart(lr=math.exp(row @ weights), factor=math.exp(std))

    return law


def learned_priors(path: Path, columns: list[str], left_out: str) -> dict[float, Law]:
    """Return for each value of a column the prior of the sweeps of all its other values."""
    collection, found = SweepCollection.from_table(path, group_by=columns), dict[float, Law]()
    for (value,), own in collection.clusters([left_out]).items():
        out = {id(sweep) for sweep in own}
        prior = LearningRatePrior.fit(SweepCollection(tuple(each for each in collection if id(each) not in out)))
        found[float(value)] = lambda sweep, prior=prior: prior.at(
            **dict(zip(columns, (sweep.length, *sweep.same), strict=True))
        )
    return found


def searched(short: Sweep, long: Sweep, tolerance: float, *, alone: bool = False, law: Law | None) -> SearchResult:
    """Return the result of a search for the learning rate of the long sweep."""
    steps = {1000: long} if alone else {round(1000 * short.length / long.length): short, 1000: long}

    def train(*, lr: float, schedule: object, seed: int, total_steps: int) -> float:
        return steps[total_steps](lr)

    lrs = [*short.losses, *long.losses]
    return search_learning_rate(
        train, min(lrs), max(lrs), tolerance=tolerance, options=OPTIONS, progress=False, total_steps=1000,
        horizons=[n / 1000 for n in steps], start_at=None if law is None else lambda n: law(steps[n]),
    )  # fmt: skip


def outcomes(
    pairs: list[tuple[Sweep, Sweep]], sweeps: list[Sweep], left_out: int, priors: dict[float, Law], tolerance: float
) -> Iterator[tuple]:
    """Yield (row, cost, short trials, long trials, excess, whether it states the claim) for each pair and strategy."""
    laws = {
        value: fitted_law([s for s in sweeps if s.same[left_out] != value], left_out, tolerance)
        for value in {long.same[left_out] for _, long in pairs}
    }
    for short, long in pairs:
        law, prior = laws[long.same[left_out]], priors[long.same[left_out]]
        before = searched(long, short, tolerance, alone=True, law=None)
        ratio = short.length / long.length
        yield "short one kept", before.n_trials * ratio + 1, before.n_trials, 1, long(before.lr) - long.least, False
        for name, options in (
            ("full length", {"alone": True, "law": None}),
            ("horizons", {"law": None}),
            ("horizons, law", {"law": law}),
            ("horizons, prior", {"law": prior}),
            ("prior alone", {"alone": True, "law": prior}),
        ):
            result = searched(short, long, tolerance, **options)
            n_short = sum(each.n_trials for each in result.shorter)
            excess = long(result.lr) - long.least
            yield name, result.cost, n_short, result.n_trials, excess, result.stop in ("horizons", "tolerance")


def drifts(sweeps: list[Sweep], same: list[str], tolerance: float) -> Iterator[dict[str, object]]:
    """Yield a row for each range of length ratios."""
    best = {id(sweep): sweep.optimum(tolerance) for sweep in sweeps}
    pairs = [(a, b) for a in sweeps for b in sweeps if a.same == b.same and b.length > a.length]
    for low, high in pairwise((1.0, 2.0, 4.0, 8.0, 16.0, math.inf)):
        own = [(a, b) for a, b in pairs if low <= b.length / a.length < high]
        if len(own) < 3:
            continue
        moved = np.array([best[id(b)] - best[id(a)] for a, b in own])
        exponents = moved / np.log([b.length / a.length for a, b in own])
        logs = np.log([b.same for _, b in own])
        related = {
            f"corr {name}": (float(np.corrcoef(exponents, logs[:, i])[0, 1]) if len(set(logs[:, i])) > 1 else None)
            for i, name in enumerate(same)
        }
        yield {
            "times as long": f"{low:g} to {high:g}", "pairs": len(own), "mean": float(np.exp(moved.mean())),
            "rms": float(np.exp(np.sqrt(np.mean(moved**2)))), "exponent": float(exponents.mean()), **related,
        }  # fmt: skip


def main() -> None:
    """Measure, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("file", type=Path)
    parser.add_argument("--length", required=True, help="column of the length of a training")
    parser.add_argument("--same", required=True, help="columns in which the sweeps of a pair agree: a,b")
    parser.add_argument("--leave-out", required=True, help="the one of these columns that the law is tested on")
    parser.add_argument("--tolerance", type=float, default=0.005)
    parser.add_argument("--thin", type=int, default=1, help="take every so many-th pair")
    args = parser.parse_args()
    same = args.same.split(",")
    sweeps = read_sweeps(args.file, args.length, same)
    pairs = [(a, b) for a in sweeps for b in sweeps if a.same == b.same and b.length >= LEAST_RATIO * a.length]
    found: dict[str, list[tuple]] = defaultdict(list)
    priors = learned_priors(args.file, [args.length, *same], args.leave_out)
    for name, *numbers in outcomes(pairs[:: args.thin], sweeps, same.index(args.leave_out), priors, args.tolerance):
        found[name].append(tuple(numbers))
    rows = []
    for name, each in found.items():
        cost, n_short, n_long, excess, stated = (np.array(column, dtype=float) for column in zip(*each, strict=True))
        within = {"within": float(np.mean(excess <= args.tolerance)), "95% within": float(np.quantile(excess, 0.95))}
        trials = {"short trials": float(n_short.mean()), "long trials": float(n_long.mean())}
        rows.append({"search": name, "pairs": len(each), "cost": float(cost.mean()), **trials, **within,
                     "stated": float(stated.mean())})  # fmt: skip
    print(f"{markdown(rows)}\n\n{markdown(list(drifts(sweeps, same, args.tolerance)))}")


if __name__ == "__main__":
    main()
