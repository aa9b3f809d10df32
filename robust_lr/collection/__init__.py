"""Many sweeps as one value, and what they say together about the next sweep of their kind."""

from .sweeps import CollectedSweep as CollectedSweep
from .sweeps import SweepCollection as SweepCollection
