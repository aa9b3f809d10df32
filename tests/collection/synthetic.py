"""Small synthetic collections: quadratic valleys in the logarithm of the learning rate, alike within a size."""

from __future__ import annotations

import numpy as np

from robust_lr import SweepCollection, SweepResult

LRS = 2.0 ** np.arange(-6, 7)


def valley(lrs, best=0.0, curvature=0.01, floor=2.0):
    return floor + curvature * (np.log2(lrs) - best) ** 2


def sweep(loss, lrs=LRS, schedules=("cosine",), **more):
    loss = np.asarray(loss, float)
    loss = loss[None, :, None] if loss.ndim == 1 else loss
    return SweepResult(schedules, lrs, range(loss.shape[2]), loss, **more)


def collection(n_sizes=8, n_batches=6, *, lrs=LRS, spread=0.5, rng=None, noise=0.0, **more):
    """Sweeps over sizes and batch sizes; the curvature of the valley depends on the size alone."""
    rng = np.random.default_rng(0) if rng is None else rng
    pairs = []
    for size in range(n_sizes):
        curvature = 0.01 * np.exp(spread * rng.normal())
        for batch in range(n_batches):
            loss = valley(lrs, rng.uniform(-2, 2), curvature) + noise * rng.normal(size=len(lrs))
            pairs.append(({"size": 10.0**size, "batch": 2.0**batch}, sweep(loss, lrs, **more)))
    return SweepCollection.from_sweeps(pairs)
