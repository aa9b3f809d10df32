"""A learning-rate search that knows when to stop: ask, tell, done, result."""

from importlib import import_module
from typing import Any

from ._observations import Observation as Observation
from ._options import SearchOptions as SearchOptions
from ._result import SearchResult as SearchResult
from ._search import LearningRateSearch as LearningRateSearch
from ._start import SearchStart as SearchStart


def __getattr__(name: str) -> Any:
    if name != "LearningRatePrior":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    # The prior is learned from collections of sweeps, which know more of the house than a search needs.
    return import_module("robust_lr.prior").LearningRatePrior
