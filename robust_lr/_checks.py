"""Argument checks: a value out of range raises an error that says, in one line, what was expected and what came."""

from __future__ import annotations

import contextlib
import inspect
import math
import numbers

import numpy as np

from ._text import listed
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


def check_train(train: object) -> None:
    """Raise an OptionError if a training function cannot be called as ``train(lr=, schedule=, seed=)``.

    Example:
        >>> check_train(lambda *, lr, schedule, seed: 0.5)
    """
    call = "train(lr=, schedule=, seed=)"
    if not callable(train):
        raise OptionError(f"train must be callable as {call}, got {train!r}")
    name = getattr(train, "__qualname__", type(train).__qualname__)
    if isinstance(train, type):
        raise OptionError(f"train must be callable as {call}, got the class {name}: pass a function or an instance")
    try:
        signature = inspect.signature(train)
        signature.bind(lr=0.1, schedule=None, seed=0)
    except ValueError:  # a callable of C, which does not show its parameters
        return
    except TypeError:
        raise OptionError(f"train is called as {call}, but {_mismatch(name, signature)}") from None


def _mismatch(name: str, signature: inspect.Signature) -> str:
    parameters = signature.parameters.values()
    takes = [p.name for p in parameters if p.kind in (p.KEYWORD_ONLY, p.POSITIONAL_OR_KEYWORD)]
    is_open = any(p.kind is p.VAR_KEYWORD for p in parameters)
    missing = [axis for axis in ("lr", "schedule", "seed") if axis not in takes and not is_open]
    optional = {p.name for p in parameters if p.default is not p.empty or p.kind in (p.VAR_KEYWORD, p.VAR_POSITIONAL)}
    more = [p for p in signature.parameters if p not in {"lr", "schedule", "seed", *optional}]
    lacks = [f"does not take {listed(missing)} by keyword"] if missing else []
    lacks += [f"needs {listed(more)} too"] if more else []
    way = "rename its parameters" if missing and more else "add the parameters"
    if more and not missing:
        is_method = more == ["self"]
        way = "pass the method of an instance" if is_method else f"bind it, functools.partial({name}, {more[0]}=...)"
    return f"{name}({', '.join(signature.parameters)}) {' and '.join(lacks)}: {way}"


def check_confidence_level(value: object) -> float:
    """Return a confidence level as a float; raise an OptionError if it is not between 0 and 1.

    Example:
        >>> check_confidence_level(0.95)
        0.95
    """
    if isinstance(value, (int, float)) and 1 < value < 100:
        raise OptionError(
            f"confidence_level must be a finite number > 0 and < 1, got {value!r}; {value:g}% is {value / 100:g}"
        )
    return check_number("confidence_level", value, above=0, below=1)
