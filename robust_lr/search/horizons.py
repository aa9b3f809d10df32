"""Short trainings as evidence for a long one: bracket the best learning rate there, carry it over, confirm it.

Each horizon runs its full schedule, down to its own end; nothing is ranked by the middle of a longer run.

With x = log(lr) and t = log(steps / total_steps), the best x at a horizon is taken as ``a + b t``, give or take the
error of a parabola through three losses, with b ~ N(0, 0.18^2): how language models drift (docs/how-to/horizons.md).
So a is the best x at full length, and several horizons tell b. If it is expected elsewhere (`start_at`), all of this
holds for the distance from there, and both estimates are weighted by their precision. A prior knows the valley as well.

The valley at full length is as wide as that of the longest shorter training: ``half_width`` is how far from its minimum
the loss is worse by the tolerance. Then one trial in the middle, or two beside it, are enough with a known probability.
If that is too little, trials at equal distances are added until the best has worse neighbors.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from statistics import NormalDist
from typing import Any

from ..prior.valley_prior import ValleyPrior
from . import LearningRateSearch, SearchResult, SearchStart
from ._convex_bound import Point
from ._state import FINEST, SearchState
from ._step import Ask, End
from .transfer import DRIFT

StartAt = Callable[[int], SearchStart | ValleyPrior]

# How probable it must be that a trial is within the tolerance: by shorter trainings, and by a prior alone, which knows
# nothing of this training. Measured in docs/how-to/horizons.md.
_PROBABILITY, _BY_PRIOR = 0.9, 0.985
# The error of a parabola through three noisy losses, as a standard deviation of log(lr).
_ERROR = 0.15
# Three losses within three octaves make a parabola. From a start, its arms are a factor of 2.
_BRACKET, WIDE = 3 * math.log(2), 4.0
# The distance of neighboring full-length trials, in standard deviations and in log(lr).
_SPACING, _LEAST_SPACING, _MOST_SPACING = 1.2, 0.3, 0.5


@dataclass(frozen=True)
class Carried:
    """The expectation for a longer training, in x = log(lr): where its best lies, and how wide its valley is."""

    center: float
    std: float
    half_width: float
    tolerance: float
    source: str = "the shorter trainings expect"
    probability: float = _PROBABILITY

    @classmethod
    def by_prior(cls, prior: ValleyPrior, tolerance: float) -> Carried:
        """What earlier sweeps expect, without any shorter search."""
        sides = ((prior.left_rise, prior.left_power), (prior.right_rise, prior.right_power))
        widths = [math.log(2) * (tolerance / rise) ** (1 / power) for rise, power in sides]
        half_width, source = math.fsum(widths) / 2, "earlier sweeps expect"
        return cls(math.log(prior.lr), prior.lr_spread, half_width, tolerance, source, _BY_PRIOR)

    @classmethod
    def over(cls, shorter: Sequence[SearchResult], steps: int, start_at: StartAt | None) -> Carried:
        """Carry the valleys of shorter searches, each with a finite loss, over to a horizon."""

        def expected(at: int) -> float:
            return math.log(start_at(at).lr) if start_at else 0.0

        lengths = [result.total_steps or steps for result in shorter]
        valleys = [_vertex(result) for result in shorter]
        ts = [math.log(length / steps) for length in lengths]
        xs = [x - expected(length) for (x, _), length in zip(valleys, lengths, strict=True)]
        # The normal equations of a and b in units of the error, with b eliminated.
        slope = math.fsum(t * t for t in ts) + (_ERROR / DRIFT) ** 2
        share = [1 - t * math.fsum(ts) / slope for t in ts]
        weight = math.fsum(share) / _ERROR**2
        center = expected(steps) + math.fsum(x * each for x, each in zip(xs, share, strict=True)) / math.fsum(share)
        half_width, tolerance = valleys[-1][1], shorter[-1].tolerance
        if start_at is not None:
            here = start_at(steps)
            own = (here.lr_spread if isinstance(here, ValleyPrior) else math.log(here.factor)) ** -2
            center, weight = (weight * center + own * expected(steps)) / (weight + own), weight + own
            if isinstance(here, ValleyPrior):
                half_width = cls.by_prior(here, tolerance).half_width
        return cls(center, weight**-0.5, half_width, tolerance)

    @property
    def trials(self) -> tuple[float, ...]:
        """The fewest x of which one is probably within the tolerance of the best; three to go on from."""
        aside = min(0.9 * self.half_width, 0.8 * self.std)
        for places, reach in (((0.0,), 0.0), ((-aside, aside), aside)):
            if self.probability_within(self.half_width + reach) >= self.probability:
                return tuple(self.center + place for place in places)
        return (self.center, self.center - self.spacing, self.center + self.spacing)

    @property
    def spacing(self) -> float:
        """The distance of neighboring trials where the best is not known well enough."""
        return min(max(_SPACING * self.std, _LEAST_SPACING), _MOST_SPACING)

    def probability_within(self, distance: float) -> float:
        """The probability that the best lies within a distance of the center."""
        return 2 * NormalDist().cdf(distance / self.std) - 1

    def fits(self, points: Sequence[Point]) -> bool:
        """Whether the losses of one or two trials may belong to this valley, with its minimum close to one of them."""
        if len(points) < 2:
            return True
        left, right = points
        aside = (right.x - left.x) / 2
        # In units of the tolerance the valley is (x / half_width)^2, so two losses tell where it lies.
        place = (left.loss - right.loss) / self.tolerance * self.half_width**2 / (4 * aside)
        return abs(place) <= aside + self.half_width

    def reason(self, reach: float) -> str:
        """Why the trials at this distance from the center are enough, in words."""
        probability = math.floor(100 * self.probability_within(self.half_width + reach)) / 100
        return (
            f"nothing is better by more than the tolerance, with a probability of {probability:.2g}. This assumes that "
            f"in two of three searches the best learning rate is within a factor of {math.exp(self.std):.2g} of where "
            f"{self.source} it"
        )


def _vertex(result: SearchResult) -> tuple[float, float]:
    """The minimum of the parabola around the best, and where it is worse by the tolerance; 0 if it has none."""
    losses: dict[float, list[float]] = {}
    for each in result.history:
        if each.status == "ok":
            losses.setdefault(math.log(each.lr), []).append(each.loss)
    points = [Point(x, math.fsum(ys) / len(ys)) for x, ys in sorted(losses.items())]
    best = min(range(len(points)), key=lambda i: points[i].loss)
    if not 0 < best < len(points) - 1:
        return points[best].x, 0.0
    left, middle, right = points[best - 1 : best + 2]
    a, b = middle.x - left.x, right.x - middle.x
    falls, rises = (middle.loss - left.loss) / a, (right.loss - middle.loss) / b
    bend = (rises - falls) / (a + b)
    if bend <= 0:
        return middle.x, 0.0
    return middle.x - (falls * b + rises * a) / (a + b) / (2 * bend), math.sqrt(result.tolerance / bend)


class BracketingSearch(LearningRateSearch):
    """A search that ends once three losses make a parabola: the best, and a worse one close by on both sides."""

    def _next_step(self) -> Ask | End:
        if _is_bracketed(self._state, _BRACKET):
            return End("horizons", "the best has worse neighbors on both sides, which is what a longer training needs")
        return super()._next_step()


class ConfirmingSearch(LearningRateSearch):
    """A search that tries what was carried over, and goes on in its usual way only if that fails."""

    def __init__(self, *args: Any, carried: Carried, **kwargs: Any) -> None:
        self._carried, self._planned = carried, carried.trials
        super().__init__(*args, **kwargs)

    def _next_step(self) -> Ask | End:
        state, most = self._state, self._state.settings.options.max_trials
        if state.data.assumption_violation or (most is not None and len(state.results) >= most):
            return super()._next_step()
        low, high = state.range
        known = [math.log(lr) for lr in (*state.data.counts, *state.failed, *self._in_flight)]
        planned = [min(max(x, low), high) for x in self._planned]
        missing = [x for x in planned if all(abs(x - other) > FINEST for other in known)]
        if missing or self._in_flight:
            return Ask(state.lr_at(missing[0]) if missing else None)
        if state.valley is None or state.failed:
            return super()._next_step()
        carried, points, best = self._carried, state.valley.points, state.valley.points[state.valley.best].x
        if len(planned) < 3 and len(points) <= 2 and carried.fits(points):
            return End("horizons", carried.reason(abs(planned[-1] - planned[0]) / 2))
        if _is_bracketed(state, 2.5 * carried.spacing):
            return End(
                "horizons", f"the best has worse neighbors within a factor of {math.exp(1.25 * carried.spacing):.2g}"
            )
        ends = [(-1, points[0].x), (1, points[-1].x)]
        beyond = [best + side * carried.spacing for side, end in ends if best == end]
        inside = [x for x in beyond if low < x < min(high, state.divergence_limit - FINEST)]
        return Ask(state.lr_at(inside[0])) if inside else super()._next_step()

    @property
    def result(self) -> SearchResult:
        """The result so far; without a bound of its own, the shorter trainings carry the claim."""
        found = super().result
        if found.stop != "horizons" or found.excess_bound is not None:
            return found
        return replace(found, bound_note="the full-length trials alone are too few for a bound")


def _is_bracketed(state: SearchState, width: float) -> bool:
    valley = state.valley
    if valley is None or state.data.assumption_violation is not None or not 0 < valley.best < len(valley.points) - 1:
        return False
    return valley.points[valley.best + 1].x - valley.points[valley.best - 1].x <= width * (1 + 1e-9)
