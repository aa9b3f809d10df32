"""Which trial of a study runs which cell of the sweep: the same answer in every worker, without a lock.

A study is a log: its trials, in the order of their numbers. Some entries are orders (grow the grid, run a cell again);
any other entry is a trial that takes the next waiting cell. What an entry is can be read off what was stored when it
was created and never changes after, so that whoever replays the log finds the same cell for the same trial.
"""

from __future__ import annotations

import bisect
import math
from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from robust_lr.trials import coarse_to_fine

SAME = 1e-9  # learning rates closer than this, relatively, are one


@dataclass(frozen=True, order=True)
class Cell:
    """One training run of a sweep: what a trial is to do; a name or seed is None where the sweep has no such axis."""

    lr: float
    schedule: str | None = None
    seed: int | None = None


@dataclass(frozen=True)
class Axes:
    """The axes of a sweep: its cells are all combinations.

    Args:
        lrs: learning rates.
        schedules: names of schedules; empty for no such axis.
        seeds: seeds; empty for no such axis.
    """

    lrs: tuple[float, ...] = ()
    schedules: tuple[str, ...] = ()
    seeds: tuple[int, ...] = ()

    def lacks(self, other: Axes) -> bool:
        """Return whether the other axes hold something that these do not."""
        return (
            any(find_lr(self.lrs, lr) is None for lr in other.lrs)
            or not set(other.schedules) <= set(self.schedules)
            or not set(other.seeds) <= set(self.seeds)
        )

    def grown(self, other: Axes) -> Axes:
        """Return the union, the learning rates in ascending order, those known already as they are."""
        lrs = list(self.lrs)
        for lr in other.lrs:
            if find_lr(lrs, lr) is None:
                bisect.insort(lrs, lr)
        return Axes(
            tuple(lrs),
            tuple(dict.fromkeys((*self.schedules, *other.schedules))),
            tuple(dict.fromkeys((*self.seeds, *other.seeds))),
        )

    def cells(self) -> list[Cell]:
        """Return all cells, coarse learning rates before fine ones, each with all its seeds and schedules."""
        return [
            Cell(self.lrs[i], schedule, seed)
            for i in coarse_to_fine(len(self.lrs))
            for seed in self.seeds or (None,)
            for schedule in self.schedules or (None,)
        ]


def find_lr(lrs: Sequence[float], lr: float) -> float | None:
    """Return the one of the ascending learning rates that is this one, up to rounding; None when there is none."""
    i = bisect.bisect_left(lrs, lr)
    return next((known for known in lrs[max(i - 1, 0) : i + 1] if math.isclose(known, lr, rel_tol=SAME)), None)


