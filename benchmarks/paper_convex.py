"""Does annealing make tuning robust, as the theory says? Projected SGD on stochastic convex problems.

    python benchmarks/paper_convex.py                  measure, and print the tables
    python benchmarks/paper_convex.py --write-docs     the same, into the page of the docs, its figures and the losses
    python benchmarks/paper_convex.py --write-docs --from-table     tables and figures again, without training
    python benchmarks/paper_convex.py --write-docs --problems sharp     one problem again, the others from the table
    python benchmarks/paper_convex.py --steps 1000 --seeds 3 --problems "every scale" absolute

The setting is that of arXiv:2503.09411: minimize a convex Lipschitz f over a bounded set with steps
``x_{t+1} = P(x_t - eta h_t g_t)``, one random row or one random sign per coordinate a step. The problems:

- every scale: ``f(x) = sum_i s_i |x_i|`` on ``[-1, 1]**28`` from (1, .., 1), with ``s_i = 2**(-i/3)``; a gradient is
  ``s_i sign(x_i)`` and a random sign. A coordinate forgets within about ``s_i**-2`` steps, so at each moment of a run
  some coordinate has just that time left: the worst case of the theory, all in one problem;
- absolute: absolute regression, 2000 rows of 10 normal inputs, Laplace noise;
- noisy: logistic regression, the same inputs, labels drawn from a logistic model;
- separable: the same, labels without an error and a margin; the best point lies on the boundary of the ball;
- breast cancer: logistic regression on the data of that name in scikit-learn, standardized;
- sharp: ``f(x) = |x| / 5`` on [-1, 1], with a random sign.

A seed draws the rows or signs, the same for all schedules and learning rates. The learning rates of a schedule reach
from 1/100 of the best one of `robust_lr.theory` (1/1000 for sharp) to 3000 times that, 11 per factor of ten. The
average of the iterates is weighted by the steps, as in theory.

The exponent is the least-squares slope of log(f - f*) on log(rho) over rho in [10, 100], as in
`robust_lr.theory.robustness_exponent`; rho is the learning rate over the measured best one, which is the average of
log(learning rate) with weights ((least f - f*) / (f - f*))**16. Its band is a 95% t interval of the jackknife over
seeds. What a coarser grid costs is `robust_lr.degradation_curve`: chosen on all seeds but one, scored on that one.
"""

from __future__ import annotations

import argparse
import csv
import gzip
import io
import itertools
import json
import math
import platform
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import cache
from importlib.metadata import version
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linprog
from scipy.sparse import eye_array, hstack, vstack
from scipy.stats import t as student

import robust_lr
from robust_lr import SweepResult, parse_schedule, theory
from robust_lr.analysis._selection import loss_block
from robust_lr.analysis.degradation import curve_of

Array = NDArray[np.float64]
Banded = tuple[float, float, float]

ROOT = Path(__file__).parents[1]
DOCS, TABLE = ROOT / "docs" / "explanation" / "paper.md", ROOT / "benchmarks" / "tables" / "paper-convex.csv.gz"
DECAYS = ("inverse-sqrt", "polynomial(0.5)", "linear", "polynomial(2)", "polynomial(3)", "cosine", "wsd(0.2)")
FLOORED = (f"{s.rstrip(')')}{',' if '(' in s else '('}floor=0.1)" for s in DECAYS)
SCHEDULES = tuple(str(parse_schedule(s)) for s in ("constant", *DECAYS, *FLOORED))
ITERATES = ("last", "average")
STEPS, SEEDS, PER_DECADE, HIGHEST = (1000, 10_000, 100_000), 10, 11, 3000.0
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
    """``f(x) = sum_i s_i |x_i|`` on [-1, 1]**d from (1, .., 1); a gradient is that of f plus random signs."""

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
    both = vstack([hstack([sign * inputs, -eye_array(n)]) for sign in (1, -1)], format="csr")
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
    from sklearn.datasets import load_breast_cancer

    data, labels = load_breast_cancer(return_X_y=True)
    inputs = np.column_stack([(data - data.mean(axis=0)) / data.std(axis=0), np.ones(len(data))])
    inputs /= math.sqrt(np.mean(np.sum(inputs**2, axis=1)))
    return Regression("logistic", inputs, np.where(labels > 0, 1.0, -1.0), 20.0)


