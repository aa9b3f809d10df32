"""The trials of a study as a `GeometricGridSampler` sees them: what is done, runs, is lost, or is to be run again."""

from __future__ import annotations

from collections.abc import Mapping

from optuna.trial import FrozenTrial, TrialState

from robust_lr import RobustLRError

from .entries import is_dead, is_order, mark_of, order_in
from .fixed_trials import fixed_values, is_fixed, repeated_by
from .outcomes import why_failed
from .parameter_values import as_number
from .work_log import Axes, Cell, WorkLog, find_lr, first_missing


class Book:
    """A work log with the trials it was read from.

    Args:
        names: axis (lr, schedule, seed) -> name of its parameter in the objective.
    """

    def __init__(self, names: Mapping[str, str]) -> None:
        self.log = WorkLog()
        self.trials: list[FrozenTrial] = []
        self._names = names
        self._open: set[int] = set()
        self._held: Axes | None = None

    def is_of(self, trials: list[FrozenTrial]) -> bool:
        """Return whether these are the trials read before and perhaps more, not those of a study with its old id."""
        if len(trials) < len(self.trials):
            return False
        return all(
            old._trial_id == new._trial_id and old.datetime_start in (None, new.datetime_start)
            for old, new in zip(self.trials[:1], trials, strict=False)
        )

    def read(self, trials: list[FrozenTrial]) -> None:
        """Read the entries that are new.

        Raises:
            RobustLRError: when the trials are not numbered 0, 1, 2, ...
        """
        self.trials = trials
        for trial in trials[self.log.n_read :]:
            if trial.number != self.log.n_read:
                raise RobustLRError(
                    f"trials must be numbered without a gap, got {trial.number} after {self.log.n_read - 1}"
                )
            if is_order(trial):
                order = order_in(trial)
                placed = self.log.read_order(order)
                self._open |= {n for n in (*order.serve, *order.found, *placed) if n in self.log.claims}
            elif is_fixed(trial):
                fixed, repeated = fixed_values(trial), repeated_by(trial)
                lr, schedule, seed = (fixed.get(self._names[axis]) for axis in ("lr", "schedule", "seed"))
                if repeated is not None and mark_of(trials[repeated]) is None:
                    repeated = None
                self.log.read_fixed(as_number(lr), schedule, seed, repeats=repeated)
            else:
                self.log.read_trial()
            if trial.number in self.log.claims:
                self._open.add(trial.number)

    def is_fixed(self, number: int) -> bool:
        """Return whether the parameters of a trial were fixed by whoever made it."""
        return is_fixed(self.trials[number])

    def missing(self, axes: Axes) -> Axes:
        """Return what these axes add to those of the log; a log that has held them once holds them for ever."""
        if axes is self._held:
            return Axes()
        missing = first_missing(self.log.axes, axes)
        if missing is None:
            self._held = axes
        return missing or Axes()

    def running(self) -> list[FrozenTrial]:
        """Return the trials that have a cell and run, except those that the user has enqueued and nobody has begun."""
        trials = [self.trials[number] for number in sorted(self._open) if not self.log.was_ordered_again(number)]
        return [
            trial
            for trial in trials
            if trial.state == TrialState.RUNNING and (mark_of(trial) is not None or not is_fixed(trial))
        ]

    def n_not_run(self, log: WorkLog) -> int:
        """Return how many trials have a cell that nobody runs: enqueued ones, and those of dead processes."""
        waiting = (trial.number for trial in self.trials if trial.state == TrialState.WAITING)
        return sum(number in log.claims for number in waiting) + sum(map(is_dead, self.running()))

    def lost(self, retries: int) -> tuple[list[int], list[int], dict[int, Cell]]:
        """Return the numbers of the trials to be run again, of those that never ran their cell, and results found."""
        again, void, found = [], [], dict[int, Cell]()
        for number in sorted(self._open):
            trial = self.trials[number]
            is_nobodys = mark_of(trial) is None and not is_fixed(trial)
            if self.log.was_ordered_again(number):
                self._open.discard(number)
            elif not trial.state.is_finished():
                if is_nobodys and self.log.is_doubted(number):
                    void.append(number)
            elif is_nobodys:
                cell = self._cell_of(trial, self.log.axes)
                if cell is not None and cell == self.log.claims.get(number):
                    self._open.discard(number)
                elif cell is not None:
                    found[number] = cell
                else:
                    void.append(number)
            elif trial.state != TrialState.FAIL or why_failed(trial) == "diverged":
                self._open.discard(number)
            elif why_failed(trial) == "interrupted":
                void.append(number)
            elif self.log.attempts.get(self.log.claims[number], 0) < retries:
                again.append(number)
            else:
                self._open.discard(number)
        return again, void, found

    def results_of_others(self, axes: Axes) -> dict[int, Cell]:
        """Return the finished trials that nobody ordered and that are the result of a cell."""
        found = dict[int, Cell]()
        for trial in self.trials[: self.log.n_read]:
            if trial.number not in self.log.claims and not is_order(trial):
                cell = self._cell_of(trial, axes)
                if cell is not None and cell not in found.values():
                    found[trial.number] = cell
        return found

    def _cell_of(self, trial: FrozenTrial, axes: Axes) -> Cell | None:
        if trial.state != TrialState.COMPLETE:
            return None
        params = dict(trial.params)
        lr = params.pop(self._names["lr"], None)
        schedule = params.pop(self._names["schedule"], None) if axes.schedules else None
        seed = params.pop(self._names["seed"], None) if axes.seeds else None
        known = None if (number := as_number(lr)) is None else find_lr(axes.lrs, number)
        if (
            params
            or known is None
            or schedule not in (axes.schedules or (None,))
            or seed not in (axes.seeds or (None,))
        ):
            return None
        return Cell(known, schedule, seed)
