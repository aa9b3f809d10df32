"""A sweep: every schedule, learning rate and seed of a grid, trained once; and its losses as one value."""

from .results import SweepResult as SweepResult
from .run import run_sweep as run_sweep
