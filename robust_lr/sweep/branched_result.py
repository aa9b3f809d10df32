"""The losses of a branched sweep: each horizon as a sweep of its own, and what follows from all of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from .._checks import check_number
from .._page import Block, to_html, to_text
from .._text import listed
from ..exceptions import DataError
from ..schedules import Horizon, Schedule, Warmup, WarmupStableDecay, parse_schedule
from .results import SweepResult


@dataclass(frozen=True, eq=False, repr=False)
class BranchedResult:
    """The losses of a `BranchedSweep`; ``print`` says how long to train, and how coarse the grid may be.

    Attributes:
        sweep: every branch as a schedule of one sweep, as it is in the journal.
        branches: schedule and steps of each by its name in `sweep`.
        steps: steps of each learning rate and seed.
        steps_from_scratch: steps without branches.
    """

    sweep: SweepResult
    branches: Mapping[str, Horizon]
    steps: int
    steps_from_scratch: int

    def at(self, horizon: int, cooldown: float | Schedule | str | None = None) -> SweepResult:
        """Return the sweep at one horizon, as if it had been run alone.

        Args:
            horizon: the number of steps.
            cooldown: a fraction or a schedule, as the sweep was given it; None for all, as the schedules of the result.

        Raises:
            DataError: when there is no such branch.
        """
        wanted = None if cooldown is None else str(schedule_of(cooldown))
        names = {
            name: str(branch.schedule)
            for name, branch in self.branches.items()
            if branch.total_steps == horizon and wanted in (None, str(branch.schedule), str(_without_warmup(branch)))
        }
        if not names:
            raise DataError(f"there is no such branch; the branches are {listed(self.branches)}")
        trials = [
            replace(each, spec=replace(each.spec, schedule=names[each.spec.schedule]))
            for each in self.sweep.trials()
            if each.spec.schedule in names
        ]
        return SweepResult.from_trials(
            {spec: spec for spec in names.values()}, self.sweep.learning_rates.tolist(), self.sweep.seeds, trials,
            notes=self.sweep.notes, direction=self.sweep.direction,
        )  # fmt: skip

    def answer(self, *, tolerance: float | str | None = None) -> str:
        """Return what follows from the sweep, as text: how long to train, and the coarsest grid of each branch.

        Args:
            tolerance: how much worse than the best loss you accept, as in `analyze_sweep`.
        """
        return to_text(self._blocks(tolerance))

    def __repr__(self) -> str:
        return f"BranchedResult({self.sweep.describe()})"

    def __str__(self) -> str:
        return self.answer()

    def _repr_html_(self) -> str:
        return to_html(self._blocks(None))

    def _blocks(self, tolerance: float | str | None) -> list[Block]:
        from ..analysis import analyze_sweep
        from ..report.branched_text import branched_blocks

        analysis = analyze_sweep(self.sweep, tolerance=tolerance)
        return branched_blocks(analysis, self.branches, self.steps, self.steps_from_scratch)


def schedule_of(cooldown: object) -> Schedule:
    """Return the schedule of a cooldown: a fraction, a schedule or its spec."""
    if isinstance(cooldown, str | Schedule):
        return parse_schedule(cooldown)
    return WarmupStableDecay(check_number("a cooldown", cooldown, above=0, at_most=1))


def _without_warmup(branch: Horizon) -> Schedule:
    return branch.schedule.schedule if isinstance(branch.schedule, Warmup) else branch.schedule
