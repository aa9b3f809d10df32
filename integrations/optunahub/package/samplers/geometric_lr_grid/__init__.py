"""Learning-rate grids in any study, each cell exactly once: `GeometricGridSampler` of robust-lr."""

from robust_lr import GeometricGrid
from robust_lr_optuna import GeometricGridSampler, fail_stale_trials

__all__ = ["GeometricGrid", "GeometricGridSampler", "fail_stale_trials"]
