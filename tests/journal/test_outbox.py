"""What workers leave survives the driver: the next one takes over what belongs to its journal, and nothing else."""

from __future__ import annotations

import json
import math
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from robust_lr import GeometricGrid, ProcessPoolRunner, SerialRunner, TrialResult, TrialSpec, run_sweep
from robust_lr.exceptions import JournalError, OptionError
from robust_lr.journal.journal import Journal, read_journal
from robust_lr.journal.outbox import Outbox

SWEEP = {"learning_rates": [0.1, 1.0], "schedules": {"cos": "cosine"}, "seeds": [0, 1], "train": "m:f"}
CODE = {"m.py:f": "1"}
OK = TrialResult(TrialSpec("cos", 0.1, 0), 0.1 + 0.2, "ok", 1.5, {"gap": math.nan})
DIVERGED = TrialResult(TrialSpec("cos", 1.0, 0), math.inf, "diverged", 0.5, {}, "loss above 1e6")
FAILED = TrialResult(TrialSpec("cos", 1.0, 1), math.nan, "failed", math.nan, {}, "ValueError: é")


@pytest.fixture
def path(tmp_path):
    return tmp_path / "sweep.jsonl"


def outbox_of(path, label="m:f", code=CODE):
    return Outbox(f"{path}.results", label, code, beside=str(path))


def reopen(path, *, code=CODE, **options):
    outbox = outbox_of(path, options.get("train", "m:f"), code)
    with Journal.open(path, **{**SWEEP, "fingerprint": code, **options}, outbox=outbox) as journal:
        return list(journal.finished)


@pytest.mark.parametrize("kind", ["path", "URI"])
def test_results_come_back_to_the_bit_and_once(tmp_path, kind):
    folder = str(tmp_path / "results of [a] *")
    outbox = Outbox(folder if kind == "path" else f"file://{folder}", "m:f", CODE)
    outbox.check()
    for result in (OK, DIVERGED, FAILED):
        outbox.put(result)
    back = {result.spec: result for result in outbox.take()}
    assert set(back) == {OK.spec, DIVERGED.spec}, "a failure is none"
    assert back[OK.spec].loss == 0.1 + 0.2 and math.isnan(back[OK.spec].metrics["gap"])
    assert back[DIVERGED.spec] == DIVERGED
    assert list(outbox.take()) == []


def test_what_a_killed_driver_left_is_in_the_journal_of_the_next_and_the_folder_goes(path):
    reopen(path)
    outbox_of(path).put(OK)
    assert reopen(path) == [OK.spec]
    assert [result.spec for result in read_journal(path).results] == [OK.spec]
    outbox_of(path).put(OK)  # by a worker that outlived its driver
    assert reopen(path) == [OK.spec] and len(read_journal(path).results) == 1
    assert not Path(f"{path}.results").exists()


def test_results_of_edited_code_are_dropped_unless_the_journals_are_kept(path):
    reopen(path)
    outbox_of(path).put(OK)
    assert reopen(path, code={"m.py:f": "2"}) == []
    outbox_of(path, code={"m.py:f": "2"}).put(OK)
    assert reopen(path, code={"m.py:f": "3"}, keep_results=True) == [OK.spec]


def test_results_of_another_label_wait_for_it(path):
    reopen(path)
    outbox_of(path).put(OK)
    assert reopen(path, train="another", new_label=True) == []
    assert reopen(path) == [OK.spec]


def test_a_journal_that_was_removed_begins_anew(path):
    reopen(path)
    outbox_of(path).put(OK)
    path.unlink()
    assert reopen(path) == []


@pytest.mark.parametrize("content", [b"", b'{"record": "trial", "lr', b"\xff\x00", b"[]"])
def test_a_file_that_a_kill_has_cut_off_is_no_result(path, content):
    reopen(path)
    outbox = outbox_of(path)
    outbox.put(OK)
    (file,) = Path(outbox.uri).iterdir()
    file.write_bytes(content)
    assert reopen(path) == []


def test_a_machine_that_does_not_see_the_journal_writes_nothing(tmp_path):
    Outbox(str(tmp_path / "results"), "m:f", beside=str(tmp_path / "none.jsonl")).put(OK)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("uri", ["{}/none/results", "nowhere://bucket/sweep", "", 3])
def test_a_place_that_cannot_be_written_is_refused_before_any_trial(tmp_path, uri):
    uri = uri.format(tmp_path) if isinstance(uri, str) else uri
    with pytest.raises(OptionError, match=r"^results_uri"):
        run_sweep(train, [0.1], ["cosine"], 1, journal=tmp_path / "j.jsonl", results_uri=uri, label="x")


