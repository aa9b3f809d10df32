"""Choose a learning rate on some seeds and score it on the others, so that a choice never profits from its own luck."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from .._checks import check_number
from .._metrics import Direction
from .._text import listed
from ..divergence import LARGEST_LOSS
from ..exceptions import InsufficientDataError
from ..sweep.results import SweepResult
from ._two_way import TwoWayFit, fit_two_way

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class LossBlock:
    """One schedule's losses on the cells that exist, and the two-way model fitted to them.

    Attributes:
        schedule: name of the schedule.
        learning_rates: ascending, shape (L,).
        seeds: K of them.
        loss: shape (L, K), finite, +inf where diverged, or NaN where there is no result.
        fit: of the learning rates that converged.
        notes: learning rates with fewer seeds than others, and what was left out.
        seconds_per_trial: recorded time of one trial, NaN where unknown.
        failed_above: learning rates above all of these at which trials failed; they may have diverged.
        direction: of the metric; the losses are negated if it is maximized.
    """

    schedule: str
    learning_rates: Array
    seeds: tuple[int, ...]
    loss: Array
    fit: TwoWayFit
    notes: tuple[str, ...]
    seconds_per_trial: float = math.nan
    failed_above: tuple[float, ...] = ()
    direction: Direction = "minimize"

    @cached_property
    def converged(self) -> NDArray[np.bool_]:
        """True for a learning rate at which no seed diverged, shape (L,). The others count as +inf when choosing."""
        return _converged(self.loss)

    @cached_property
    def mean(self) -> Array:
        """Mean loss at the average seed, +inf if any diverged, shape (L,); the plain mean if no cell is missing."""
        return self._everywhere(self.fit.mean, math.inf)

    @cached_property
    def noise(self) -> Array:
        """Standard deviation of one trial around its mean and its seed's effect, shape (L,); NaN if unknown."""
        return self._everywhere(np.sqrt(self.fit.variance), math.nan)

    @cached_property
    def best(self) -> int:
        """Position of the learning rate with the lowest mean loss."""
        return int(self.mean.argmin())

    @cached_property
    def n_seeds(self) -> NDArray[np.intp]:
        """Number of results at each learning rate, shape (L,)."""
        return np.asarray((~np.isnan(self.loss)).sum(axis=1))

    def _everywhere(self, values: Array, otherwise: float) -> Array:
        found = np.full(len(self.learning_rates), otherwise)
        found[self.converged] = values
        return found


def loss_block(sweep: SweepResult, schedule: str, *, noise: float | None = None) -> LossBlock:
    """Return a schedule's results, learning rates x seeds, with their two-way model.

    A missing result costs no other. A loss beyond `LARGEST_LOSS` counts as diverged. Learning rates that share no seed
    with the others, not even through a third, cannot be compared with them; the largest connected group is kept.

    Args:
        sweep: the data.
        schedule: name of the schedule.
        noise: standard deviation of one trial, where it is known.

    Raises:
        InsufficientDataError: when the schedule has no result, or all its runs diverged.
        DataError: when the sweep has no such schedule.
        OptionError: when the noise is not a positive number.
    """
    if noise is not None:
        check_number("noise", noise, above=0, at_most=LARGEST_LOSS)
    row = sweep.index(schedule)
    loss = np.where(np.abs(sweep.loss[row]) > LARGEST_LOSS, math.inf, sweep.loss[row])
    present = ~np.isnan(loss)
    if not present.any():
        raise InsufficientDataError(f"{schedule}: no trial has a result", needed="at least one finished trial")
    lrs, finite = np.flatnonzero(present.any(axis=1)), np.isfinite(loss)
    if not _converged(loss[lrs]).any():
        first, last = sweep.learning_rates[lrs[[0, -1]]]
        raise InsufficientDataError(
            f"{schedule}: every learning rate, {first:g} to {last:g}, diverged",
            needed=f"learning rates below {first:g}",
        )
    trains = lrs[_converged(loss[lrs])]
    apart = np.setdiff1d(trains, trains[_largest_group(finite[trains])])
    lrs = np.setdiff1d(lrs, apart)
    seeds = np.flatnonzero(present[lrs].any(axis=0))
    kept = loss[np.ix_(lrs, seeds)]
    seconds = sweep.seconds[row]
    return LossBlock(
        schedule=schedule,
        learning_rates=sweep.learning_rates[lrs],
        seeds=tuple(sweep.seeds[k] for k in seeds),
        loss=kept,
        fit=_fit(kept, noise),
        notes=_notes(sweep.learning_rates, apart, lrs, kept),
        seconds_per_trial=float(np.nanmean(seconds)) if np.isfinite(seconds).any() else math.nan,
        failed_above=_failed_above(sweep, schedule, float(sweep.learning_rates[lrs[-1]])),
        direction=sweep.direction,
    )


