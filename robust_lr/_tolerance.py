"""The tolerance: how much worse than the best loss a user accepts, as a loss or as a share of the best."""

from __future__ import annotations

import math
import numbers
from dataclasses import dataclass

from .exceptions import OptionError


@dataclass(frozen=True)
class Tolerance:
    """A tolerance, absolute or relative.

    Attributes:
        value: a loss, or a share of the best loss if `relative` (1% is 0.01); positive and finite.
        relative: whether the value is a share of the best loss.
    """

    value: float
    relative: bool = False

    def of(self, best: float) -> float:
        """Return the tolerance in units of the loss, given the best loss.

        If the best loss is 0 or not finite, a share of it means nothing; the value then counts as a loss.

        Example:
            >>> read_tolerance("10%").of(2.0), read_tolerance(0.003).of(2.0)
            (0.2, 0.003)
        """
        lowest = abs(best)
        return self.value * lowest if self.relative and 0 < lowest < math.inf else self.value

    def __str__(self) -> str:
        return f"{self.value:.6%}".rstrip("0%").rstrip(".") + "%" if self.relative else f"{self.value:g}"


def read_tolerance(given: object, *, name: str = "tolerance") -> Tolerance:
    """Parse a tolerance: a positive number such as 0.003, or a text such as "0.003" or "1%".

    Args:
        given: what the user gave.
        name: its name in the error.

    Raises:
        OptionError: when it is neither.

    Example:
        >>> read_tolerance("1%"), read_tolerance(0.003)
        (Tolerance(value=0.01, relative=True), Tolerance(value=0.003, relative=False))
    """
    if isinstance(given, Tolerance):
        return given
    relative, value = isinstance(given, str) and given.rstrip().endswith("%"), math.nan
    if isinstance(given, str) or (isinstance(given, numbers.Real) and not isinstance(given, bool)):
        try:
            value = (
                float(given.rstrip().removesuffix("%")) / (100 if relative else 1)
                if isinstance(given, str)
                else float(given)
            )
        except (ValueError, OverflowError):
            value = math.nan
    if not 0 < value < math.inf:
        raise OptionError(f"{name} must be a positive number such as 0.003, or a share such as '1%', got {given!r}")
    return Tolerance(value, relative)
