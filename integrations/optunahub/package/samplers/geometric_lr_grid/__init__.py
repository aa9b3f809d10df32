"""Learning-rate grids in any study, each cell exactly once: `GeometricGridSampler` of robust-lr."""

from robust_lr import GeometricGrid
from robust_lr_optuna import GeometricGridSampler, reap_stale

__all__ = ["GeometricGrid", "GeometricGridSampler", "reap_stale"]
