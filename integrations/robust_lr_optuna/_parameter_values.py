"""Values of parameters: compared up to rounding, and adapted to the objective's distribution."""

from __future__ import annotations

import math
from typing import Any

from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution

from robust_lr.exceptions import GridError

SAME = 1e-9  # floats closer than this, relatively, are one


def as_number(value: Any) -> float | None:
    try:
        return float(value)
    except (TypeError, ValueError):
        return None


def is_same(value: Any, other: Any) -> bool:
    are_floats = isinstance(value, float) and isinstance(other, float)
    return bool(value == other) or (are_floats and math.isclose(value, other, rel_tol=SAME))


def allowed_value(name: str, value: Any, distribution: BaseDistribution) -> Any:
    """Return a value of the grid as the distribution writes it: its own choice, its own bound."""
    candidates: tuple[Any, ...] = ()
    if isinstance(distribution, CategoricalDistribution):
        candidates = distribution.choices
    elif isinstance(distribution, (FloatDistribution, IntDistribution)) and as_number(value) is not None:
        candidates = (distribution.low, distribution.high, value)
    for candidate in candidates:
        if is_same(candidate, value) and distribution._contains(distribution.to_internal_repr(candidate)):
            return candidate
    raise GridError(f"the grid has {name}={value!r}, but the objective only allows {distribution}")
