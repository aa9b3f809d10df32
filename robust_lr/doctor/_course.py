"""The course of a run: what follows from its evidence, for all checks."""

from __future__ import annotations

from functools import cached_property
from itertools import pairwise
from statistics import median

from .evidence import Evidence, Record
from .loops import EarlyEnd

SMALL = 0.02  # share of a run, or of a rate, that is not worth a word
_VARIES = 1e-3


class Course:
    """Rates of the group that moves most, positions of the scheduler, and where the run ends in its steps."""

    def __init__(self, evidence: Evidence) -> None:
        self.evidence = evidence
        self.records = evidence.records
        self.n_steps = evidence.n_steps

    @cached_property
    def varying(self) -> list[bool]:
        """For each group, whether its rate varied."""
        columns = zip(*(record.rates for record in self.records), strict=False)
        return [max(column) - min(column) > _VARIES * max(map(abs, column)) for column in columns]

    @cached_property
    def group(self) -> int:
        return self.varying.index(True) if any(self.varying) else 0

    @cached_property
    def rates(self) -> list[float]:
        return [record.rates[self.group] for record in self.records]

    @cached_property
    def peak(self) -> float:
        return max(self.rates, default=0.0)

    @cached_property
    def advance(self) -> int:
        """Steps of the scheduler in this process."""
        return (self.evidence.position or 0) - self.evidence.position_at_start

    @property
    def may_end_early(self) -> bool:
        return self.evidence.early_end is EarlyEnd.MEANT

    @cached_property
    def is_handed_over(self) -> bool:
        """Whether the scheduler is stepped no more, and something else sets the rates."""
        end = self.records[-3:]
        return len({r.position for r in end}) == 1 and len(end) > 1 and all(r.is_overwritten for r in end[1:])

    @cached_property
    def pace(self) -> float:
        """Typical number of the scheduler's steps for a step of the optimizer, before the schedule has ended."""
        horizon = self.evidence.promise.horizon if self.evidence.promise else None
        known = [r for r in self.records if r.position is not None]
        running = [r for r in known if horizon is None or (r.position or 0) < horizon - 1] or known
        pairs = list(pairwise(running))
        return median(((b.position or 0) - (a.position or 0)) / (b.step - a.step) for a, b in pairs) if pairs else 0.0

    @cached_property
    def mean_pace(self) -> float:
        """Mean number of the scheduler's steps for a step of the optimizer."""
        return self.advance / self.n_steps if self.n_steps else 0.0

    @cached_property
    def n_backward(self) -> int:
        """Typical number of backward passes for a step of the optimizer; 0 if unknown."""
        counts = [r.n_backward for a, r in pairwise(self.records) if r.step == a.step + 1]
        return round(median(counts)) if counts else 0

    @cached_property
    def end(self) -> float | None:
        """The scheduler's step at which the whole run ends; None if nobody can tell."""
        e = self.evidence
        if e.planned_steps is not None and e.position_at_start == 0:
            return e.planned_steps * (self.mean_pace if e.is_over else self.pace)
        if e.planned_steps is not None:  # earlier processes took their part of the planned steps
            return max(float(e.position or 0), e.planned_steps * (self.pace or self.mean_pace))
        return None if self.may_end_early or e.is_to_be_continued else float(e.position or 0)

    def after(self, position: float) -> list[Record]:
        """Return the records from a step of the scheduler on."""
        return [r for r in self.records if r.position is not None and r.position >= position]

    def n_steps_from(self, position: float) -> int:
        """Return the number of the optimizer's steps from a step of the scheduler on."""
        after = self.after(position)
        return self.n_steps - after[0].step if after else 0


def percent(share: float) -> str:
    """Return a share as text: 0.123 is 12 %."""
    return f"{100 * share:.2g} %" if abs(share) < 0.1 else f"{100 * share:.3g} %"
