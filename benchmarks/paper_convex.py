"""Does annealing make tuning robust, as the theory says? Projected SGD on stochastic convex problems.

    python benchmarks/paper_convex.py                  measure, and print the tables
    python benchmarks/paper_convex.py --write-docs     the same, into docs/paper.md, its figures and the table of losses
    python benchmarks/paper_convex.py --write-docs --from-table     tables and figures again, without training
    python benchmarks/paper_convex.py --steps 1000 --seeds 3 --problems "every scale" absolute

The setting is that of arXiv:2503.09411: minimize a convex Lipschitz f over a bounded set with steps
``x_{t+1} = P(x_t - eta h_t g_t)``, one random row or one random sign per coordinate a step. The problems:

- every scale: ``f(x) = sum_i s_i |x_i|`` on ``[-1, 1]**37`` from (1, .., 1), with ``s_i = 2**(-i/4)``; a gradient is
  ``s_i sign(x_i)`` and a random sign. A coordinate forgets within about ``s_i**-2`` steps, so at each moment of a run
  some coordinate has just that time left: the worst case of the theory, all in one problem;
- absolute: absolute regression, 2000 rows of 10 normal inputs, Laplace noise;
- noisy: logistic regression, the same inputs, labels drawn from a logistic model;
- separable: the same, labels without an error and a margin; the best point lies on the boundary of the ball;
- breast cancer: logistic regression on the data of that name in scikit-learn, standardized;
- sharp: ``f(x) = |x| / 5`` on [-1, 1], with a random sign.

A seed draws the rows or signs, the same for all schedules and learning rates. The learning rates of a schedule reach from
1/100 of the best one of `robust_lr.theory` (1/1000 for sharp) to 3000 times that, 11 per factor of ten. The average of the
iterates is weighted by the steps, as in theory.

The exponent is the least-squares slope of log(f - f*) on log(rho) over rho in [10, 100], as in
`robust_lr.robustness_exponent`; rho is the learning rate over the measured best one (of the mean over seeds, smoothed over
five neighbors). Its band is a 95% t interval of the jackknife over seeds.
"""

from __future__ import annotations

import argparse
import csv
import gzip
import io
import math
import platform
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import sklearn
from numpy.typing import NDArray
from scipy.optimize import linprog
from scipy.stats import t as student
from sklearn.datasets import load_breast_cancer

import robust_lr
from robust_lr import SweepResult, parse_schedule, theory
from robust_lr.analysis._selection import loss_block
from robust_lr.analysis.degradation import curve_of

Array = NDArray[np.float64]

ROOT = Path(__file__).parents[1]
DOCS, TABLE = ROOT / "docs" / "paper.md", ROOT / "benchmarks" / "tables" / "paper-convex.csv.gz"
PLAIN = ("constant", "inverse-sqrt", "polynomial(0.5)", "linear", "polynomial(2)", "polynomial(3)", "cosine", "wsd(0.2)")
FLOORED = tuple(f"{s.rstrip(')')}{',' if '(' in s else '('}floor=0.1)" for s in PLAIN[1:])
SCHEDULES = tuple(str(parse_schedule(s)) for s in (*PLAIN, *FLOORED))
ITERATES = ("last", "average")
STEPS, SEEDS, PER_DECADE, HIGHEST = (1000, 10_000, 100_000), 10, 11, 3000.0
RATIOS = (3, 10, 30)
WINDOW, LEAST_POINTS = (10.0, 100.0), 6
CONFIDENCE = 0.95


class Regression:
    """The mean of a Lipschitz loss over the rows of a table, over a ball around 0; a step sees one row.

    Args:
        kind: "absolute", ``|x @ w - y|``, or "logistic", ``log(1 + exp(-y x @ w))``, y = -1 or 1.
        radius: of the ball.
    """

    lowest = 1e-2

    def __init__(self, kind: str, inputs: Array, targets: Array, radius: float) -> None:
        self.kind, self.inputs, self.targets, self.radius = kind, inputs, targets, radius
        self.start = np.zeros(inputs.shape[1])
        self.best = _least_absolute(inputs, targets) if kind == "absolute" else _logistic(inputs, targets, radius)
        self.distance = float(np.linalg.norm(self.best))
        self.gradient_bound = float(np.sqrt(np.mean(np.sum(inputs**2, axis=1))))

    def draws(self, rng: np.random.Generator, n: int) -> NDArray[np.int64]:
        """Return the row of each step, (n,)."""
        return rng.integers(len(self.inputs), size=n)

    def step(self, w: Array, rates: Array, drawn: NDArray[np.int64], scratch: Array) -> None:
        """Change all models w, (seeds, d, cells), by a step at rates (cells,) on a row per seed, (seeds,)."""
        x, y = self.inputs[drawn].astype(w.dtype), self.targets[drawn][:, None].astype(w.dtype)
        slope = _slope(self.kind, np.matmul(x[:, None], w)[:, 0], y) * rates
        np.multiply(x[:, :, None], slope[:, None], out=scratch)
        w -= scratch
        length = np.sqrt(np.einsum("sdc,sdc->sc", w, w))
        if length.max() > self.radius:
            w *= (self.radius / np.maximum(length, self.radius))[:, None]

    def excess(self, w: Array) -> Array:
        """Return f - f* of models (seeds, d, cells), (seeds, cells)."""
        least = _loss(self.kind, self.inputs @ self.best, self.targets).mean()
        return np.stack([_loss(self.kind, self.inputs @ one, self.targets[:, None]).mean(axis=0) for one in w]) - least


