"""Geometric learning-rate grids whose points keep their exact value when the grid is coarsened, refined or extended."""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass, field
from fractions import Fraction
from itertools import pairwise
from typing import Self

import numpy as np
from numpy.typing import NDArray

from ._checks import check_number, check_whole
from .exceptions import GridError

SIGNIFICANT_DIGITS = 12
_LARGEST_LOG_RATIO = 700.0
MAX_POINTS = 10_000  # more points are a mistake: in the ratio, or in the tolerance behind it


@dataclass(frozen=True)
class GeometricGrid:
    """Learning rates evenly spaced on a logarithmic axis.

    The points are ``lr_min * ratio**i`` for ``i = 0 .. n_points - 1`` with
    ``ratio = (lr_max / lr_min)**(1 / (n_points - 1))``, rounded to 12 significant digits; both ends are exact.
    Every grid made from this one by `coarsen`, `refine` or `extend` shares its lattice: a learning rate common to two
    of them is the same float, prints the same, and so identifies the same trial.

    Args:
        lr_min: smallest learning rate, positive and finite.
        lr_max: largest learning rate, ``> lr_min``; equal to it if ``n_points`` is 1.
        n_points: number of learning rates, 1 to 10,000.

    Raises:
        GridError: when an argument is out of range, or the points do not fit between the ends.

    Example:
        >>> grid = GeometricGrid(1e-4, 1.0, 5)
        >>> grid.values
        array([1.e-04, 1.e-03, 1.e-02, 1.e-01, 1.e+00])
        >>> grid.ratio
        10.0
        >>> grid.coarsen(2, offset=1).values
        array([0.001, 0.1  ])
    """

    lr_min: float = field(compare=False)
    lr_max: float = field(compare=False)
    n_points: int = field(compare=False)
    _points: tuple[float, ...] = field(init=False, repr=False)
    # The lattice is lr(x) = low * (high / low)**x; this grid holds x = start + step * i. Thanks to exact fractions, a
    # point of a nested grid is the same float however it was reached.
    _low: float = field(init=False, repr=False, compare=False)
    _high: float = field(init=False, repr=False, compare=False)
    _start: Fraction = field(init=False, repr=False, compare=False)
    _step: Fraction = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        low, high = _positive("lr_min", self.lr_min), _positive("lr_max", self.lr_max)
        n = check_whole("n_points", self.n_points, at_least=1, error=GridError)
        if n == 1 and low != high:
            raise GridError(f"a grid of one point needs lr_min == lr_max, got {low!r} and {high!r}")
        if n > 1 and low >= high:
            raise GridError(f"lr_min must be below lr_max, got {low!r} and {high!r}")
        self._place(low, high, Fraction(0), Fraction(1, max(n - 1, 1)), n)

    def _place(self, low: float, high: float, start: Fraction, step: Fraction, n: int) -> None:
        if n > MAX_POINTS:
            raise GridError(f"a grid has at most {MAX_POINTS} points, got {n}")
        points = tuple(_lattice_point(low, high, start + step * i) for i in range(n))
        if any(a >= b for a, b in pairwise(points)):
            raise GridError(
                f"{n} points between {low!r} and {high!r} coincide at {SIGNIFICANT_DIGITS} significant digits"
            )
        if not (points[0] > 0 and math.isfinite(points[-1])):
            raise GridError(f"the grid leaves the range of floats: it would run from {points[0]!r} to {points[-1]!r}")
        if n > 1 and (math.log(high) - math.log(low)) * float(step) > _LARGEST_LOG_RATIO:
            raise GridError(f"the neighbors {points[0]!r} and {points[1]!r} are further apart than a float can say")
        for name, value in (
            ("_low", low), ("_high", high), ("_start", start), ("_step", step), ("_points", points),
            ("lr_min", points[0]), ("lr_max", points[-1]), ("n_points", n),
        ):  # fmt: skip
            object.__setattr__(self, name, value)

    def _on_same_lattice(self, start: Fraction, step: Fraction, n: int) -> Self:
        grid = object.__new__(type(self))
        grid._place(self._low, self._high, start, step, n)
        return grid

    @classmethod
    def from_ratio(cls, lr_min: float, lr_max: float, max_ratio: float) -> Self:
        """Return the smallest grid over [lr_min, lr_max] whose neighbors are at most `max_ratio` apart.

        Both ends are on the grid, so its actual `ratio` may be below `max_ratio`.

        Raises:
            GridError: when ``max_ratio <= 1``, the range is empty, or the grid would have more than 10,000 points.

        Example:
            >>> GeometricGrid.from_ratio(1e-4, 1.0, 10)
            GeometricGrid(lr_min=0.0001, lr_max=1.0, n_points=5)
        """
        low, high = _positive("lr_min", lr_min), _positive("lr_max", lr_max)
        check_number("max_ratio", max_ratio, above=1, error=GridError)
        if low == high:
            return cls(low, high, 1)
        if low > high:
            raise GridError(f"lr_min must be below lr_max, got {low!r} and {high!r}")
        # With this slack, a ratio that divides the range up to rounding (10 over four decades) adds no point.
        n_steps = math.ceil((math.log(high) - math.log(low)) / math.log(max_ratio) - 1e-9)
        if n_steps >= MAX_POINTS:
            needs = f"a ratio of {max_ratio:.9g} from {low:g} to {high:g} needs {n_steps + 1} points"
            raise GridError(f"{needs}, and a grid has at most {MAX_POINTS}: allow a larger ratio")
        return cls(low, high, max(n_steps, 1) + 1)

    @property
    def values(self) -> NDArray[np.float64]:
        """The learning rates in ascending order, shape (n_points,), float64."""
        return np.array(self._points)

    @property
    def ratio(self) -> float:
        """Factor from one learning rate to the next; 1.0 for a grid of one point."""
        if self.n_points == 1:
            return 1.0
        log_ratio = (math.log(self._high) - math.log(self._low)) * float(self._step)
        return float(f"{math.exp(log_ratio):.{SIGNIFICANT_DIGITS}g}")

    @property
    def max_gap(self) -> float:
        """The largest factor by which an optimum inside [lr_min, lr_max] can lie below the next grid point (>= 1).

        Annealing forgives a learning rate that is too large, so the gap is measured upwards: some grid point lies
        between the best learning rate and `max_gap` times it.
        """
        return max((b / a for a, b in pairwise(self._points)), default=1.0)

    @property
    def cover(self) -> float:
        """Deprecated name of `max_gap`."""
        text = "GeometricGrid.cover is now max_gap; version 0.3 removes the old name"
        warnings.warn(text, DeprecationWarning, stacklevel=2)
        return self.max_gap

    def coarsen(self, stride: int, offset: int = 0) -> Self:
        """Return every `stride`-th point, starting at index `offset`: an exact sub-grid of ratio ``ratio**stride``.

        Args:
            stride: at least 1.
            offset: ``0 <= offset < stride``, and below `n_points`.

        Example:
            >>> GeometricGrid(1.0, 16.0, 5).coarsen(2).values
            array([ 1.,  4., 16.])
        """
        stride = check_whole("stride", stride, at_least=1, error=GridError)
        offset = check_whole("offset", offset, at_least=0, error=GridError)
        if offset >= min(stride, self.n_points):
            raise GridError(f"offset must be below the stride, {stride}, and the {self.n_points} points, got {offset}")
        n = -(-(self.n_points - offset) // stride)
        return self._on_same_lattice(self._start + self._step * offset, self._step * stride, n)

    def refine(self) -> Self:
        """Return the grid with the geometric mean of each pair of neighbors added; the ratio becomes its square root.

        Every old point stays the same float, so a finished sweep is a part of the refined one.

        Example:
            >>> GeometricGrid(0.01, 1.0, 2).refine().values
            array([0.01, 0.1 , 1.  ])
        """
        return self._on_same_lattice(self._start, self._step / 2, 2 * self.n_points - 1)

    def extend(self, *, below: int = 0, above: int = 0) -> Self:
        """Return the grid with `below` points added under lr_min and `above` points over lr_max, at the same ratio.

        Raises:
            GridError: when a count is negative, or the grid has only one point and so no ratio.

        Example:
            >>> GeometricGrid(0.01, 1.0, 3).extend(above=1).values
            array([ 0.01,  0.1 ,  1.  , 10.  ])
        """
        below = check_whole("below", below, at_least=0, error=GridError)
        above = check_whole("above", above, at_least=0, error=GridError)
        if self.n_points == 1 and below + above > 0:
            raise GridError("a grid of one point has no ratio to extend by; build a new grid instead")
        start = self._start - self._step * below
        return self._on_same_lattice(start, self._step, self.n_points + below + above)

    def __len__(self) -> int:
        return self.n_points


def _lattice_point(low: float, high: float, exponent: Fraction) -> float:
    if exponent == 0:
        return low
    if exponent == 1:
        return high
    log_lr = math.log(low) + (math.log(high) - math.log(low)) * float(exponent)
    try:
        return float(f"{math.exp(log_lr):.{SIGNIFICANT_DIGITS}g}")
    except OverflowError:
        return math.inf


def _positive(name: str, value: float) -> float:
    return check_number(name, value, above=0, error=GridError)
