"""The assignment of a sweep's cells to a study's trials: the same in every worker, without a lock.

A study is a log: its trials, in the order of their numbers. Some of them are log entries (grow the grid, retry a cell);
any other trial is assigned the next waiting cell. An assignment depends only on what was stored when the trial was
created, and never changes, so every worker that replays the log finds the same cell for the same trial.
"""

from __future__ import annotations

import bisect
import math
from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from robust_lr.trials import coarse_to_fine

from ._parameter_values import SAME

_AXES = ("lrs", "schedules", "seeds")
_KEYS = {"assign": "serve", "retry": "again", "never_ran": "void", "suspect": "doubt"}  # in studies


@dataclass(frozen=True, order=True)
class Cell:
    """One cell of a sweep, a training run; schedule or seed is None if the sweep has no such axis."""

    lr: float
    schedule: str | None = None
    seed: int | None = None


@dataclass(frozen=True)
class Axes:
    """The axes of a sweep, whose cells are all combinations; schedules or seeds are empty if there is no such axis."""

    lrs: tuple[float, ...] = ()
    schedules: tuple[str, ...] = ()
    seeds: tuple[int, ...] = ()

    def missing(self, wanted: Axes) -> Axes:
        return Axes(
            tuple(lr for lr in wanted.lrs if find_lr(self.lrs, lr) is None),
            tuple(name for name in wanted.schedules if name not in self.schedules),
            tuple(seed for seed in wanted.seeds if seed not in self.seeds),
        )

    def grown(self, other: Axes) -> Axes:
        lrs = list(self.lrs)
        for lr in other.lrs:
            if find_lr(lrs, lr) is None:
                bisect.insort(lrs, lr)
        return Axes(
            tuple(lrs),
            tuple(dict.fromkeys((*self.schedules, *other.schedules))),
            tuple(dict.fromkeys((*self.seeds, *other.seeds))),
        )

    def labeled(self, cell: Cell) -> Cell:
        """Return the cell with the first value of each axis that was added after it ran."""
        schedule, seed = cell.schedule, cell.seed
        if schedule is None and self.schedules:
            schedule = self.schedules[0]
        if seed is None and self.seeds:
            seed = self.seeds[0]
        return Cell(cell.lr, schedule, seed)

    def cells(self) -> list[Cell]:
        """Return all cells: coarse learning rates before fine ones, each with all its seeds and schedules."""
        return [
            Cell(self.lrs[i], schedule, seed)
            for i in coarse_to_fine(len(self.lrs))
            for seed in self.seeds or (None,)
            for schedule in self.schedules or (None,)
        ]


def as_axes(lrs: Iterable[float], schedules: Iterable[str], seeds: Iterable[int]) -> Axes:
    return Axes(tuple(sorted(float(lr) for lr in lrs)), tuple(map(str, schedules)), tuple(int(s) for s in seeds))


def find_lr(lrs: Sequence[float], lr: float) -> float | None:
    """Return the one of the ascending learning rates that equals this one up to rounding."""
    i = bisect.bisect_left(lrs, lr)
    return next((known for known in lrs[max(i - 1, 0) : i + 1] if math.isclose(known, lr, rel_tol=SAME)), None)


@dataclass(frozen=True)
class LogEntry:
    """A trial that runs nothing and changes the work to do. Any worker may repeat any part of it; it counts once.

    Args:
        grow: axes to add to those of the sweep; all new cells wait from then on.
        assign: numbers of trials before this entry that have no cell yet: each takes the next one.
        retry: numbers of failed trials: their cells wait again, before the others, with one attempt less.
        never_ran: numbers of trials that never ran their cell: it waits again, and no attempt counts.
        suspect: numbers of trials that may be dead: a worker that runs one of them after all must abandon it.
        found: trial number -> cell, for trials of other origin that hold the cell's result.
    """

    grow: Axes = Axes()
    assign: tuple[int, ...] = ()
    retry: tuple[int, ...] = ()
    never_ran: tuple[int, ...] = ()
    suspect: tuple[int, ...] = ()
    found: Mapping[int, Cell] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        values = {name: list(getattr(self.grow, name)) for name in _AXES}
        values |= {key: list(getattr(self, name)) for name, key in _KEYS.items()}
        return values | {"found": [[number, cell.lr, cell.schedule, cell.seed] for number, cell in self.found.items()]}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> LogEntry:
        grow = Axes(**{name: tuple(values[name]) for name in _AXES})
        found = {number: Cell(*cell) for number, *cell in values["found"]}
        return cls(grow, **{name: tuple(values[key]) for name, key in _KEYS.items()}, found=found)


