"""Find the columns within which sweeps are alike: those whose combinations explain best how the excess varies."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from .._text import listed
from ..exceptions import OptionError

Array = NDArray[np.float64]

FEWEST_CLUSTERS = 4  # fewer say next to nothing about how clusters differ
MOST_COLUMNS = 6  # of which all combinations are tried; of more, the single columns
_FEWEST_TO_LEAVE_OUT = 5
_TIED = 2.0  # log-likelihoods this close are equal: then the larger clusters count, which claim less
_RHO = np.linspace(0.0, 0.95, 20)  # share of the variance between clusters


class HasCovariates(Protocol):
    """A sweep with its covariates by name."""

    @property
    def covariates(self) -> Mapping[str, float | str]:
        """The covariates."""
        ...


def find_cluster_columns(sweeps: Sequence[HasCovariates], value: Array) -> tuple[str, ...]:
    """Return the columns whose combinations cluster the sweeps; () if each sweep is to be its own cluster.

    Each candidate is a set of columns that makes at least four clusters, with two sweeps each on average. The one-way
    random-effects model with the highest likelihood decides.

    Args:
        sweeps: S of them.
        value: what may be alike within clusters, such as the cube root of the excess, shape (S,).
    """
    names = list(sweeps[0].covariates)
    sizes = range(1, len(names)) if len(names) <= MOST_COLUMNS else [1]
    every = np.arange(len(sweeps))
    found: list[tuple[float, int, int, tuple[str, ...]]] = [(_log_likelihood(value, every), len(sweeps), 0, ())]
    for columns in itertools.chain.from_iterable(itertools.combinations(names, size) for size in sizes):
        cluster = cluster_numbers(sweeps, columns)
        n = int(cluster.max()) + 1
        if FEWEST_CLUSTERS <= n <= len(sweeps) / 2:
            found.append((_log_likelihood(value, cluster), n, -len(columns), columns))
    best = max(likelihood for likelihood, *_ in found)
    return min((each for each in found if each[0] >= best - _TIED), key=lambda each: each[1:3])[3]


def columns_to_leave_out(sweeps: Sequence[HasCovariates], columns: Sequence[str] | None) -> tuple[str, ...]:
    """Return the columns by which sweeps are left out together: those given, or all but one.

    It is the one without which the fewest clusters are left, at least five; without such a one each sweep is a cluster.
    """
    names = tuple(sweeps[0].covariates)
    if columns is not None:
        if unknown := [name for name in columns if name not in names]:
            raise OptionError(f"cluster_by must name covariates, {listed(names) or 'none'}; got {listed(unknown)}")
        return tuple(columns)
    found = [tuple(other for other in names if other != name) for name in names if len(names) > 1]
    counts = {each: int(cluster_numbers(sweeps, each).max()) + 1 for each in found}
    enough = [each for each, count in counts.items() if count >= _FEWEST_TO_LEAVE_OUT]
    return min(enough, key=counts.__getitem__, default=())


def cluster_numbers(sweeps: Sequence[HasCovariates], columns: Sequence[str]) -> NDArray[np.intp]:
    """Return the number of the cluster of each sweep; without columns each is its own."""
    if not columns:
        return np.arange(len(sweeps))
    numbers: dict[tuple[object, ...], int] = {}
    keys = [tuple(each.covariates[name] for name in columns) for each in sweeps]
    return np.array([numbers.setdefault(key, len(numbers)) for key in keys])


def _log_likelihood(value: Array, cluster: NDArray[np.intp]) -> float:
    """The profile likelihood of ``value = mean + cluster + rest``, largest over the share of the clusters."""
    size, total = np.bincount(cluster), np.bincount(cluster, value)
    found = []
    for rho in _RHO:
        odds = rho / (1 - rho)
        mean = (total / (1 + size * odds)).sum() / (size / (1 + size * odds)).sum()
        shared = odds * (total - size * mean) ** 2 / (1 + size * odds)
        variance = (((value - mean) ** 2).sum() - shared.sum()) / len(value)
        found.append(-len(value) / 2 * math.log(max(variance, 1e-300)) - 0.5 * float(np.log1p(size * odds).sum()))
    return max(found)
