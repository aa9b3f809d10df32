"""Clusters: sweeps that may be alike, because they share most of their covariates."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from .._text import listed
from ..exceptions import OptionError

_LEAST = 5


def find_clusters(
    covariates: Sequence[Mapping[str, float | str]], columns: Sequence[str] | None
) -> tuple[tuple[str, ...], NDArray[np.intp]]:
    """Return the columns that a cluster shares and the number of each sweep's cluster, shape (S,).

    By default all columns but one: the one without which the fewest clusters are left, at least five. If there is none,
    each sweep is a cluster.
    """
    names = tuple(covariates[0])
    if columns is not None:
        if unknown := [name for name in columns if name not in names]:
            raise OptionError(f"cluster_by must name covariates, {listed(names) or 'none'}; got {listed(unknown)}")
        return tuple(columns), _numbers(covariates, tuple(columns))
    choices = [tuple(other for other in names if other != name) for name in names]
    found = [(columns, _numbers(covariates, columns)) for columns in choices if columns]
    enough = [(columns, numbers) for columns, numbers in found if int(numbers.max()) + 1 >= _LEAST]
    return min(enough, key=lambda pair: int(pair[1].max()), default=(names, np.arange(len(covariates))))


def _numbers(covariates: Sequence[Mapping[str, float | str]], columns: tuple[str, ...]) -> NDArray[np.intp]:
    seen: dict[tuple[float | str, ...], int] = {}
    return np.array([seen.setdefault(tuple(each[name] for name in columns), len(seen)) for each in covariates])
