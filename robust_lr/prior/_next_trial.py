"""The trial that helps most under a posterior: the one after which the best is most probably within the tolerance."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ._posterior import Posterior
from ._valley import HEIGHT, LN2

Array = NDArray[np.float64]
_SHARES = tuple(np.linspace(0.05, 0.95, 15).tolist())
# What may lie beside the best shows only farther from it.
_BESIDE = (-2.0, -1.0, 1.0, 2.0)
_N_OUTCOMES, _N_VALLEYS = 24, 1024
_CLOSEST, _FARTHEST = 0.04, 0.5
# Below this doubt a search may end.
_DECISIVE = 0.975


def next_trial(posterior: Posterior, tolerance: float, taken: Sequence[float] = ()) -> float | None:
    """Return the x = log(lr) to try next, None if all that may help is tried or taken.

    For each candidate the outcome is simulated under some probable valleys; other trials in flight (`taken`) count as
    told. Without any trial, it is the candidate that is most probably within the tolerance.
    """
    tried = [*posterior.trials.x, *posterior.trials.broken, *taken]
    mean = float(posterior.weights @ posterior.valleys[:, 0])
    beside = (
        [posterior.trials.x[posterior.trials.best] + octaves * LN2 for octaves in _BESIDE] if posterior.trials.x else []
    )
    apart = _apart(posterior, tolerance)
    places = np.clip([*posterior.places(_SHARES), mean, *beside], posterior.low, posterior.high)
    candidates = [x for x in np.unique(np.round(places, 3)).tolist() if all(abs(x - other) > apart for other in tried)]
    if not candidates:
        return None
    score = _hope if not len(posterior.valid) or taken else _score
    values = [round(score(posterior, x, tolerance, taken), 6) for x in candidates]
    # Equal values: the one nearest to the middle of the posterior.
    best = max(range(len(values)), key=lambda i: (values[i], -abs(candidates[i] - mean)))
    return float(candidates[best])


def _apart(posterior: Posterior, tolerance: float) -> float:
    """Closer than this in log(lr), two trials tell the same: half of how far the loss stays within the tolerance."""
    rise = posterior.prior.height / HEIGHT
    return min(max(math.sqrt(tolerance / rise) * LN2 / 2, _CLOSEST), _FARTHEST)


def _hope(posterior: Posterior, x: float, tolerance: float, taken: Sequence[float]) -> float:
    """The probability that this trial, or one in flight or told, is within the tolerance."""
    within = [posterior.rises(each) <= tolerance for each in (x, *taken, *posterior.trials.x)]
    return float(posterior.weights @ np.any(within, axis=0))


def _score(posterior: Posterior, x: float, tolerance: float, taken: Sequence[float]) -> float:
    """The probability that the best is within the tolerance after this trial, on average over its outcomes."""
    outcomes, kept = posterior.draw(_N_OUTCOMES, 0.61), np.unique(posterior.draw(_N_VALLEYS, 0.37))
    prior, rises, best = posterior.prior, posterior.rises(x), posterior.trials.x[posterior.trials.best]
    losses = posterior.level[outcomes] + rises[outcomes]
    noise = max(prior.noise, 1e-3 * prior.height) ** 2
    variance = noise + (prior.misfit * rises[kept]) ** 2 + 1 / posterior.precisions[:, kept].sum(0)
    rest = losses[:, None] - posterior.level[kept] - rises[kept]
    log = np.log(posterior.weights[kept] + 1e-300) - np.log(variance) / 2 - rest**2 / variance / 2
    share = np.exp(log - log.max(axis=1, keepdims=True))
    share /= share.sum(axis=1, keepdims=True)
    new, old = (share @ (each[kept] <= tolerance) for each in (rises, posterior.rises(best)))
    is_better = losses < posterior.trials.loss[posterior.trials.best]
    doubt = np.maximum(1 - np.where(is_better, new, old), 1 - min(prior.required, _DECISIVE))
    return -float(np.log(doubt).mean())
