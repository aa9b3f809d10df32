"""What most further sweeps stay below: an upper limit that knows that sweeps come in clusters.

Sweeps of one model size and budget are alike, so 120 of them in 12 clusters say less about the next cluster than 120
independent ones would. The model is hierarchical: the fourth root of an excess is a mean, plus an effect of the
cluster, plus the sweep's own deviation. (Near its best a loss is quadratic, and fourth roots make squares of normal
values nearly normal: D. M. Hawkins and R. A. J. Wixley, 1986.) For a new sweep of a new cluster, the limit is the
largest of three:

- the prediction limit, Student's t: a share of the sweeps stays below it on average;
- the tolerance limit, noncentral t: with 95% confidence at most twice as many sweeps as promised exceed it;
- the conformal quantile of the sweeps themselves, which needs no model.

The degrees of freedom are those of the mixture of both variances (F. E. Satterthwaite, 1946).
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

FEWEST = 4  # sweeps
CONFIDENCE = 0.95  # that at most twice as many sweeps as promised exceed the limit
_MANY = 500.0  # independent sweeps, from which on the normal approximation of the limit is exact enough
_FLOOR = 1 / 16  # of the median: how far below it an excess is says nothing about the largest ones
_CAP = 2.0  # an infinite excess counts in the model as this multiple of the largest finite one


def upper_limit(excess: Array, cluster: NDArray[np.intp], share: float) -> float:
    """Return a value that `share` of the sweeps of new clusters do not exceed.

    Args:
        excess: of each sweep, shape (S,), at least 0; +inf where every learning rate of a sub-grid diverged.
        cluster: number of the cluster of each sweep, shape (S,).
        share: in (0.5, 1).

    Returns:
        The limit; +inf from fewer than four sweeps.
    """
    finite = excess[np.isfinite(excess)]
    if len(excess) < FEWEST or not finite.size:
        return math.inf
    typical = np.clip(excess, _FLOOR * np.median(excess), _CAP * finite.max())
    model = _hierarchical(fourth_root(typical), cluster, share) ** 4
    return max(model, conformal_quantile(excess, share))


def fourth_root(excess: Array) -> Array:
    return np.asarray(np.sqrt(np.sqrt(excess)))


def conformal_quantile(excess: Array, share: float) -> float:
    """Return the value that a further sweep exceeds with probability ``1 - share``, if all sweeps are exchangeable."""
    place = min(math.ceil((len(excess) + 1) * share), len(excess))
    return float(np.sort(excess)[place - 1])


def _hierarchical(root: Array, cluster: NDArray[np.intp], share: float) -> float:
    from scipy.special import stdtrit

    _, member, size = np.unique(cluster, return_inverse=True, return_counts=True)
    if len(size) == 1:  # nothing shows how clusters differ: the claim is for further sweeps of this one
        member, size = np.arange(len(root)), np.ones(len(root), dtype=int)
    n_clusters, n_within = len(size), max(len(root) - len(size), 1)
    means = np.bincount(member, root) / size
    mean, of_means = float(means.mean()), float(means.var(ddof=1))
    within = float(((root - means[member]) ** 2).sum()) / n_within
    # The variance of a cluster's mean already holds this part of the variance within.
    rest = (1 - float(np.mean(1 / size))) * within
    total = max(of_means + rest, within)
    if total == 0:
        return mean

    def df(of_cluster: float) -> float:
        return float((of_cluster + rest) ** 2 / (of_cluster**2 / (n_clusters - 1) + rest**2 / n_within))

    of_mean: float = of_means / n_clusters
    prediction = float(stdtrit(df(of_means + of_mean), share)) * math.sqrt(total + of_mean)
    n_independent = min(total / max(of_mean, 1e-300), float(len(root)))
    tolerance = _tolerance_factor(2 * share - 1, df(of_means), n_independent) * math.sqrt(total)
    return max(mean + max(prediction, tolerance), 0.0)


def _tolerance_factor(share: float, df: float, n: float) -> float:
    """The factor on a standard deviation with `df` degrees of freedom, if the mean is known like that of n sweeps."""
    from scipy.special import nctdtrit, ndtri

    z, quantile = float(ndtri(share)), float(ndtri(CONFIDENCE))
    if n <= _MANY:
        return float(nctdtrit(df, z * math.sqrt(n), CONFIDENCE)) / math.sqrt(n)
    a = 1 - quantile**2 / (2 * df)
    return (z + math.sqrt(z * z - a * (z * z - quantile**2 / n))) / a if a > 0 else math.inf
