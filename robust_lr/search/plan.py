"""The trials of a search: turns its learning rates into trials with seeds, and tells it the outcomes."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from typing import Literal

from ..trials import TrialResult, TrialSpec
from . import LearningRateSearch


class SearchPlan:
    """A search as a `TrialPlan`: each further trial at a learning rate has the next seed there.

    The search works in rounds: it asks for `n_jobs` learning rates, and for the next ones once all of these have their
    outcome. So the trials depend on the losses alone, not on which trial ends first, and a killed search makes the same
    trials as an uninterrupted one. With `n_jobs` None it asks for one whenever there is room, without waiting.

    Known results do not run again: first they answer what the search asks for, as long as they can; then the search is
    told the others, as external results. A trial that was given up before runs again if the search asks for it, so a
    continued search goes around it as before.

    Args:
        search: a new search.
        schedule: name of its schedule.
        seed: first seed at a learning rate.
        known: existing outcomes; those of other schedules are ignored.
        n_jobs: learning rates in a round, at least 1; None for no rounds.
    """

    def __init__(
        self,
        search: LearningRateSearch,
        schedule: str,
        *,
        seed: int = 0,
        known: Iterable[TrialResult] = (),
        n_jobs: int | None = 1,
    ) -> None:
        self.search = search
        self._schedule, self._seed, self._n_jobs = schedule, seed, n_jobs
        outcomes = [result for result in known if result.spec.schedule == schedule]
        self._known = {result.spec: result for result in outcomes if result.is_final}
        self._given_up = {result.spec for result in outcomes if not result.is_final}
        self._told, self._running = set[TrialSpec](), set[TrialSpec]()

    @property
    def seeds(self) -> tuple[int, ...]:
        """The seeds of all trials so far, ascending."""
        return tuple(sorted({spec.seed for spec in self._told | self._running}))

    def next_trials(self) -> list[TrialSpec]:
        """Return the trials of the next round; none while a round is running, none at the end."""
        if self._running and self._n_jobs is not None:
            return []
        while True:
            asked = [self._trial_at(lr) for lr in self.search.ask(self._n_jobs or 1)]
            new = [trial for trial in asked if trial not in self._known]
            for trial in asked:
                if trial in self._known:
                    self._tell(self._known[trial])
            others = [result for spec, result in self._known.items() if spec not in self._told]
            if others and (not asked or (new and self._given_up.isdisjoint(new))):
                # The known results take the search no further.
                for trial in new:
                    self.search.forget(trial.lr)
                for result in others:
                    self._tell(result, external=True)
            elif new or not asked:
                self._running.update(new)
                return new

    def add(self, result: TrialResult) -> None:
        """Tell the search the outcome of a trial."""
        self._running.discard(result.spec)
        self._tell(result)

    def _tell(self, result: TrialResult, *, external: bool = False) -> None:
        status: Literal["ok", "diverged", "failed"] = "failed"
        if result.is_final:
            status = "diverged" if result.status == "diverged" else "ok"
        self.search.tell(result.spec.lr, result.loss, status=status, external=external)
        self._told.add(result.spec)

    def _trial_at(self, lr: float) -> TrialSpec:
        trials = (TrialSpec(self._schedule, lr, seed) for seed in itertools.count(self._seed))
        return next(trial for trial in trials if trial not in self._told and trial not in self._running)
