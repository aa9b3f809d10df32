"""A learning-rate search that knows when to stop: ask, tell, done, result."""

from .observations import Tell as Tell
from .result import SearchResult as SearchResult
from .search import LearningRateSearch as LearningRateSearch
