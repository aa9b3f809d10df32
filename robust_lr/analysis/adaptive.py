"""Seeds where they matter."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .._checks import check_whole
from .._tolerance import read_tolerance
from .._text import count_of
from ..exceptions import InsufficientDataError, OptionError
from ..sweep.results import SweepResult
from ._bounds import ExcessBounds, UpperBounds
from ._selection import LossBlock, loss_block
from .degradation import DegradationCurve, curve_of
from .summary import allowed_excess

LEVEL = 0.95
SURE = 0.99
LUCK = 1.0
NEAR = True


@dataclass(frozen=True, kw_only=True)
class AdaptiveSeeds:
    tolerance: float | str | None = None
    max_seeds: int = 5
    noise: float | None = None

    @property
    def seeds(self) -> Sequence[int]:
        return range(self.max_seeds)

    @property
    def n_first(self) -> int:
        return 2

    def next_cells(self, sweep: SweepResult) -> Collection[tuple[str, float]]:
        evidence = sweep.without_repeated_seeds()
        blocks = list(_blocks(evidence, self.noise))
        allowed = allowed_excess(sweep, blocks, self.tolerance)
        return {
            (block.schedule, float(block.learning_rates[place]))
            for block in blocks
            for place in self._undecided(block, allowed)
        }

    def notes(self, n_trials: int, n_full: int) -> Sequence[str]:
        return [f"adaptive seeds: {count_of(n_trials, 'training')} instead of {n_full}"]

    def _undecided(self, block, allowed):
        try:
            curve = curve_of(block, LEVEL)
        except InsufficientDataError:
            return set()
        if curve.df == 0:
            return set()
        usual, sure = ExcessBounds(block, LEVEL), ExcessBounds(block, SURE)
        t, found = block.fit.t_quantile(LEVEL), set()
        for stride in curve.stride[1:]:
            if not curve.covered[stride - 1]:
                break
            upper = usual.upper(int(stride))
            n = block.n_seeds
            pair = np.minimum(n[upper.chosen][:, None], n[upper.contenders])
            left = pair / self.max_seeds
            forecast = upper.center + upper.half * (np.sqrt(left) - LUCK / t * np.sqrt(1 - left))
            if forecast.max() > allowed:
                break
            strict = sure.upper(int(stride))
            o, j = np.nonzero(strict.center + strict.half > allowed)
            found |= {*strict.chosen[o].tolist(), *strict.contenders[j].tolist()}
            if NEAR:
                places = np.arange(len(strict.near))
                found |= set(places[strict.near & np.isin(places % int(stride), o)].tolist())
        return found


def _blocks(sweep, noise):
    for name in sweep.schedules:
        try:
            yield loss_block(sweep, name, noise=noise)
        except InsufficientDataError:
            pass
