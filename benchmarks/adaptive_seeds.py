"""Does `run_sweep(seeds="adaptive")` recommend what five seeds everywhere recommend, and with how many trainings?

    python benchmarks/adaptive_seeds.py                               one sweep of each synthetic kind
    python benchmarks/adaptive_seeds.py --seeds-file FILE.npz         seeds drawn from measured sweeps with many seeds

The synthetic kinds are those of benchmarks/coverage.py (curves x noises x sizes), with three tolerances each. A file of
measured sweeps is described there too; its tolerances are 0.7, 2 and 5 times the noise at the best learning rate, and
the truth is the mean over all its seeds. Each sweep has 16 learning rates. The same five seeds serve three methods: two
seeds everywhere, five everywhere, and the adaptive plan, which `run_sweep` carries out. Five others everywhere show how
far a repetition of the whole sweep agrees with itself.

A recommendation is a stride; 1 stands for keeping the grid, and for no recommendation. Two agree if the strides are
equal. One is false if the true worst excess loss of its stride is above the tolerance.
"""

from __future__ import annotations

import argparse
import itertools
import zlib
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from coverage import CURVES, NOISES, SIZES, Setting, X, best_of_sub_grids, draw

from robust_lr import SweepResult, analyze_sweep, run_sweep
from robust_lr.analysis import AdaptiveSeeds

N_SEEDS = 5
TOLERANCES = (0.004, 0.012, 0.03)
NOISES_AT_THE_BEST = (0.7, 2.0, 5.0)
METHODS = ("2 seeds", "5 seeds", "5 others", "adaptive")
LRS = 2.0**X


@dataclass(frozen=True)
class Kind:
    """Losses of shape (16, seeds) to draw from, or a setting to draw them by, and a tolerance."""

    name: str
    tolerance: float
    truth: np.ndarray
    setting: Setting | None = None
    losses: np.ndarray | None = None

    def sample(self, rng: np.random.Generator) -> np.ndarray:
        """Return losses of shape (16, 10): five seeds, and five others."""
        if self.setting is not None:
            return draw(self.setting, np.stack([self.truth, self.truth]), rng)[0]
        return self.losses[:, rng.choice(self.losses.shape[1], 2 * N_SEEDS, replace=False)]


def synthetic_kinds() -> Iterator[Kind]:
    """Every curve, noise, size and tolerance."""
    for curve, noise, size, tolerance in itertools.product(CURVES, NOISES, SIZES, TOLERANCES):
        yield Kind(
            f"{curve} {noise} {size} {tolerance}", tolerance, CURVES[curve], Setting(curve, noise, size, 2 * N_SEEDS)
        )


def measured_kinds(path: Path) -> Iterator[Kind]:
    """Every schedule of every array of the file, with three tolerances."""
    archive = np.load(path)
    for name in (name for name in archive if not name.endswith("/lrs")):
        for row, losses in enumerate(archive[name]):
            mean = losses.mean(axis=1)
            noise = losses[mean.argmin()].std(ddof=1)
            for factor in NOISES_AT_THE_BEST:
                yield Kind(f"{name} {row} {factor}", factor * noise, mean, losses=losses)


def stride_of(sweep: SweepResult, tolerance: float) -> int:
    """Return the stride of the recommendation, 1 if there is none."""
    advice = analyze_sweep(sweep, tolerance=tolerance).recommendations.get("a")
    return 1 if advice is None else round(np.log(advice.ratio) / np.log(LRS[1] / LRS[0]))


def adaptive_sweep(loss: np.ndarray, tolerance: float) -> SweepResult:
    """Run the adaptive plan on these losses."""

    def train(*, lr: float, schedule: object, seed: int) -> float:
        return loss[np.abs(LRS - lr).argmin(), seed]

    seeds = AdaptiveSeeds(tolerance=tolerance, max_seeds=N_SEEDS)
    return run_sweep(train, LRS, {"a": "constant"}, seeds, progress=False)


def measure(kind: Kind, n_sweeps: int) -> list[dict[str, tuple[int, int, bool]]]:
    """Return for each sweep and method the stride, the number of trainings, and whether the stride is false."""
    rng, found = np.random.default_rng(zlib.crc32(kind.name.encode())), []
    for _ in range(n_sweeps):
        loss = kind.sample(rng)
        parts = (loss[:, :2], loss[:, :N_SEEDS], loss[:, N_SEEDS:])
        sweeps = [SweepResult(("a",), LRS, range(part.shape[1]), part[None]) for part in parts]
        row = {}
        for method, sweep in zip(METHODS, [*sweeps, adaptive_sweep(loss, kind.tolerance)], strict=True):
            stride = stride_of(sweep, kind.tolerance)
            excess = best_of_sub_grids(kind.truth, stride).max() - kind.truth.min()
            row[method] = (stride, sweep.n_trials, bool(excess > kind.tolerance + 1e-12))
        found.append(row)
    return found


def table(rows: list[dict[str, tuple[int, int, bool]]]) -> list[str]:
    """Return the lines of the table."""
    lines = [f"{len(rows)} sweeps   trainings  share   agree  finer  coarser  recommended  mean stride  false"]
    full = np.array([row["5 seeds"][0] for row in rows])
    for method in METHODS:
        stride, trainings, false = np.array([row[method] for row in rows]).T
        lines.append(
            f"{method:12} {trainings.mean():9.1f} {trainings.mean() / (len(X) * N_SEEDS):6.3f} "
            f"{np.mean(stride == full):7.3f} {np.mean(stride < full):6.3f} {np.mean(stride > full):8.3f} "
            f"{np.mean(stride > 1):12.3f} {stride.mean():12.2f} {false.mean():6.4f}"
        )
    return lines


def main() -> None:
    """Measure every kind and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sweeps", type=int, default=1, help="sweeps of each kind")
    parser.add_argument("--seeds-file", type=Path, help="npz archive of measured sweeps with many seeds")
    parser.add_argument("--every", type=int, default=1, help="measure only every N-th kind")
    parser.add_argument("--jobs", type=int, default=2)
    args = parser.parse_args()
    kinds = list(measured_kinds(args.seeds_file) if args.seeds_file else synthetic_kinds())[:: args.every]
    with ProcessPoolExecutor(args.jobs) as pool:
        rows = list(itertools.chain(*pool.map(measure, kinds, itertools.repeat(args.sweeps), chunksize=4)))
    print("\n".join(table(rows)))


if __name__ == "__main__":
    main()
