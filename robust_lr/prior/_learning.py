"""From many sweeps to three laws: of the best learning rate, and of the cost of half and of twice it.

The sweeps and the laws explain each other, so a few rounds alternate: each sweep's valley is fitted given what the laws
expect of it, then the laws are fitted to what the sweeps say by themselves (the expectation taken out again). So a
sweep whose best lies on its edge counts for what it is: its best is at the edge or beyond.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from ._law import Law, Prediction, fit_law
from ._valley import LN2, Fit, Powers, fit_valley

Array = NDArray[np.float64]
# How much sweeps plausibly differ: in log lr, and in the logs of the two rises.
_TYPICAL = (0.5, 0.7, 0.7)
_FIRST_SPREADS = (2.0, 1.2, 1.2)
_ROUNDS, _LEAST_SPREAD = 3, 0.05
# Between the noise of a run and the misfit of a valley; how the powers may be.
_POWERS = tuple(Powers(left, right) for left in (1.0, 1.5, 2.0) for right in (1.5, 2.0, 3.0))
_FIRST = Powers(1.5, 2.0)
_PARAMETERS = 4
_SD_OF_MEDIAN = 1.4826  # of a normal distribution, over its median absolute deviation
_FIRST_NOISE, _FIRST_MISFIT = 0.15, 0.15  # as shares of the rise
_LEAST_NOISE, _LEAST_MISFIT, _MOST_MISFIT = 0.01, 0.1, 0.5


@dataclass(frozen=True)
class Points:
    """The measured losses of a sweep: +inf where training diverged."""

    x: Array
    loss: Array
    n_seeds: float = 1.0
    noise: float = math.nan

    @property
    def finite(self) -> NDArray[np.bool_]:
        return np.isfinite(self.loss)


@dataclass(frozen=True)
class Learned:
    """The laws, and what the valleys of all sweeps share."""

    laws: tuple[Law, Law, Law]
    powers: Powers
    noise: float
    misfit: float


@dataclass(frozen=True)
class Sweeps:
    """The sweeps with their features, their clusters and what each says by itself (mean, variance), shape (S, 3)."""

    points: tuple[Points, ...]
    rows: Array
    cluster: NDArray[np.intp]
    plausible: Array
    mean: Array
    variance: Array

    def laws(self, keep: NDArray[np.bool_] | None = None) -> tuple[Law, Law, Law]:
        """Return the laws of these sweeps, or of some of them."""
        kept = np.ones(len(self.points), bool) if keep is None else keep
        _, cluster = np.unique(self.cluster[kept], return_inverse=True)
        first, second, third = (
            fit_law(self.mean[kept, j], self.variance[kept, j], self.rows[kept], cluster, self.plausible, _TYPICAL[j])
            for j in range(3)
        )
        return first, second, third


def learn(points: Sequence[Points], rows: Array, cluster: NDArray[np.intp], plausible: Array) -> tuple[Learned, Sweeps]:
    """Fit the laws to the sweeps, with features of shape (S, K)."""
    rise = _typical_rise(points)
    expected = [_before(points, rise)] * len(points)
    powers, noise, misfit = _FIRST, _FIRST_NOISE * rise, _FIRST_MISFIT
    sweeps = Sweeps(tuple(points), rows, cluster, plausible, np.zeros((0, 3)), np.zeros((0, 3)))
    laws: tuple[Law, Law, Law]
    for turn in range(_ROUNDS):
        if turn == 1:
            powers = _best_powers(points, expected, noise, misfit)
        fits = _fits(points, expected, powers, noise, misfit)
        noise, misfit = _noise(points, fits, rise)
        mean, variance = _by_themselves(fits, expected, is_first=turn == 0)
        sweeps = replace(sweeps, mean=mean, variance=variance)
        laws = sweeps.laws()
        expected = [_expected(laws, row) for row in rows]
    return Learned(laws, powers, noise, misfit), sweeps


def _fits(
    points: Sequence[Points], expected: Sequence[Sequence[Prediction]], powers: Powers, noise: float, misfit: float
) -> list[Fit]:
    return [
        fit_valley(p.x[p.finite], p.loss[p.finite], e, powers, noise / math.sqrt(p.n_seeds), misfit)
        for p, e in zip(points, expected, strict=True)
    ]


def _expected(laws: Sequence[Law], row: Array) -> list[Prediction]:
    found = [law.predict(row) for law in laws]
    return [each._replace(sd=max(each.sd, _LEAST_SPREAD)) for each in found]


def _before(points: Sequence[Points], rise: float) -> list[Prediction]:
    center = float(np.mean(np.concatenate([p.x for p in points])))
    means = (center, math.log(rise), math.log(rise))
    return [Prediction(mean, sd) for mean, sd in zip(means, _FIRST_SPREADS, strict=True)]


def _typical_rise(points: Sequence[Points]) -> float:
    """The median rise at half and at twice the best learning rate, from the measured ones next to these."""
    rises = []
    for each in points:
        x, loss = each.x[each.finite], each.loss[each.finite]
        best = int(loss.argmin())
        for sign, power in ((-1, _FIRST.left), (1, _FIRST.right)):
            far = sign * (x - x[best]) / LN2
            beside = np.flatnonzero(far > 0)
            if len(beside):
                at = beside[int(np.abs(far[beside] - 1).argmin())]
                rises.append(float(loss[at] - loss[best]) / float(far[at]) ** power)
    positive = [rise for rise in rises if rise > 0]
    return float(np.median(positive)) if positive else 1.0


def _by_themselves(
    fits: Sequence[Fit], expected: Sequence[Sequence[Prediction]], *, is_first: bool
) -> tuple[Array, Array]:
    """What the sweeps say without the expectation under which they were fitted, shape (S, 3) each."""
    mean, variance = np.array([fit.mean for fit in fits]), np.array([fit.variance for fit in fits])
    if is_first:
        return mean, variance
    prior_mean = np.array([[each.mean for each in e] for e in expected])
    prior = np.array([[each.sd for each in e] for e in expected]) ** 2
    # A sweep that says nothing has the variance of its expectation; it may still say a little.
    known = np.clip(variance, 1e-6 * prior, 0.97 * prior)
    own = 1 / (1 / known - 1 / prior)
    return own * (mean / known - prior_mean / prior), own


def _best_powers(
    points: Sequence[Points], expected: Sequence[Sequence[Prediction]], noise: float, misfit: float
) -> Powers:
    """The powers that fit best; of some sweeps, if there are many."""
    some = slice(None, None, max(1, len(points) // 30))
    misfits = [sum(fit.chi2 for fit in _fits(points[some], expected[some], p, noise, misfit)) for p in _POWERS]
    return _POWERS[int(np.argmin(misfits))]


def _noise(points: Sequence[Points], fits: Sequence[Fit], rise: float) -> tuple[float, float]:
    """The noise of a run, from the losses near the bottom of each valley, and the misfit, from those far above it.

    Medians, since some sweeps are much rougher than most.
    """
    near, far = [], []
    for each, fit in zip(points, fits, strict=True):
        n = len(fit.rises)
        if n > _PARAMETERS:
            size = np.abs(fit.residuals) * math.sqrt(n / (n - _PARAMETERS))
            near += (size * math.sqrt(each.n_seeds))[fit.rises <= rise].tolist()
            far += (size / np.maximum(fit.rises, rise))[fit.rises > 2 * rise].tolist()
    noise = _SD_OF_MEDIAN * float(np.median(near)) if near else _FIRST_NOISE * rise
    misfit = _SD_OF_MEDIAN * float(np.median(far)) if far else _FIRST_MISFIT
    measured = [each.noise for each in points if math.isfinite(each.noise)]
    noise = max([noise, *([float(np.sqrt(np.mean(np.square(measured))))] if measured else [])])
    return max(noise, _LEAST_NOISE * rise), min(max(misfit, _LEAST_MISFIT), _MOST_MISFIT)
