"""A journal notices an edit of its training function, says what it holds, and offers three ways on."""

from __future__ import annotations

import functools
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from robust_lr import GeometricGrid, ProcessPoolRunner, SweepResult, run_sweep, search_learning_rate
from robust_lr.exceptions import JournalError, OptionError
from robust_lr.journal.journal import Journal, read_journal

DATA = Path(__file__).parent / "data"
ROOT = Path(__file__).resolve().parents[2]
GRID = GeometricGrid(0.01, 1.0, 3)
TRAIN = """
import math
from pathlib import Path
OPTIMUM = 0.02
def train(*, lr, schedule, seed):
    shift = float(Path("data.csv").read_text())
    return 0.3 + 0.03 * math.log(lr / OPTIMUM) ** 2 + shift + 1e-4 * seed
"""


def low(*, lr, schedule, seed):
    return lr


def high(*, lr, schedule, seed):
    return lr + 10


@pytest.fixture
def path(tmp_path):
    return tmp_path / "sweep.jsonl"


@pytest.fixture
def edit():
    """Run a sweep of `low` or of `high`, as if one were the edit of the other."""

    def run(function, path, grid=GRID, seeds=1, **options):
        return run_sweep(functools.partial(function), grid, ["cosine"], seeds, journal=path, **options)

    low.label = high.label = "train"
    yield run
    del low.label, high.label


def losses(sweep):
    return sweep.loss.ravel().tolist()


def test_results_of_other_code_are_refused_with_what_changed_and_three_ways_on(path, edit):
    edit(low, path)
    before = path.read_bytes()
    with pytest.raises(JournalError) as caught:
        edit(high, path, GRID.refine())
    message = str(caught.value)
    assert "test_open.py:high" in message and "its 3 results may be stale" in message and "\n" not in message
    assert all(way in message for way in ("--keep-results", "--label NAME", "another journal"))
    assert path.read_bytes() == before


def test_keep_results_uses_them_and_later_runs_know_the_new_code(path, edit):
    edit(low, path)
    assert losses(edit(high, path, GRID.refine(), keep_results=True)) == [
        0.01,
        10.0316227766017,
        0.1,
        10.316227766017,
        1,
    ]
    assert losses(edit(high, path)) == [0.01, 0.1, 1.0]
    with pytest.raises(JournalError, match="changed since"):
        edit(low, path)
    records = map(json.loads, path.read_text().splitlines())
    fingerprints = [record["fingerprint"] for record in records if record["record"] == "sweep"]
    assert len(fingerprints) == 2 and fingerprints[0] != fingerprints[1], "each result knows the code that trained it"


def test_another_label_begins_anew_in_the_same_journal_and_each_keeps_its_own(path, edit):
    edit(low, path)
    assert losses(edit(high, path, label="high")) == [10.01, 10.1, 11.0]
    sweep = SweepResult.from_journal(path)
    assert losses(sweep) == [10.01, 10.1, 11.0]
    assert sweep.notes == ("3 results left out: the journal has them under the label train",)
    assert losses(edit(low, path)) == [0.01, 0.1, 1.0]
    assert losses(SweepResult.from_journal(path)) == [0.01, 0.1, 1.0]
    with pytest.raises(JournalError, match="changed since"):
        edit(low, path, label="high")


def test_a_search_refuses_results_of_other_code_too(path, edit):
    def search(function, **options):
        return search_learning_rate(function, 0.01, 1.0, tolerance=0.01, journal=path, **options)

    found = search(low)
    with pytest.raises(JournalError, match=r"test_open.py:high .*changed since"):
        search(high)
    assert search(high, keep_results=True).n_trials >= found.n_trials


def test_only_failures_are_no_reason_to_refuse_the_mended_code(path, edit):
    def broken(*, lr, schedule, seed):
        raise OSError("no disk")

    with pytest.raises(Exception, match="no disk"):
        run_sweep(broken, GRID, ["cosine"], 1, journal=path, label="train", max_retries=0)
    assert losses(edit(low, path)) == [0.01, 0.1, 1.0]


def test_the_runner_does_not_change_the_fingerprint(path, edit):
    edit(low, path)
    assert losses(edit(low, path, GRID.refine(), runner=ProcessPoolRunner(2)))[0] == 0.01
    assert losses(edit(low, path)) == [0.01, 0.1, 1.0]


def test_keep_results_must_be_true_or_false(path, edit):
    with pytest.raises(OptionError, match="keep_results must be True or False, got 'yes'"):
        edit(low, path, keep_results="yes")


def test_every_run_says_what_it_reuses(path, edit, capfd):
    for grid, seeds, counts in (
        (GRID, 2, "0 results from {}, 6 new"),
        (GRID.refine(), 3, "6 results from {}, 9 new"),
        (GRID, 1, "3 results from {}, 0 new; 12 more in it are not in this sweep"),
    ):
        edit(low, path, grid, seeds, progress=True)
        assert counts.format(path) + "\n" in capfd.readouterr().err
    edit(low, path, progress=False)
    assert capfd.readouterr().err == ""


