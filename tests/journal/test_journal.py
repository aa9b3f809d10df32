"""The journal survives kills, is strict JSON, and refuses what it must not continue."""

from __future__ import annotations

import contextlib
import json
import math
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from robust_lr import GeometricGrid, SweepResult, TrialResult, TrialSpec, run_sweep, search_learning_rate
from robust_lr.exceptions import JournalError, OptionError
from robust_lr.journal import _file as _journal_file
from robust_lr.journal.journal import Journal, read_journal

DATA = Path(__file__).parent / "data"
SWEEP = {"learning_rates": [0.1, 1.0], "schedules": {"cos": "cosine"}, "seeds": [0, 1], "train": "m:f"}
OK = TrialResult(TrialSpec("cos", 0.1, 0), 0.1 + 0.2, "ok", 1.5, {"accuracy": 0.9, "gap": math.nan})
DIVERGED = TrialResult(TrialSpec("cos", 1.0, 0), math.inf, "diverged", 0.5, {}, "loss above 1e6")
FAILED = TrialResult(TrialSpec("cos", 1.0, 1), math.nan, "failed", math.nan, {}, "Traceback ...\nValueError: é\ud800")


@pytest.fixture
def path(tmp_path):
    return tmp_path / "sweep.jsonl"


def write(path, *results, **changes):
    with Journal.open(path, **{**SWEEP, **changes}) as journal:
        for result in results:
            journal.append(result)


def reopen(path, **changes):
    with Journal.open(path, **{**SWEEP, **changes}) as journal:
        return dict(journal.finished)


def refuse_constant(name):
    raise ValueError(name)


def test_results_read_back_as_they_were(path):
    write(path, OK, DIVERGED, FAILED)
    ok, diverged, failed = read_journal(path).results
    assert ok.loss == 0.1 + 0.2 and ok.seconds == 1.5
    assert ok.metrics["accuracy"] == 0.9 and math.isnan(ok.metrics["gap"])
    assert diverged == DIVERGED
    assert failed.spec == FAILED.spec and math.isnan(failed.loss) and failed.error == FAILED.error
    assert list(reopen(path)) == [OK.spec, DIVERGED.spec]  # the failed one runs again


def test_the_file_is_strict_json_lines(path):
    write(path, OK, DIVERGED, FAILED)
    header, *trials = [json.loads(line, parse_constant=refuse_constant) for line in path.read_text().splitlines()]
    created, library = header.pop("created"), header.pop("library")
    assert header == {"record": "sweep", "format": 1, **SWEEP} and created and library
    assert [t["loss"] for t in trials] == [0.1 + 0.2, None, None] and trials[0]["metrics"]["gap"] is None


def test_the_header_reads_back(path):
    write(path)
    header = read_journal(path).header
    assert header.learning_rates == (0.1, 1.0) and header.seeds == (0, 1) and header.train == "m:f"
    assert dict(header.schedules) == {"cos": "cosine"}


def test_the_last_line_of_a_trial_wins(path):
    retried = TrialResult(FAILED.spec, 0.5, "ok", 1.0, {})
    write(path, FAILED)
    write(path, OK, retried)
    assert [r.spec for r in read_journal(path).results] == [OK.spec, FAILED.spec]
    assert reopen(path)[FAILED.spec] == retried


def test_a_journal_cut_off_at_any_byte_continues(path):
    write(path, OK, DIVERGED)
    whole = path.read_bytes()
    header_end = whole.index(b"\n") + 1
    ends = [i + 1 for i, byte in enumerate(whole) if byte == ord("\n")]
    for length in [*range(0, 35), *range(header_end - 1, len(whole) + 1)]:
        path.write_bytes(whole[:length])
        n_trials = max(sum(end <= length for end in ends) - 1, 0)
        if length >= header_end:
            assert len(read_journal(path).results) == n_trials
        assert len(reopen(path)) == n_trials
        write(path, DIVERGED)
        assert read_journal(path).results[-1] == DIVERGED
        assert all(json.loads(line) for line in path.read_text().splitlines())


