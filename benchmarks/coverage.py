"""Do the bands cover the truth, and are they no wider than necessary? Sweeps with a known truth.

    python benchmarks/coverage.py                               synthetic sweeps: 200 of each kind
    python benchmarks/coverage.py --missing 0.33                without a third of their cells
    python benchmarks/coverage.py --short-row                   one learning rate, drawn, has one seed
    python benchmarks/coverage.py --short-seed                  one seed has one learning rate, drawn
    python benchmarks/coverage.py --repeats                     one seed, and a second at the three around its best
    python benchmarks/coverage.py --noise 1.5                   one seed, and a noise that is given 1.5 times too small
    python benchmarks/coverage.py --seeds-file FILE.npz         seeds drawn from measured sweeps with many seeds

A setting is a true curve (valleys, a steep valley, a flat floor, one good point among equals, cliffs), a kind of noise
(independent; growing with the learning rate; smooth over neighboring learning rates; skewed; each with a part shared
by all learning rates of a seed), its size, and a number of seeds. Each sweep draws 16 learning rates x K seeds and asks
for the 95 % bands of `degradation_curve`, at four strides, and of `compare_schedules`. Coverage is the share of bands
that hold the truth, upper the share of those that end above it (a recommendation rests on that side alone, nominally
97.5 %); the width is set against the spread of the estimate, from its 2.5 to its 97.5 percentile over the fresh sweeps.
The peer is what one would write first: a percentile bootstrap over the seeds of the plug-in estimate.

A file of measured sweeps is an npz archive with arrays NAME/METRIC of shape (schedules, learning rates, seeds), and
NAME/lrs. K of its seeds are drawn for each sweep; the truth is the mean over all.
"""

from __future__ import annotations

import argparse
import itertools
import json
import zlib
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from robust_lr import SweepResult, compare_schedules
from robust_lr.analysis._selection import loss_block
from robust_lr.analysis.degradation import curve_of

N_LRS = 16
STRIDES = (2, 3, 4, 6)
X = np.arange(N_LRS) - 7.5
CURVES = {
    "valley": 0.002 * (X + 0.7) ** 2,
    "valley on a point": 0.002 * (X - 1.5) ** 2,
    "lopsided valley": np.where(X < 0.4, 0.004, 0.0005) * (X - 0.4) ** 2,
    "steep valley": 0.03 * np.abs(X - 0.2),
    "flat floor": 0.01 * np.maximum(np.abs(X - 0.5) - 4, 0) ** 2,
    "spike": np.where(X == 1.5, 0.0, 0.01),
    "dip": np.where(X == 1.5, 0.0, np.where(np.abs(X - 1.5) < 3, 0.003, 0.02)),
    "cliff": np.where(X > 2, 1.0, 0.003 * (X - 1.2) ** 2),
    "divergence": np.where(X > 3, np.inf, 0.003 * (X - 1.2) ** 2),
}
NOISES = ("independent", "growing", "smooth", "skewed")
SIZES = (0.0005, 0.005, 0.02, 0.1)
SEEDS = (2, 3, 5)
METHODS = ("bands", "percentile bootstrap")


@dataclass(frozen=True)
class Setting:
    """One known truth and one kind of noise around it."""

    curve: str
    noise: str
    size: float
    n_seeds: int


@dataclass(frozen=True)
class Analysis:
    """How sweeps are changed before they are analyzed, and what the analysis is told."""

    missing: float = 0.0
    short_row: bool = False
    short_seed: bool = False
    repeats: bool = False
    noise: float | None = None  # given to the analysis: too small by this factor
    bootstrap: bool = False


