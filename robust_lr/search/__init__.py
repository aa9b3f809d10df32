"""A learning-rate search that knows when to stop: ask, tell, done, result."""

from typing import TYPE_CHECKING, Any

from ._observations import Observation as Observation
from ._options import SearchOptions as SearchOptions
from ._result import SearchResult as SearchResult
from ._search import LearningRateSearch as LearningRateSearch

if TYPE_CHECKING:
    from ..prior import LearningRatePrior as LearningRatePrior


def __getattr__(name: str) -> Any:
    if name != "LearningRatePrior":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from ..prior import LearningRatePrior

    return LearningRatePrior
