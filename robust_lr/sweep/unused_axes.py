"""Axes without effect: schedules, seeds or learning rates whose losses are equal to the last bit.

They are the same runs, and so no evidence: two such schedules do not tie, and two such seeds show no noise.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from .._text import count_of, listed

Array = NDArray[np.float64]
Name = TypeVar("Name")

# Two accuracies may agree by chance. A whole axis of equal ones needs fewer cells than two of its entries.
_CELLS_OF_AN_AXIS, _CELLS_OF_A_PAIR, _LEARNING_RATES = 2, 3, 3


@dataclass(frozen=True)
class UnusedAxes:
    """The axes of a sweep that have no effect on its losses.

    Attributes:
        schedules: groups of schedules with equal losses, in the order of the sweep.
        seeds: groups of seeds with equal losses, likewise.
        learning_rates: the schedules under which each seed has one loss at all learning rates.
        notes: the same in words.
    """

    schedules: tuple[tuple[str, ...], ...]
    seeds: tuple[tuple[int, ...], ...]
    learning_rates: tuple[str, ...]
    notes: tuple[str, ...]

    @property
    def repeated_schedules(self) -> set[str]:
        """The schedules that repeat another one; the first of each group is not among them."""
        return {name for group in self.schedules for name in group[1:]}

    @property
    def repeated_seeds(self) -> set[int]:
        """The seeds that repeat another one; the first of each group is not among them."""
        return {seed for group in self.seeds for seed in group[1:]}


def find_unused_axes(schedules: Sequence[str], seeds: Sequence[int], loss: Array) -> UnusedAxes:
    """Return the axes without effect on losses of shape (schedules, learning rates, seeds); NaN is missing.

    Missing results do not count, and runs that all diverged say nothing.

    Example:
        >>> loss = np.array([[[0.3, 0.3], [0.2, 0.2], [0.4, 0.4]]])
        >>> find_unused_axes(["cosine"], [0, 1], loss).seeds
        ((0, 1),)
    """
    flat = tuple(name for name, losses in zip(schedules, loss, strict=True) if _is_flat(losses))
    same_schedules = _groups(schedules, loss)
    same_seeds = _groups(seeds, np.moveaxis(loss, -1, 0))
    notes = []
    if flat:
        under = "" if len(flat) == len(schedules) else f" under {listed(flat)}"
        notes.append(
            f"all learning rates have the same loss to the last bit{under}: the training seems to ignore its learning "
            "rate, so nothing follows about learning rates there"
        )
    for group in same_seeds:
        notes.append(
            f"{_which(group, seeds, 'seed')} have the same losses to the last bit: the training seems to ignore its "
            "seed, so they count as one, and nothing is known about the noise between seeds"
        )
    for names in same_schedules:
        notes.append(
            f"{_which(names, schedules, 'schedule')} have the same losses to the last bit: the training seems to "
            "ignore its schedule, or they are one schedule, so they are not compared"
        )
    return UnusedAxes(same_schedules, same_seeds, flat, tuple(notes))


def _is_flat(losses: Array) -> bool:
    values = losses[:, ~np.isnan(losses).all(axis=0)]
    is_enough = np.isfinite(values).sum(axis=0).max(initial=0) >= _LEARNING_RATES
    return bool(is_enough and np.all(np.isnan(values) | (values == np.nanmax(values, axis=0))))


def _groups(names: Sequence[Name], losses: Array) -> tuple[tuple[Name, ...], ...]:
    found: list[list[int]] = []
    for i in range(len(names)):
        group = next((g for g in found if _equal_cells(losses[g[0]], losses[i]) >= _CELLS_OF_AN_AXIS), None)
        found.append([i]) if group is None else group.append(i)
    groups = [g for g in found if len(g) > 1]
    if len(found) > 1:
        groups = [g for g in groups if all(_equal_cells(losses[g[0]], losses[i]) >= _CELLS_OF_A_PAIR for i in g[1:])]
    return tuple(tuple(names[i] for i in group) for group in groups)


def _equal_cells(a: Array, b: Array) -> int:
    """Number of equal finite losses; 0 if any two differ."""
    known = ~(np.isnan(a) | np.isnan(b))
    return int(np.isfinite(a[known]).sum()) if np.array_equal(a[known], b[known]) else 0


def _which(group: Sequence[object], everything: Sequence[object], noun: str) -> str:
    if len(group) == len(everything) and len(group) > 2:
        return f"all {count_of(len(group), noun)}"
    names = listed(map(str, group))
    return f"the {noun}s {names}" if noun == "seed" else names
