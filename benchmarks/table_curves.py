"""The measured losses in benchmarks/tables as curves: the loss at any learning rate, of one seed or the mean of all.

    from table_curves import read_curves
    curve = read_curves()["char-mlp cosine"]
    curve(0.004), curve(0.004, seed=1)

Between two neighbors on the fine grid the loss is linear in log(lr). The first learning rate that diverged, and all
above it, are +inf; the cliff is halfway, in log(lr), from the last finite one to it. Up to there the loss continues
the line of the last pair, or stays constant if that pair was falling: it is never lower than measured.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from robust_lr import SweepResult
from robust_lr.exceptions import DataError

TABLES = Path(__file__).parent / "tables"


@dataclass(frozen=True, eq=False)
class TableCurve:
    """The final loss over the learning rate under one schedule.

    Args:
        learning_rates: ascending, shape (L,).
        losses: shape (L, K) for K seeds; +inf where a training diverged.
    """

    learning_rates: NDArray[np.float64]
    losses: NDArray[np.float64]

    def __call__(self, lr: float, seed: int | None = None) -> float:
        """Return the loss at a learning rate: the mean over the seeds, or that of one, 0..K-1.

        Raises:
            DataError: when the learning rate lies outside of the table.
        """
        x, xs = math.log(lr), np.log(self.learning_rates)
        losses = self.losses.mean(axis=1) if seed is None else self.losses[:, seed]
        finite = np.isfinite(losses)
        n = len(losses) if finite.all() else int(finite.argmin())
        if x < xs[0] - 1e-9 or (x > xs[-1] + 1e-9 and n == len(losses)):
            lrs = self.learning_rates
            raise DataError(f"lr must be in the table, from {lrs[0]:.4g} to {lrs[-1]:.4g}, got {lr:.4g}")
        if n == len(losses) or x <= xs[n - 1]:
            return float(np.interp(x, xs[:n], losses[:n]))
        if x > (xs[n - 1] + xs[n]) / 2:
            return math.inf
        slope = (losses[n - 1] - losses[n - 2]) / (xs[n - 1] - xs[n - 2])
        return float(losses[n - 1] + max(slope, 0.0) * (x - xs[n - 1]))

    @property
    def n_seeds(self) -> int:
        """The number of seeds."""
        return self.losses.shape[1]

    @property
    def ends(self) -> tuple[float, float]:
        """The smallest and largest learning rate that the curve has a loss for; the largest is inf past a cliff."""
        diverges = not np.isfinite(self.losses.mean(axis=1)).all()
        return float(self.learning_rates[0]), math.inf if diverges else float(self.learning_rates[-1])

    @property
    def optimum(self) -> float:
        """The learning rate with the least mean loss."""
        return float(self.learning_rates[self.losses.mean(axis=1).argmin()])

    def noise(self, within: float) -> float:
        """Return the standard deviation over seeds where the mean loss is within so much of the least, pooled."""
        means = self.losses.mean(axis=1)
        return float(np.sqrt(self.losses[means <= means.min() + within].var(axis=1, ddof=1).mean()))


@cache
def read_curves(loss: str = "validation_loss") -> dict[str, TableCurve]:
    """Return every curve of the tables, named as "char-mlp cosine".

    Args:
        loss: "validation_loss" or "train_loss".
    """
    curves = {}
    for path in sorted(TABLES.glob("*.csv")):
        sweep = SweepResult.from_csv(path, metric=loss, schedule_name="schedule", seed_name="seed")
        for name, losses in zip(sweep.schedules, sweep.loss, strict=True):
            curves[f"{path.stem} {name}"] = TableCurve(sweep.learning_rates, losses)
    return curves
