"""A law: how a quantity of a sweep depends on its features, and how much sweeps differ beyond that.

For sweep s in cluster c, with the features x_s::

    y_s = intercept + x_s . coefficients + u_c + e_s,      u_c ~ N(0, between^2),   e_s ~ N(0, within^2 + v_s)

where v_s is the variance with which y_s itself is known. Each coefficient is normal around 0 before any data, so
constant or collinear features do no harm: what the data do not say stays as uncertain as it was, and a prediction far
from all sweeps is wide. The two standard deviations are those of the highest marginal likelihood on a mesh, under a
weak preference for values around `typical`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
_FLAT = 1e4  # variance of the intercept before any data
_MESH = np.exp(np.linspace(math.log(0.05), math.log(3.0), 14))


class Prediction(NamedTuple):
    mean: float
    sd: float


@dataclass(frozen=True)
class Law:
    """A fitted law.

    Attributes:
        coefficients: the intercept, then one for each feature, shape (1 + K,).
        covariance: of the coefficients, shape (1 + K, 1 + K).
        within: standard deviation from sweep to sweep in a cluster.
        between: standard deviation from cluster to cluster.
    """

    coefficients: Array
    covariance: Array
    within: float
    between: float

    def predict(self, row: Array, unknown: float = 0.0) -> Prediction:
        """Return the prediction for a new sweep of a new cluster; `unknown` is a variance to add."""
        x = np.concatenate([[1.0], row])
        variance = float(x @ self.covariance @ x) + self.within**2 + self.between**2 + unknown
        return Prediction(float(x @ self.coefficients), math.sqrt(variance))


def fit_law(y: Array, variance: Array, rows: Array, cluster: NDArray[np.intp], plausible: Array, typical: float) -> Law:
    """Fit a law.

    Args:
        y: shape (S,).
        variance: of each y, shape (S,).
        rows: features, shape (S, K).
        cluster: the number of each sweep's cluster, from 0, shape (S,).
        plausible: standard deviation of each coefficient before any data, shape (K,).
        typical: how much sweeps plausibly differ.
    """
    design = np.column_stack([np.ones(len(y)), rows])
    precision = np.diag(1 / np.concatenate([[_FLAT], plausible**2]))
    n_clusters, best = int(cluster.max()) + 1, (-math.inf, np.zeros(0), np.zeros((0, 0)), 0.0, 0.0)
    for within in typical * _MESH:
        weight = 1 / (variance + within**2)
        # Each cluster's covariance is a diagonal plus a constant, so it is inverted by Sherman and Morrison's formula.
        total = np.bincount(cluster, weight, n_clusters)
        sums = np.stack([np.bincount(cluster, weight * column, n_clusters) for column in (*design.T, y)], axis=1)
        xx, xy = design.T @ (design * weight[:, None]), design.T @ (weight * y)
        yy, log_det = float(weight @ (y * y)), float(-np.log(weight).sum())
        for between in typical * _MESH:
            shared = between**2 / (1 + between**2 * total)
            inverse = xx - (sums[:, :-1] * shared[:, None]).T @ sums[:, :-1] + precision
            right = xy - sums[:, :-1].T @ (shared * sums[:, -1])
            mean = np.linalg.solve(inverse, right)
            misfit = yy - float(shared @ sums[:, -1] ** 2) - float(right @ mean)
            log_det_all = log_det + float(np.log1p(between**2 * total).sum() + np.linalg.slogdet(inverse)[1])
            score = -(log_det_all + misfit) / 2 + sum(
                math.log(sd) - math.log1p((sd / typical) ** 2) / 2 for sd in (within, between)
            )
            if score > best[0]:
                best = score, mean, inverse, float(within), float(between)
    _, mean, inverse, within, between = best
    return Law(mean, np.asarray(np.linalg.inv(inverse), dtype=np.float64), within, between)
