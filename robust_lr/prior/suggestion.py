"""What to run without a search: one learning rate, or the few at once of which one is good enough."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from .._checks import check_number, check_whole
from ..exceptions import OptionError
from ._posterior import Posterior, Trials
from .valley_prior import LEVEL, ValleyPrior

_N_PLACES, _REACH = 121, 5.0


@dataclass(frozen=True)
class Suggestion:
    """The learning rates to run at once.

    Attributes:
        lr: the one to run if only one.
        probability: that its loss is within the tolerance of the least.
        interval: the learning rates between which the best one lies with 95%.
        learning_rates: the few to run at once, ascending.
        probability_of_few: that one of them is within the tolerance.
        tolerance: in units of the loss.
        notes: in what respect the new sweep lies outside of the earlier ones.
    """

    lr: float
    probability: float
    interval: tuple[float, float]
    learning_rates: tuple[float, ...]
    probability_of_few: float
    tolerance: float
    notes: tuple[str, ...]

    def __str__(self) -> str:
        shown = ", ".join(f"{lr:.3g}" for lr in self.learning_rates)
        low, high = self.interval
        lines = [
            f"Learning rate: {self.lr:.3g}. It is within {self.tolerance:g} of the best with a probability of "
            f"{self.probability:.0%}.",
            f"The best one lies between {low:.3g} and {high:.3g} (95%).",
            f"To run at once: {shown}. One of them is within {self.tolerance:g} of the best with a probability of "
            f"{self.probability_of_few:.0%}.",
        ]
        return "\n".join([*lines, *(f"Note: {note}." for note in self.notes)])


def suggest_learning_rates(
    prior: ValleyPrior, *, tolerance: float, probability: float = LEVEL, max_trials: int = 8
) -> Suggestion:
    """Return the learning rate to run, and the fewest to run at once for a probability.

    Args:
        prior: what `LearningRatePrior.at` returns.
        tolerance: how much worse than the best loss you accept, > 0, in units of the loss.
        probability: that one of them is within the tolerance, > 0 and < 1.
        max_trials: the most to run, >= 1; more do not help if the prior knows too little.

    Raises:
        OptionError: when an argument is out of range.

    Example:
        >>> prior = ValleyPrior(lr=3e-3, lr_spread=0.3, left_rise=0.006, left_spread=0.3, right_rise=0.012,
        ...                     right_spread=0.4, noise=0.002)
        >>> suggestion = suggest_learning_rates(prior, tolerance=0.005)
        >>> len(suggestion.learning_rates), suggestion.probability_of_few > 0.95
        (3, True)
    """
    if not isinstance(prior, ValleyPrior):
        raise OptionError(f"prior must be what LearningRatePrior.at returns, got {type(prior).__name__}")
    tolerance = check_number("tolerance", tolerance, above=0)
    probability = check_number("probability", probability, above=0, below=1)
    max_trials = check_whole("max_trials", max_trials, at_least=1)
    center, reach = math.log(prior.lr), _REACH * prior.lr_spread
    posterior = Posterior(prior, center - reach, center + reach, Trials())
    places = np.linspace(center - reach, center + reach, _N_PLACES)
    within = np.stack([posterior.rises(x) <= tolerance for x in places.tolist()])
    chosen: list[int] = []
    covered = np.zeros(within.shape[1], bool)
    while len(chosen) < max_trials and posterior.weights @ covered < probability:
        gains = within[:, ~covered] @ posterior.weights[~covered]
        chosen.append(int(gains.argmax()))
        covered |= within[chosen[-1]]
    few = tuple(float(f"{math.exp(x):.4g}") for x in sorted(places[chosen].tolist()))
    first = chosen[0]
    return Suggestion(
        float(f"{math.exp(float(places[first])):.4g}"), float(posterior.weights @ within[first]), prior.interval, few,
        float(posterior.weights @ covered), tolerance, prior.notes,
    )  # fmt: skip
