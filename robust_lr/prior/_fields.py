"""What a prior consists of: the sweeps that it knows, the laws learned from them, and how far these were wrong."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from .._text import count_of
from ._calibration import Calibration
from ._features import Features, Value
from ._law import Prediction
from ._learning import Learned, Points


@dataclass(frozen=True)
class KnownSweep:
    """A sweep as a prior keeps it, so that it can grow.

    Attributes:
        covariates: its values by name.
        learning_rates: ascending.
        loss: the mean loss at each; +inf where training diverged.
        n_seeds: trials at a learning rate, on average.
        noise: standard deviation of one trial near the best; NaN if unknown.
    """

    covariates: Mapping[str, Value]
    learning_rates: tuple[float, ...]
    loss: tuple[float, ...]
    n_seeds: float = 1.0
    noise: float = math.nan

    @property
    def points(self) -> Points:
        """The losses over log(lr)."""
        return Points(np.log(self.learning_rates), np.array(self.loss), self.n_seeds, self.noise)


@dataclass(frozen=True, eq=False, repr=False)
class PriorFields:
    """The parts of a `LearningRatePrior`."""

    sweeps: tuple[KnownSweep, ...]
    cluster_by: tuple[str, ...]
    features: Features
    learned: Learned
    calibration: Calibration
    notes: tuple[str, ...] = ()

    @property
    def exponents(self) -> dict[str, Prediction]:
        """How the best learning rate depends on each covariate: the exponent of a number, or log of a level's factor.

        The exponents are those of the typical sweep.
        """
        law = self.learned.laws[0]
        sds = np.sqrt(np.diag(law.covariance))
        pairs = zip(law.coefficients[1:].tolist(), sds[1:].tolist(), strict=True)
        named = {name: Prediction(*pair) for name, pair in zip(self.features.names, pairs, strict=True)}
        return {name: each for name, each in named.items() if name not in self.features.products}

    def describe(self) -> str:
        """Return a one-line summary."""
        by = ", ".join((*self.features.numbers, *self.features.levels)) or "nothing"
        clusters = count_of(self.calibration.n_clusters, "cluster")
        return f"learning rate by {by}, from {count_of(len(self.sweeps), 'sweep')} in {clusters}"
