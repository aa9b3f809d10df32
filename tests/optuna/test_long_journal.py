"""A long journal lists the trials that Optuna's own storage lists, at a cost that does not grow with the study."""

from __future__ import annotations

import pickle
import random

import optuna
import pytest
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import TrialState

from robust_lr_optuna._long_journal import LongJournalStorage, _TrialList, current_trials
from robust_lr_optuna._storages import journal_storage

STATES = [
    None,
    (),
    (TrialState.WAITING,),
    (TrialState.RUNNING, TrialState.WAITING),
    (TrialState.COMPLETE,),
    set(TrialState),
]


def listed(storage, study, states):
    return [repr(trial) for trial in storage.get_all_trials(study._study_id, deepcopy=False, states=states)]


@pytest.mark.parametrize("seed", range(5))
def test_it_lists_what_optunas_own_storage_lists_whatever_happens_to_the_studies(tmp_path, seed):
    rng, path = random.Random(seed), str(tmp_path / "study.log")
    writers = [journal_storage(path), journal_storage(path)]
    first = optuna.create_study(study_name="first", storage=writers[0])
    studies = [[first, optuna.load_study(study_name="first", storage=writers[1])]]
    optuna.create_study(study_name="second", storage=writers[1])
    studies.append([optuna.load_study(study_name="second", storage=writer) for writer in writers])
    running = []
    for _ in range(60):
        study = rng.choice(rng.choice(studies))
        event = rng.randrange(5)
        if event == 0:
            study.enqueue_trial({"lr": 0.1})
        elif event == 1 or not running:
            running.append((study, study.ask()))
        elif event == 2:
            rng.choice(running)[1].suggest_float("lr", 1e-3, 1.0, log=True)
        elif event == 3:
            rng.choice(running)[1].set_user_attr("note", rng.random())
        else:
            owner, trial = running.pop(rng.randrange(len(running)))
            owner.tell(trial, state=rng.choice([TrialState.FAIL, TrialState.PRUNED]))
        plain, states = JournalStorage(JournalFileBackend(path)), rng.choice(STATES)
        for pair in studies:
            assert {tuple(listed(s, pair[0], states)) for s in writers} == {tuple(listed(plain, pair[0], states))}
            assert [repr(trial) for trial in current_trials(pair[0])] == listed(plain, pair[0], None)


def test_a_look_at_a_long_study_touches_only_the_trials_that_run_or_are_new():
    class Counted(dict):
        looked_at = 0

        def __getitem__(self, key):
            Counted.looked_at += 1
            return super().__getitem__(key)

    trials = [optuna.trial.create_trial(state=TrialState.COMPLETE, value=0.0) for _ in range(100)]
    trials[7].state = TrialState.RUNNING
    by_id = Counted(enumerate(trials))
    listed = _TrialList()
    listed.update(list(by_id), by_id)
    Counted.looked_at = 0
    listed.update(list(by_id), by_id)
    assert Counted.looked_at == 1
    assert listed.in_states((TrialState.RUNNING,)) == [trials[7]]


def test_a_list_that_optuna_gave_out_does_not_change_afterwards(tmp_path):
    study = optuna.create_study(storage=journal_storage(tmp_path / "study.log"))
    study.ask()
    before = study.get_trials(deepcopy=False)
    study.tell(0, 1.0)
    study.ask()
    assert [trial.state for trial in before] == [TrialState.RUNNING]


def test_a_deleted_study_has_no_trials(tmp_path):
    storage = journal_storage(tmp_path / "study.log")
    study = optuna.create_study(storage=storage)
    study.ask()
    assert len(study.trials) == 1
    storage.delete_study(study._study_id)
    with pytest.raises(KeyError):
        storage.get_all_trials(study._study_id)


def test_it_travels_to_another_process_without_its_lists(tmp_path):
    storage = journal_storage(tmp_path / "study.log")
    assert isinstance(storage, LongJournalStorage)
    study = optuna.create_study(storage=storage)
    study.ask()
    assert len(study.trials) == 1
    there = pickle.loads(pickle.dumps(storage))
    assert len(there.get_all_trials(study._study_id)) == 1
