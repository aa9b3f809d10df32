"""Storages for several processes: a torn journal is mended, SQLite gives a waiting trial to one process."""

from __future__ import annotations

import multiprocessing
import pickle
from collections import Counter
from pathlib import Path

import optuna
import pytest
from optuna.storages.journal import JournalFileOpenLock
from optuna.trial import TrialState

from robust_lr import GeometricGrid, RobustLRError
from robust_lr_optuna._storages import journal_storage, mend_journal, safe_sqlite_storage
from robust_lr_optuna.grid_sampler import GeometricGridSampler


def objective(trial):
    return trial.suggest_float("lr", 1e-5, 10.0, log=True)


@pytest.fixture
def journal(tmp_path):
    path = tmp_path / "study.log"
    study = optuna.create_study(study_name="one", storage=journal_storage(path))
    study.optimize(objective, n_trials=3)
    return path


@pytest.mark.parametrize("torn", [b'{"op_code":4,"worker', b"x" * 200_000])
def test_half_a_line_at_the_end_of_a_journal_is_cut_off_and_the_study_goes_on(journal, torn):
    whole = journal.read_bytes()
    journal.write_bytes(whole + torn)
    study = optuna.load_study(study_name="one", storage=journal_storage(journal))
    study.optimize(objective, n_trials=2)
    assert journal.read_bytes().startswith(whole + b"{")
    assert len(optuna.load_study(study_name="one", storage=journal_storage(journal)).trials) == 5


def test_a_whole_journal_is_left_as_it_is(journal):
    whole = journal.read_bytes()
    assert mend_journal(journal, JournalFileOpenLock(str(journal))) == 0
    assert journal.read_bytes() == whole


def test_a_journal_of_half_a_line_becomes_empty(tmp_path):
    path = tmp_path / "study.log"
    path.write_bytes(b'{"op_code":0')
    assert mend_journal(path, JournalFileOpenLock(str(path))) == 12
    assert optuna.create_study(storage=journal_storage(path)).trials == []


def test_the_lock_is_released_after_mending(journal):
    journal_storage(journal)
    assert [path.name for path in journal.parent.iterdir()] == ["study.log"]


def test_a_journal_with_a_relative_path_has_a_lock_that_leads_to_it(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("folder").mkdir()
    storage = journal_storage("folder/study.log")
    storage._backend._lock.acquire()
    assert Path("folder/study.log.lock").stat().st_size == 0  # what Optuna asks to learn how old a lock is
    storage._backend._lock.release()


def test_a_journal_in_a_folder_that_is_not_there_is_refused_in_one_line(tmp_path):
    with pytest.raises(RobustLRError, match=r"cannot use .*study\.log as a journal: No such file"):
        journal_storage(tmp_path / "nowhere" / "study.log")


@pytest.mark.parametrize("url", ["postgresql://me:secret@host/db", "mysql://me:secret@host/db", "what is this?"])
def test_a_url_that_is_not_of_sqlite_is_refused_and_its_password_kept(url):
    with pytest.raises(RobustLRError, match="SQLite") as error:
        safe_sqlite_storage(url)
    assert "secret" not in str(error.value)


@pytest.mark.parametrize("url", ["sqlite://", "sqlite:///:memory:"])
def test_sqlite_without_a_file_is_refused_since_no_other_process_sees_it(url):
    with pytest.raises(RobustLRError, match="must name a file"):
        safe_sqlite_storage(url)


def claim(make, url, barrier, claimed):
    optuna.logging.set_verbosity(optuna.logging.CRITICAL)
    study = optuna.load_study(study_name="one", storage=make(url))
    barrier.wait()
    while (trial_id := study._pop_waiting_trial_id()) is not None:
        claimed.put(trial_id)


def n_claimed_twice(make, url, n=60):
    study = optuna.create_study(study_name="one", storage=make(url))
    for i in range(n):
        study.enqueue_trial({"lr": float(i + 1)})
    context = multiprocessing.get_context("fork")
    claimed, barrier = context.SimpleQueue(), context.Barrier(4)
    study._storage.remove_session()
    study._storage._backend.engine.dispose()
    processes = [context.Process(target=claim, args=(make, url, barrier, claimed)) for _ in range(4)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    claims = Counter()
    while not claimed.empty():
        claims[claimed.get()] += 1
    assert len(claims) == n
    return sum(n_times > 1 for n_times in claims.values())


def test_an_enqueued_trial_is_taken_by_one_process_in_safe_sqlite(tmp_path):
    assert n_claimed_twice(safe_sqlite_storage, f"sqlite:///{tmp_path}/study.db") == 0


def test_a_copy_of_a_safe_storage_in_another_process_is_safe(tmp_path):
    storage = pickle.loads(pickle.dumps(safe_sqlite_storage(f"sqlite:///{tmp_path}/study.db")))
    statements = []

    class Recorder:
        def exec_driver_sql(self, statement):
            statements.append(statement)

    storage.engine.dispatch.begin(Recorder())
    assert statements == ["BEGIN IMMEDIATE"]


@pytest.mark.parametrize("kind", ["journal", "safe sqlite"])
def test_a_study_is_run_in_every_storage(tmp_path, kind):
    if kind == "journal":
        storage = journal_storage(tmp_path / "study.log")
    else:
        storage = safe_sqlite_storage(f"sqlite:///{tmp_path}/study.db")
    study = optuna.create_study(storage=storage, sampler=GeometricGridSampler(GeometricGrid(1e-3, 1.0, 4)))
    study.optimize(objective)
    assert len(study.get_trials(states=[TrialState.COMPLETE])) == 4


@pytest.mark.parametrize(("given", "seconds"), [({}, 60.0), ({"engine_kwargs": {"connect_args": {"timeout": 3}}}, 3)])
def test_safe_sqlite_waits_a_minute_for_its_turn_or_as_long_as_was_said(tmp_path, given, seconds):
    storage = safe_sqlite_storage(f"sqlite:///{tmp_path}/study.db", **given)
    assert storage.engine_kwargs["connect_args"] == {"timeout": seconds}


def open_together(barrier, url, failures):
    barrier.wait()
    try:
        safe_sqlite_storage(url)
    except Exception as error:
        failures.put(repr(error))


def test_processes_that_make_the_same_new_file_at_once_all_get_it(tmp_path):
    context = multiprocessing.get_context("fork")
    barrier, failures = context.Barrier(4), context.Queue()
    url = f"sqlite:///{tmp_path / 'study.db'}"
    processes = [context.Process(target=open_together, args=(barrier, url, failures)) for _ in range(4)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert failures.empty(), failures.get()
