"""Argument checks: a value out of range raises an error that says, in one line, what was expected and what came."""

from __future__ import annotations

import contextlib
import math
import numbers

import numpy as np

from .exceptions import OptionError, RobustLRError


def check_whole(
    name: str, value: object, *, at_least: float = -math.inf, error: type[RobustLRError] = OptionError
) -> int:
    """Return the value as an int; raise `error` if it is not a whole number, or is below `at_least`.

    Example:
        >>> check_whole("n_points", 3, at_least=1)
        3
    """
    if isinstance(value, bool) or not isinstance(value, numbers.Integral) or value < at_least:
        bound = f" of at least {at_least}" if math.isfinite(at_least) else ""
        raise error(f"{name} must be a whole number{bound}, got {value!r}")
    return int(value)


def check_number(
    name: str,
    value: object,
    *,
    error: type[RobustLRError] = OptionError,
    above: float = -math.inf,
    at_least: float = -math.inf,
    below: float = math.inf,
    at_most: float = math.inf,
) -> float:
    """Return the value as a float; raise `error` if it is not a finite number within the bounds.

    Example:
        >>> check_number("floor", 0.1, at_least=0, below=1)
        0.1
    """
    number, came = math.nan, "a number too large for a float"  # whose digits may be too many even to print
    with contextlib.suppress(OverflowError):
        number = float(value) if isinstance(value, numbers.Real) and not isinstance(value, bool) else math.nan
        came = repr(value)
    if not (math.isfinite(number) and above < number and at_least <= number < below and number <= at_most):
        bounds = [
            f"{sign} {bound:g}"
            for sign, bound in ((">", above), (">=", at_least), ("<", below), ("<=", at_most))
            if math.isfinite(bound)
        ]
        raise error(f"{' '.join([f'{name} must be a finite number', ' and '.join(bounds)]).strip()}, got {came}")
    return number


def check_flag(name: str, value: object, *, error: type[RobustLRError] = OptionError) -> bool:
    """Return the value as a bool; raise `error` if it is neither True nor False.

    Example:
        >>> check_flag("relative", True)
        True
    """
    if not isinstance(value, bool | np.bool_):
        raise error(f"{name} must be True or False, got {value!r}")
    return bool(value)
