"""Choose a learning rate on some seeds and score it on the others, so that a choice never profits from its own luck."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..exceptions import InsufficientDataError
from ..sweep.results import SweepResult

Array = NDArray[np.float64]

# A loss beyond this is an explosion that had not yet reached infinity; its square would leave the floats.
EXPLODED = 1e100


@dataclass(frozen=True, eq=False)
class LossBlock:
    """A complete block of one schedule's losses: every learning rate with every seed.

    Attributes:
        schedule: name of the schedule.
        learning_rates: ascending, shape (L,).
        seeds: K of them.
        loss: shape (L, K), finite or +inf.
        notes: what was left out to make the block complete.
        unresolved_better: learning rates left out for missing seeds that beat the best on the seeds they have; if
            there are any, the block may not hold the optimum.
        seconds_per_trial: recorded time of one trial, NaN where unknown.
        failed_above: learning rates above all of these at which trials failed; they may have diverged.
    """

    schedule: str
    learning_rates: Array
    seeds: tuple[int, ...]
    loss: Array
    notes: tuple[str, ...]
    unresolved_better: tuple[float, ...] = ()
    seconds_per_trial: float = math.nan
    failed_above: tuple[float, ...] = ()

    @property
    def converged(self) -> NDArray[np.bool_]:
        """True for a learning rate at which no seed diverged, shape (L,). The others count as +inf when choosing."""
        return np.asarray(np.isfinite(self.loss).all(axis=1))

    @property
    def mean(self) -> Array:
        """Mean loss over the seeds, +inf if any diverged, shape (L,)."""
        return np.asarray(self.loss.mean(axis=1))

    @property
    def best(self) -> int:
        """Position of the learning rate with the lowest mean loss."""
        return int(self.mean.argmin())


def loss_block(sweep: SweepResult, schedule: str) -> LossBlock:
    """Return the largest complete block, learning rates x seeds, of a schedule's results.

    Seeds are paired across learning rates, so a missing result costs its seed or its learning rate: of all blocks
    made of the n most complete seeds and the learning rates that have them all, the one with the most results is kept.
    A loss beyond `EXPLODED` counts as diverged.

    Raises:
        InsufficientDataError: when the schedule has no result, or all its runs diverged.
        DataError: when the sweep has no such schedule.
    """
    loss = sweep.loss[sweep.index(schedule)]
    loss = np.where(np.abs(loss) > EXPLODED, math.inf, loss)
    present = ~np.isnan(loss)
    if not present.any():
        raise InsufficientDataError(f"{schedule}: no trial has a result", needed="at least one finished trial")
    by_completeness = np.argsort(-present.sum(axis=0), kind="stable")
    blocks = []
    for n in range(1, len(sweep.seeds) + 1):
        seeds = np.sort(by_completeness[:n])
        lrs = np.flatnonzero(present[:, seeds].all(axis=1))
        blocks.append((len(lrs) * n, n, lrs, seeds))
    _, _, lrs, seeds = max(blocks, key=lambda block: block[:2])
    seconds = sweep.seconds[sweep.index(schedule)]
    block = LossBlock(
        schedule=schedule,
        learning_rates=sweep.learning_rates[lrs],
        seeds=tuple(sweep.seeds[k] for k in seeds),
        loss=loss[np.ix_(lrs, seeds)],
        notes=_left_out(present, lrs, seeds, sweep),
        unresolved_better=_unresolved_better(sweep.learning_rates, loss, lrs, seeds),
        seconds_per_trial=float(np.nanmean(seconds)) if np.isfinite(seconds).any() else math.nan,
        failed_above=_failed_above(sweep, schedule, float(sweep.learning_rates[lrs[-1]])),
    )
    if not block.converged.any():
        raise InsufficientDataError(
            f"{schedule}: every learning rate, {block.learning_rates[0]:g} to {block.learning_rates[-1]:g}, diverged",
            needed=f"learning rates below {block.learning_rates[0]:g}",
        )
    return block


def _failed_above(sweep: SweepResult, schedule: str, highest: float) -> tuple[float, ...]:
    failed = {failure.spec.lr for failure in sweep.failures if failure.spec.schedule == schedule}
    return tuple(sorted(lr for lr in failed if lr > highest))


def _unresolved_better(
    learning_rates: Array, loss: Array, lrs: NDArray[np.intp], seeds: NDArray[np.intp]
) -> tuple[float, ...]:
    best = lrs[loss[np.ix_(lrs, seeds)].mean(axis=1).argmin()]
    found = []
    for i in np.setdiff1d(np.flatnonzero(~np.isnan(loss).all(axis=1)), lrs):
        has = ~np.isnan(loss[i])
        shared = has & ~np.isnan(loss[best])
        # Compared on the seeds that both have; if they share none, on the seeds that each has.
        mine, its = (loss[i, shared], loss[best, shared]) if shared.any() else (loss[i, has], loss[best, seeds])
        if mine.mean() < its.mean():
            found.append(float(learning_rates[i]))
    return tuple(found)


def _left_out(
    present: NDArray[np.bool_], lrs: NDArray[np.intp], seeds: NDArray[np.intp], sweep: SweepResult
) -> tuple[str, ...]:
    partial = sorted(set(np.flatnonzero(present.any(axis=1))) - set(lrs.tolist()))
    dropped = sorted(set(np.flatnonzero(present.any(axis=0))) - set(seeds.tolist()))
    notes = []
    if partial:
        names = ", ".join(f"{sweep.learning_rates[i]:g}" for i in partial)
        notes.append(f"learning rates left out because some of their seeds are missing: {names}")
    if dropped:
        names = ", ".join(str(sweep.seeds[k]) for k in dropped)
        notes.append(f"seeds left out because some of their learning rates are missing: {names}")
    return tuple(notes)


@dataclass(frozen=True, eq=False)
class CrossFit:
    """Leave-one-seed-out choices: each seed scores the learning rate that all other seeds chose.

    Attributes:
        loss: shape (L, K), the losses themselves.
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
    n_seeds = block.loss.shape[1]
    converged = block.converged[:, None]
    finite = np.where(converged, block.loss, 0.0)
    others = (finite.sum(axis=1, keepdims=True) - finite) / (n_seeds - 1) if n_seeds > 1 else finite
    return CrossFit(loss=block.loss, choosing=np.where(converged, others, math.inf))