@pytest.mark.parametrize("garbage", [b'{"record": "trial", "sch\n', b"\n", b"\0\0\0\0\n", b"\0\0\0"])
def test_a_last_line_that_cannot_be_read_is_removed(path, garbage):
    write(path, OK)
    good = path.read_bytes()
    path.write_bytes(good + garbage)
    assert [r.spec for r in read_journal(path).results] == [OK.spec] and path.read_bytes() == good + garbage
    assert list(reopen(path)) == [OK.spec] and path.read_bytes() == good


@pytest.mark.parametrize("bad", ['{"record": "trial", "sch', '{"record": "trial", "lr": 1}', "[1]", "", '{"a": 1}'])
def test_a_bad_line_in_the_middle_is_named(path, bad):
    write(path, OK, DIVERGED)
    lines = path.read_text().splitlines()
    lines[1] = bad
    path.write_text(text := "\n".join(lines) + "\n")
    for read in (read_journal, reopen):
        with pytest.raises(JournalError, match="line 2 of the journal"):
            read(path)
    assert path.read_text() == text


@pytest.mark.parametrize("text", ["lr,loss\n0.1,0.5\n", "lr,loss", '{"a": 1}\n', "hello\n", "\n", "\0\0\0"])
def test_a_file_that_is_no_journal_is_left_alone(path, text):
    path.write_text(text)
    for read in (read_journal, reopen):
        with pytest.raises(JournalError, match="is not a journal"):
            read(path)
    assert path.read_text() == text


def test_an_empty_file_is_a_new_journal(path):
    path.touch()
    with pytest.raises(JournalError, match="is empty"):
        read_journal(path)
    write(path, OK)
    assert len(read_journal(path).results) == 1


def test_a_newer_format_is_refused(path):
    write(path)
    path.write_text(path.read_text().replace('"format": 1', '"format": 2'))
    with pytest.raises(JournalError, match="newer robust-lr"):
        reopen(path)


def test_a_missing_file_or_folder_is_said_in_one_line(tmp_path):
    with pytest.raises(JournalError, match="cannot read"):
        read_journal(tmp_path / "none.jsonl")
    with pytest.raises(JournalError, match="cannot open"):
        reopen(tmp_path / "none" / "sweep.jsonl")
    with pytest.raises(JournalError, match="cannot open"):
        reopen(tmp_path)


@pytest.mark.parametrize(
    "change",
    [
        {"learning_rates": [0.01, 0.1, 1.0]},
        {"schedules": {"cos": "cosine", "flat": "constant"}},
        {"seeds": [0, 1, 2]},
        {"learning_rates": [0.1, 0.5, 1.0], "seeds": [2, 1, 0]},
    ],
)
def test_a_sweep_that_has_grown_continues(path, change):
    write(path, OK)
    for _ in range(2):
        assert list(reopen(path, **change)) == [OK.spec]
    lines = [json.loads(line)["record"] for line in path.read_text().splitlines()]
    assert lines == ["sweep", "trial", "sweep"]
    header = read_journal(path).header
    assert all(set(getattr(header, name)) == set(value) for name, value in change.items())


@pytest.mark.parametrize(
    "change, says",
    [
        ({"schedules": {"cos": "linear"}}, "schedule 'cos' is cosine in the journal and linear here"),
        ({"train": "m:g"}, "training function is m:f in the journal and m:g here"),
    ],
)
def test_another_sweep_is_refused_and_the_difference_said(path, change, says):
    write(path, OK)
    before = path.read_bytes() + b'{"torn'
    path.write_bytes(before)
    with pytest.raises(JournalError, match=says) as caught:
        reopen(path, **change)
    assert path.read_bytes() == before and "\n" not in str(caught.value)
    assert len(reopen(path)) == 1  # and the lock was given up