PROBLEMS: dict[str, Callable[[], Regression | Scales]] = {
    "every scale": lambda: Scales(2.0 ** (-np.arange(28) / 3)),
    "absolute": _absolute,
    "noisy": _noisy,
    "separable": _separable,
    "breast cancer": _breast_cancer,
    "sharp": lambda: Scales(np.array([0.2]), lowest=1e-3),
}
MEAN = "mean of the regressions"
TWO = ("every scale", MEAN)
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
    """All that was measured: f - f*, (learning rates, seeds), by (problem, iterate, steps, schedule).

    `seconds` is the processor time of each problem, `versions` those of the software.
    """

    losses: Mapping[tuple[str, str, int, str], Array]
    seconds: Mapping[str, float]
    versions: str

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
    jobs = [
        (name, some, total)
        for total in sorted(steps, reverse=True)
        for name in sorted(problems, key=_size, reverse=True)
        for some in _portions(max(1, min(8, 150 // _size(name))))  # as many as the cache of a core holds
    ]
    losses, seconds = {}, dict.fromkeys(problems, 0.0)
    with ProcessPoolExecutor(n_jobs) as pool:
        runs = [pool.submit(_timed, *job, n_seeds) for job in jobs]
        for (name, some, total), run in zip(jobs, runs, strict=True):
            found, took = run.result()
            seconds[name] += took
            for iterate, each in zip(ITERATES, found, strict=True):
                losses |= {(name, iterate, total, s): one for s, one in zip(some, each, strict=True)}
    numpy, sklearn = np.__version__, version("scikit-learn")
    used = (
        f"robust-lr {robust_lr.__version__}, Python {platform.python_version()}, numpy {numpy}, scikit-learn {sklearn}"
    )
    return Sweeps(losses, seconds, used)


def _timed(name: str, schedules: Sequence[str], total_steps: int, n_seeds: int) -> tuple[tuple[Array, Array], float]:
    begin = time.process_time()
    return train(name, schedules, total_steps, n_seeds), time.process_time() - begin


def _portions(size: int) -> list[tuple[str, ...]]:
    return [SCHEDULES[i : i + size] for i in range(0, len(SCHEDULES), size)]


def _size(name: str) -> int:
    return len(problem(name).start)


def write_table(sweeps: Sweeps, path: Path) -> None:
    """Write all losses; a row is a seed, a column a learning rate, a cell 1000 log10(f - f*) as a whole number."""
    text = io.StringIO()
    seconds = {name: round(took, 1) for name, took in sweeps.seconds.items()}
    text.write(f"# {json.dumps({'versions': sweeps.versions, 'seconds': seconds})}\n")
    writer = csv.writer(text, lineterminator="\n")
    width = max(len(losses) for losses in sweeps.losses.values())
    writer.writerow(["problem", "iterate", "steps", "schedule", "seed", *range(width)])
    for (name, iterate, steps, schedule), losses in sweeps.losses.items():
        for seed, one in enumerate(np.rint(1000 * np.log10(np.maximum(losses.T, 1e-12))).astype(int)):
            writer.writerow([name, iterate, steps, schedule, seed, *one])
    path.write_bytes(gzip.compress(text.getvalue().encode(), mtime=0))


def read_table(path: Path) -> Sweeps:
    """Read what `write_table` wrote; the losses are rounded to 0.1%."""
    first, *lines = gzip.decompress(path.read_bytes()).decode().splitlines()
    found: dict[tuple[str, str, int, str], list[list[float]]] = {}
    for name, iterate, steps, schedule, _, *cells in csv.reader(lines[1:]):
        found.setdefault((name, iterate, int(steps), schedule), []).append([int(cell) for cell in cells if cell])
    return Sweeps({key: 10 ** (np.array(rows).T / 1000) for key, rows in found.items()}, **json.loads(first[2:]))


def with_kept(sweeps: Sweeps, path: Path) -> Sweeps:
    """Return the sweeps with those of other problems in a table, if there is one."""
    if not path.exists():
        return sweeps
    kept = read_table(path)
    other = {key: losses for key, losses in kept.losses.items() if key[0] not in sweeps.seconds}
    return Sweeps(other | dict(sweeps.losses), {**kept.seconds, **sweeps.seconds}, sweeps.versions)


def best_place(losses: Array) -> float:
    """Return the place of the best learning rate: the mean place, weighted by (least / loss)**16."""
    logs = np.log(losses.mean(axis=1))
    return float(np.average(np.arange(len(logs)), weights=np.exp(-16 * (logs - logs.min()))))


def exponent(losses: Array) -> float:
    """Return the slope of log(f - f*) over rho in [10, 100]; NaN where the sweep does not reach that far."""
    logs, rho = np.log(losses.mean(axis=1)), np.geomspace(10.0, 100.0, 41)
    places = best_place(losses) + PER_DECADE * np.log10(rho)
    if places[-1] > len(logs) - 1:
        return math.nan
    return float(np.polyfit(np.log(rho), np.interp(places, np.arange(len(logs)), logs), 1)[0])


def exponent_band(losses: Array) -> Banded:
    """Return the exponent and the ends of its band, from the jackknife over seeds."""
    n = losses.shape[1]
    estimate = exponent(losses)
    if n < 2:
        return estimate, math.nan, math.nan
    without = np.array([exponent(np.delete(losses, k, axis=1)) for k in range(n)])
    half = student.ppf(0.5 + CONFIDENCE / 2, n - 1) * math.sqrt((n - 1) ** 2 / n * np.var(without, ddof=1))
    return estimate, estimate - half, estimate + half


def coarse_costs(losses: Array, ratios: Sequence[float]) -> list[Banded]:
    """Return f - f* of the worst grid of each ratio over that of the full grid; NaN beyond the reach of the sweep."""
    lrs = 10.0 ** (np.arange(len(losses)) / PER_DECADE)
    sweep = SweepResult(("one",), lrs, range(losses.shape[1]), losses[None])
    strides = [round(PER_DECADE * math.log10(ratio)) for ratio in ratios]
    curve = curve_of(loss_block(sweep, "one"), CONFIDENCE, [1, *strides])
    figures = np.column_stack([curve.worst, curve.worst_interval]) / curve.final_loss[0] + 1
    return [tuple(row) for row in np.where(curve.covered[:, None], figures, math.nan)[1:]]


def limits(schedule: str, steps: int) -> tuple[float, float, float]:
    """Return the exponent of theory, that of its bound at T steps, and that of a quadratic with noise."""
    degree = parse_schedule(schedule).degree
    quadratic = 1.0 if degree is None else 1 / (degree + 1)
    return theory.asymptotic_exponent(schedule), _bound(schedule, steps), quadratic


def exponents(sweeps: Sweeps, schedule: str, steps: int, iterate: str = "last") -> dict[str, Banded]:
    """Return the exponent of each problem, and of all regressions, with its band."""
    return _with_mean({n: exponent_band(sweeps.losses[n, iterate, steps, schedule]) for n in sweeps.problems})


def costs(sweeps: Sweeps, schedule: str, steps: int) -> dict[str, Banded]:
    """Return what the worst grid of ratio 10 costs on each problem, and on all regressions, with its band."""
    return _with_mean({n: coarse_costs(sweeps.losses[n, "last", steps, schedule], [10])[0] for n in sweeps.problems})


def _with_mean(found: dict[str, Banded]) -> dict[str, Banded]:
    some = [found[name] for name in REGRESSIONS if name in found]
    # The regressions share their rows, so the mean of their bands counts, not the narrower band of a mean.
    return found | ({MEAN: tuple(np.mean(some, axis=0))} if some else {})


@cache
def guarantee(schedule: str, steps: int, ratio: float = 10.0) -> float:
    """Return the guarantee W(ratio) of theory."""
    return theory.grid_guarantee(schedule, ratio, total_steps=steps).worst


Title, Header, Rows = str, list[str], list[list[str]]


def tables(sweeps: Sweeps) -> Iterator[tuple[Title, Header, Rows]]:
    """Yield the title, the header and the rows of each table."""
    every, most, names = sweeps.steps, sweeps.steps[-1], sweeps.problems
    regressions = [name for name in REGRESSIONS if name in names]
    mean = [MEAN] if regressions else []
    columns = [*names, *mean]
    judged = [name for name in columns if name != "sharp"]  # there f - f* differs by orders of magnitude between seeds
    yield (
        f"Exponent of f - f* in rho at {most} steps, last iterate [95% band]",
        ["schedule", "theory", "its bound", "quadratic", *columns],
        [[short(s), *map(_number, limits(s, most)), *_cells(exponents(sweeps, s, most), columns)] for s in SCHEDULES],
    )
    yield (
        f"f - f* of the worst grid of ratio 10, over that of the fine grid, at {most} steps [95% band]",
        ["schedule", "guarantee W(10)", *judged],
        [[short(s), _number(guarantee(s, most)), *_cells(costs(sweeps, s, most), judged)] for s in SCHEDULES],
    )
    shown = [name for name in TWO if name in columns]
    header = ["schedule", *(f"{of}, {steps}" for of in ("bound", *shown) for steps in every)]
    for title, bound, measured in (("Exponent", _bound, exponents), ("Cost of a grid of ratio 10", guarantee, costs)):
        rows = []
        for s in SCHEDULES:
            found = [measured(sweeps, s, steps) for steps in every]
            numbers = [bound(s, steps) for steps in every] + [each[name][0] for name in shown for each in found]
            rows.append([short(s), *map(_number, numbers)])
        yield f"{title} by the number of steps", header, rows
    yield (
        f"Least f - f* over the learning rates at {most} steps: last iterate / average of the iterates",
        ["schedule", *names],
        [
            [short(s)]
            + [" / ".join(f"{sweeps.losses[n, i, most, s].mean(axis=1).min():.1e}" for i in ITERATES) for n in names]
            for s in SCHEDULES
        ],
    )
    yield (
        f"Exponent of the average of the iterates at {most} steps [95% band]",
        ["schedule", *regressions],
        [[short(s), *_cells(exponents(sweeps, s, most, "average"), regressions)] for s in SCHEDULES],
    )


def short(schedule: str) -> str:
    """Return a schedule as the tables name it."""
    return schedule.replace("power=", "").replace("cooldown=", "")


def _number(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:.2f}"


def _cells(found: dict[str, Banded], columns: Sequence[str]) -> list[str]:
    cells = []
    for estimate, low, high in (found[name] for name in columns):
        band = "" if math.isnan(low) else f" [{low:.2f}, {high:.2f}]"
        cells.append(_number(estimate) + band)
    return cells


@cache
def _bound(schedule: str, steps: int) -> float:
    return theory.robustness_exponent(schedule, total_steps=steps)


def order_kept(sweeps: Sweeps) -> str:
    """Say for which problems and steps the measured exponents have the order of theory."""
    order, other, cases = ("polynomial(power=2)", "linear", "polynomial(power=0.5)", "constant", "inverse-sqrt"), [], 0
    for steps in sweeps.steps:
        found = {s: exponents(sweeps, s, steps) for s in order}
        for name in found["constant"]:
            *annealed, constant, inverse = (found[s][name][0] for s in order)
            cases += 1
            if sorted(chain := [*annealed, min(constant, inverse)]) != chain:
                other.append(f"{name}, {steps} steps")
    kept = f"polynomial(2) < linear < polynomial(0.5) < constant and inverse-sqrt, in {cases - len(other)} of {cases}"
    return f"{kept} pairs of problem and steps{'; not in: ' + '; '.join(other) if other else ''}."


SHOWN = {
    "constant": "tab:red",
    "polynomial(power=0.5)": "tab:orange",
    "linear": "tab:green",
    "polynomial(power=2)": "tab:blue",
    "cosine(floor=0.1)": "tab:purple",
}


def draw(sweeps: Sweeps, folder: Path) -> None:
    """Draw the three figures into a folder."""
    import matplotlib as mpl

    mpl.use("agg")
    import matplotlib.pyplot as plt

    plt.rcParams |= {"font.size": 8, "axes.titlesize": 9, "legend.fontsize": 8, "svg.hashsalt": "paper"}
    for name, shape, paint in (
        ("exponents", (1, 4), _draw_curves), ("degradation", (1, 4), _draw_costs), ("steps", (1, 4), _draw_steps)
    ):  # fmt: skip
        figure, axes = plt.subplots(*shape, figsize=(11, 3.2), layout="constrained")
        paint(sweeps, axes)
        handles = [plt.Line2D([], [], color=color, label=short(s)) for s, color in SHOWN.items()]
        handles.append(plt.Line2D([], [], color="gray", linestyle=":", label="bound of the theory"))
        figure.legend(handles=handles, loc="outside lower center", ncols=len(handles), frameon=False)
        figure.savefig(folder / f"paper-{name}.png", dpi=100, metadata={"Software": None})
        plt.close(figure)


def _draw_curves(sweeps: Sweeps, axes: Sequence) -> None:
    steps = sweeps.steps[-1]
    for ax, name in zip(axes, _panels(sweeps, "sharp"), strict=False):
        for s, color in SHOWN.items():
            losses = sweeps.losses[name, "last", steps, s]
            rho = 10.0 ** ((np.arange(len(losses)) - best_place(losses)) / PER_DECADE)
            inside = (rho > 0.09) & (rho < 310)
            mean = losses.mean(axis=1)
            ax.loglog(rho[inside], mean[inside] / mean.min(), color=color)
            curve = theory.misspecification_curve(s, rho[inside], total_steps=steps)
            ax.loglog(rho[inside], curve, color=color, linestyle=":", linewidth=0.8)
        ax.set(title=f"{name}, {steps} steps", xlabel="rho: learning rate / best", ylim=(0.7, 300))
    axes[0].set_ylabel("f - f*, best = 1")


def _draw_costs(sweeps: Sweeps, axes: Sequence) -> None:
    steps, strides = sweeps.steps[-1], range(2, 23, 2)
    ratios = [10 ** (k / PER_DECADE) for k in strides]
    for ax, name in zip(axes, _panels(sweeps, "breast cancer"), strict=False):
        for s, color in SHOWN.items():
            found = coarse_costs(sweeps.losses[name, "last", steps, s], ratios)
            worst, low, high = np.array(found).T
            ax.loglog(ratios, worst, color=color)
            ax.fill_between(ratios, low, high, color=color, alpha=0.12, linewidth=0)
            bound = [guarantee(s, steps, ratio) for ratio in ratios]
            ax.loglog(ratios, bound, color=color, linestyle=":", linewidth=0.8)
        ax.set(title=f"{name}, {steps} steps", xlabel="ratio of the grid", ylim=(0.9, 60))
    axes[0].set_ylabel("f - f*, fine grid = 1")


def _draw_steps(sweeps: Sweeps, axes: Sequence) -> None:
    every = np.array(sweeps.steps)
    fine = np.unique(np.geomspace(every[0], every[-1], 7).round()).astype(int)
    kinds = (("exponent", _bound, exponents), ("cost of a grid of ratio 10", guarantee, costs))
    for place, ((label, bound, measured), name) in enumerate(itertools.product(kinds, TWO)):
        ax = axes[place]
        ax.set(title=name, xlabel="steps", ylabel=label, xscale="log")
        for s, color in SHOWN.items():
            ax.plot(fine, [bound(s, int(n)) for n in fine], color=color, linestyle=":", linewidth=0.8)
            found = [measured(sweeps, s, int(n)).get(name, (math.nan,) * 3)[0] for n in every]
            ax.plot(every, found, color=color, marker="o", markersize=3)


def _panels(sweeps: Sweeps, fourth: str) -> list[str]:
    return [name for name in ("every scale", "absolute", "noisy", fourth) if name in sweeps.problems]


def write_docs(sweeps: Sweeps, path: Path) -> None:
    """Put the tables between their markers; the rest of the page stays as it is."""
    begin, end = (f"<!-- {word} of the tables of benchmarks/paper_convex.py -->" for word in ("begin", "end"))
    before, found_begin, rest = path.read_text(encoding="utf-8").partition(begin)
    _, found_end, after = rest.partition(end)
    if not (found_begin and found_end):
        raise SystemExit(f"{path.name} must hold the lines {begin} and {end}")
    path.write_text(f"{before}{begin}\n\n{markdown(sweeps)}\n\n{end}{after}", encoding="utf-8")


def said(sweeps: Sweeps) -> str:
    """Return in two sentences how long the trainings took, and with which software."""
    n = sum(losses.size for key, losses in sweeps.losses.items() if key[1] == "last")
    each = ", ".join(f"{name} {sweeps.seconds[name]:.0f} s" for name in sweeps.problems)
    return f"{n} trainings took {sum(sweeps.seconds.values()):.0f} s of processor time: {each}. {sweeps.versions}."


def markdown(sweeps: Sweeps) -> str:
    """Return where the figures come from, and the tables."""
    lines = [said(sweeps), "", f"The exponents have the order of theory, {order_kept(sweeps)}"]
    for title, header, rows in tables(sweeps):
        lines += ["", f"### {title}", ""]
        lines += [f"| {' | '.join(row)} |" for row in (header, ["---"] * len(header), *rows)]
    return "\n".join(lines)


def main() -> None:
    """Measure or read, print the tables, and write them."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--problems", nargs="+", choices=PROBLEMS, default=list(PROBLEMS), metavar="NAME")
    parser.add_argument("--steps", nargs="+", type=int, default=list(STEPS))
    parser.add_argument("--seeds", type=int, default=SEEDS)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--table", type=Path, default=TABLE, help="where the losses are kept")
    parser.add_argument("--from-table", action="store_true", help="read the losses instead of training")
    parser.add_argument(
        "--write-docs", action="store_true", help="write docs/explanation/paper.md, its figures and the losses"
    )
    args = parser.parse_args()
    sweeps = read_table(args.table) if args.from_table else measure(args.problems, args.steps, args.seeds, args.jobs)
    if args.write_docs and not args.from_table:
        sweeps = with_kept(sweeps, args.table)
        write_table(sweeps, args.table)
        sweeps = read_table(args.table)  # so that the page shows what the table holds, to the last digit
    print(markdown(sweeps))
    if args.write_docs:
        write_docs(sweeps, DOCS)
        draw(sweeps, DOCS.parent)


if __name__ == "__main__":
    main()
