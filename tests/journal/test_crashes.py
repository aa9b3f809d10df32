"""A trial that ends the process of its sweep is known to the next run, comes last there, and is given up in the end."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys

import pytest

from robust_lr import SerialRunner, run_sweep
from robust_lr.exceptions import RobustLRWarning
from robust_lr.journal import _owner
from robust_lr.journal.journal import read_journal

LRS = [0.1, 0.2, 0.3]

SWEEP = """
import os, sys
from robust_lr import run_sweep

def train(*, lr, schedule, seed):
    print(lr, flush=True)
    if lr == 0.1:
        os._exit(9)  # as a crash in C code
    return lr

if __name__ == "__main__":
    run_sweep(train, [0.1, 0.2, 0.3], ["constant"], 1, journal=sys.argv[1], label="x", max_retries=1)
"""


@pytest.fixture
def journal(tmp_path):
    return tmp_path / "j.jsonl"


def left_by_a_crash(journal, **changes):
    """The owner file of a sweep whose process died while it trained at 0.1."""
    record = {"host": "here", "pid": 1, "machine": _owner.machine(), "token": "t", "label": "x"}
    record |= {"trial": ["constant", 0.1, 0], "crashes": []}
    journal.with_name("j.jsonl.lock").write_text(json.dumps(record | changes))


def order_of(journal, *, max_retries=2, label="x", runner=None):
    """The learning rates in the order in which they are trained."""
    order = []

    def train(*, lr, schedule, seed):
        order.append(lr)
        return lr

    run_sweep(
        train, LRS, ["constant"], 1, journal=journal, label=label, max_retries=max_retries, keep_results=True,
        runner=runner, progress=False,
    )  # fmt: skip
    return order


def test_the_same_command_continues_behind_a_crash_and_gives_up_in_the_end(tmp_path, journal):
    (tmp_path / "sweep.py").write_text(SWEEP)
    command = [sys.executable, tmp_path / "sweep.py", journal]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    runs = [subprocess.run(command, env=environment, capture_output=True, text=True, check=False) for _ in range(3)]
    assert [run.returncode for run in runs] == [9, 9, 0]
    assert [run.stdout.split() for run in runs] == [["0.1"], ["0.3", "0.2", "0.1"], []]
    assert "constant, lr 0.1, seed 0 ended the process of an earlier run (once), so it now comes last" in runs[1].stderr
    assert "1 of 3 trials failed and count as missing; the first: it ended the process 2 times" in runs[2].stderr
    assert [result.status for result in read_journal(journal).results] == ["ok", "ok", "failed"]
    assert not journal.with_name("j.jsonl.lock").exists()


def test_a_trial_with_a_crash_comes_last_and_then_counts_like_any_other(journal, caplog):
    left_by_a_crash(journal)
    with caplog.at_level(logging.WARNING, "robust_lr"):
        assert order_of(journal) == [0.3, 0.2, 0.1]
    assert "worker processes (ProcessPoolRunner, --n-jobs 2) confine such an end to the trial" in caplog.text
    assert order_of(journal) == []


@pytest.mark.parametrize(
    "changes", [{"machine": "another"}, {"label": "y"}, {"trial": None}, {"trial": [1]}, {"crashes": 3}], ids=str
)
def test_the_end_of_a_machine_another_sweep_and_a_damaged_note_are_no_crash(journal, changes, monkeypatch):
    monkeypatch.setattr(_owner, "SECONDS_TO_BE_GONE", 0.1)
    left_by_a_crash(journal, **changes)
    assert order_of(journal)[0] == 0.1


def test_crashes_of_earlier_runs_count_as_tries(journal):
    left_by_a_crash(journal, crashes=[["constant", 0.1, 0, 1]])
    with pytest.warns(RobustLRWarning, match="it ended the process 2 times"):
        assert order_of(journal, max_retries=1) == [0.3, 0.2]
    assert order_of(journal, max_retries=1) == [0.1], "a new command tries again what was given up"


def test_a_sweep_that_is_interrupted_has_not_crashed(journal):
    def interrupt(*, lr, schedule, seed):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_sweep(interrupt, LRS, ["constant"], 1, journal=journal, label="x", runner=SerialRunner())
    assert [file.name for file in journal.parent.iterdir()] == ["j.jsonl"]