def draw(setting: Setting, truth: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return losses of two schedules with this truth around a shared seed effect, shape (2, L, K)."""
    shape = (2, N_LRS, setting.n_seeds)
    common, own = rng.normal(size=(1, 1, setting.n_seeds)), rng.normal(size=shape)
    if setting.noise == "growing":
        own *= np.exp(0.15 * X)[:, None]
    elif setting.noise == "smooth":
        kernel = np.exp(-0.5 * ((X[:, None] - X) / 1.5) ** 2) + 1e-6 * np.eye(N_LRS)
        own = np.einsum("ij,sjk->sik", np.linalg.cholesky(kernel), own)
    elif setting.noise == "skewed":
        own = (rng.gamma(2.0, size=shape) - 2) / np.sqrt(2)
    return truth[:, :, None] + setting.size * (common + own)


def thin(loss: np.ndarray, share: float, rng: np.random.Generator) -> np.ndarray:
    """Return the losses without this share of the cells, the same for both schedules; each row and column keeps one."""
    gone = rng.random(loss.shape[1:]) < share
    gone[np.arange(len(gone)), rng.integers(loss.shape[2], size=len(gone))] = False
    return np.where(gone, np.nan, loss)


def shorten(loss: np.ndarray, rng: np.random.Generator, *, row: bool) -> np.ndarray:
    """Return the losses of one learning rate on its first seed alone, or of the last seed at one of them alone."""
    loss, at = loss.copy(), int(rng.integers(loss.shape[1]))
    if row:
        loss[:, at, 1:] = np.nan
    else:
        loss[:, np.arange(loss.shape[1]) != at, -1] = np.nan
    return loss


def repeats_only(loss: np.ndarray) -> np.ndarray:
    """Return the losses of two seeds without those of the second, save at the three around the best of the first."""
    loss = loss.copy()
    for one in loss:
        first = min(max(int(one[:, 0].argmin()) - 1, 0), len(one) - 3)
        one[[i for i in range(len(one)) if not first <= i < first + 3], 1] = np.nan
    return loss


def best_of_sub_grids(mean: np.ndarray, stride: int) -> np.ndarray:
    """Lowest mean of each offset's sub-grid; mean has shape (..., L)."""
    return np.stack([mean[..., offset::stride].min(axis=-1) for offset in range(stride)], axis=-1)


def bootstrap(loss: np.ndarray, stride: int, rng: np.random.Generator) -> dict[str, tuple[float, float]]:
    """The peer: percentile bootstrap of the plug-in worst and mean degradation."""
    n_seeds = loss.shape[1]
    mean = loss[:, rng.integers(n_seeds, size=(500, n_seeds))].mean(axis=-1).T
    excess = best_of_sub_grids(mean, stride) - mean.min(axis=-1, keepdims=True)
    return {
        name: tuple(np.quantile(v, [0.025, 0.975])) for name, v in (("worst", excess.max(1)), ("mean", excess.mean(1)))
    }


def measure(
    setting: Setting, n_sweeps: int, seed: int, how: Analysis = Analysis(bootstrap=True)
) -> list[dict[str, object]]:
    """Return one row a quantity, stride and method: coverage, mean width and spread of the estimate."""
    # The second schedule has the same shape one point to the left and a little higher.
    truth = np.stack([CURVES[setting.curve], np.roll(CURVES[setting.curve], -1) + 0.004])
    truth[1, -1] = truth[1, -2]
    noise = None if how.noise is None else setting.size / how.noise
    return _measure(asdict(setting), lambda rng: draw(setting, truth, rng), truth, 2.0**X, n_sweeps, seed, how, noise)


def measure_file(path: Path, name: str, n_seeds: int, n_sweeps: int, how: Analysis) -> list[dict[str, object]]:
    """Return the same for one array of measured losses; each schedule is compared with the next."""
    archive = np.load(path)
    losses, lrs = archive[name], archive[f"{name.partition('/')[0]}/lrs"]
    rows = []
    for s in range(len(losses)):
        both = np.stack([losses[s], losses[(s + 1) % len(losses)]])
        truth = both.mean(axis=-1)
        noise = None if how.noise is None else float(both[0, truth[0].argmin()].std(ddof=1)) / how.noise
        kind = {"curve": f"{name} {s}", "noise": "measured", "size": 0.0, "n_seeds": n_seeds}

        def sample(rng: np.random.Generator, both: np.ndarray = both) -> np.ndarray:
            return both[:, :, rng.choice(both.shape[2], n_seeds, replace=False)]

        rows += _measure(kind, sample, truth, lrs, n_sweeps, zlib.crc32(f"{name} {s} {n_seeds}".encode()), how, noise)
    return rows


def _measure(
    kind: dict[str, object], sample: Callable[[np.random.Generator], np.ndarray], truth: np.ndarray, lrs: np.ndarray,
    n_sweeps: int, seed: int, how: Analysis, noise: float | None,
) -> list[dict[str, object]]:  # fmt: skip
    rng = np.random.default_rng(seed)
    found: dict[tuple[str, int, str], list[tuple[float, float, float]]] = {}
    for _ in range(n_sweeps):
        loss = sample(rng)
        if how.missing:
            loss = thin(loss, how.missing, rng)
        if how.short_row or how.short_seed:
            loss = shorten(loss, rng, row=how.short_row)
        if how.repeats:
            loss = repeats_only(loss)
        sweep = SweepResult(("a", "b"), lrs, range(loss.shape[2]), loss)
        curves = {name: curve_of(loss_block(sweep, name, noise=noise), 0.95, STRIDES) for name in "ab"}
        comparison = compare_schedules(curves.values())
        curve = curves["a"]
        for at, k in enumerate(STRIDES):
            for name in ("worst", "mean"):
                interval = getattr(curve, f"{name}_interval")[at]
                found.setdefault((name, k, METHODS[0]), []).append((getattr(curve, name)[at], *interval))
            if how.bootstrap:
                for name, interval in bootstrap(loss[0], k, rng).items():
                    found.setdefault((name, k, METHODS[1]), []).append((getattr(curve, name)[at], *interval))
            row = comparison.n_trials.index(-(-N_LRS // k))
            sign = 1 if comparison.lowest[row] == "b" else -1
            interval = sorted(sign * comparison.interval[row, 0 if sign == 1 else 1])
            estimate = comparison.final_loss[row, 0] - comparison.final_loss[row, 1]
            found.setdefault(("difference", k, METHODS[0]), []).append((estimate, *interval))
    rows = []
    for (name, k, method), values in found.items():
        excess = best_of_sub_grids(truth[0], k) - truth[0].min()
        other = best_of_sub_grids(truth[1], k)
        true = {
            "worst": excess.max(),
            "mean": excess.mean(),
            "difference": np.mean(excess + truth[0].min()) - other.mean(),
        }
        estimate, low, high = np.array(values).T
        spread = float(np.diff(np.quantile(estimate, [0.025, 0.975]))[0])
        hit = (low <= true[name] + 1e-12) & (true[name] <= high + 1e-12)
        rows.append(
            kind
            | {"quantity": name, "stride": k, "method": method, "truth": float(true[name])}
            | {"coverage": float(hit.mean()), "upper": float(np.mean(true[name] <= high + 1e-12))}
            | {"width": float(np.mean(high - low)), "spread": spread}
        )
    return rows


def table(rows: list[dict[str, object]], by: str) -> list[str]:
    """Return the lines of a table: coverage and relative width of each quantity and method, by one property.

    A kind is a curve, a noise, a size and a number of seeds; the lowest coverage is that of the lowest kind, over its
    strides. The relative width weights all kinds alike, whatever the size of their noise (geometric mean).
    """
    lines = [f"{by:20} {'quantity':10} {'method':20} coverage  lowest  upper  lowest  width/spread"]
    for value in dict.fromkeys(row[by] for row in rows):
        for quantity, method in itertools.product(("worst", "mean", "difference"), METHODS):
            some = [r for r in rows if (r[by], r["quantity"], r["method"]) == (value, quantity, method)]
            if some:
                kinds: dict[tuple[object, ...], list[dict[str, object]]] = {}
                for r in some:
                    kinds.setdefault((r["curve"], r["noise"], r["size"], r["n_seeds"]), []).append(r)
                coverage, upper = (
                    np.array([np.mean([r[c] for r in kind]) for kind in kinds.values()]) for c in ("coverage", "upper")
                )
                relative = [r["width"] / r["spread"] for r in some if r["spread"] > 0 and r["width"] > 0]
                width = np.exp(np.mean(np.log(relative))) if relative else np.nan
                lines.append(
                    f"{value!s:20} {quantity:10} {method:20} {coverage.mean():8.3f} {coverage.min():7.3f} "
                    f"{upper.mean():6.3f} {upper.min():7.3f} {width:13.2f}"
                )
    return lines


def main() -> None:
    """Measure every setting and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sweeps", type=int, default=200, help="sweeps of each kind")
    parser.add_argument("--seeds", type=int, nargs="+", default=SEEDS, help="numbers of seeds")
    parser.add_argument("--missing", type=float, default=0.0, help="share of the cells that are missing")
    parser.add_argument("--short-row", action="store_true", help="one learning rate has one seed")
    parser.add_argument("--short-seed", action="store_true", help="one seed has one learning rate; at least 3 seeds")
    parser.add_argument("--repeats", action="store_true", help="one seed, and a second at three learning rates")
    parser.add_argument("--noise", type=float, help="one seed; the noise given is too small by this factor")
    parser.add_argument("--seeds-file", type=Path, help="npz archive of measured sweeps with many seeds")
    parser.add_argument("--curves", nargs="+", default=list(CURVES), choices=list(CURVES), help="synthetic curves")
    parser.add_argument("--bootstrap", action="store_true", help="measure the percentile bootstrap too")
    parser.add_argument("--by", nargs="+", default=["n_seeds"], choices=["n_seeds", "curve", "noise", "size"])
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    seeds = [1] if args.noise else [2] if args.repeats else args.seeds
    how = Analysis(args.missing, args.short_row, args.short_seed, args.repeats, args.noise, args.bootstrap)
    with ProcessPoolExecutor(args.jobs) as pool:
        if args.seeds_file:
            names = [name for name in np.load(args.seeds_file) if not name.endswith("/lrs")]
            jobs = [
                pool.submit(measure_file, args.seeds_file, name, k, args.sweeps, how)
                for name, k in itertools.product(names, seeds)
            ]
        else:
            settings = [Setting(*s) for s in itertools.product(args.curves, NOISES, SIZES, seeds)]
            jobs = [pool.submit(measure, s, args.sweeps, i, how) for i, s in enumerate(settings)]
        rows = list(itertools.chain(*(job.result() for job in jobs)))
    for by in args.by:
        print("\n".join(table(rows, by)), end="\n\n")
    if args.json:
        args.json.write_text(json.dumps(rows) + "\n")


if __name__ == "__main__":
    main()
