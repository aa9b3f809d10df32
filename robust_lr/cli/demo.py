"""The demo's training function: softmax regression on the digits that ship with scikit-learn, by SGD."""

from __future__ import annotations

from functools import cache

import numpy as np

from ..exceptions import RobustLRError
from ..grids import GeometricGrid
from ..linear.models import LinearModelTask

DEMO_GRID = GeometricGrid(2.0**-7, 2.0**8, 16)
DEMO_SCHEDULES = (
    "constant",
    "inverse-sqrt",
    "linear",
    "cosine",
    "wsd(0.2)",
    "polynomial(power=2)",
    "cosine(floor=0.1)",
)
DEMO_SEEDS = 5

TOTAL_STEPS = 1500
BATCH_SIZE = 16
WEIGHT_DECAY = 1e-3
N_TRAIN = 1500


@cache
def demo_task() -> LinearModelTask:
    """Return the training function of the demo.

    The objective is the mean cross-entropy of softmax regression over 1500 digits plus
    ``WEIGHT_DECAY / 2 * |W|**2``: convex, with gradient noise from batches of 16, which is the setting of the theory.
    The seed draws the batches, the same for every learning rate and schedule; the weights start at zero.

    Raises:
        RobustLRError: when scikit-learn, which brings the digits, is not installed.
    """
    try:
        from sklearn.datasets import load_digits
    except ModuleNotFoundError as error:
        if error.name != "sklearn":
            raise
        raise RobustLRError("the demo reads the digits of scikit-learn: pip install 'robust-lr[sklearn]'") from error
    data, target = load_digits(return_X_y=True)
    order = np.random.default_rng(0).permutation(len(data))
    # Scaled by the full range: dividing by a pixel's standard deviation explodes where it is constant.
    x, y = data[order] / 16.0, target[order].astype(np.int64)
    x = x - x[:N_TRAIN].mean(axis=0)
    return LinearModelTask(
        kind="softmax",
        train_data=(x[:N_TRAIN], y[:N_TRAIN]),
        validation_data=(x[N_TRAIN:], y[N_TRAIN:]),
        total_steps=TOTAL_STEPS,
        batch_size=BATCH_SIZE,
        weight_decay=WEIGHT_DECAY,
    )
