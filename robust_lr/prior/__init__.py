"""What earlier sweeps know about the next one: a law for the best learning rate, and the valley around it."""

from typing import TYPE_CHECKING

from .._lazy import lazy_names

if TYPE_CHECKING:
    from .learned import LearningRatePrior as LearningRatePrior
    from .suggestion import Suggestion as Suggestion
    from .suggestion import suggest_learning_rates as suggest_learning_rates
    from .valley_prior import ValleyPrior as ValleyPrior
else:
    __getattr__, __dir__, __all__ = lazy_names(
        __name__,
        {
            "learned": "LearningRatePrior",
            "suggestion": "Suggestion suggest_learning_rates",
            "valley_prior": "ValleyPrior",
        },
    )
