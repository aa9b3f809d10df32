"""How often does `compare_sweeps` call one of two equal sides better, and how often does it see a difference?

    python benchmarks/compare.py                  1000 pairs without any difference, and as many with one
    python benchmarks/compare.py --pairs 5000

Each pair is drawn from one of the kinds below: numbers of seeds, shared or not; one to sixty pairs of sweeps; a side
with three times the noise of the other; diverging seeds; a side with half of the learning rates. Within a kind, curves
and noises are those of benchmarks/coverage.py. The best losses of both sides are equal, and in the second half B is
lower by `--gap` standard deviations of one run. A verdict for either side is false in the first half; at most 5 % may
be. The last line checks `enough_pairs`, from comparisons of three seeds: as many fresh seeds at the best learning rate
should show a stated difference in 80 %.
"""

from __future__ import annotations

import argparse
import itertools
import zlib
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass

import numpy as np
from coverage import CURVES, N_LRS, NOISES, Setting, X, draw

from robust_lr import SweepResult
from robust_lr.analysis import compare_sweeps

SHAPES = ("valley on a point", "flat floor", "spike", "cliff")
SIZES = (0.0005, 0.005, 0.02)
MOST_SEEDS = 200
LRS = 2.0**X


@dataclass(frozen=True)
class Kind:
    """How the two sides are drawn.

    Attributes:
        seeds: numbers of seeds of A and B.
        shared: whether their seeds are the same as far as they go.
        sweeps: number of pairs of sweeps.
        louder: factor on the noise of B.
        diverging: probability that a run at one of the four highest learning rates diverges.
        coarse: whether B has every second learning rate only.
        given: whether the noise is told, 1.4 times too small.
        noises: of the runs.
    """

    seeds: tuple[int, int]
    shared: bool = True
    sweeps: int = 1
    louder: float = 1.0
    diverging: float = 0.0
    coarse: bool = False
    given: bool = False
    noises: tuple[str, ...] = NOISES


UNEVEN = ("independent", "growing", "skewed")
KINDS = {
    "2 seeds": Kind((2, 2)),
    "3 seeds": Kind((3, 3)),
    "5 seeds": Kind((5, 5)),
    "5 and 2 seeds": Kind((5, 2)),
    "3 other seeds": Kind((3, 3), shared=False),
    "5 and 2 other seeds": Kind((5, 2), shared=False),
    "3 seeds, B 3 times noisier": Kind((3, 3), louder=3),
    "3 other, B 3 times noisier": Kind((3, 3), shared=False, louder=3),
    "3 seeds, divergence": Kind((3, 3), diverging=0.2),
    "3 seeds, half of B's rates": Kind((3, 3), coarse=True),
    "1 seed, noise given": Kind((1, 1), given=True),
    "4 sweeps": Kind((1, 1), sweeps=4),
    "20 sweeps": Kind((1, 1), sweeps=20),
    "60 sweeps": Kind((1, 1), sweeps=60),
    "20 sweeps, B 3 times noisier": Kind((1, 1), sweeps=20, louder=3, noises=UNEVEN),
    "60 sweeps, B 3 times noisier": Kind((1, 1), sweeps=60, louder=3, noises=UNEVEN),
    "20 sweeps of 2 seeds, the same": Kind((2, 2), sweeps=20, louder=3),
    "20 sweeps, 1 and 3 seeds": Kind((1, 3), sweeps=20),
    "20 sweeps, half of B's rates": Kind((1, 1), sweeps=20, coarse=True),
    "20 sweeps, divergence": Kind((1, 1), sweeps=20, diverging=0.2),
}

# One seed a sweep does not show noise that neighboring learning rates share.
BLIND = {"20 sweeps, B 3 times noisier, smooth": Kind((1, 1), sweeps=20, louder=3, noises=("smooth",))}