class Scales:
    """``f(x) = sum_i s_i |x_i|`` on [-1, 1]**d from (1, .., 1); a gradient is that of f and a random sign a coordinate."""

    def __init__(self, sharpness: Array, lowest: float = 1e-2) -> None:
        self.sharpness, self.lowest = sharpness, lowest
        self.start = np.ones(len(sharpness))
        self.distance = math.sqrt(len(sharpness))
        self.gradient_bound = math.sqrt(float(np.sum(1 + sharpness**2)))

    def draws(self, rng: np.random.Generator, n: int) -> NDArray[np.int8]:
        """Return the signs of each step, (n, d)."""
        return 2 * rng.integers(2, size=(n, len(self.sharpness)), dtype=np.int8) - 1

    def step(self, w: Array, rates: Array, drawn: NDArray[np.int8], scratch: Array) -> None:
        """Change all models w, (seeds, d, cells), by a step at rates (cells,) with the signs (seeds, d)."""
        np.copysign(self.sharpness[:, None].astype(w.dtype), w, out=scratch)
        scratch += drawn[:, :, None].astype(w.dtype)
        scratch *= rates
        w -= scratch
        np.clip(w, -1, 1, out=w)

    def excess(self, w: Array) -> Array:
        """Return f - f* of models (seeds, d, cells), (seeds, cells)."""
        return np.einsum("d,sdc->sc", self.sharpness, np.abs(w))


def _slope(kind: str, z: Array, y: Array) -> Array:
    return np.sign(z - y) if kind == "absolute" else -y / (1 + np.exp(np.clip(y * z, -500, 500)))


def _loss(kind: str, z: Array, y: Array) -> Array:
    return np.abs(z - y) if kind == "absolute" else np.logaddexp(0, -y * z)


def _least_absolute(inputs: Array, targets: Array) -> Array:
    """Minimize the mean of |inputs @ w - targets|, a linear program."""
    n, d = inputs.shape
    both = np.block([[inputs, -np.eye(n)], [-inputs, -np.eye(n)]])
    cost, limits = np.append(np.zeros(d), np.ones(n) / n), [(None, None)] * d + [(0, None)] * n
    return linprog(cost, A_ub=both, b_ub=np.append(targets, -targets), bounds=limits).x[:d]


def _logistic(inputs: Array, targets: Array, radius: float) -> Array:
    """Minimize the logistic loss over the ball by accelerated projected gradients that restart, to 1e-12 in w."""
    rate = 4 * len(inputs) / np.linalg.eigvalsh(inputs.T @ inputs)[-1]
    w = ahead = np.zeros(inputs.shape[1])
    momentum = 1.0
    for _ in range(100_000):
        gradient = inputs.T @ _slope("logistic", inputs @ ahead, targets) / len(inputs)
        new = ahead - rate * gradient
        new *= radius / max(radius, float(np.linalg.norm(new)))
        if np.linalg.norm(new - ahead) < 1e-12:
            return new
        after = 1.0 if (ahead - new) @ (new - w) > 0 else (1 + math.sqrt(1 + 4 * momentum**2)) / 2
        ahead = new + (momentum - 1) / after * (new - w) if after > 1 else new
        w, momentum = new, after
    raise RuntimeError("the best point was not found")


@cache
def problem(name: str) -> Regression | Scales:
    """Return a problem by its name in PROBLEMS."""
    return PROBLEMS[name]()


def _normal_inputs() -> tuple[np.random.Generator, Array, Array]:
    rng = np.random.default_rng(7)
    inputs = rng.normal(size=(2000, 10)) / math.sqrt(10)
    direction = rng.normal(size=10)
    return rng, inputs, direction / np.linalg.norm(direction)


