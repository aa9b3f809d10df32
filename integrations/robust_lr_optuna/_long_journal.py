"""A journal storage for long studies: Optuna lists all trials for each new one, and here that costs next to nothing."""

from __future__ import annotations

import copy
from collections.abc import Container, Sequence
from typing import Any

from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState


class LongJournalStorage(JournalStorage):
    """Keeps the list of a study's trials; only those that have not ended can have changed since the last look."""

    def __init__(self, backend: JournalFileBackend) -> None:
        self._lists = dict[int, _TrialList]()
        super().__init__(backend)

    def get_all_trials(
        self, study_id: int, deepcopy: bool = True, states: Container[TrialState] | None = None
    ) -> list[FrozenTrial]:
        with self._thread_lock:
            found = self._updated(study_id).in_states(states)
            return copy.deepcopy(found) if deepcopy else found

    def current_trials(self, study_id: int) -> Sequence[FrozenTrial]:
        """Return all trials as they are now, in the storage's own list, which the next look changes."""
        with self._thread_lock:
            return self._updated(study_id).trials

    def _updated(self, study_id: int) -> _TrialList:
        self._sync_with_backend()
        self._replay_result.get_study(study_id)  # raises if it was deleted
        listed = self._lists.setdefault(study_id, _TrialList())
        listed.update(self._replay_result._study_id_to_trial_ids[study_id], self._replay_result._trials)
        return listed

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in super().__getstate__().items() if name != "_lists"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self._lists = {}
        super().__setstate__(state)


class _TrialList:
    def __init__(self) -> None:
        self.trials = list[FrozenTrial]()
        self._unfinished = dict[int, None]()  # places in the list

    def update(self, ids: list[int], by_id: dict[int, FrozenTrial]) -> None:
        for place in self._unfinished:
            self.trials[place] = by_id[ids[place]]
        new = range(len(self.trials), len(ids))
        self.trials += [by_id[ids[place]] for place in new]
        places = [*self._unfinished, *new]
        self._unfinished = {place: None for place in places if not self.trials[place].state.is_finished()}

    def in_states(self, states: Container[TrialState] | None) -> list[FrozenTrial]:
        if states is None:
            return self.trials.copy()
        may_have_ended = any(state in states for state in TrialState if state.is_finished())
        trials = self.trials if may_have_ended else [self.trials[place] for place in self._unfinished]
        return [trial for trial in trials if trial.state in states]


def current_trials(study: Study) -> Sequence[FrozenTrial]:
    """Return all trials of a study, to be looked at and not kept."""
    storage = study._storage
    if isinstance(storage, LongJournalStorage):
        return storage.current_trials(study._study_id)
    return storage.get_all_trials(study._study_id, deepcopy=False)
