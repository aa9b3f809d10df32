"""From a training function to a recommended grid, with numpy alone.

    python examples/quickstart_numpy.py

The training function is yours: it gets a peak learning rate, a schedule and a seed, and returns the final loss.
"""

import numpy as np

from robust_lr import Constant, CosineDecay, GeometricGrid, degradation_curve, recommend, run_sweep
from robust_lr.exceptions import InsufficientDataError

TOTAL_STEPS = 400


def train(*, lr: float, schedule, seed: int) -> float:
    """Noisy gradient descent on a badly conditioned quadratic; returns the loss of the last iterate."""
    rng = np.random.default_rng(seed)
    curvature = np.geomspace(0.01, 1.0, 50)
    x = np.ones(50)
    for step in range(TOTAL_STEPS):
        gradient = curvature * x + 0.3 * rng.normal(size=50)
        x = x - lr * float(schedule(step, TOTAL_STEPS)) * gradient
    return float(0.5 * np.sum(curvature * x**2))


if __name__ == "__main__":
    grid = GeometricGrid(2.0**-8, 2.0, n_points=19)  # half a factor of two apart: the finest grid we pay for, once
    sweep = run_sweep(train, grid, {"constant": Constant(), "cosine": CosineDecay()}, seeds=range(6))
    for name in sweep.schedules:
        curve = degradation_curve(sweep, name)  # every coarser grid is an exact sub-grid: no new training
        try:
            print(recommend(curve, tolerance=0.1))
        except InsufficientDataError as error:
            print(f"no recommendation for {error}; needed: {error.needed}")
