"""The part of a `CollectionAnalysis` that its printing modules use."""

from __future__ import annotations

from typing import Protocol

from .paired import PairedSchedules
from .pooled import PooledRecommendation
from .sweeps import SweepCollection


class AnalyzedCollection(Protocol):
    """See `CollectionAnalysis`."""

    @property
    def collection(self) -> SweepCollection: ...
    @property
    def pooled(self) -> tuple[PooledRecommendation, ...]: ...
    @property
    def pairs(self) -> tuple[PairedSchedules, ...]: ...
    @property
    def answer(self) -> PooledRecommendation: ...
