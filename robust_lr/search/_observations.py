"""The observations of a search as a whole: points with errors, diverged learning rates, contradictions."""

from __future__ import annotations

import math
import struct
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from typing import Literal

from ._convex_bound import Point, highest_ridge

Status = Literal["ok", "diverged", "failed"]
# Two-sided points of Student's t for 1 to 10 degrees of freedom; beyond these 2.33 + 4.3 / dof is as good. A claim uses
# several losses, so 98% for each gives it 95% or more. With up to 3 repeats it is 99%: a search that looks at the noise
# after each of them would otherwise stop at the first that happens to be small.
_STUDENT = (63.66, 9.92, 5.84, 3.75, 3.36, 3.14, 3.00, 2.90, 2.82, 2.76)
_NORMAL = 2.33
LARGEST_ERROR = 1e100  # its square is a float
_LARGEST_SINGLE = 3.4e38
# A loss has exploded if it exceeds the best by this many tolerances, and by this many times as much as any smaller
# learning rate.
_TOLERANCES_TO_EXPLODE = 1000
_JUMP_TO_EXPLODE = 100


def _as_single(loss: float) -> float:
    return float(struct.unpack("f", struct.pack("f", loss))[0])


def student(dof: float) -> float:
    """The two-sided point of Student's t for a claim of 95%; of the normal distribution for +inf."""
    return _STUDENT[int(dof) - 1] if 1 <= dof <= len(_STUDENT) else _NORMAL + 4.3 / max(dof, 1)


@dataclass(frozen=True)
class Observation:
    """The outcome of one trial, as told to a search.

    Attributes:
        lr: the learning rate.
        loss: the final loss; +inf when the trial diverged, NaN when it failed.
        status: "ok"; "diverged"; or "failed", if the search gave up this learning rate.
        external: whether the search did not ask for this trial.
    """

    lr: float
    loss: float
    status: Status = "ok"
    external: bool = False


