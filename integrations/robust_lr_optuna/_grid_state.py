"""What is left of a sweep in a study, from what its trials ran: their own parameters, not what they should have run."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from typing import Any

from optuna.trial import FrozenTrial, TrialState

from ._cells import Axes, Cell
from ._outcomes import has_diverged, why_failed
from ._parameter_values import is_same
from ._trial_attributes import claim_of, is_dead, is_enqueued, is_log_entry, values_of, worker_of
from ._workers import where


class GridState:
    """The cells of a sweep that are left; names: axis (lr, schedule, seed) -> parameter name.

    Attributes:
        failed: cell -> numbers of its failed trials.
        in_vain: how many of the last trials ended without running their cell.
    """

    def __init__(self, axes: Axes, names: Mapping[str, str], max_retries: int) -> None:
        self.axes, self.names = axes, axes.names(names)
        self.failed = defaultdict[Cell, list[int]](list)
        self.in_vain = 0
        self._max_retries = max_retries
        self._left = dict.fromkeys(axes.cells())
        self._n_places = len(self._left)
        self._open = dict[int, FrozenTrial]()
        self._ending = dict[int, FrozenTrial]()
        self._first: FrozenTrial | None = None
        self._n_read = 0

    def is_of(self, trials: Sequence[FrozenTrial]) -> bool:
        """Whether these are the trials read before, perhaps with more, and not those of a new study with the old id."""
        if len(trials) < self._n_read:
            return False
        old, new = self._first, trials[0] if trials else None
        if old is None or new is None:
            return True
        return old._trial_id == new._trial_id and old.datetime_start in (None, new.datetime_start)

    def read(self, trials: Sequence[FrozenTrial]) -> None:
        self._first = self._first or (trials[0] if trials else None)
        n = len(trials)  # another thread may look at the storage and find more
        for number in [*self._open, *range(self._n_read, n)]:
            trial = self._open[number] = trials[number]
            if trial.state.is_finished():
                del self._open[number]
                self._ending.pop(number, None)
                self._end(trial)
        self._n_read = n

    def finished_by(self, trial: FrozenTrial) -> Cell | None:
        """Return the cell that a finished trial has the result of."""
        if (trial.state == TrialState.FAIL and not has_diverged(trial)) or is_log_entry(trial):
            return None
        is_ours = claim_of(trial) is not None or is_enqueued(trial)
        # Another tool's trial is the cell's only if it differs in nothing else.
        if not is_ours and (trial.state != TrialState.COMPLETE or set(trial.params) != set(self.names.values())):
            return None
        return self._cell_at(trial.params)

    def has_failed(self, trial: FrozenTrial) -> Cell | None:
        """Return the cell that a trial failed to run, which counts as an attempt."""
        if trial.state != TrialState.FAIL or why_failed(trial) == "interrupted" or self.finished_by(trial):
            return None
        return self._claimed_by(trial)

    def is_given_up(self, cell: Cell, *, more: int = 0) -> bool:
        return len(self.failed[cell]) + more > self._max_retries

    def end(self, trial: FrozenTrial) -> None:
        """Take note of a trial of this process that has ended and is about to be stored as such."""
        self._ending[trial.number] = trial

    def free(self, number: int) -> Iterator[Cell]:
        """Return the cells that no other trial than this one runs or has run, the next one first."""
        taken: set[Cell | None] = {cell for cell, held in self._holders().items() if held != [number]}
        for trial in self._ending.values():
            failed = self.has_failed(trial)
            taken |= {self.finished_by(trial), failed if failed and self.is_given_up(failed, more=1) else None}
        return (cell for cell in self._left if cell not in taken)

    def n_work(self, number: int, *, at_most: int = 0) -> int:
        """Return for how many trials beside this one there is something to run; counting ends above `at_most`."""
        n_enqueued = sum(trial.state == TrialState.WAITING for trial in self._open.values())
        return n_enqueued + sum(1 for _ in islice(self.free(number), at_most + 1))

    def has_work(self, number: int) -> bool:
        return self.n_work(number) > 0

    def rivals(self, cell: Cell, number: int) -> list[int] | None:
        """Return the numbers of other trials that run this cell, None if one has run it and nobody need."""
        if cell not in self._left:
            return None
        return [other for other in self._holders().get(cell, []) if other != number]

    def agrees(self, cell: Cell, values: Mapping[str, Any]) -> bool:
        """Whether a cell has those of these values, by name of the parameter, that belong to an axis."""
        return all(
            is_same(values.get(name, getattr(cell, axis)), getattr(cell, axis)) for axis, name in self.names.items()
        )

    def running(self) -> list[FrozenTrial]:
        return [trial for trial in self._open.values() if trial.state == TrialState.RUNNING]

    def held_by_others(self, number: int) -> list[str]:
        """Return which unfinished cells other trials run, in words."""
        held = [(t, self._held_by(t)) for t in self.running() if t.number != number]
        return [f"{cell} by trial {t.number} ({where(worker_of(t))})" for t, cell in held if cell in self._left]

    def n_pending(self) -> int:
        """Return how many cells wait for a trial, which includes those of enqueued trials and of dead processes."""
        running = [trial for trial in self.running() if not is_dead(trial)]
        return len(self._left) - len({self._held_by(trial) for trial in running} & self._left.keys())

    def _holders(self) -> dict[Cell, list[int]]:
        """Return the numbers of the unfinished trials of each cell, running or enqueued."""
        holders = defaultdict[Cell, list[int]](list)
        for number in self._open.keys() - self._ending.keys():
            cell = self._held_by(self._open[number])
            if cell is not None:
                holders[cell].append(number)
        return holders

    def _end(self, trial: FrozenTrial) -> None:
        cell, failed = self.finished_by(trial), self.has_failed(trial)
        if cell is not None:
            self._remove(cell)
            self.in_vain = 0
        elif failed is not None:
            self.failed[failed].append(trial.number)
            if self.is_given_up(failed):
                self._remove(failed)
        elif self._claimed_by(trial) is not None:
            self.in_vain += 1

    def _remove(self, cell: Cell) -> None:
        self._left.pop(cell, None)
        if 2 * len(self._left) < self._n_places:  # else the first that is left is behind ever more empty places
            self._left = dict.fromkeys(self._left)
            self._n_places = len(self._left)

    def _claimed_by(self, trial: FrozenTrial) -> Cell | None:
        claim = claim_of(trial)
        if claim is None or claim.get("names", self.names) != self.names:
            return None
        return self.axes.cell_at(claim)

    def _held_by(self, trial: FrozenTrial) -> Cell | None:
        return self._claimed_by(trial) or self._cell_at(values_of(trial))

    def _cell_at(self, params: Mapping[str, Any]) -> Cell | None:
        return self.axes.cell_at({axis: params.get(name) for axis, name in self.names.items()})