def sides(
    kind: Kind, gap: float, rng: np.random.Generator
) -> tuple[dict[str, SweepResult], dict[str, SweepResult], float]:
    """Return the sweeps of A and B by name, and the noise of one run of A; B is lower by `gap` times that noise."""
    found: tuple[dict[str, SweepResult], dict[str, SweepResult]] = {}, {}
    shape, noise, size = rng.choice(SHAPES), rng.choice(kind.noises), float(rng.choice(SIZES))
    for number in range(kind.sweeps):
        level = rng.normal()
        n = max(kind.seeds) if kind.shared else sum(kind.seeds)
        drawn = draw(Setting(shape, noise, size, n), np.zeros((2, N_LRS)), rng)
        for side in (0, 1):
            first = 0 if kind.shared or side == 0 else kind.seeds[0]
            seeds = range(first, first + kind.seeds[side])
            truth = CURVES[shape] + level - side * gap * size
            loss = truth[:, None] + drawn[side][:, first : seeds.stop] * (kind.louder if side else 1)
            loss = np.where((X > 3)[:, None] & (rng.random(loss.shape) < kind.diverging), np.inf, loss)
            keep = slice(1, None, 2) if kind.coarse and side else slice(None)
            found[side][f"sweep {number}"] = SweepResult(("a",), LRS[keep], seeds, loss[None, keep])
    return *found, size


def verdict(kind: Kind, gap: float, rng: np.random.Generator) -> str:
    """Return the verdict on one pair."""
    a, b, size = sides(kind, gap, rng)
    return compare_sweeps(a, b, noise=size if kind.given else None)[0].verdict


def measure(name: str, n: int, gap: float) -> tuple[str, float, float, float]:
    """Return the shares of false verdicts without a difference, and of right and of wrong ones with it."""
    rng, kind = np.random.default_rng(zlib.crc32(name.encode())), (KINDS | BLIND)[name]
    none = [verdict(kind, 0.0, rng) for _ in range(n)]
    some = [verdict(kind, gap, rng) for _ in range(n)]
    false = np.mean([v in ("A", "B") for v in none])
    return name, float(false), some.count("B") / n, some.count("A") / n


def forecast(n: int, gap: float) -> str:
    """Return how often as many seeds as three forecast show a difference of `gap`, in a sentence."""
    rng, shown, numbers = np.random.default_rng(0), [], []
    for _ in range(n):
        shape, noise, size = rng.choice(SHAPES), rng.choice(NOISES), float(rng.choice(SIZES))
        truth = CURVES[shape]
        loss = truth[:, None] + draw(Setting(shape, noise, size, 3), np.zeros((2, N_LRS)), rng)
        a, b = (SweepResult(("a",), LRS, range(3), one[None]) for one in loss)
        enough = compare_sweeps(a, b)[0].enough_pairs(gap * size)
        if enough is not None and enough <= MOST_SEEDS:
            # At one learning rate on each side, as the sentence says.
            best = truth.argmin()
            more = draw(Setting(shape, noise, size, enough), np.zeros((2, N_LRS)), rng)[:, [best]] + truth[best]
            pair = (SweepResult(("a",), [1.0], range(enough), one[None]) for one in (more[0], more[1] - gap * size))
            shown.append(compare_sweeps(*pair)[0].verdict == "B")
            numbers.append(enough)
    return (
        f"{np.median(numbers):.0f} seeds (median, forecast from 3) show a difference of {gap:g} sd in "
        f"{np.mean(shown):.2f} of {len(shown)} cases"
    )


def main() -> None:
    """Measure every kind and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pairs", type=int, default=1000, help="pairs without a difference, over all kinds")
    parser.add_argument("--gap", type=float, default=3.0, help="the difference, in standard deviations of one run")
    parser.add_argument("--jobs", type=int, default=2)
    args = parser.parse_args()
    n = -(-args.pairs // len(KINDS))
    with ProcessPoolExecutor(args.jobs) as pool:
        rows = list(pool.map(measure, KINDS | BLIND, itertools.repeat(n), itertools.repeat(args.gap)))
    print(f"{'':36} {'no difference':>14} {f'B lower by {args.gap:g} sd':>20}")
    print(f"{f'{n} pairs each':36} {'false verdict':>14} {'B':>12} {'A':>7}")
    total = "all of these", *np.mean([row[1:] for row in rows[: len(KINDS)]], axis=0)
    for name, false, right, wrong in [*rows[: len(KINDS)], total, *rows[len(KINDS) :]]:
        print(f"{name:36} {false:14.3f} {right:12.3f} {wrong:7.3f}")
    print(forecast(args.pairs // 5, 2.0))


if __name__ == "__main__":
    main()