@pytest.mark.parametrize(
    "change, union",
    [
        ({"learning_rates": [0.1, 2.0]}, ((0.1, 1.0, 2.0), {"cos"}, (0, 1))),
        ({"seeds": [1, 2]}, ((0.1, 1.0), {"cos"}, (0, 1, 2))),
        ({"schedules": {"flat": "constant"}}, ((0.1, 1.0), {"cos", "flat"}, (0, 1))),
        ({"learning_rates": [0.1], "seeds": [0]}, ((0.1, 1.0), {"cos"}, (0, 1))),
    ],
)
def test_a_sweep_over_a_part_of_it_or_beside_it_continues_and_loses_nothing(path, change, union):
    write(path, OK)
    assert list(reopen(path, **change)) == [OK.spec]
    header = read_journal(path).header
    assert (header.learning_rates, set(header.schedules), header.seeds) == union


def test_an_unknown_label_fits_any_and_leaves_the_one_that_is_there(path):
    write(path, OK)
    assert len(reopen(path, train=None)) == 1
    assert read_journal(path).header.train == "m:f"


def test_it_grows_with_each_result_of_a_search_and_reads_as_a_sweep(path):
    with Journal.open(path, schedules={"cosine": "cosine"}, train="valley") as journal:
        for lr, seed in ((0.1, 0), (0.01, 0), (0.01, 1)):
            journal.append(TrialResult(TrialSpec("cosine", lr, seed), lr, "ok"))
    sweep = SweepResult.from_journal(path)
    assert (sweep.learning_rates.tolist(), sweep.seeds, sweep.n_trials) == ([0.01, 0.1], (0, 1), 3)
    size = path.stat().st_size
    with Journal.open(path, schedules={"cosine": "cosine"}, train="valley") as journal:
        assert len(journal.finished) == 3
    assert path.stat().st_size == size, "what it has room for is not written again"


def test_a_second_writer_is_refused_at_once(path):
    with Journal.open(path, **SWEEP) as journal:
        with pytest.raises(JournalError, match="being written by another sweep"):
            Journal.open(path, **SWEEP)
        assert read_journal(path).results == ()  # a reader needs no lock, and does not break this one
        with pytest.raises(JournalError, match="being written by another sweep"):
            Journal.open(path, **SWEEP)
        journal.append(OK)
    with pytest.raises(JournalError, match="is closed"):
        journal.append(DIVERGED)
    assert len(reopen(path)) == 1


def test_a_killed_writer_leaves_no_lock(path):
    script = (
        "import os, signal, sys; from robust_lr.journal.journal import Journal\n"
        f"Journal.open(sys.argv[1], **{SWEEP!r}); os.kill(os.getpid(), signal.SIGKILL)"
    )
    assert subprocess.run([sys.executable, "-c", script, str(path)], check=False).returncode == -9
    assert reopen(path) == {}


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
def test_a_forked_child_that_outlives_a_killed_writer_holds_no_lock(path):
    script = (
        "import os, signal, sys, time; from robust_lr.journal.journal import Journal\n"
        f"journal = Journal.open(sys.argv[1], **{SWEEP!r})\n"
        "child = os.fork()\n"
        "if child == 0: time.sleep(60)\n"
        "print(child, flush=True); os.kill(os.getpid(), signal.SIGKILL)"
    )
    with subprocess.Popen([sys.executable, "-c", script, str(path)], stdout=subprocess.PIPE) as process:
        child = int(process.stdout.readline())
        try:
            assert process.wait(20) == -9
            os.kill(child, 0)  # it is still there
            for _ in range(100):  # it closes the file as soon as it begins to run
                with contextlib.suppress(JournalError):
                    assert reopen(path) == {}
                    break
                time.sleep(0.05)
            else:
                pytest.fail("the child holds the lock")
        finally:
            os.kill(child, signal.SIGKILL)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
