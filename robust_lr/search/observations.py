"""What the trials of a search say together: points with errors, learning rates that diverged, and doubt."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

from .convex_bound import Point, highest_ridge

# Two-sided 95 % points of Student's t for 1 to 10 degrees of freedom; beyond these 1.96 + 2.7 / dof is as good.
_STUDENT = (12.71, 4.30, 3.18, 2.78, 2.57, 2.45, 2.36, 2.31, 2.26, 2.23)
_NORMAL = 1.96
# A loss has exploded so many tolerances above the best, if that is so many times as far as any loss before it.
_FAR = 1000
_FARTHER = 100


@dataclass(frozen=True)
class Tell:
    """One result that a search was told.

    Attributes:
        lr: the learning rate.
        loss: the final loss; +inf when the trial diverged.
        status: "ok" or "diverged".
        foreign: whether the learning rate was added by hand instead of asked for.
    """

    lr: float
    loss: float
    status: Literal["ok", "diverged"] = "ok"
    foreign: bool = False


@dataclass(frozen=True)
class Evidence:
    """The tells of a search, read together.

    The loss of a learning rate is the mean of its tells, and +inf if one of them diverged. Its error is the half-width
    of a 95 % interval, ``q s / sqrt(n)``, where n is its number of tells, s the standard deviation of one of them
    (`noise`, or else pooled over the learning rates told more than once), and q the quantile of the normal distribution
    or of Student's t; without either it is zero. A wiggle, which is a ridge between two valleys at most `slack` higher
    than the errors allow, adds half its height to the error of every point, so that one valley is left.

    Args:
        tells: the results, in any order.
        noise: the standard deviation of the loss over seeds, where it is known, >= 0.
        slack: the height, >= 0, from which on a ridge is a second valley and no wiggle.
    """

    tells: tuple[Tell, ...]
    noise: float | None
    slack: float

    @cached_property
    def counts(self) -> dict[float, int]:
        """How often each learning rate was told, ascending."""
        lrs = sorted({tell.lr for tell in self.tells})
        return {lr: sum(tell.lr == lr for tell in self.tells) for lr in lrs}

    @cached_property
    def diverged(self) -> tuple[float, ...]:
        """The learning rates that diverged in one tell or more, ascending."""
        return tuple(sorted({tell.lr for tell in self.tells if tell.status == "diverged"}))

    @cached_property
    def means(self) -> dict[float, float]:
        """The mean loss of each learning rate that neither diverged nor exploded, ascending."""
        first = self.exploded[0] if self.exploded else math.inf
        return {lr: mean for lr, mean in self._finite.items() if lr < first}

    @cached_property
    def exploded(self) -> tuple[float, ...]:
        """The learning rates beyond the best whose losses are finite and say nothing: as good as diverged, ascending.

        From the first one on that lies above the best a hundred times as far as every smaller learning rate, and a
        thousand tolerances.
        """
        means = self._finite
        best = min(means, key=means.__getitem__, default=math.inf)
        highest = _FAR * self.slack / _FARTHER
        for lr, mean in means.items():
            height = mean - means[best]
            if lr > best and height > _FARTHER * highest:
                return tuple(other for other in means if other >= lr)
            highest = max(highest, height)
        return ()

    @cached_property
    def walls(self) -> tuple[float, ...]:
        """The learning rates that diverged or exploded, ascending."""
        return tuple(sorted((*self.diverged, *self.exploded)))

    @cached_property
    def _finite(self) -> dict[float, float]:
        bad = set(self.diverged)
        return {
            lr: math.fsum(tell.loss for tell in self.tells if tell.lr == lr) / n
            for lr, n in self.counts.items()
            if lr not in bad
        }

    @cached_property
    def half_width(self) -> float | None:
        """The error of one tell; None when nothing is known of the noise."""
        if self.noise is not None:
            return _NORMAL * self.noise
        dof = sum(self.counts[lr] - 1 for lr in self.means)
        if dof == 0:
            return None
        squares = math.fsum((tell.loss - self.means[tell.lr]) ** 2 for tell in self.tells if tell.lr in self.means)
        quantile = _STUDENT[dof - 1] if dof <= len(_STUDENT) else _NORMAL + 2.7 / dof
        return quantile * math.sqrt(squares / dof)

    @cached_property
    def points(self) -> tuple[Point, ...]:
        """The points of the curve at x = log(lr), with their errors, ascending."""
        return tuple(p._replace(error=p.error + self.wiggle) for p in self._bare_points)

    @cached_property
    def wiggle(self) -> float:
        """What a wiggle adds to the error of every point; 0 without one."""
        ridge = highest_ridge(self._bare_points)
        return 0.0 if ridge is None or ridge[0] > self.slack else ridge[0] / 2

    @property
    def error(self) -> float:
        """The error of a learning rate that is told once."""
        return (self.half_width or 0.0) + self.wiggle

    @cached_property
    def _bare_points(self) -> tuple[Point, ...]:
        width = self.half_width or 0.0
        return tuple(Point(math.log(lr), loss, width / math.sqrt(self.counts[lr])) for lr, loss in self.means.items())

    @cached_property
    def second_valley(self) -> tuple[Point, Point, Point] | None:
        """A point that lies above two others on both of its sides, as (valley, ridge, valley); None without one."""
        ridge = highest_ridge(self.points)
        return None if ridge is None or ridge[0] <= self.slack else ridge[1]

    @cached_property
    def doubt(self) -> str | None:
        """Why this is not one valley, in words; None when it may be."""
        if self.diverged and self.means and self.diverged[0] < max(self.means):
            bad = self.diverged[0]
            lr = min(lr for lr in self.means if lr > bad)
            n_diverged = sum(tell.lr == bad and tell.status == "diverged" for tell in self.tells)
            times = "" if n_diverged == self.counts[bad] else f" in {n_diverged} of {self.counts[bad]} trials"
            return f"lr={bad:.4g} diverged{times}, and the larger lr={lr:.4g} did not"
        ridge = self.second_valley
        if ridge is None:
            return None
        left, top, right = (f"lr={math.exp(p.x):.4g} (loss {p.loss:.6g})" for p in ridge)
        return f"{top} lies above both {left} and {right}: more than one valley"
