"""The state of a search: its range, the valley in it, and the gaps left to examine."""

from __future__ import annotations

import math
import sys
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import TYPE_CHECKING, Literal

from .._tolerance import Tolerance
from ._convex_bound import ConvexBound, Gap
from ._guide import Guide
from ._observations import LARGEST_ERROR, Observation, Observations
from ._options import SearchOptions

if TYPE_CHECKING:
    from ..prior.valley_prior import ValleyPrior

# The range of floats, with room for arithmetic.
SMALLEST, LARGEST = 1e-300, 1e300
# When everything diverges, the search goes this many coarse steps below the range.
_STEPS_BELOW = 3
# Learning rates closer than half a percent count as one.
FINEST = 0.005
Edge = Literal["lower", "upper"]
_DIGITS = 4
_LEAST_SHARE = 1e-3
# Steps below this share of the tolerance leave the bound as it is.
_DWARFED = 0.02
_SAME = 1e-9
# Noise of this many standard deviations makes no ridge between two valleys.
_RIDGE = 4.0
# Measured: bounds of single runs, none of them below this many, are then true in 97% (docs/explanation/search.md).
HIDDEN = 2.5


@dataclass(frozen=True, kw_only=True)
class Settings:
    """The checked arguments of a search; `ratio` is the one in use."""

    lr_min: float
    lr_max: float
    tolerance: Tolerance
    ratio: float
    options: SearchOptions
    prior: ValleyPrior | None = None


