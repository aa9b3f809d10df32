"""A sweep trains once for each schedule, learning rate and seed of a grid, and holds all losses as one value."""

from .results import SweepResult as SweepResult
from .run import run_sweep as run_sweep
