"""The posterior of a valley, from a prior and the trials so far: a few thousand valleys with weights.

The valleys are a fixed lattice in (best learning rate, left rise, right rise), so the same trials always give the same
posterior. A quarter of them belongs to no prior: their best learning rate is anywhere in the range, and they may be
much steeper or flatter. Together they begin with a probability of 3%. Once the trials make them likelier than the
prior's own valleys, they contradict the prior.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from ._valley import Powers, Sides
from .valley_prior import ValleyPrior

Array = NDArray[np.float64]
_N = 4096
_STRANGE_SHARE, _STRANGE_WEIGHT, _STRANGE_SPREAD = 4, 0.03, 1.5
# How likely training breaks above the best although the valley is not that high there, and below it (logarithms).
_CLIFF, _NO_CLIFF = -2.0, -8.0
_BROKEN_SHARE = 0.7
# A prior may carry a claim while the best is within so many spreads of the expected one.
_EXPECTED, _TOO_FAR = 1.5, 3.0


@dataclass(frozen=True)
class Trials:
    """What a posterior learns from: mean losses and numbers of runs at x = log(lr), and where training broke."""

    x: tuple[float, ...] = ()
    loss: tuple[float, ...] = ()
    n_runs: tuple[int, ...] = ()
    broken: tuple[float, ...] = ()

    @cached_property
    def best(self) -> int:
        return min(range(len(self.x)), key=self.loss.__getitem__)


@dataclass(frozen=True, eq=False)
class Posterior:
    prior: ValleyPrior
    low: float
    high: float
    trials: Trials

    @cached_property
    def valleys(self) -> Array:
        """x of the best, log left rise, log right rise; shape (N, 3)."""
        prior, (uniform, normal) = self.prior, _lattice()
        n = _N // _STRANGE_SHARE
        spread = np.array([prior.lr_spread, prior.left_spread, prior.right_spread])
        center = np.log([prior.lr, prior.left_rise, prior.right_rise])
        tail = np.sqrt(prior.dof / _chi2_quantile(normal[:, 3], prior.dof))
        valleys = center + spread * np.clip(normal[:, :3] * tail[:, None], -30, 30)
        margin = 0.5
        valleys[:n, 0] = self.low - margin + (self.high - self.low + 2 * margin) * uniform[:n, 0]
        valleys[:n, 1:] = center[1:] + _STRANGE_SPREAD * normal[:n, 1:3]
        return np.asarray(valleys)

    @cached_property
    def weights(self) -> Array:
        """The probability of each valley, shape (N,)."""
        n = _N // _STRANGE_SHARE
        log = np.log(np.where(np.arange(_N) < n, _STRANGE_WEIGHT / n, (1 - _STRANGE_WEIGHT) / (_N - n)))
        if len(self.valid):
            weight, rest = self.precisions, self.levels - self.level
            log = log + np.log(weight).sum(0) / 2 - np.log(weight.sum(0)) / 2 - (weight * rest**2).sum(0) / 2
        for x in self.broken:
            explained = self.rises(x) > _BROKEN_SHARE * self.prior.height
            log = log + np.where(explained, 0.0, np.where(x > self.valleys[:, 0], _CLIFF, _NO_CLIFF))
        weights = np.exp(log - log.max())
        return np.asarray(weights / weights.sum())

    @cached_property
    def is_contradicted(self) -> bool:
        """Whether valleys of no prior are likelier than its own, or the best is far from where it expects it.

        Or a trial where it expects the best, or below, lies above its valley.
        """
        limit = math.log(self.prior.lr) + self.prior.lr_spread
        if self.broken and min(self.broken) < limit:
            return True
        return bool(self.weights[: _N // _STRANGE_SHARE].sum() > 0.5) or self._spreads_off > _TOO_FAR

    def probability(self, tolerance: float) -> float:
        """The probability that the best trial is within the tolerance; 0 if the valley is not where it is expected.

        The prior knows little of valleys elsewhere: another family of curves shows there, or noise.
        """
        if not self.trials.x or not self.is_as_expected:
            return 0.0
        return self.probability_within(self.trials.x[self.trials.best], tolerance)

    @cached_property
    def is_as_expected(self) -> bool:
        """Whether the valley is where the prior expects it."""
        return self._spreads_off <= _EXPECTED

    @cached_property
    def _spreads_off(self) -> float:
        """How far the best is from the expected one, in spreads of the prior."""
        own = slice(_N // _STRANGE_SHARE, None)
        mean = float(self.weights[own] @ self.valleys[own, 0] / self.weights[own].sum()) if self._is_own else math.inf
        return abs(mean - math.log(self.prior.lr)) / self.prior.lr_spread

    @cached_property
    def _is_own(self) -> bool:
        return bool(self.weights[_N // _STRANGE_SHARE :].sum() > 0)

    @cached_property
    def valid(self) -> NDArray[np.intp]:
        """The indices of the trials that belong to a valley."""
        loss = np.array(self.trials.loss)
        return np.flatnonzero(loss <= loss.min() + self.prior.height) if len(loss) else np.zeros(0, np.intp)

    @cached_property
    def broken(self) -> tuple[float, ...]:
        return (*self.trials.broken, *(x for i, x in enumerate(self.trials.x) if i not in set(self.valid.tolist())))

    @cached_property
    def precisions(self) -> Array:
        """One over the variance of each valid trial's loss around each valley, shape (T, N)."""
        n_runs = np.array(self.trials.n_runs)[self.valid]
        noise = max(self.prior.noise, 1e-3 * self.prior.height) ** 2 / n_runs
        return np.asarray(1 / (noise[:, None] + (self.prior.misfit * self._tried_rises) ** 2))

    @cached_property
    def levels(self) -> Array:
        """The least loss of each valley by each valid trial, shape (T, N)."""
        return np.asarray(np.array(self.trials.loss)[self.valid][:, None] - self._tried_rises)

    @cached_property
    def level(self) -> Array:
        """The least loss of each valley by all valid trials, shape (N,)."""
        return np.asarray((self.precisions * self.levels).sum(0) / self.precisions.sum(0))

    @cached_property
    def _tried_rises(self) -> Array:
        return np.stack([self.rises(self.trials.x[i]) for i in self.valid])

    def rises(self, x: float) -> Array:
        """How far each valley lies at x above its least loss, shape (N,)."""
        sides = Sides.of(np.array(x), self.valleys[:, 0], Powers(self.prior.left_power, self.prior.right_power))
        return np.asarray(self._steepness[0] * sides.left + self._steepness[1] * sides.right)

    def probability_within(self, x: float, tolerance: float) -> float:
        """The probability that the loss at x is within the tolerance of the least."""
        return float(self.weights[self.rises(x) <= tolerance].sum())

    def excess_bound(self, x: float, probability: float) -> float:
        """The excess loss at x that is not exceeded with this probability."""
        rises = self.rises(x)
        order = np.argsort(rises, kind="stable")
        at = int(np.searchsorted(np.cumsum(self.weights[order]), probability - 1e-12))
        return float(rises[order[min(at, _N - 1)]]) if probability < 1 else math.inf

    def places(self, shares: Sequence[float]) -> Array:
        """Quantiles of the best x."""
        order = np.argsort(self.valleys[:, 0], kind="stable")
        at = np.searchsorted(np.cumsum(self.weights[order]), shares)
        return np.asarray(self.valleys[order[np.minimum(at, _N - 1)], 0])

    def draw(self, n: int, offset: float) -> NDArray[np.intp]:
        """The indices of n valleys, each about as often as it is probable."""
        at = np.searchsorted(np.cumsum(self.weights), (np.arange(n) + offset) / n)
        return np.asarray(np.minimum(at, _N - 1))

    @cached_property
    def _steepness(self) -> tuple[Array, Array]:
        left, right = np.exp(np.clip(self.valleys[:, 1:], -690, 690)).T
        return left, right


@cache
def _lattice() -> tuple[Array, Array]:
    """An even lattice in the unit cube of four dimensions (Roberts' sequence), and its normal quantiles."""
    root = 2.0
    for _ in range(40):
        root = (1 + root) ** (1 / 5)
    uniform = (0.5 + np.outer(np.arange(1, _N + 1), [root ** -(k + 1) for k in range(4)])) % 1
    quantile = NormalDist().inv_cdf
    normal = [[quantile(min(max(u, 1e-6), 1 - 1e-6)) for u in row] for row in uniform.tolist()]
    return uniform, np.array(normal)


def _chi2_quantile(normal: Array, dof: float) -> Array:
    """Quantiles of chi^2 from those of the normal distribution (Wilson and Hilferty)."""
    return np.asarray(dof * np.maximum(1 - 2 / (9 * dof) + normal * math.sqrt(2 / (9 * dof)), 0.02) ** 3)
