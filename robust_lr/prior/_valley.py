"""The valley of one sweep: a power on each side of the best learning rate.

With ``u = log2(lr / best)``, the loss exceeds the least one by::

    rise(u) = left |u|^p for u < 0,   right u^q for u > 0

so `left` and `right` are the cost of half and of twice the best learning rate. A loss is known up to the noise of a
run and a share of the rise itself (`misfit`): variance ``noise^2 + (misfit rise)^2``. Losses more than `height` above
the best are no part of the valley.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ._law import Prediction

Array = NDArray[np.float64]
LN2 = math.log(2)
# A valley reaches as high as this many times the average cost of half and twice the best learning rate.
HEIGHT = 8.0
_N_PLACES, _N_STEEPNESS, _STEEPNESS_SPAN = 121, 17, 2.5
_MARGIN, _MOST_SDS, _LEAST_PLACES = 2.0, 5.0, 10


class Powers(NamedTuple):
    left: float
    right: float


@dataclass(frozen=True)
class Sides:
    """The heights ``|u|^p`` at some learning rates for some best ones, apart for each side; 0 on the other side."""

    left: Array
    right: Array

    @classmethod
    def of(cls, x: Array, best: Array, powers: Powers) -> Sides:
        """Return the heights at x = log(lr) around the best x; the shapes broadcast."""
        u = (x - best) / LN2
        return cls(np.where(u < 0, np.abs(u), 0.0) ** powers.left, np.where(u > 0, u, 0.0) ** powers.right)


class Fit(NamedTuple):
    """What a sweep says about (x of the best, log left, log right): means and variances, and its misfit (chi^2)."""

    mean: Array
    variance: Array
    chi2: float
    residuals: Array
    rises: Array


def height_of(expected: Sequence[Prediction]) -> float:
    return HEIGHT * math.exp((expected[1].mean + expected[2].mean) / 2)


def fit_valley(
    x: Array, loss: Array, expected: Sequence[Prediction], powers: Powers, noise: float, misfit: float
) -> Fit:
    """Return what the losses at x = log(lr), shape (L,), say about a valley of which this is expected.

    The posterior on a mesh of the three parameters; the least loss is the one that fits best. A sweep whose best lies
    on its edge says little on that side, and then the expectation decides.
    """
    keep = np.isfinite(loss) & (loss <= loss.min() + height_of(expected))
    y, at = loss[keep], x[keep]
    weight = 1 / (noise**2 + (misfit * (y - y.min())) ** 2)
    places = np.linspace(x[0] - _MARGIN, x[-1] + _MARGIN, _N_PLACES)
    near = np.abs(places - expected[0].mean) < _MOST_SDS * expected[0].sd
    places = places[near] if near.sum() > _LEAST_PLACES else places
    z = np.linspace(-_STEEPNESS_SPAN, _STEEPNESS_SPAN, _N_STEEPNESS)
    left, right = (np.exp(each.mean + each.sd * z) for each in expected[1:])
    sides = Sides.of(at[None, :], places[:, None], powers)

    def covariance(a: Array, b: Array) -> Array:
        return np.asarray((weight * a * b).sum(-1) - (weight * a).sum(-1) * (weight * b).sum(-1) / weight.sum())

    ll, rr, lr = (covariance(*pair) for pair in ((sides.left, sides.left), (sides.right, sides.right),
                                                 (sides.left, sides.right)))  # fmt: skip
    ly, ry, yy = covariance(sides.left, y), covariance(sides.right, y), float(covariance(y, y))
    chi2 = (
        yy - 2 * np.multiply.outer(ly, left)[:, :, None] - 2 * np.multiply.outer(ry, right)[:, None, :]
        + np.multiply.outer(ll, left**2)[:, :, None] + np.multiply.outer(rr, right**2)[:, None, :]
        + 2 * lr[:, None, None] * np.multiply.outer(left, right)
    )  # fmt: skip
    score = -(chi2 + z[:, None] ** 2 + z**2 + (((places - expected[0].mean) / expected[0].sd) ** 2)[:, None, None]) / 2
    share = np.exp(score - score.max())
    share /= share.sum()
    i, j, k = np.unravel_index(int(score.argmax()), score.shape)
    rises = left[j] * sides.left[i] + right[k] * sides.right[i]
    level = float(weight @ (y - rises) / weight.sum())
    moments = [_moments(share.sum((1, 2)), places)]
    moments += [
        _moments(part, each.mean + each.sd * z)
        for part, each in zip((share.sum((0, 2)), share.sum((0, 1))), expected[1:], strict=True)
    ]
    mean, variance = np.array(moments).T
    return Fit(mean, variance, float(chi2.min()), y - rises - level, rises)


def _moments(share: Array, values: Array) -> tuple[float, float]:
    mean = float(share @ values)
    return mean, float(share @ (values - mean) ** 2)
