"""Confidence bounds for the best of a set of learning rates, honest at five seeds.

A percentile bootstrap over five seeds is too narrow (benchmarks/coverage.py measures it), and the best of several
noisy means is itself no mean: it moves with every draw. What does hold is the t interval of one paired difference
``mu_i - mu_j`` between two learning rates, over the seeds they share. The quantities of this package are minima and
maxima of such differences, and for those the intersection-union principle (R. L. Berger, Technometrics 1982) needs no
correction for the number of candidates:

- ``min_i theta_i`` has the lower bound ``min_i lower_i``, since at the true minimizer ``lower_i > theta_i`` has
  probability at most alpha, and ``max_i theta_i`` has the upper bound ``max_i upper_i`` in the same way;
- the mean of held-out scores (each seed's loss at the candidate that the other seeds choose) is at least
  ``min_i theta_i`` whatever they choose, so the upper bound of that mean is one of the minimum.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def t_quantile(confidence_level: float, n_seeds: int) -> float:  # two-sided, n_seeds - 1 degrees of freedom
    if n_seeds < 2:
        return math.nan
    from scipy.special import stdtrit

    return float(stdtrit(n_seeds - 1, 0.5 + confidence_level / 2))


def mean_bounds(values: Array, confidence_level: float) -> tuple[Array, Array]:
    """Return the t bounds of the mean over the last axis (the seeds): mean -+ t * s / sqrt(K); NaN for one seed."""
    n_seeds = values.shape[-1]
    if n_seeds < 2:
        unknown = np.full(values.shape[:-1], math.nan)
        return unknown, unknown
    half = t_quantile(confidence_level, n_seeds) * values.std(axis=-1, ddof=1) / math.sqrt(n_seeds)
    center = values.mean(axis=-1)
    return np.asarray(center - half), np.asarray(center + half)