def test_a_fork_takes_the_journal_from_the_child_and_not_from_the_parent(path):
    with Journal.open(path, **SWEEP) as journal:
        child = os.fork()
        if child == 0:
            try:
                journal.append(DIVERGED)
            except JournalError:
                os._exit(3)
            os._exit(0)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 3
        with pytest.raises(JournalError, match="being written by another sweep"):
            Journal.open(path, **SWEEP)
        journal.append(OK)
    assert read_journal(path).results[0].spec == OK.spec and not _journal_file._open_files


def test_a_journal_that_was_deleted_meanwhile_is_told_at_the_next_trial(path):
    with Journal.open(path, **SWEEP) as journal:
        path.unlink()
        with pytest.raises(JournalError, match="was deleted"):
            journal.append(OK)


def test_a_full_disk_leaves_a_whole_journal(path, monkeypatch):
    write(path, OK)
    before = path.read_bytes()
    with Journal.open(path, **SWEEP) as journal, monkeypatch.context() as patch:
        write_bytes = __import__("os").write
        patch.setattr("os.write", lambda descriptor, line: write_bytes(descriptor, line[:10]))
        with pytest.raises(JournalError, match="No space left"):
            journal.append(DIVERGED)
    assert path.read_bytes() == before


# Journals of version 0.1.0


def test_a_sweep_of_version_0_1_0_continues():
    sweep = SweepResult.from_journal(DATA / "sweep-0.1.0.jsonl")
    assert sweep.loss.shape == (2, 7, 2) and sweep.n_trials == 28 and sweep.diverged.sum() == 4
    assert sweep.metrics["accuracy"][0, 0, 0] == 0.9


def test_a_search_of_version_0_1_0_reads_as_a_sweep():
    contents = read_journal(DATA / "search-0.1.0.jsonl")
    sweep = SweepResult.from_journal(DATA / "search-0.1.0.jsonl")
    assert contents.header.train == "valley:train"
    assert sorted({r.spec.lr for r in contents.results}) == sweep.learning_rates.tolist()


def test_what_version_0_1_0_has_run_is_not_run_again(tmp_path):
    def never(*, lr, schedule, seed):
        raise AssertionError("it has run already")

    path = shutil.copy(DATA / "sweep-0.1.0.jsonl", tmp_path)
    before = Path(path).read_bytes()
    sweep = run_sweep(never, GeometricGrid(1e-3, 1.0, 7), ["constant", "cosine"], 2, journal=path, label="valley:train")
    assert sweep.n_trials == 28 and Path(path).read_bytes() == before


def test_what_was_given_up_is_known_until_it_has_a_result(path):
    write(path, OK, FAILED)
    with Journal.open(path, **SWEEP) as journal:
        assert dict(journal.given_up) == {FAILED.spec: FAILED}
        journal.append(TrialResult(FAILED.spec, 0.5, "ok"))
        assert not journal.given_up and FAILED.spec in journal.finished


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="a pipe with a name is one of Unix")
def test_a_pipe_or_a_device_is_refused_and_not_read(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for no_file in (tmp_path / "pipe", os.devnull):
        for use in (reopen, read_journal):
            with pytest.raises(JournalError, match="must be a regular file"):
                use(no_file)


def test_a_path_that_is_none_is_refused():
    with pytest.raises(OptionError, match="journal must be the path of a file, got 5"):
        run_sweep(lambda *, lr, schedule, seed: lr, [0.1], ["cosine"], 1, journal=5)


def test_the_journal_of_a_search_says_that_it_is_no_grid(tmp_path):
    path = tmp_path / "search.jsonl"
    search_learning_rate(
        lambda *, lr, schedule, seed: math.log10(lr / 0.1) ** 2, 1e-3, 1.0, tolerance=0.1, journal=path, label="x"
    )
    (note,) = read_journal(path).notes
    assert note.startswith("a search chose these learning rates one after the other, so they are no grid")
    run_sweep(lambda *, lr, schedule, seed: lr, [0.1, 0.2], ["cosine"], 1, journal=tmp_path / "sweep.jsonl", label="x")
    assert read_journal(tmp_path / "sweep.jsonl").notes == []
