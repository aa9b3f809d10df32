"""What a prior makes of the observations of a search: whether they agree, what is probable, and what to try next."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from ._observations import Observations

if TYPE_CHECKING:
    from ..prior._posterior import Posterior
    from ..prior.valley_prior import ValleyPrior

# So many trials are chosen by the prior, while the best may be where it expects it. Then the search goes on as without
# it, from these points, and the prior may still end it.
_MOST_GUIDED = 3


@dataclass(frozen=True)
class Guide:
    """A prior and the observations of a search over ``low <= log(lr) <= high``."""

    prior: ValleyPrior
    data: Observations
    low: float
    high: float
    tolerance: float

    @cached_property
    def posterior(self) -> Posterior:
        from ..prior._posterior import Posterior, Trials

        means, counts = self.data.means, self.data.counts
        told = Trials(
            tuple(map(math.log, means)),
            tuple(means.values()),
            tuple(counts[lr] for lr in means),
            tuple(map(math.log, self.data.broken)),
        )
        return Posterior(self.prior, self.low, self.high, told)

    @cached_property
    def is_trusted(self) -> bool:
        """Whether the observations agree with the prior, and the range holds what it expects."""
        return not self._is_out_of_range and not self.posterior.is_contradicted

    @property
    def _is_out_of_range(self) -> bool:
        expected = math.log(self.prior.lr)
        return max(self.low - expected, expected - self.high) > 2 * self.prior.lr_spread

    @cached_property
    def probability(self) -> float:
        """The probability, by the posterior, that the best is within the tolerance."""
        return self.posterior.probability(self.tolerance) if self.is_trusted else 0.0

    @property
    def notes(self) -> tuple[str, ...]:
        """Caveats: where the prior is not at home, and whether it was switched off."""
        if self.is_trusted:
            return self.prior.notes
        if self._is_out_of_range:
            return (
                *self.prior.notes,
                f"the prior expects the best at {self.prior.lr:.4g}, outside the range: not used",
            )
        return (*self.prior.notes, "the losses contradict the prior, so the search goes on without it")

    @property
    def carries(self) -> bool:
        """Whether the claim is probable enough to be stated, as measured on left-out sweeps."""
        return self.prior.required < 1 and self.probability >= self.prior.required

    def next_trial(self, taken: Sequence[float]) -> float | None:
        """The log of the learning rate to try next, or None if the bound should guide the search."""
        from ..prior._next_trial import next_trial

        if len(self.data.results) >= _MOST_GUIDED or not (self.is_trusted and self.posterior.is_as_expected):
            return None
        return next_trial(self.posterior, self.tolerance, taken)
