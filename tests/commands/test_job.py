"""A job runs the trials of a sweep one by one, by any batch system, and its results become a journal."""

from __future__ import annotations

import os
import shlex
import subprocess
from pathlib import Path

import pytest

from robust_lr import CommandTask, TrialSpec, run_sweep
from robust_lr.commands.job import collect_job, job_script, run_job_trial, write_job
from robust_lr.exceptions import DataError, JournalError
from robust_lr.journal.journal import read_journal
from tests.commands.scripts import PYTHON, write_script

TRIALS = [TrialSpec("cosine", lr, seed) for lr in (0.1, 1.0) for seed in (0, 1)]


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_script("code.py", "import sys; print('{\"loss\": %s}' % sys.argv[1])")
    return tmp_path


def job():
    task = CommandTask(f"{PYTHON} code.py {{lr}}", trials_dir="trials")
    write_job(task, TRIALS, max_retries=0, label=None)
    return task


def test_a_job_that_ran_in_part_is_collected_continued_and_collected_again(folder, monkeypatch):
    task = job()
    with pytest.raises(DataError, match="the job in trials has no results yet"):
        collect_job("trials", "j.jsonl")
    assert [run_job_trial("trials", n).loss for n in (3, 0)] == [1.0, 0.1]
    assert str(collect_job("trials", "j.jsonl")) == "2 of 4 results, 2 new in j.jsonl"
    run_job_trial("trials", 1)
    assert str(collect_job("trials", "j.jsonl")) == "3 of 4 results, 1 new in j.jsonl"
    assert "3 of 4 results: the sweep is unfinished" in read_journal("j.jsonl").notes
    sweep = run_sweep(task, [0.1, 1.0], ["cosine"], 2, journal="j.jsonl")
    assert sweep.loss.tolist() == [[[0.1, 0.1], [1.0, 1.0]]]
    assert len(read_journal("j.jsonl").results) == 4


def test_a_trial_of_a_job_that_has_a_result_does_not_run_again(folder):
    job()
    run_job_trial("trials", 0)
    before = (folder / "trials/cosine-lr0.1-seed0/log.txt").stat().st_mtime_ns
    assert run_job_trial("trials", 0).loss == 0.1
    assert (folder / "trials/cosine-lr0.1-seed0/log.txt").stat().st_mtime_ns == before


def test_results_of_an_edited_script_are_not_mixed(folder):
    job()
    run_job_trial("trials", 0)
    write_script("code.py", "print('{\"loss\": 7}')")
    run_job_trial("trials", 1)
    with pytest.raises(JournalError, match=r"code.py changed since"):
        collect_job("trials", "j.jsonl")


def test_the_scripts_of_a_job_run_every_trial(folder):
    job()
    for line in job_script("shell", "trials", 4).splitlines()[:2]:
        subprocess.run(shlex.split(line), check=True, capture_output=True)
    write_script("array.sh", job_script("slurm-array", "trials", 4))
    assert "#SBATCH --array=0-3\n" in Path("array.sh").read_text()
    for n in ("2", "3"):
        subprocess.run(
            ["sh", "array.sh"], check=True, capture_output=True, env={**os.environ, "SLURM_ARRAY_TASK_ID": n}
        )
    assert str(collect_job("trials", "j.jsonl")).startswith("4 of 4 results")


def test_a_job_or_trial_that_is_not_there_is_said():
    with pytest.raises(DataError, match="there is no job in nowhere"):
        collect_job("nowhere", "j.jsonl")
    job()
    with pytest.raises(DataError, match="the job has trials 0 to 3, got 4"):
        run_job_trial("trials", 4)
