"""The state of a study for a `GeometricGridSampler`: which trials are done, running, lost or to be retried."""

from __future__ import annotations

from collections.abc import Mapping

from optuna.trial import FrozenTrial, TrialState

from robust_lr.exceptions import RobustLRError

from ._assignments import AssignmentLog, Axes, Cell, find_lr
from ._outcomes import why_failed
from ._parameter_values import as_number
from ._trial_attributes import claim_of, fixed_values, is_dead, is_fixed, is_log_entry, log_entry_in, repeated_by


class StudyState:
    """An assignment log with the trials it was read from; names: axis (lr, schedule, seed) -> parameter name."""

    def __init__(self, names: Mapping[str, str]) -> None:
        self.log = AssignmentLog()
        self.trials: list[FrozenTrial] = []
        self._names = names
        self._open: set[int] = set()
        self._held: Axes | None = None

    def is_of(self, trials: list[FrozenTrial]) -> bool:
        """Whether these are the trials read before, perhaps with more, and not those of a new study with the old id."""
        if len(trials) < len(self.trials):
            return False
        return all(
            old._trial_id == new._trial_id and old.datetime_start in (None, new.datetime_start)
            for old, new in zip(self.trials[:1], trials, strict=False)
        )

    def read(self, trials: list[FrozenTrial]) -> None:
        self.trials = trials
        for trial in trials[self.log.n_read :]:
            if trial.number != self.log.n_read:
                raise RobustLRError(
                    f"trials must be numbered without a gap, got {trial.number} after {self.log.n_read - 1}"
                )
            if is_log_entry(trial):
                entry = log_entry_in(trial)
                placed = self.log.read_entry(entry)
                self._open |= {n for n in (*entry.assign, *entry.found, *placed) if n in self.log.assigned}
            elif is_fixed(trial):
                fixed, repeated = fixed_values(trial), repeated_by(trial)
                lr, schedule, seed = (fixed.get(self._names[axis]) for axis in ("lr", "schedule", "seed"))
                if repeated is not None and claim_of(trials[repeated]) is None:
                    repeated = None
                self.log.read_fixed(as_number(lr), schedule, seed, repeats=repeated)
            else:
                self.log.read_trial()
            if trial.number in self.log.assigned:
                self._open.add(trial.number)

    def is_fixed(self, number: int) -> bool:
        return is_fixed(self.trials[number])

    def missing(self, axes: Axes) -> Axes:
        """Return what these axes add to those of the log, which never loses any."""
        if axes is self._held:
            return Axes()
        missing = self.log.axes.missing(axes)
        if missing == Axes():
            self._held = axes
        return missing

    def running(self) -> list[FrozenTrial]:
        """Return the running trials that have a cell, except enqueued ones that no worker has begun."""
        trials = [self.trials[number] for number in sorted(self._open) if not self.log.was_requeued(number)]
        return [
            trial
            for trial in trials
            if trial.state == TrialState.RUNNING and (claim_of(trial) is not None or not is_fixed(trial))
        ]

    def n_idle(self, log: AssignmentLog) -> int:
        """Return how many trials have a cell that no process runs: enqueued ones, and those of dead processes."""
        waiting = (trial.number for trial in self.trials if trial.state == TrialState.WAITING)
        return sum(number in log.assigned for number in waiting) + sum(map(is_dead, self.running()))

    def lost(self, max_retries: int) -> tuple[list[int], list[int], dict[int, Cell]]:
        """Return the trials to retry, those that never ran their cell, and those that hold another cell's result."""
        retry, never_ran, found = [], [], dict[int, Cell]()
        for number in sorted(self._open):
            trial = self.trials[number]
            is_unclaimed = claim_of(trial) is None and not is_fixed(trial)
            if self.log.was_requeued(number):
                self._open.discard(number)
            elif not trial.state.is_finished():
                if is_unclaimed and self.log.is_suspect(number):
                    never_ran.append(number)
            elif is_unclaimed:
                cell = self._cell_of(trial, self.log.axes)
                if cell is not None and cell == self.log.assigned.get(number):
                    self._open.discard(number)
                elif cell is not None:
                    found[number] = cell
                else:
                    never_ran.append(number)
            elif trial.state != TrialState.FAIL or why_failed(trial) == "diverged":
                self._open.discard(number)
            elif why_failed(trial) == "interrupted":
                never_ran.append(number)
            elif self.log.attempts.get(self.log.assigned[number], 0) < max_retries:
                retry.append(number)
            else:
                self._open.discard(number)
        return retry, never_ran, found

    def results_of_others(self, axes: Axes) -> dict[int, Cell]:
        """Return the finished trials that hold the result of a cell without an assignment."""
        found = dict[int, Cell]()
        for trial in self.trials[: self.log.n_read]:
            if trial.number not in self.log.assigned and not is_log_entry(trial):
                cell = self._cell_of(trial, axes)
                if cell is not None and cell not in found.values():
                    found[trial.number] = cell
        return found

    def _cell_of(self, trial: FrozenTrial, axes: Axes) -> Cell | None:
        if trial.state != TrialState.COMPLETE:
            return None
        params = dict(trial.params)
        lr = as_number(params.pop(self._names["lr"], None))
        schedule = params.pop(self._names["schedule"], None) if axes.schedules else None
        seed = params.pop(self._names["seed"], None) if axes.seeds else None
        known = None if lr is None else find_lr(axes.lrs, lr)
        is_in_axes = schedule in (axes.schedules or (None,)) and seed in (axes.seeds or (None,))
        return Cell(known, schedule, seed) if known is not None and is_in_axes and not params else None