def _absolute() -> Regression:
    rng, inputs, direction = _normal_inputs()
    return Regression("absolute", inputs, inputs @ direction + rng.laplace(scale=0.3, size=2000), 2.0)


def _noisy() -> Regression:
    rng, inputs, direction = _normal_inputs()
    positive = rng.random(2000) < 1 / (1 + np.exp(-5 * inputs @ direction))
    return Regression("logistic", inputs, np.where(positive, 1.0, -1.0), 10.0)


def _separable() -> Regression:
    _, inputs, direction = _normal_inputs()
    labels = np.sign(inputs @ direction)
    return Regression("logistic", inputs + 0.1 * labels[:, None] * direction, labels, 10.0)


def _breast_cancer() -> Regression:
    data, labels = load_breast_cancer(return_X_y=True)
    inputs = np.column_stack([(data - data.mean(axis=0)) / data.std(axis=0), np.ones(len(data))])
    inputs /= math.sqrt(np.mean(np.sum(inputs**2, axis=1)))
    return Regression("logistic", inputs, np.where(labels > 0, 1.0, -1.0), 20.0)


PROBLEMS: dict[str, Callable[[], Regression | Scales]] = {
    "every scale": lambda: Scales(2.0 ** (-np.arange(37) / 4)),
    "absolute": _absolute,
    "noisy": _noisy,
    "separable": _separable,
    "breast cancer": _breast_cancer,
    "sharp": lambda: Scales(np.array([0.2]), lowest=1e-3),
}
REGRESSIONS = ("absolute", "noisy", "separable", "breast cancer")


def learning_rates(name: str, schedule: str, total_steps: int) -> Array:
    """Return the learning rates of a sweep, 11 per factor of ten around the best one of the theory."""
    one = problem(name)
    size = {"diameter": one.distance, "gradient_bound": one.gradient_bound}
    best = theory.tuned_bound(schedule, total_steps=total_steps, **size).learning_rate
    n = math.ceil(PER_DECADE * math.log10(HIGHEST / one.lowest)) + 1
    return best * one.lowest * 10.0 ** (np.arange(n) / PER_DECADE)


def train(name: str, schedules: Sequence[str], total_steps: int, n_seeds: int) -> tuple[Array, Array]:
    """Return f - f* of the last iterate and of the average, each (schedules, learning rates, seeds)."""
    one = problem(name)
    multipliers = np.stack([parse_schedule(s)(np.arange(total_steps), total_steps) for s in schedules], axis=1)
    lrs = np.stack([learning_rates(name, s, total_steps) for s in schedules])
    weights = multipliers / multipliers.sum(axis=0)
    draws = [one.draws(np.random.default_rng([seed, total_steps]), total_steps) for seed in range(n_seeds)]
    drawn = np.stack(draws, axis=1)
    w = np.empty((n_seeds, len(one.start), lrs.size), np.float32)  # rounding is far below the noise of a step
    w[:] = one.start[:, None]
    average, scratch = np.zeros_like(w), np.empty_like(w)
    for t in range(total_steps):
        np.multiply(w, np.repeat(weights[t].astype(w.dtype), lrs.shape[1]), out=scratch)
        average += scratch
        one.step(w, (multipliers[t][:, None] * lrs).ravel().astype(w.dtype), drawn[t], scratch)
    last, mean = (one.excess(each).reshape(n_seeds, *lrs.shape).transpose(1, 2, 0) for each in (w, average))
    return last, mean


@dataclass(frozen=True)
class Sweeps:
    """All that was measured: f - f*, (learning rates, seeds), by (problem, iterate, steps, schedule)."""

    losses: Mapping[tuple[str, str, int, str], Array]
    made: str

    @property
    def steps(self) -> list[int]:
        """The lengths, ascending."""
        return sorted({key[2] for key in self.losses})

    @property
    def problems(self) -> list[str]:
        """The problems, in the order of PROBLEMS."""
        return [name for name in PROBLEMS if any(key[0] == name for key in self.losses)]


