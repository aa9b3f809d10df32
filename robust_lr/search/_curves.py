"""Plausible curves of the loss: convex, with a steepness of its own on each side of the minimum.

Around a point (x_0, f_0), with ``u = x - x_0``::

    f(x) = f_0 + left (exp(-q u) - 1) + right (exp(s u) - 1),     left, right >= 0

This is convex for any rates q, s > 0: nearly a parabola if both are small, flat before a cliff if s is large. For given
rates, two linear equations for left and right decide whether such a curve goes through two more points.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

from ._convex_bound import Point

# From what could be a parabola over two decades to a loss that explodes within a factor of 1.2.
_LEFT_RATES = (0.25, 1.0, 2.0)
_RIGHT_RATES = (0.25, 1.0, 3.0, 9.0)
# A curve whose height over the best is wrong by a factor of 2 at another point has half the weight.
_HALF_WEIGHT = math.log(2)
_LEAST_WEIGHT = 0.003
_LARGEST_EXPONENT = 700.0


@dataclass(frozen=True)
class Curve:
    origin: Point
    left: float
    right: float
    left_rate: float
    right_rate: float

    def __call__(self, x: float) -> float:
        u = x - self.origin.x
        return self.origin.loss + self.left * _growth(-self.left_rate * u) + self.right * _growth(self.right_rate * u)


def curves_through(
    origin: Point, others: Sequence[Point], *, near: Sequence[Point] = (), tolerance: float
) -> tuple[tuple[float, Curve], ...]:
    """Return the plausible curves through three points, as (weight, curve); the weights add up to 1.

    The weight is ``1 / sqrt(q s)``, since gentle curves are the rule, times ``1 / (1 + (log(h / h') / log 2)^2)`` for
    each of the points near, where h is the height of the curve over the origin and h' that of the point, both with
    four tolerances added.
    """
    found = []
    for left_rate, right_rate in product(_LEFT_RATES, _RIGHT_RATES):
        (a, b, h), (c, d, k) = (
            (_growth(-left_rate * (p.x - origin.x)), _growth(right_rate * (p.x - origin.x)), p.loss - origin.loss)
            for p in others
        )
        det = a * d - b * c
        left, right = ((h * d - k * b) / det, (a * k - c * h) / det) if det else (-1.0, -1.0)
        if left >= 0 and right >= 0:
            found.append(Curve(origin, left, right, left_rate, right_rate))
    weights = [
        math.prod(_agreement(curve, p, tolerance) for p in near) / math.sqrt(curve.left_rate * curve.right_rate)
        for curve in found
    ]
    total = sum(weights)
    kept = [(w, curve) for w, curve in zip(weights, found, strict=True) if w > _LEAST_WEIGHT * total]
    total = sum(w for w, _ in kept)
    return tuple((w / total, curve) for w, curve in kept)


def _agreement(curve: Curve, point: Point, tolerance: float) -> float:
    base = curve.origin.loss
    off = math.log((abs(curve(point.x) - base) + 4 * tolerance) / (abs(point.loss - base) + 4 * tolerance))
    return 1 / (1 + (off / _HALF_WEIGHT) ** 2)


def _growth(exponent: float) -> float:
    return math.expm1(min(exponent, _LARGEST_EXPONENT))