@dataclass(frozen=True)
class Observations:
    """The results of a search ("ok" and "diverged") taken together, in any order.

    The loss of a learning rate is the mean of its results, or +inf if one of them diverged. Its error is the
    half-width of an interval, ``q s / sqrt(n)``: n results, s the standard deviation of one of them (pooled over the
    learning rates with several results), q the quantile of Student's t with `dof` degrees of freedom; 0 if the noise
    was given. A ridge between two valleys at most `slack` higher than the errors allow is no second valley: half its
    height is added to the error of every point (`noise_margin`), so that one valley is left.
    """

    results: tuple[Observation, ...]
    noise: float | None
    slack: float

    @cached_property
    def counts(self) -> dict[float, int]:
        lrs = [result.lr for result in self.results]
        return {lr: lrs.count(lr) for lr in sorted(set(lrs))}

    @cached_property
    def diverged(self) -> tuple[float, ...]:
        return tuple(sorted({result.lr for result in self.results if result.status == "diverged"}))

    @cached_property
    def means(self) -> dict[float, float]:
        """The mean loss of each learning rate that neither diverged nor exploded, ascending."""
        first = self.exploded[0] if self.exploded else math.inf
        return {lr: mean for lr, mean in self.finite.items() if lr < first}

    @cached_property
    def exploded(self) -> tuple[float, ...]:
        """The learning rates above the best whose losses are finite but too large to be informative, ascending."""
        means = self.finite
        best = min(means, key=means.__getitem__, default=math.inf)
        highest = _TOLERANCES_TO_EXPLODE * self.slack / _JUMP_TO_EXPLODE
        for lr, mean in means.items():
            height = mean - means[best]
            if lr > best and height > _JUMP_TO_EXPLODE * highest:
                return tuple(other for other in means if other >= lr)
            highest = max(highest, height)
        return ()

    @cached_property
    def broken(self) -> tuple[float, ...]:
        """The learning rates that diverged or exploded, ascending."""
        return tuple(sorted((*self.diverged, *self.exploded)))

    @cached_property
    def finite(self) -> dict[float, float]:
        bad = set(self.diverged)
        return {
            lr: math.fsum(result.loss for result in self.results if result.lr == lr) / n
            for lr, n in self.counts.items()
            if lr not in bad
        }

    @cached_property
    def half_width(self) -> float:
        """The error of one result; 0 while the noise is unknown, or if it was given (see `_noise`)."""
        is_measured = self.noise is None and self.seed_std is not None
        return min(student(self.dof) * (self.seed_std or 0.0), LARGEST_ERROR) if is_measured else 0.0

    @cached_property
    def seed_std(self) -> float | None:
        """The standard deviation of the loss over seeds, given or pooled; None if unknown."""
        if self.noise is not None or self.dof == 0:
            return self.noise
        finite = [result for result in self.results if result.lr in self.means]
        return math.sqrt(math.fsum((result.loss - self.means[result.lr]) ** 2 for result in finite) / self.dof)

    @cached_property
    def dof(self) -> float:
        """The degrees of freedom of the noise: repeats at known learning rates, +inf if the noise was given."""
        return math.inf if self.noise is not None else sum(self.counts[lr] - 1 for lr in self.means)

    @cached_property
    def points(self) -> tuple[Point, ...]:
        """The points of the curve at x = log(lr), with their errors, ascending."""
        return tuple(p._replace(error=p.error + self.noise_margin) for p in self._bare_points)

    @cached_property
    def noise_margin(self) -> float:
        ridge = highest_ridge(self._bare_points)
        return 0.0 if ridge is None or ridge[0] > self.slack else ridge[0] / 2

    @property
    def error(self) -> float:
        """The error of a learning rate with one result."""
        return self.half_width + self.noise_margin

    @cached_property
    def _bare_points(self) -> tuple[Point, ...]:
        error = self.half_width
        return tuple(Point(math.log(lr), loss, error / math.sqrt(self.counts[lr])) for lr, loss in self.means.items())

    @cached_property
    def second_valley(self) -> tuple[Point, Point, Point] | None:
        """(valley, ridge, valley) if a point lies above others on both sides; else None."""
        ridge = highest_ridge(self.points)
        return None if ridge is None or ridge[0] <= self.slack else ridge[1]

    @cached_property
    def are_single(self) -> bool:
        """Whether all losses are numbers of 32 bits."""
        losses = [result.loss for result in self.results if result.lr in self.means]
        return all(abs(loss) <= _LARGEST_SINGLE and _as_single(loss) == loss for loss in losses)

    @cached_property
    def unit(self) -> float | None:
        """The step of a metric that counts: about 1/n if all losses are ratios of whole numbers up to n; else None."""
        losses = [result.loss for result in self.results if result.lr in self.means]
        if len(self.means) < 3 or len(set(losses)) < 2:
            return None
        # Numbers that went through float32 have 24 bits; the fewer bits, the fewer ratios are still no coincidence.
        precision, most = (2.0**-23, 400) if self.are_single else (2.0**-48, 100_000)
        ratios = [Fraction(loss).limit_denominator(most) for loss in losses]
        if any(abs(float(ratio) - loss) > precision * abs(loss) for ratio, loss in zip(ratios, losses, strict=True)):
            return None
        return 1 / max(ratio.denominator for ratio in ratios)

    @cached_property
    def assumption_violation(self) -> str | None:
        """Why the losses do not form one valley, in words; None if they may."""
        if self.diverged and self.means and self.diverged[0] < max(self.means):
            bad = self.diverged[0]
            lr = min(lr for lr in self.means if lr > bad)
            n_diverged = sum(result.lr == bad and result.status == "diverged" for result in self.results)
            times = "" if n_diverged == self.counts[bad] else f" in {n_diverged} of {self.counts[bad]} trials"
            return f"lr = {bad:.4g} diverged{times}, but the larger lr = {lr:.4g} did not"
        if self.second_valley is None:
            return None
        left, top, right = (f"{math.exp(p.x):.4g} (loss {p.loss:.6g})" for p in self.second_valley)
        return f"lr = {top} is worse than both {left} and {right}: more than one valley"
