"""Whether the statements of a prior are true, measured on sweeps of left-out clusters.

Each sweep is searched as a new one: with the laws of the other clusters, until its posterior makes it probable that the
best trial is within a tolerance. Its losses are those of the sweep, linear in log(lr) between two neighbors. The
tolerance is a multiple of the noise, so the measurement does not depend on units. From these searches comes how
probable a statement must be (`required`) to be true in 95% of new sweeps, by the rule of succession: m false ones of n
count as (m + 1) / (n + 1). So fewer than 19 sweeps, or 5 clusters, allow no statement at all.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ._learning import Points, Sweeps
from ._next_trial import next_trial
from ._posterior import Posterior, Trials
from ._valley import LN2
from .valley_prior import LEVEL, ValleyPrior

_MULTIPLES = (2.0, 4.0)  # of the noise, in turn
_REQUIRED = (0.99, 0.995, 0.9975)
_MOST_TRIALS, _MOST_SWEEPS, _MOST_FOLDS = 6, 120, 12
_LEAST_CLUSTERS = 5

# The prior of the sweep with this number, given which sweeps are known.
MakePrior = Callable[[int, NDArray[np.bool_]], ValleyPrior]


@dataclass(frozen=True)
class Calibration:
    """What searches of left-out sweeps showed.

    Attributes:
        required: the least probability of a statement; 1 if none is enough.
        true_share: the share of statements of that probability that were true; NaN if there are none.
        n_sweeps: how many sweeps were left out and searched.
        n_clusters: how many clusters there are.
        n_folds: into how many parts the clusters were divided; one of them was left out at a time.
        error: octaves from the predicted to the best learning rate: (median, 90%).
        guess_loss: what the predicted learning rate loses without any trial: (mean, 90%).
    """

    required: float
    true_share: float
    n_sweeps: int
    n_clusters: int
    n_folds: int
    error: tuple[float, float]
    guess_loss: tuple[float, float]


class _Step(NamedTuple):
    probability: float
    is_true: bool


def calibrate(sweeps: Sweeps, make_prior: MakePrior) -> Calibration:
    """Return the calibration of the priors that `make_prior` makes from a part of the sweeps."""
    n_clusters = int(sweeps.cluster.max()) + 1
    n_folds = min(n_clusters, _MOST_FOLDS)
    searches, errors, losses = [], [], []
    for number, prior in _left_out(sweeps, make_prior, n_folds):
        points = sweeps.points[number]
        errors.append(abs(math.log(prior.lr) - float(sweeps.mean[number, 0])) / LN2)
        losses.append(_loss_at(points, math.log(prior.lr)) - float(points.loss[points.finite].min()))
        searches.append(list(_search(prior, points, _MULTIPLES[number % 2] * prior.noise)))
    required, true_share = _required(searches) if n_clusters >= _LEAST_CLUSTERS else (1.0, math.nan)
    return Calibration(
        required, true_share, len(searches), n_clusters, n_folds,
        (_quantile(errors, 0.5), _quantile(errors, 0.9)),
        (float(np.mean(losses)) if losses else math.nan, _quantile(losses, 0.9)),
    )  # fmt: skip


def _left_out(sweeps: Sweeps, make_prior: MakePrior, n_folds: int) -> Iterator[tuple[int, ValleyPrior]]:
    """The sweeps with the priors that know nothing of their clusters; evenly chosen ones, if there are many."""
    if n_folds < 2:
        return
    chosen = set(np.linspace(0, len(sweeps.points) - 1, min(len(sweeps.points), _MOST_SWEEPS)).astype(int).tolist())
    for fold in range(n_folds):
        known = sweeps.cluster % n_folds != fold
        for number in np.flatnonzero(~known).tolist():
            if number in chosen:
                yield number, make_prior(number, known)


def _search(prior: ValleyPrior, points: Points, tolerance: float) -> Iterator[_Step]:
    """After each trial: how probable it is that the best one is within the tolerance, and whether it is."""
    x, loss = points.x[points.finite], points.loss[points.finite]
    trials, least = Trials(), float(loss.min())
    for _ in range(_MOST_TRIALS):
        at = next_trial(Posterior(prior, float(x[0]), float(x[-1]), trials), tolerance)
        if at is None:
            return
        trials = Trials((*trials.x, at), (*trials.loss, _loss_at(points, at)), (*trials.n_runs, 1))
        posterior, best = Posterior(prior, float(x[0]), float(x[-1]), trials), trials.best
        probability = posterior.probability(tolerance)
        yield _Step(probability, trials.loss[best] - least <= tolerance)
        if probability >= _REQUIRED[-1]:
            return


def _required(searches: Sequence[Sequence[_Step]]) -> tuple[float, float]:
    for required in _REQUIRED:
        stops = [next((step.is_true for step in steps if step.probability >= required), None) for steps in searches]
        stated = [stop for stop in stops if stop is not None]
        if stated and (stated.count(False) + 1) / (len(stated) + 1) <= 1 - LEVEL:
            return required, stated.count(True) / len(stated)
    return 1.0, math.nan


def _loss_at(points: Points, x: float) -> float:
    return float(np.interp(x, points.x[points.finite], points.loss[points.finite]))


def _quantile(values: Sequence[float], share: float) -> float:
    return float(np.quantile(values, share)) if values else math.nan
