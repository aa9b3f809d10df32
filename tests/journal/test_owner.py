"""One process writes a journal, also on a file system without locks and from several machines."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
import threading
import time

import pytest

from robust_lr.exceptions import JournalError
from robust_lr.journal import _file as journal_file
from robust_lr.journal import _owner
from robust_lr.journal.journal import Journal, read_journal
from robust_lr.trials import TrialResult, TrialSpec

SWEEP = {"learning_rates": [0.1], "schedules": {"cos": "cosine"}, "seeds": [0]}


@pytest.fixture
def path(tmp_path):
    return tmp_path / "sweep.jsonl"


@pytest.fixture
def no_locks(monkeypatch):
    """As over NFS without a lock daemon: the system refuses to lock."""

    def refuse(descriptor):
        raise OSError(37, "No locks available")

    monkeypatch.setattr(journal_file, "_lock", refuse)


@pytest.fixture
def quick(monkeypatch):
    monkeypatch.setattr(_owner, "SECONDS_BETWEEN_BEATS", 0.05)
    monkeypatch.setattr(_owner, "SECONDS_TO_BE_GONE", 1.0)


def owner_file(path, **changes):
    me = {"host": "elsewhere", "pid": os.getpid(), "machine": "another", "token": "other"} | changes
    file = path.with_name(f"{path.name}.lock")
    file.write_text(json.dumps(me))
    return file


def test_two_processes_exclude_each_other_where_nothing_can_be_locked(path, no_locks):
    said = f"being written by another sweep, process {os.getpid()} on "
    with Journal.open(path, **SWEEP), pytest.raises(JournalError, match=said):
        Journal.open(path, **SWEEP)
    with Journal.open(path, **SWEEP):
        pass
    assert [file.name for file in path.parent.iterdir()] == ["sweep.jsonl"]


def test_a_process_of_this_machine_that_was_killed_is_followed_at_once(path, no_locks):
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    owner_file(path, machine=_owner.machine(), host=platform.node(), pid=dead.pid)
    began = time.monotonic()
    Journal.open(path, **SWEEP).close()
    assert time.monotonic() - began < 1


def test_a_living_owner_on_another_machine_is_left_alone(path, quick):
    file, is_over = owner_file(path), threading.Event()

    def live():
        while not is_over.wait(0.05):
            os.utime(file)

    other = threading.Thread(target=live)
    other.start()
    try:
        with pytest.raises(JournalError, match=r"another sweep, process .* on elsewhere"):
            Journal.open(path, **SWEEP)
    finally:
        is_over.set()
        other.join()
    assert json.loads(file.read_text())["token"] == "other"


@pytest.mark.parametrize("text", ["", "{", '{"pid": 1, "host": "gone", "machine": "another"}'])
def test_an_owner_that_shows_no_life_is_followed(path, quick, text):
    owner_file(path).write_text(text)
    Journal.open(path, **SWEEP).close()
    assert not path.with_name("sweep.jsonl.lock").exists()


def test_an_owner_that_was_asleep_and_has_lost_its_journal_writes_no_more(path, quick):
    with Journal.open(path, **SWEEP) as journal:
        file = owner_file(path)
        deadline = time.monotonic() + 20
        with pytest.raises(JournalError, match=r"another process has taken over .*sweep\.jsonl"):
            while time.monotonic() < deadline:
                journal._file.owner.check()
                time.sleep(0.05)
    assert json.loads(file.read_text())["token"] == "other", "and it leaves the file of the other"


def test_an_owner_whose_file_was_tidied_up_makes_it_again(path, quick):
    with Journal.open(path, **SWEEP) as journal:
        file = path.with_name("sweep.jsonl.lock")
        file.unlink()
        deadline = time.monotonic() + 20
        while not file.exists() and time.monotonic() < deadline:
            time.sleep(0.02)
        journal._file.owner.check()
        assert json.loads(file.read_text())["pid"] == os.getpid()


@pytest.mark.skipif(sys.platform == "win32", reason="open files keep their folder from being renamed")
def test_a_folder_that_is_renamed_while_its_sweep_runs_gets_the_further_results(tmp_path, quick):
    (tmp_path / "old").mkdir()
    with Journal.open(tmp_path / "old" / "sweep.jsonl", **SWEEP) as journal:
        (tmp_path / "old").rename(tmp_path / "new")
        time.sleep(0.7)  # more than half of SECONDS_TO_BE_GONE, so that `append` looks at the file itself
        journal.append(TrialResult(TrialSpec("cos", 0.1, 0), 0.25, "ok"))
    assert [result.loss for result in read_journal(tmp_path / "new" / "sweep.jsonl").results] == [0.25]


@pytest.mark.parametrize("kind", ["journal", "notes", "json", "folder"])
def test_a_file_of_mine_that_has_the_name_of_the_lock_is_not_removed(path, quick, kind):
    mine = path.with_name("sweep.jsonl.lock")
    if kind == "journal":
        Journal.open(mine, **SWEEP).close()
    elif kind == "folder":
        mine.mkdir()
    else:
        mine.write_text("my notes" if kind == "notes" else '{"mine": 1}')
    before = None if kind == "folder" else mine.read_bytes()
    with pytest.raises(JournalError, match=r"sweep\.jsonl\.lock is not robust-lr's lock"):
        Journal.open(path, **SWEEP)
    assert mine.is_dir() if before is None else mine.read_bytes() == before
