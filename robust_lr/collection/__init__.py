"""Many sweeps as one value, and what they say together about the next sweep of their kind."""

from .analysis import CollectionAnalysis as CollectionAnalysis
from .analysis import analyze_collection as analyze_collection
from .paired import PairedSchedules as PairedSchedules
from .pooled import PooledRecommendation as PooledRecommendation
from .sweeps import CollectedSweep as CollectedSweep
from .sweeps import SweepCollection as SweepCollection