@dataclass(frozen=True)
class SearchState:
    """The conclusions from the settings and observations of a search; trials in flight do not count."""

    settings: Settings
    observations: tuple[Observation, ...]

    @cached_property
    def results(self) -> tuple[Observation, ...]:
        return tuple(each for each in self.observations if each.status != "failed")

    @cached_property
    def failed(self) -> tuple[float, ...]:
        """The learning rates that were given up, ascending."""
        return tuple(sorted({each.lr for each in self.observations if each.status == "failed"}))

    @cached_property
    def tolerance(self) -> float:
        """The tolerance as a loss.

        A share refers to the best loss, or to a thousandth of how far the losses on its sides rise above it if that is
        more: a share of a loss near 0 would take ever more trials and mean nothing.
        """
        given = self.settings.tolerance
        if not given.relative:
            return given.value
        means = Observations(self.results, None, 0.0).finite
        best = min(means, key=means.__getitem__, default=0.0)
        sides = [[mean for lr, mean in means.items() if sign * lr > sign * best] for sign in (-1, 1)]
        # One side alone may have exploded.
        rise = min(map(max, sides)) - means[best] if all(sides) else 0.0
        return max(given.value * max(abs(means.get(best, math.inf)), _LEAST_SHARE * rise), sys.float_info.min)

    @cached_property
    def data(self) -> Observations:
        return Observations(self.results, self.noise, max(self.tolerance, _RIDGE * (self.noise or 0.0)))

    @cached_property
    def noise(self) -> float | None:
        """The standard deviation of single runs that was given, or is known from earlier sweeps."""
        noise = self.settings.options.noise
        if noise is None and self.guide is not None and self.guide.is_trusted:
            return self.guide.prior.noise
        return noise

    @cached_property
    def target(self) -> float:
        """The convex bound to search for: the tolerance, or what a known noise hides until repeats lower it."""
        return max(self.tolerance, self.hidden)

    @cached_property
    def hidden(self) -> float:
        """The least bound that the trials can support (see `_noise`); 0 if the errors of the points hold the noise."""
        if self.data.half_width:
            return 0.0
        runs = min((self.data.counts[lr] for lr in self.near_lrs), default=1)
        return max(self.tolerance, self.hidden_by_one / math.sqrt(runs))

    @property
    def hidden_by_one(self) -> float:
        """What the noise of one run hides, if it is known; else 0."""
        return HIDDEN * min(self.noise or 0.0, LARGEST_ERROR / HIDDEN)

    @cached_property
    def excess_bound(self) -> float:
        """How much another learning rate can gain, by the convex bound and the noise; +inf without a finite loss."""
        return math.inf if self.valley is None else max(self.valley.excess_bound, self.hidden)

    @cached_property
    def guide(self) -> Guide | None:
        """What the prior makes of the results; None without a prior."""
        prior = self.settings.prior
        if prior is None:
            return None
        return Guide(prior, Observations(self.results, None, self.tolerance), *self.asked_range, self.tolerance)

    @cached_property
    def best_lr(self) -> float | None:
        """The learning rate with the lowest mean loss; the smallest of equals, None without a finite loss."""
        means = self.data.means
        return min(means, key=means.__getitem__, default=None)

    @cached_property
    def cliff(self) -> float | None:
        """The smallest learning rate above the best that diverged or exploded."""
        # Without a finite loss, an external trial that diverged below the range tells nothing about the range.
        lowest = self.best_lr or min((self.settings.lr_min, *self._own)) * (1 - _SAME)
        return next((lr for lr in self.data.broken if lr > lowest), None)

    @cached_property
    def divergence_limit(self) -> float:
        """log of the cliff; +inf without one."""
        return math.inf if self.cliff is None else math.log(self.cliff)

    @cached_property
    def range(self) -> tuple[float, float]:
        """log of the smallest and largest learning rate that the search may try.

        An extension covers observations outside the original range, and one coarse step beyond `edge`.
        """
        low, high = self._told_range
        if not self.settings.options.extend:
            return low, high
        (least, most), step = self._limits, math.log(self.settings.ratio)
        all_diverged = not self.data.points and bool(self._own) and math.log(min(self._own)) <= low + _SAME
        if self.edge == "upper":
            high = max(high, math.log(self.lr_at(min(high + step, most))))
        elif self.edge == "lower":
            low = min(low, math.log(self.lr_at(max(low - step, least))))
        elif all_diverged:
            low = min(low, math.log(self.lr_at(max(low - step, self.asked_range[0] - _STEPS_BELOW * step, least))))
        return low, high

    @cached_property
    def edge(self) -> Edge | None:
        """The end on which the best lies, if a coarse step beyond it could gain more than the tolerance."""
        points, (low, high), step = self.data.points, self._told_range, math.log(self.settings.ratio)
        if len(points) < 2:
            return None
        valley = ConvexBound(points, low - step, high + step)
        best, most = points[valley.best].x, max(self.tolerance, self.hidden_by_one)
        sides: tuple[tuple[Edge, bool, float, float, float], ...] = (
            ("upper", self.cliff is None, points[-1].x, high, high + step),
            ("lower", True, points[0].x, low, low - step),
        )
        for name, free, outermost, end, beyond in sides:
            at_end = valley.max_improvement_at(end) <= most or abs(end - best) <= 2 * FINEST
            if free and best == outermost and at_end and valley.max_improvement_at(beyond) > most:
                return name
        return None

    @cached_property
    def asked_range(self) -> tuple[float, float]:
        return math.log(self.settings.lr_min), math.log(self.settings.lr_max)

    @cached_property
    def _limits(self) -> tuple[float, float]:
        first, last = self.asked_range
        width = last - first
        return max(first - width, math.log(SMALLEST)), min(last + width, math.log(LARGEST))

    @cached_property
    def _own(self) -> tuple[float, ...]:
        return tuple(result.lr for result in self.results if not result.external)

    @cached_property
    def _told_range(self) -> tuple[float, float]:
        (first, last), (least, most) = self.asked_range, self._limits
        if not self.settings.options.extend:
            return first, last
        finite = [p.x for p in self.data.points] or [math.log(lr) for lr in self._own]
        told = [x for x in finite if least - _SAME <= x <= most + _SAME]
        return min([first, *told]), max([last, *told])

    def lr_at(self, x: float) -> float:
        """The learning rate at ``x = log(lr)``: a known one exactly, any other with four digits."""
        first, last = self.settings.lr_min, self.settings.lr_max
        known = next((lr for lr in (*self.data.counts, first, last) if abs(math.log(lr) - x) < _SAME), None)
        if known is not None:
            return known
        rounded = float(f"{math.exp(x):.{_DIGITS}g}")
        return min(max(rounded, first), last) if math.log(first) <= x <= math.log(last) else rounded

    @cached_property
    def lower_limit(self) -> float:
        """log of the largest learning rate below the best that diverged, against the assumption; -inf without one."""
        below = [lr for lr in self.data.broken if lr < (self.best_lr or 0.0)]
        return math.log(below[-1]) if below else -math.inf

    @cached_property
    def valley(self) -> ConvexBound | None:
        """The curve around the best, up to the next learning rates that diverged; None without a finite loss."""
        left, right = self.lower_limit, self.divergence_limit
        points = tuple(p for p in self.data.points if left < p.x < right)
        low, high = self.range
        return ConvexBound(points, max(low, left), min(high, right)) if points else None

    @cached_property
    def valley_lrs(self) -> tuple[float, ...]:
        return tuple(lr for lr in self.data.means if self.lower_limit < math.log(lr) < self.divergence_limit)

    @cached_property
    def near_lrs(self) -> tuple[float, ...]:
        """The best learning rate and its neighbors in the valley."""
        valley = self.valley
        return () if valley is None else self.valley_lrs[max(valley.best - 1, 0) : valley.best + 2]

    @cached_property
    def steps(self) -> str | None:
        """Why the loss cannot be taken as convex near the best, since it moves in steps, in words; None if it can."""
        valley, given, unit = self.valley, self.settings.options.stepwise, self.data.unit
        if valley is None or given is False:
            return None
        first, last = valley.core
        near = list(zip(self.valley_lrs, valley.points, strict=True))[first : last + 1]
        ties = [(a, b) for (a, p), (b, q) in pairwise(near) if p.loss == q.loss]
        if len(near) > 2 and len(ties) == len(near) - 1:
            return "every learning rate gave exactly the same result, as if the training ignored it"
        if ties:
            return f"lr = {ties[0][0]:.4g} and {ties[0][1]:.4g} gave exactly the same result, as a metric in steps does"
        if unit is not None and unit > _DWARFED * self.tolerance:
            return f"the results move in steps of about {unit:.1g}, as accuracy and rounded numbers do"
        return "the metric moves in steps" if given else None

    @cached_property
    def open_gaps(self) -> tuple[Gap, ...]:
        """The gaps that can hide more than the tolerance and are wide enough for another learning rate.

        An unbounded gap (the loss falls ever faster, say) counts as resolved once it is narrower than half a coarse
        step, unless it lies between the best and a free end of the range: that end is tried.
        """
        gaps = () if self.valley is None else self.valley.gaps
        unbounded = max(math.log(self.settings.ratio) / 2, 2 * FINEST)
        return tuple(
            gap
            for gap in gaps
            if gap.max_improvement > self.target
            and gap.right - gap.left
            > (unbounded if gap.max_improvement == math.inf and gap not in self._gaps_to_free_ends else 2 * FINEST)
        )

    @cached_property
    def _gaps_to_free_ends(self) -> tuple[Gap, ...]:
        if self.valley is None:
            return ()
        (low, high), xs = self.range, [p.x for p in self.valley.points]
        best = xs[self.valley.best]
        ends = [(low, best)] * (best == xs[0] and low > self.lower_limit)
        ends += [(best, high)] * (best == xs[-1] and self.cliff is None)
        return tuple(gap for gap in self.valley.gaps if (gap.left, gap.right) in ends)