def test_a_journal_of_version_0_1_0_goes_on_and_says_that_it_cannot_notice_edits(tmp_path, capfd):
    path = shutil.copy(DATA / "sweep-0.1.0.jsonl", tmp_path)
    options = {"journal": path, "label": "valley:train", "progress": True}
    run_sweep(low, GeometricGrid(1e-3, 1.0, 7), ["constant", "cosine"], 2, **options)
    assert "28 results from" in (err := capfd.readouterr().err) and "an edit since then cannot be noticed" in err
    run_sweep(low, GeometricGrid(1e-3, 1.0, 7), ["constant", "cosine"], 3, **options)
    assert "cannot be noticed" in capfd.readouterr().err
    run_sweep(low, GeometricGrid(1e-3, 1.0, 7), ["constant", "cosine"], 3, **options)
    assert "cannot be noticed" not in capfd.readouterr().err, "its new results have a fingerprint"
    with pytest.raises(JournalError, match="changed since"):
        run_sweep(high, GeometricGrid(1e-3, 1.0, 7), ["constant", "cosine"], 3, **options)


# Unfinished journals


def cut(path, n_results):
    lines = [line for line in path.read_text().splitlines() if '"trial"' not in line]
    trials = [line for line in path.read_text().splitlines() if '"trial"' in line]
    path.write_text("\n".join([*lines, *trials[:n_results]]) + "\n")


def test_an_unfinished_sweep_says_how_much_of_it_is_there(path, edit):
    edit(low, path, seeds=2)
    assert SweepResult.from_journal(path).notes == ()
    cut(path, 4)
    assert SweepResult.from_journal(path).notes == ("4 of 6 results: the sweep is unfinished",)


def test_what_no_sweep_asked_for_is_not_missing(path, edit):
    edit(low, path, seeds=2)
    edit(low, path, GRID.refine(), 1)
    assert SweepResult.from_journal(path).notes == ()
    cut(path, 7)
    assert SweepResult.from_journal(path).notes == ("4 of 5 results: the sweep is unfinished",)


def test_a_search_is_never_called_an_unfinished_sweep(path, edit):
    search_learning_rate(low, 0.01, 1.0, tolerance=0.01, journal=path)
    for journal in (path, DATA / "search-0.1.0.jsonl"):
        (note,) = SweepResult.from_journal(journal).notes
        assert note.startswith("a search chose these learning rates") and "unfinished" not in note


def test_a_journal_without_a_fingerprint_stays_one_for_a_writer_that_has_none(path, edit):
    edit(low, path)
    before = read_journal(path).header.fingerprint
    with Journal.open(path, schedules={"linear": "linear"}):
        assert before
    assert dict(read_journal(path).header.fingerprint) == before


def test_a_search_writes_its_fingerprint_once(path):
    search_learning_rate(low, 0.01, 1.0, tolerance=0.01, journal=path)
    lines = path.read_text().splitlines()
    assert sum('"sweep"' in line for line in lines) > 2 and sum('"fingerprint"' in line for line in lines) == 1
    with pytest.raises(JournalError, match="changed since"):
        search_learning_rate(high, 0.01, 1.0, tolerance=0.01, journal=path, label=read_journal(path).header.train)


# As users type it


def robust_lr(folder, *words):
    env = os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "integrations")])}
    command = [sys.executable, "-m", "robust_lr", *words]
    return subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, check=False)


def test_edit_and_rerun_the_same_command(tmp_path):
    file, table = tmp_path / "t.py", tmp_path / "data.csv"
    file.write_text(TRAIN)
    table.write_text("0.5\n")
    words = ("run", "t.py:train", "--lr-min", "1e-3", "--lr-max", "1", "--n-points", "6", "--schedules", "cosine")
    assert "0 results from sweep.jsonl, 12 new" in robust_lr(tmp_path, *words).stderr
    file.write_text("# better documented\n" + TRAIN.replace("return 0.3", "\n    return (0.3)"))
    assert "12 results from sweep.jsonl, 0 new" in robust_lr(tmp_path, *words).stderr
    file.write_text(TRAIN.replace("OPTIMUM = 0.02", "OPTIMUM = 0.3"))
    refused = robust_lr(tmp_path, *words)
    assert refused.returncode == 2 and refused.stdout == "" and refused.stderr.count("\n") == 1
    assert refused.stderr.startswith("error: t.py:OPTIMUM changed since sweep.jsonl was written")
    assert "0 results from sweep.jsonl, 12 new" in robust_lr(tmp_path, *words, "--label", "new optimum").stderr
    table.write_text("0.7\n")
    assert "error: file data.csv changed" in robust_lr(tmp_path, *words, "--label", "new optimum").stderr
    assert "12 results" in robust_lr(tmp_path, *words, "--label", "new optimum", "--keep-results").stderr
