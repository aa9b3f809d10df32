"""A learning-rate search that knows when to stop: ask, tell, done, result."""

from ._observations import Observation as Observation
from ._options import SearchOptions as SearchOptions
from ._result import SearchResult as SearchResult
from ._search import LearningRateSearch as LearningRateSearch
from ._start import SearchStart as SearchStart
