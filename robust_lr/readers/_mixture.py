"""Find the settings that make trials of one learning rate different trainings, so that they are no repeats.

A setting that matters is known by its losses: at neighboring learning rates, the same values lose more, or less, than
others do. So each loss, as its rank among those of its learning rate, is predicted from the ranks that the trials with
the same settings have at the next learning rates on both sides. Trials at one rate say nothing about themselves, so a
column without effect, such as the name of a machine, predicts nothing, however many values it has.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from .._text import listed
from ..exceptions import DataError
from ._names import is_setting, words
from .runs import Run, mixed_params

Codes = NDArray[np.intp]

_FEWEST = 6  # predicted losses
_KNOWN, _UNKNOWN = 0.25, 0.5  # explained share, where a name says that the column is a setting, and where it does not
_SURE = 3.0  # the share by its standard error, where no name says so
_SAME = 0.02  # a column that explains no more than this beyond the others does not count


class MixedSettings(DataError):
    """Trials with the same learning rate differ in settings that change the loss.

    Attributes:
        columns: the settings that tell them apart.
        n_trials: most trials at one learning rate.
    """

    def __init__(self, source: str, columns: Sequence[str], n_trials: int, group_by: Sequence[str] = ()) -> None:
        self.columns, self.n_trials = tuple(columns), n_trials
        each = "each value" if len(columns) == 1 else "each combination"
        super().__init__(
            f"{source}: up to {n_trials} trials share a learning rate, but they differ in {listed(columns)}, which "
            f"changes the loss, so they are no seeds; make {each} a sweep of its own: "
            f"--group-by {','.join([*group_by, *columns])} (if a column only counts repeats: --seed-name; without a "
            "table, keep these settings fixed, or name one with --schedule-name)"
        )


def refuse_mixed(runs: Sequence[Run], source: str) -> None:
    """Raise `MixedSettings` if runs without seeds that share a learning rate are different trainings."""
    known = [run for run in runs if run.seed is None and run.has_result and run.params is not None]
    cells = _codes([(run.schedule, run.lr) for run in known])
    if not known or not (repeated := np.bincount(cells) > 1).any():
        return
    counted = [run for run, cell in zip(known, cells, strict=True) if repeated[cell]]
    if columns := _that_matter(counted):
        raise MixedSettings(source, columns, int(np.bincount(cells).max()))


def _that_matter(runs: Sequence[Run]) -> list[str]:
    params = [run.params or {} for run in runs]
    names = [name for name in _in_order(params, mixed_params(params)) if "seed" not in words(name)]
    codes = {name: _codes([str(each.get(name)) for each in params]) for name in names}
    kept = _partition(sorted(names, key=lambda name: not is_setting(name)), codes)
    if not kept:
        return []
    losses = _Losses(runs)
    explained, n = losses.explained(_joint([codes[name] for name in kept]))
    for name in reversed(kept):
        without = [codes[other] for other in kept if other != name]
        share, _ = losses.explained(_joint(without)) if without else (0.0, 0)
        if share >= explained - _SAME:
            kept, explained = [other for other in kept if other != name], share
    sure = explained >= _UNKNOWN and explained * n**0.5 >= _SURE
    matters = sure or (explained >= _KNOWN and any(map(is_setting, kept)))
    return [name for name in names if name in kept] if n >= _FEWEST and matters else []


def _in_order(params: Sequence[object], names: Sequence[str]) -> list[str]:
    order = {name: None for each in params if isinstance(each, dict) for name in each}
    return [name for name in order if name in names]


def _partition(names: Sequence[str], codes: dict[str, Codes]) -> list[str]:
    """The columns without those that are a function of others, and without those that are new in most runs."""
    kept, joint = list[str](), np.zeros(0, dtype=np.intp)
    for name in names:
        finer = _joint([joint, codes[name]] if kept else [codes[name]])
        if finer.max() + 1 <= len(finer) / 2 and (not kept or finer.max() > joint.max()):
            kept, joint = [*kept, name], finer
    for name in [*kept]:
        others = [codes[other] for other in kept if other != name]
        if others and _joint(others).max() == joint.max():
            kept.remove(name)
    return kept


class _Losses:
    """The losses as standardized ranks among those of the same schedule and learning rate, ties shared."""

    def __init__(self, runs: Sequence[Run]) -> None:
        places = sorted({(run.schedule, run.lr) for run in runs})  # neighbors follow each other
        number = {place: i for i, place in enumerate(places)}
        self._cell = np.array([number[run.schedule, run.lr] for run in runs])
        self._schedule = _codes([run.schedule for run in runs])
        loss = np.array([run.loss for run in runs])
        self._rank = np.zeros(len(runs))
        for cell in range(len(places)):
            at = np.flatnonzero(self._cell == cell)
            values, place = np.unique(loss[at], return_inverse=True)
            count = np.bincount(place)
            rank = (np.cumsum(count) - (count - 1) / 2)[place]
            if len(values) > 1:
                self._rank[at] = (rank - rank.mean()) / rank.std()

    def explained(self, group: Codes) -> tuple[float, int]:
        """The share of the variance that the neighbors of the same group predict, and how many losses they predict."""
        owner = _joint([group, self._schedule])
        n_cells = int(self._cell.max()) + 1
        keys, at = np.unique(owner * n_cells + self._cell, return_inverse=True)
        mean = np.bincount(at, self._rank) / np.bincount(at)
        has_next = keys[1:] // n_cells == keys[:-1] // n_cells
        total, n = np.zeros(len(keys)), np.zeros(len(keys))
        total[:-1][has_next] += mean[1:][has_next]
        total[1:][has_next] += mean[:-1][has_next]
        n[:-1] += has_next
        n[1:] += has_next
        known = n[at] > 0
        rank, predicted = self._rank[known], (total / np.maximum(n, 1))[at][known]
        spread = float((rank**2).sum())
        return (1 - float(((rank - predicted) ** 2).sum()) / spread if spread else 0.0), int(known.sum())


def _codes(values: Sequence[object]) -> Codes:
    number: dict[object, int] = {}
    return np.array([number.setdefault(value, len(number)) for value in values], dtype=np.intp)


def _joint(codes: Sequence[Codes]) -> Codes:
    """One number for each combination."""
    joint = codes[0]
    for other in codes[1:]:
        joint = np.unique(joint * (int(other.max()) + 1) + other, return_inverse=True)[1]
    return joint