def _converged(loss: Array) -> NDArray[np.bool_]:
    return np.asarray(~np.isinf(loss).any(axis=1))


def _fit(loss: Array, noise: float | None) -> TwoWayFit:
    rows = loss[_converged(loss)]
    seeds = np.asarray(~np.isnan(rows).all(axis=0))
    fit = fit_two_way(rows[:, seeds], noise=noise)
    effect = np.zeros(len(seeds))
    effect[seeds] = fit.effect
    return fit.with_effect(effect)


def _largest_group(has: NDArray[np.bool_]) -> NDArray[np.bool_]:
    # Rows that are connected through shared seeds: of the largest such group, by number of results.
    linked = has.T.astype(int) @ has > 0
    for _ in range(len(linked)):
        linked = linked.astype(int) @ linked > 0
    groups = {tuple(seeds): int(has[:, seeds].sum()) for seeds in linked if seeds.any()}
    largest = np.array(max(groups, key=lambda seeds: groups[seeds]))
    return np.asarray(has[:, largest].any(axis=1))


def _notes(learning_rates: Array, apart: NDArray[np.intp], lrs: NDArray[np.intp], loss: Array) -> tuple[str, ...]:
    notes, n = [], (~np.isnan(loss)).sum(axis=1)
    if apart.size:
        names = listed([f"{learning_rates[i]:g}" for i in apart])
        notes.append(f"learning rates left out because they share no seed with the others: {names}")
    if fewer := [f"{learning_rates[i]:g} ({n[j]})" for j, i in enumerate(lrs) if n[j] < loss.shape[1]]:
        shown = fewer if len(fewer) <= 6 else [*fewer[:5], f"{len(fewer) - 5} more"]
        notes.append(
            f"learning rates with fewer than {loss.shape[1]} seeds, which the bands allow for: {listed(shown)}"
        )
    return tuple(notes)


def _failed_above(sweep: SweepResult, schedule: str, highest: float) -> tuple[float, ...]:
    failed = {failure.spec.lr for failure in sweep.failures if failure.spec.schedule == schedule}
    return tuple(sorted(lr for lr in failed if lr > highest))


@dataclass(frozen=True, eq=False)
class CrossFit:
    """Leave-one-seed-out choices: each seed scores the learning rate that all other seeds chose.

    Attributes:
        loss: shape (L, K), less the effect of each seed so that seeds with different cells compare; a missing cell has
            the value that the model gives it.
        choosing: shape (L, K), mean loss over all seeds but k, +inf if any seed diverged. A single seed serves both
            choice and score, so every figure is then optimistic.
    """

    loss: Array
    choosing: Array

    def choice(self, candidates: NDArray[np.intp]) -> NDArray[np.intp]:
        """Return the candidate chosen for each held-out seed, shape (K,)."""
        return np.asarray(candidates[self.choosing[candidates].argmin(axis=0)])

    def score(self, candidates: NDArray[np.intp]) -> Array:
        """Return each seed's loss at the candidate that the others chose, shape (K,); +inf when all diverged."""
        if not np.isfinite(self.choosing[candidates]).any():
            return np.full(self.loss.shape[1], math.inf)
        return np.asarray(self.loss[self.choice(candidates), np.arange(self.loss.shape[1])])


def cross_fit(block: LossBlock) -> CrossFit:
    has, converged = ~np.isnan(block.loss), block.converged[:, None]
    # On complete data the effects cancel; leaving them in keeps sums exact.
    loss = block.loss if has.all() else np.where(has, block.loss - block.fit.effect, block.mean[:, None])
    finite = np.where(has & converged, loss, 0.0)
    n_others = has.sum(axis=1, keepdims=True) - has
    others = (finite.sum(axis=1, keepdims=True) - finite) / np.maximum(n_others, 1)
    return CrossFit(loss=loss, choosing=np.where(converged, np.where(n_others > 0, others, loss), math.inf))