def test_my_files_in_the_folder_that_results_uri_names_stay_as_they_are(tmp_path):
    folder = tmp_path / "results"
    folder.mkdir()
    (folder / "check").write_text("mine")
    run_sweep(train, [0.1], ["cosine"], 1, journal=tmp_path / "j.jsonl", results_uri=folder)
    assert {file.name: file.read_text() for file in folder.iterdir()} == {"check": "mine"}


def test_without_a_journal_it_has_no_meaning():
    with pytest.raises(OptionError, match="results_uri is for a sweep with a journal"):
        run_sweep(train, [0.1], ["cosine"], 1, results_uri="somewhere")


def train(*, lr, schedule, seed):
    return lr


@pytest.mark.parametrize("runner", [SerialRunner(), ProcessPoolRunner(2)], ids=["serial", "pool"])
def test_a_sweep_that_ends_leaves_nothing_but_its_journal(tmp_path, runner):
    run_sweep(train, GeometricGrid(0.1, 1.0, 3), ["cosine"], 2, runner=runner, journal=tmp_path / "j.jsonl")
    assert [file.name for file in tmp_path.iterdir()] == ["j.jsonl"]


KILLS_ITS_DRIVER = """
import os, signal, sys, time
from robust_lr import ProcessPoolRunner, run_sweep
from robust_lr.journal import _file

def train(*, lr, schedule, seed):
    with open(sys.argv[2], "a") as file:
        file.write(f"{lr} {seed}\\n")
    return lr

if __name__ == "__main__":
    append = _file.JournalFile.append

    def die_at_the_third_result(self, line, **options):
        if "kill" in sys.argv and self.read().count(b'"record": "trial"') == 2 and b'"trial"' in line:
            os.kill(os.getpid(), signal.SIGKILL)
        append(self, line, **options)

    _file.JournalFile.append = die_at_the_third_result
    run_sweep(train, [0.1, 0.2, 0.4], ["cosine"], 2, runner=ProcessPoolRunner(1), journal=sys.argv[1], label="x")
"""


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="Windows")
def test_a_trial_whose_driver_is_killed_before_it_can_write_the_result_does_not_run_again(tmp_path):
    (tmp_path / "sweep.py").write_text(KILLS_ITS_DRIVER)
    command = [sys.executable, tmp_path / "sweep.py", tmp_path / "j.jsonl", tmp_path / "begun"]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    assert subprocess.run([*command, "kill"], env=environment, check=False).returncode == -signal.SIGKILL
    left = [json.loads(file.read_text()) for file in Path(f"{tmp_path / 'j.jsonl'}.results").iterdir()]
    assert len(left) >= 1
    time.sleep(1.5)  # until a worker that was about to begin another has ended
    before = (tmp_path / "begun").read_text().split("\n")
    subprocess.run(command, env=environment, check=True)
    after = (tmp_path / "begun").read_text().split("\n")
    finished = [f"{each['lr']} {each['seed']}" for each in left]
    assert all(after.count(trial) == before.count(trial) == 1 for trial in finished)
    assert len(read_journal(tmp_path / "j.jsonl").results) == 6


def test_two_sweeps_that_share_a_folder_leave_each_other_their_results(tmp_path):
    folder = tmp_path / "shared"
    folder.mkdir()
    mine, others = (Outbox(str(folder), "x", journal=str(tmp_path / name)) for name in ("a/j.jsonl", "b/j.jsonl"))
    mine.put(TrialResult(TrialSpec("cosine", 0.1, 0), 0.25, "ok"))
    run_sweep(train, [0.2], ["cosine"], 1, journal=tmp_path / "j.jsonl", results_uri=folder, label="x")
    assert list(others.take()) == []
    assert [result.loss for result in mine.take()] == [0.25]


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes in folders")
@pytest.mark.timeout(30)
def test_a_pipe_that_is_named_like_a_result_is_left_alone(tmp_path):
    outbox = Outbox(str(tmp_path), "m:f", CODE)
    outbox.put(OK)
    (file,) = tmp_path.iterdir()
    file.unlink()
    os.mkfifo(file)
    assert list(outbox.take()) == [] and file.exists()


def test_a_file_that_is_no_result_is_named(tmp_path):
    outbox = Outbox(str(tmp_path), "x")
    outbox.put(TrialResult(TrialSpec("cosine", 0.1, 0), 0.25, "ok"))
    (file,) = tmp_path.iterdir()
    damaged = file.read_bytes().replace(b'"ok"', b'"perhaps"')
    file.write_bytes(damaged)
    with pytest.raises(JournalError, match=f"{file.name} is no result; remove it, and its trial runs again$"):
        list(outbox.take())
