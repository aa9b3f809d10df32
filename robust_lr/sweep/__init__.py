"""A sweep trains once for each schedule, learning rate and seed of a grid, and holds all losses as one value."""

from .branched import BranchedSweep as BranchedSweep
from .branched_result import BranchedResult as BranchedResult
from .results import SweepResult as SweepResult
from .run import run_sweep as run_sweep
