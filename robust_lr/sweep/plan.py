"""The trials of a sweep: all at once, or in rounds of seeds whose learning rates depend on the results so far."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from .._metrics import Direction
from .._text import main_line, place_of
from ..exceptions import TrialError
from ..trials import TrialResult, TrialSpec, expand_trials
from .results import SweepResult
from .usage import SweepUsage

_FAILURES_TO_STOP = 3


@runtime_checkable
class SeedPlan(Protocol):
    """Which seeds each learning rate is trained with: the first ones everywhere, each further one where it matters.

    A further seed is asked for once all trials with the seeds before it have their outcome, and the answer depends on
    these results alone. So the trials are the same in every runner, and after a kill.
    """

    @property
    def seeds(self) -> Sequence[int]:
        """Every seed that may be used, in order."""

    @property
    def n_first(self) -> int:
        """The number of seeds that every learning rate is trained with, at least 1."""

    def next_cells(self, sweep: SweepResult) -> Collection[tuple[str, float]]:
        """Return the schedules and learning rates to train with the next seed; none if the results suffice."""

    def late_trials(self, sweep: SweepResult) -> Collection[tuple[str, float, int]]:
        """Return the schedules, learning rates and seeds used before that are to be trained first, once each."""

    def notes(self, n_trials: int, n_full: int) -> Sequence[str]:
        """Return the notes of a sweep that ran `n_trials` trials; all seeds everywhere would have been `n_full`."""


@dataclass(frozen=True)
class FixedSeeds:
    """The same seeds at every learning rate."""

    seeds: Sequence[int]

    @property
    def n_first(self) -> int:
        """All of them."""
        return len(self.seeds)

    def next_cells(self, sweep: SweepResult) -> Collection[tuple[str, float]]:
        """Return nothing: there is no further seed."""
        return ()

    def late_trials(self, sweep: SweepResult) -> Collection[tuple[str, float, int]]:
        """Return nothing: every learning rate has every seed."""
        return ()

    def notes(self, n_trials: int, n_full: int) -> Sequence[str]:
        """Return nothing: the sweep is what was asked for."""
        return ()


class SweepPlan:
    """A sweep as a `TrialPlan`, in rounds; raises if its first trials all fail and none has a result.

    Args:
        specs: spec of each schedule by its name.
        learning_rates: all of them, ascending.
        seed_plan: which seeds each is trained with.
        known: existing results; their trials do not run again.
        on_further: called with the trials of each further round.
    """

    def __init__(
        self,
        specs: Mapping[str, str],
        learning_rates: Sequence[float],
        seed_plan: SeedPlan,
        known: Mapping[TrialSpec, TrialResult],
        on_further: Callable[[Sequence[TrialSpec]], None] = lambda trials: None,
    ) -> None:
        self.results: list[TrialResult] = []
        self._specs, self._lrs, self._seed_plan, self._known = specs, learning_rates, seed_plan, known
        self._on_further = on_further
        self._running, self._n_seeds = set[TrialSpec](), seed_plan.n_first
        self._n_judged = 0  # results that the last question for a further round was about
        self.trials = expand_trials(specs, learning_rates, self.seeds)
        self._first = set(self.trials[:_FAILURES_TO_STOP])
        self._waiting = self._without_known(self.trials)
        self._ask()

    @property
    def seeds(self) -> Sequence[int]:
        """The seeds used so far."""
        return self._seed_plan.seeds[: self._n_seeds]

    @property
    def n_full(self) -> int:
        """The number of trials with every seed at every learning rate."""
        return len(self._specs) * len(self._lrs) * len(self._seed_plan.seeds)

    def sweep(
        self, *, notes: Sequence[str] = (), direction: Direction = "minimize", usage: SweepUsage | None = None
    ) -> SweepResult:
        """Return the results so far, with the notes of the seed plan after these."""
        notes = [*notes, *self._seed_plan.notes(len(self.trials), self.n_full)]
        return SweepResult.from_trials(
            self._specs, self._lrs, self.seeds, self.results, notes=notes, direction=direction,
            n_left=len(self.trials) - len(self.results), usage=usage,
        )  # fmt: skip

    def next_trials(self) -> list[TrialSpec]:
        """Return the trials of the next round; none while a round is running, none at the end."""
        if not self._running and len(self.results) > self._n_judged:
            self._ask()
        trials, self._waiting = self._waiting, []
        self._running.update(trials)
        return trials

    def add(self, result: TrialResult) -> None:
        """Take the outcome of a trial."""
        self._running.discard(result.spec)
        self.results.append(result)
        if not any(r.is_final for r in self.results) and self._first <= {r.spec for r in self.results}:
            n, error = len(self._first), self.results[0].error
            which = f"each of the first {n} trials; the first" if n > 1 else "the only trial"
            raise TrialError(f"train failed on {which}: {main_line(error)}{place_of(error)}")

    def _ask(self) -> None:
        # Rounds whose results are all known are over at once.
        while not self._waiting and (asked := self._late() or self._further()):
            self._on_further(asked)
            self.trials += asked
            self._waiting = self._without_known(asked)
        self._n_judged = len(self.results)

    def _late(self) -> list[TrialSpec]:
        late, asked = set(self._seed_plan.late_trials(self.sweep())), set(self.trials)
        trials = expand_trials(self._specs, self._lrs, self.seeds)
        return [t for t in trials if (t.schedule, t.lr, t.seed) in late and t not in asked]

    def _further(self) -> list[TrialSpec]:
        if self._n_seeds == len(self._seed_plan.seeds):
            return []
        cells, seed = set(self._seed_plan.next_cells(self.sweep())), self._seed_plan.seeds[self._n_seeds]
        self._n_seeds += bool(cells)
        return [t for t in expand_trials(self._specs, self._lrs, [seed]) if (t.schedule, t.lr) in cells]

    def _without_known(self, trials: Sequence[TrialSpec]) -> list[TrialSpec]:
        self.results += [self._known[trial] for trial in trials if trial in self._known]
        return [trial for trial in trials if trial not in self._known]
