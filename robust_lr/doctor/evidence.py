"""What was seen of a run: the rates applied at the optimizer's steps, and what its scheduler declares."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from .loops import EarlyEnd

_FIRST = 64  # steps that are always kept
_MOST = 1024  # records; beyond that every second one is dropped


class Record(NamedTuple):
    """One step of the optimizer.

    Attributes:
        step: number of the optimizer's step in this process, from 0.
        rates: applied learning rate of each parameter group.
        position: the scheduler's own step count at that moment; None without a scheduler.
        is_overwritten: whether the scheduler had set other rates than those applied.
        n_backward: backward passes since the last step of the optimizer; 0 if unknown.
    """

    step: int
    rates: tuple[float, ...]
    position: int | None = None
    is_overwritten: bool = False
    n_backward: int = 0


class Records:
    """The records of a run in bounded memory: the first steps, then every one, second, fourth, ... of the others."""

    def __init__(self) -> None:
        self.n_steps = 0
        self._stride = 1
        self._kept: list[Record] = []

    @property
    def kept(self) -> tuple[Record, ...]:
        """The records that are kept, by step."""
        return tuple(self._kept)

    def wants_next(self) -> bool:
        """Count a step, and return whether its record is to be kept."""
        step, self.n_steps = self.n_steps, self.n_steps + 1
        return step < _FIRST or step % self._stride == 0

    def keep(self, record: Record) -> None:
        """Keep a record."""
        self._kept.append(record)
        if len(self._kept) > _MOST:
            self._stride *= 2
            self._kept = [each for each in self._kept if each.step < _FIRST or each.step % self._stride == 0]


@dataclass(frozen=True, kw_only=True)
class Promise:
    """What a scheduler declares, in its own steps.

    Attributes:
        name: the scheduler, as its user knows it.
        horizon: its step at which it has ended; None if it has no end.
        peak_at: its step at which it reaches its peak for the first time; None if unknown.
        argument: name of the argument that sets its horizon; "" if unknown.
        begins_at: its step at which the part with that argument begins.
        base: learning rate that its functions multiply; 0 without functions.
        factor: the largest value of these functions; None if unknown.
        warmup: length of its warm-up in steps; None if it has none.
        wanted_warmup: share of the run that was asked for as a warm-up.
        end: the rate at its end as a share of the peak, 0 if unknown.
        floor: a lowest rate that does not depend on the learning rate; 0 for none.
        restarts: whether it rises again on purpose.
        rises_after_end: whether it rises if it is stepped beyond its end.
        is_closed_form: whether it sets its rate whatever the rate was; the others scale the current rate.
        is_exact: whether `horizon` was declared, and not inferred from a function's values.
        may_stay: whether training on at the rate of its end is a choice, as after a decay to a tenth.
        checks_state: whether it refuses a saved state that does not fit.
        is_lazy: whether a run in which it is never stepped may be well, as with a plateau that never came.
    """

    name: str
    horizon: int | None = None
    peak_at: int | None = None
    argument: str = ""
    begins_at: int = 0
    base: float = 0.0
    factor: float | None = None
    warmup: int | None = None
    wanted_warmup: float | None = None
    end: float = 0.0
    floor: float = 0.0
    restarts: bool = False
    rises_after_end: bool = False
    is_closed_form: bool = False
    is_exact: bool = True
    may_stay: bool = False
    checks_state: bool = False
    is_lazy: bool = False


class Move(NamedTuple):
    """How far a sample of the parameters of a group moved in one step of the optimizer.

    Attributes:
        group: number of the parameter group.
        rate: the learning rate.
        distance: root mean square of the update; 0 if nothing moved.
        has_gradient: whether the sample had a gradient other than zero.
    """

    group: int
    rate: float
    distance: float
    has_gradient: bool


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """All that the doctor knows of a run.

    Attributes:
        records: what was applied, by step.
        n_steps: steps of the optimizer.
        promise: what the scheduler declares; None without one.
        position: the scheduler's step count now, which may be after the last step of the optimizer.
        position_at_start: the one at the first step.
        planned_steps: steps of the optimizer that the whole run was meant to take, earlier processes included.
        early_end: whether the loop can end before the steps that were meant.
        is_to_be_continued: whether the optimizer's state was saved after the last step, or the run was interrupted.
        horizon_at_start: the horizon that the scheduler had when the doctor came.
        has_plateau: whether a ReduceLROnPlateau is among its other schedulers.
        others: further schedulers that were stepped in the same time.
        is_attached: whether the scheduler writes to the optimizer that is stepped.
        is_stepped_unseen: whether steps of the optimizer may be compiled, so that nobody sees them.
        is_per_group: whether the schedule was given for each parameter group.
        n_processes: ranks that train together.
        saved_rates: the rates in the state that the optimizer loaded before its first step; None if it loaded none.
        saved_peaks: the peaks in that state, where it knows them, else the rates.
        built_peaks: the peaks that the optimizer was built with, before it loaded that state.
        saved_steps: steps that the optimizer had taken before, as its state says.
        written_at_start: the rates that the scheduler had set last, before the first step.
        moves: samples of what the steps did.
        has_untrained: whether the parameters of the optimizer have no gradients, while others have.
        has_lost_gradients: whether backward passes gave gradients, but none was left when the optimizer stepped.
        swept_rate: the learning rate that a sweep gave to this run.
        is_floor_relative: whether the source computes the floor from the learning rate.
        literal_floors: numbers that the source gives as the lowest rate.
        wants_warmup: whether the source computes a warm-up as a share of the run.
        is_over: whether the run has ended; else only what no later step can mend is found.
    """

    records: Sequence[Record]
    n_steps: int
    promise: Promise | None = None
    position: int | None = None
    position_at_start: int = 0
    planned_steps: int | None = None
    early_end: EarlyEnd = EarlyEnd.NO
    is_to_be_continued: bool = False
    horizon_at_start: int | None = None
    has_plateau: bool = False
    others: Sequence[Promise] = ()
    is_attached: bool = True
    is_stepped_unseen: bool = False
    is_per_group: bool = False
    n_processes: int = 1
    saved_rates: Sequence[float] | None = None
    saved_peaks: Sequence[float] = ()
    built_peaks: Sequence[float] = ()
    saved_steps: int = 0
    written_at_start: Sequence[float] = ()
    moves: Sequence[Move] = ()
    has_untrained: bool = False
    has_lost_gradients: bool = False
    swept_rate: float | None = None
    is_floor_relative: bool = False
    literal_floors: Sequence[float] = ()
    wants_warmup: bool = False
    is_over: bool = True