def measure(problems: Sequence[str], steps: Sequence[int], n_seeds: int, n_jobs: int) -> Sweeps:
    """Train everything."""
    begin = time.perf_counter()
    work = [
        (name, some, total)
        for total in sorted(steps, reverse=True)
        for name in sorted(problems, key=_size, reverse=True)
        for some in _portions(max(1, min(8, 150 // _size(name))))  # as many as the cache of a core holds
    ]
    losses = {}
    with ProcessPoolExecutor(n_jobs) as pool:
        runs = [pool.submit(train, *one, n_seeds) for one in work]
        for (name, some, total), run in zip(work, runs, strict=True):
            for iterate, each in zip(ITERATES, run.result(), strict=True):
                losses |= {(name, iterate, total, s): one for s, one in zip(some, each, strict=True)}
    seconds = time.perf_counter() - begin
    versions = f"Python {platform.python_version()}, numpy {np.__version__}, scikit-learn {sklearn.__version__}"
    runs_made = sum(one.size for key, one in losses.items() if key[1] == "last")
    made = f"{runs_made} trainings in {seconds:.0f} s on {n_jobs} cores; robust-lr {robust_lr.__version__}, {versions}"
    return Sweeps(losses, made)


def _portions(size: int) -> list[tuple[str, ...]]:
    return [SCHEDULES[i : i + size] for i in range(0, len(SCHEDULES), size)]


def _size(name: str) -> int:
    return len(problem(name).start)


def write_table(sweeps: Sweeps, path: Path) -> None:
    """Write all losses; a row is a seed, a column a learning rate, a cell 1000 log10(f - f*) as a whole number."""
    text = io.StringIO()
    text.write(f"# {sweeps.made}\n")
    writer = csv.writer(text, lineterminator="\n")
    width = max(len(losses) for losses in sweeps.losses.values())
    writer.writerow(["problem", "iterate", "steps", "schedule", "seed", *range(width)])
    for (name, iterate, steps, schedule), losses in sweeps.losses.items():
        for seed, one in enumerate(np.rint(1000 * np.log10(np.maximum(losses.T, 1e-12))).astype(int)):
            writer.writerow([name, iterate, steps, schedule, seed, *one])
    path.write_bytes(gzip.compress(text.getvalue().encode(), mtime=0))


def read_table(path: Path) -> Sweeps:
    """Read what `write_table` wrote; the losses are rounded to 0.1%."""
    made, *lines = gzip.decompress(path.read_bytes()).decode().splitlines()
    found: dict[tuple[str, str, int, str], list[list[float]]] = {}
    for name, iterate, steps, schedule, _, *cells in csv.reader(lines[1:]):
        found.setdefault((name, iterate, int(steps), schedule), []).append([int(cell) for cell in cells if cell])
    return Sweeps({key: 10 ** (np.array(rows).T / 1000) for key, rows in found.items()}, made.removeprefix("# "))


def best_index(losses: Array) -> int:
    """Return the place of the best learning rate, from the mean over seeds, smoothed over five neighbors."""
    logs = np.log(losses.mean(axis=1))
    return int(np.convolve(logs, np.full(5, 0.2), mode="valid").argmin()) + 2


def exponent(losses: Array) -> float:
    """Return the slope of log(f - f*) over rho in [10, 100]; NaN where the sweep does not reach far enough."""
    rho = 10.0 ** ((np.arange(len(losses)) - best_index(losses)) / PER_DECADE)
    inside = (rho > WINDOW[0] / 1.001) & (rho < WINDOW[1] * 1.001)
    if inside.sum() < PER_DECADE + 1:
        return math.nan
    return float(np.polyfit(np.log(rho[inside]), np.log(losses.mean(axis=1)[inside]), 1)[0])


def exponent_band(losses: Array) -> tuple[float, float, float]:
    """Return the exponent and the ends of its band, from the jackknife over seeds."""
    n = losses.shape[1]
    estimate = exponent(losses)
    if n < 2:
        return estimate, math.nan, math.nan
    without = np.array([exponent(np.delete(losses, k, axis=1)) for k in range(n)])
    half = student.ppf(0.5 + CONFIDENCE / 2, n - 1) * math.sqrt((n - 1) ** 2 / n * np.var(without, ddof=1))
    return estimate, estimate - half, estimate + half


def coarse_cost(losses: Array, lrs: Array, ratios: Sequence[int]) -> list[tuple[float, float, float]]:
    """Return f - f* of the worst grid of each ratio over that of the full grid, with the ends of its band."""
    sweep = SweepResult(("one",), lrs, range(losses.shape[1]), losses[None])
    strides = [round(PER_DECADE * math.log10(ratio)) for ratio in ratios]
    curve = curve_of(loss_block(sweep, "one"), CONFIDENCE, [1, *strides])
    base = curve.final_loss[0]
    rows = zip(curve.worst[1:], *curve.worst_interval[1:].T, curve.covered[1:], strict=True)
    return [(1 + worst / base, 1 + low / base, 1 + high / base) if ok else (math.nan,) * 3 for worst, low, high, ok in rows]
