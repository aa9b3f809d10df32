"""The demo's training function: softmax regression on the digits that ship with scikit-learn, by SGD in plain numpy."""

from __future__ import annotations

from functools import cache

import numpy as np
from numpy.typing import NDArray

from .exceptions import RobustLRError
from .grids import GeometricGrid
from .schedules import Schedule

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

Array = NDArray[np.float64]


def train(*, lr: float, schedule: Schedule, seed: int) -> dict[str, float]:
    """Train once and return the training objective, with validation figures beside it.

    The objective is the mean cross-entropy of softmax regression over 1500 digits plus
    ``WEIGHT_DECAY / 2 * |W|**2``: convex, with gradient noise from batches of 16, which is the setting of the theory.
    The seed draws the batches, the same for every learning rate and schedule; the weights start at zero.
    """
    x, labels, x_val, labels_val = _digits()
    weights, bias = np.zeros((x.shape[1], 10)), np.zeros(10)
    one_hot = np.eye(10)[labels]
    batches = np.random.default_rng(seed).integers(0, len(x), size=(TOTAL_STEPS, BATCH_SIZE))
    rates = lr * schedule(np.arange(TOTAL_STEPS), TOTAL_STEPS)
    for rate, batch in zip(rates, batches, strict=True):
        inputs = x[batch]
        residual = (_softmax(inputs @ weights + bias) - one_hot[batch]) / BATCH_SIZE
        weights -= rate * (inputs.T @ residual + WEIGHT_DECAY * weights)
        bias -= rate * residual.sum(axis=0)
    penalty = 0.5 * WEIGHT_DECAY * float(np.sum(weights**2))
    loss, _ = _evaluate(x, labels, weights, bias)
    validation_loss, accuracy = _evaluate(x_val, labels_val, weights, bias)
    return {"loss": loss + penalty, "validation_loss": validation_loss, "validation_accuracy": accuracy}


@cache
def _digits() -> tuple[Array, NDArray[np.int64], Array, NDArray[np.int64]]:
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
    return x[:N_TRAIN], y[:N_TRAIN], x[N_TRAIN:], y[N_TRAIN:]


def _softmax(logits: Array) -> Array:
    exp = np.exp(logits - logits.max(axis=1, keepdims=True))
    return np.asarray(exp / exp.sum(axis=1, keepdims=True))


def _evaluate(x: Array, labels: NDArray[np.int64], weights: Array, bias: Array) -> tuple[float, float]:
    logits = x @ weights + bias
    logits = logits - logits.max(axis=1, keepdims=True)
    log_likelihood = logits[np.arange(len(x)), labels] - np.log(np.exp(logits).sum(axis=1))
    return float(-log_likelihood.mean()), float(np.mean(logits.argmax(axis=1) == labels))