class AssignmentLog:
    """The state of a sweep after the trials read so far; they must be read in order of their numbers.

    Attributes:
        axes: the axes of the sweep.
        n_read: number of trials read, which is the number of the next one.
        assigned: trial number -> its cell.
        attempts: cell -> how many of its trials failed and were retried.
    """

    def __init__(self) -> None:
        self.axes, self.n_read = Axes(), 0
        self.assigned: dict[int, Cell] = {}
        self.attempts: dict[Cell, int] = {}
        self._known: set[Cell] = set()
        self._waiting: OrderedDict[Cell, None] = OrderedDict()
        self._requeued: set[int] = set()
        self._suspects: set[int] = set()
        self._unplaced: dict[int, tuple[float, str | None, int | None]] = {}

    @property
    def waiting(self) -> list[Cell]:
        """The unassigned cells, the next one first."""
        return list(self._waiting)

    @property
    def n_waiting(self) -> int:
        return len(self._waiting)

    def was_requeued(self, number: int) -> bool:
        """Whether the cell of this trial waits again or went to another trial."""
        return number in self._requeued

    def is_suspect(self, number: int) -> bool:
        """Whether a worker suspected this trial to be dead before it claimed its cell."""
        return number in self._suspects

    def read_trial(self) -> Cell | None:
        return self._assign(self._count())

    def read_fixed(
        self, lr: float | None, schedule: str | None, seed: int | None, repeats: int | None = None
    ) -> Cell | None:
        """Read a trial with some or all parameters fixed at its creation; return its cell.

        It takes the first waiting cell that agrees with them, now or once the axes have grown. With `repeats`, the
        number of a trial without a result, it takes that trial's cell.
        """
        number = self._count()
        if repeats in self.assigned and repeats not in self._requeued:
            self._requeued.add(repeats)
            self.assigned[number] = self.assigned[repeats]
            return self.assigned[number]
        if lr is None:
            return None
        self._unplaced[number] = (lr, schedule, seed)
        return self._place(number)

    def read_entry(self, entry: LogEntry) -> list[int]:
        """Read a log entry; return the trials with fixed parameters that got a cell because the axes grew."""
        number = self._count()
        self._grow(entry.grow)
        placed = [fixed for fixed in list(self._unplaced) if self._place(fixed)] if entry.grow != Axes() else []
        self._suspects.update(entry.suspect)
        for found, cell in entry.found.items():
            if cell in self._known and self.assigned.get(found) != cell:
                self._requeue(found, counts=False)
                self._waiting.pop(cell, None)
                self._unplaced.pop(found, None)
                self.assigned[found] = cell
        for failed in entry.retry:
            self._requeue(failed, counts=True)
        for without_run in entry.never_ran:
            self._requeue(without_run, counts=False)
        for early in entry.assign:
            if early < number and early not in self.assigned and early not in self._unplaced:
                self._assign(early)
        return placed

    def _count(self) -> int:
        self.n_read += 1
        return self.n_read - 1

    def _assign(self, number: int) -> Cell | None:
        if not self._waiting:
            return None
        self.assigned[number] = self._waiting.popitem(last=False)[0]
        return self.assigned[number]

    def _place(self, number: int) -> Cell | None:
        lr, schedule, seed = self._unplaced[number]
        known = find_lr(self.axes.lrs, lr)
        for cell in self._waiting:
            if cell.lr == known and schedule in (None, cell.schedule) and seed in (None, cell.seed):
                del self._waiting[cell], self._unplaced[number]
                self.assigned[number] = cell
                return cell
        return None

    def _requeue(self, number: int, *, counts: bool) -> None:
        cell = self.assigned.get(number)
        if cell is None or number in self._requeued:
            return
        self._requeued.add(number)
        self.attempts[cell] = self.attempts.get(cell, 0) + counts
        self._waiting[cell] = None
        self._waiting.move_to_end(cell, last=False)

    def _grow(self, axes: Axes) -> None:
        before = self.axes
        if before.missing(axes) == Axes():
            return
        self.axes = before.grown(axes)
        if bool(before.schedules) < bool(axes.schedules) or bool(before.seeds) < bool(axes.seeds):  # a new axis
            labeled = self.axes.labeled
            self.assigned = {number: labeled(cell) for number, cell in self.assigned.items()}
            self.attempts = {labeled(cell): n for cell, n in self.attempts.items()}
            self._known = set(map(labeled, self._known))
            self._waiting = OrderedDict((labeled(cell), None) for cell in self._waiting)
        for cell in self.axes.cells():
            if cell not in self._known:
                self._known.add(cell)
                self._waiting[cell] = None