@dataclass(frozen=True)
class Order:
    """An entry of the log that is no trial but changes what there is to do.

    Every part may be repeated, by any worker, and counts once.

    Args:
        grow: axes to add to those of the sweep; all new cells wait from then on.
        serve: numbers of trials before this entry that have no cell yet: each takes the next one.
        again: numbers of trials that failed: their cells wait again, before the others, with one attempt less.
        void: numbers of trials that never ran their cell: it waits again, and no attempt is counted.
        doubt: numbers of trials that may be void: whoever runs one of them after all is to give it up.
        found: number of a trial -> cell, for trials that nobody ordered and that have its result.
    """

    grow: Axes = Axes()
    serve: tuple[int, ...] = ()
    again: tuple[int, ...] = ()
    void: tuple[int, ...] = ()
    doubt: tuple[int, ...] = ()
    found: Mapping[int, Cell] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Return it as plain values."""
        return {
            "lrs": list(self.grow.lrs),
            "schedules": list(self.grow.schedules),
            "seeds": list(self.grow.seeds),
            "serve": list(self.serve),
            "again": list(self.again),
            "void": list(self.void),
            "doubt": list(self.doubt),
            "found": [[number, cell.lr, cell.schedule, cell.seed] for number, cell in self.found.items()],
        }

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Order:
        """Return what `to_json` made."""
        return cls(
            Axes(tuple(values["lrs"]), tuple(values["schedules"]), tuple(values["seeds"])),
            tuple(values["serve"]),
            tuple(values["again"]),
            tuple(values["void"]),
            tuple(values["doubt"]),
            {number: Cell(lr, schedule, seed) for number, lr, schedule, seed in values["found"]},
        )


class WorkLog:
    """The state of a sweep after the entries read so far. `read_order`, `read_fixed` and `read_trial` go by number.

    Attributes:
        axes: the axes of the sweep.
        n_read: entries read: the number of the next one.
        claims: number of a trial -> its cell.
        attempts: cell -> how many of its trials ended without a result and were ordered again.

    Example:
        >>> log = WorkLog()
        >>> log.read_order(Order(grow=Axes(lrs=(0.1, 1.0, 10.0), seeds=(0,))))
        []
        >>> log.read_trial(), log.read_trial()
        (Cell(lr=0.1, schedule=None, seed=0), Cell(lr=10.0, schedule=None, seed=0))
        >>> log.read_order(Order(again=(1,)))
        []
        >>> log.read_trial(), log.read_trial(), log.read_trial()
        (Cell(lr=0.1, schedule=None, seed=0), Cell(lr=1.0, schedule=None, seed=0), None)
    """

    def __init__(self) -> None:
        self.axes, self.n_read = Axes(), 0
        self.claims: dict[int, Cell] = {}
        self.attempts: dict[Cell, int] = {}
        self._known: set[Cell] = set()
        self._waiting: OrderedDict[Cell, None] = OrderedDict()
        self._ordered_again: set[int] = set()
        self._doubted: set[int] = set()
        self._unplaced: dict[int, tuple[float, str | None, int | None]] = {}

    @property
    def n_waiting(self) -> int:
        """The number of cells that no trial has taken."""
        return len(self._waiting)

    @property
    def waiting(self) -> list[Cell]:
        """The cells that no trial has taken, the next one first."""
        return list(self._waiting)

    def was_ordered_again(self, number: int) -> bool:
        """Return whether the cell of this trial was put back, or given to another trial."""
        return number in self._ordered_again

    def is_doubted(self, number: int) -> bool:
        """Return whether somebody took this trial for dead before it said that it runs its cell."""
        return number in self._doubted

    def read_trial(self) -> Cell | None:
        """Read a trial that takes the next waiting cell; return it."""
        return self._claim(self._count())

    def read_fixed(
        self, lr: float | None, schedule: str | None, seed: int | None, repeats: int | None = None
    ) -> Cell | None:
        """Read a trial whose parameters its maker has fixed, some perhaps to None; return the cell that it will do.

        It does the first waiting cell that agrees with it, now or when the axes have grown. With `repeats`, the number
        of a trial that ended without a result, it does the cell of that one.
        """
        number = self._count()
        if repeats in self.claims and repeats not in self._ordered_again:
            self._ordered_again.add(repeats)
            self.claims[number] = self.claims[repeats]
            return self.claims[number]
        if lr is None:
            return None
        self._unplaced[number] = (lr, schedule, seed)
        return self._place(number)

    def read_order(self, order: Order) -> list[int]:
        """Read an entry that changes what there is to do; return the trials with fixed parameters that it gave a cell.

        What these do is known from what they were asked for, before or after they did it.
        """
        number = self._count()
        self._grow(order.grow)
        placed = [fixed for fixed in list(self._unplaced) if self._place(fixed)] if order.grow != Axes() else []
        self._doubted.update(order.doubt)
        for found, cell in order.found.items():
            if cell in self._known and self.claims.get(found) != cell:
                self._put_back(found, counts=False)
                self._waiting.pop(cell, None)
                self._unplaced.pop(found, None)
                self.claims[found] = cell
        for failed in order.again:
            self._put_back(failed, counts=True)
        for number_without_run in order.void:
            self._put_back(number_without_run, counts=False)
        for hungry in order.serve:
            if hungry < number and hungry not in self.claims and hungry not in self._unplaced:
                self._claim(hungry)
        return placed

    def _count(self) -> int:
        self.n_read += 1
        return self.n_read - 1

    def _claim(self, number: int) -> Cell | None:
        if not self._waiting:
            return None
        self.claims[number] = self._waiting.popitem(last=False)[0]
        return self.claims[number]

    def _place(self, number: int) -> Cell | None:
        lr, schedule, seed = self._unplaced[number]
        known = find_lr(self.axes.lrs, lr)
        for cell in self._waiting:
            if cell.lr == known and schedule in (None, cell.schedule) and seed in (None, cell.seed):
                del self._waiting[cell], self._unplaced[number]
                self.claims[number] = cell
                return cell
        return None

    def _put_back(self, number: int, *, counts: bool) -> None:
        cell = self.claims.get(number)
        if cell is None or number in self._ordered_again:
            return
        self._ordered_again.add(number)
        self.attempts[cell] = self.attempts.get(cell, 0) + counts
        self._waiting[cell] = None
        self._waiting.move_to_end(cell, last=False)

    def _grow(self, axes: Axes) -> None:
        if not self.axes.lacks(axes):
            return
        had_cells_of_other_kind = self._known and (
            (not self.axes.schedules and axes.schedules) or (not self.axes.seeds and axes.seeds)
        )
        self.axes = self.axes.grown(axes)
        if had_cells_of_other_kind:  # a new axis: what was done before it was done with its first value
            self._relabel()
        for cell in self.axes.cells():
            if cell not in self._known:
                self._known.add(cell)
                self._waiting[cell] = None

    def _relabel(self) -> None:
        def labelled(cell: Cell) -> Cell:
            schedule = cell.schedule if cell.schedule is not None or not self.axes.schedules else self.axes.schedules[0]
            seed = cell.seed if cell.seed is not None or not self.axes.seeds else self.axes.seeds[0]
            return Cell(cell.lr, schedule, seed)

        self.claims = {number: labelled(cell) for number, cell in self.claims.items()}
        self.attempts = {labelled(cell): n for cell, n in self.attempts.items()}
        self._known = {labelled(cell) for cell in self._known}
        self._waiting = OrderedDict((labelled(cell), None) for cell in self._waiting)


def first_missing(known: Axes, wanted: Axes) -> Axes | None:
    """Return what the wanted axes add to the known ones, None when nothing."""
    if not known.lacks(wanted):
        return None
    return Axes(
        tuple(lr for lr in wanted.lrs if find_lr(known.lrs, lr) is None),
        tuple(s for s in wanted.schedules if s not in known.schedules),
        tuple(s for s in wanted.seeds if s not in known.seeds),
    )


def as_axes(lrs: Iterable[float], schedules: Iterable[str], seeds: Iterable[int]) -> Axes:
    """Return axes of these values, the learning rates in ascending order."""
    return Axes(tuple(sorted(float(lr) for lr in lrs)), tuple(map(str, schedules)), tuple(int(s) for s in seeds))
