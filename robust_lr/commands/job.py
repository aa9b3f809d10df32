"""A job: the trials of a sweep for a batch system, each with a journal of its own, and how to collect them."""

from __future__ import annotations

import json
import os
import shlex
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from .._text import count_of
from ..exceptions import DataError
from ..journal.journal import Journal, read_journal
from ..trials import TrialResult, TrialSpec
from .task import CommandTask

_JOB, _JOURNALS = "job.json", "journals"


def write_job(task: CommandTask, trials: Sequence[TrialSpec], *, max_retries: int, label: str | None) -> None:
    """Write down the trials of a job, in the folder of the trials."""
    given = {each.name: getattr(task, each.name) for each in fields(task) if each.init}
    content = {
        "folder": str(Path.cwd()),
        "task": given,
        "options": {"max_retries": max_retries, "label": label, "metric": task.metric},
        "trials": [[trial.schedule, trial.lr, trial.seed] for trial in trials],
    }
    (Path(task.trials_dir) / _JOURNALS).mkdir(parents=True, exist_ok=True)
    (Path(task.trials_dir) / _JOB).write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


def job_script(kind: str, trials_dir: str | os.PathLike[str], n_trials: int) -> str:
    """Return the script of a job: "shell" has a line for each trial, "slurm-array" is a job array for sbatch."""
    words = f"{shlex.join([sys.executable, '-m', 'robust_lr.commands', str(trials_dir)])}"
    if kind == "shell":
        return "".join(f"{words} {number}\n" for number in range(n_trials))
    return f'#!/bin/sh\n#SBATCH --array=0-{n_trials - 1}\nexec {words} "$SLURM_ARRAY_TASK_ID"\n'


def run_job_trial(trials_dir: str, number: int) -> TrialResult:
    """Run one trial of a job, unless its journal has a result, and return its result.

    Raises:
        DataError: when there is no such job or trial.
        JournalError: when the command, or a script that it names, has changed since the trial ran.
        TrialError: when the trial failed.
    """
    from ..sweep import run_sweep

    job = _read_job(Path(trials_dir))
    if not 0 <= number < len(job["trials"]):
        raise DataError(f"the job has trials 0 to {len(job['trials']) - 1}, got {number}")
    schedule, lr, seed = job["trials"][number]
    os.chdir(job["folder"])
    task, journal = CommandTask(**job["task"]), Path(trials_dir) / _JOURNALS / f"{number}.jsonl"
    run_sweep(task, [lr], [schedule], [seed], journal=journal, progress=False, **job["options"])
    return read_journal(journal).results[-1]


@dataclass(frozen=True)
class Collected:
    """What was read from a job.

    Attributes:
        journal: where the results are now.
        n_trials: trials of the job.
        n_results: those with a result.
        n_new: results that the journal did not have.
    """

    journal: str
    n_trials: int
    n_results: int
    n_new: int

    def __str__(self) -> str:
        return f"{self.n_results} of {count_of(self.n_trials, 'result')}, {self.n_new} new in {self.journal}"


def collect_job(trials_dir: str | os.PathLike[str], journal: str | os.PathLike[str]) -> Collected:
    """Write the results of a job to a journal, which `robust-lr run` continues; return how many there are.

    Raises:
        DataError: when there is no job, or it has no results yet.
        JournalError: when the journal belongs to another training function, or other code.
    """
    folder = Path(trials_dir)
    job = _read_job(folder)
    files = sorted((folder / _JOURNALS).glob("*.jsonl"), key=lambda path: int(path.stem))
    parts = [part for part in (read_journal(path) for path in files) if part.results]
    if not parts:
        raise DataError(f"the job in {folder} has no results yet")
    schedules: Mapping[str, str] = {name: spec for part in parts for name, spec in part.header.schedules.items()}
    n_new = 0
    for part in parts:
        names, lrs, seeds = (dict.fromkeys(column) for column in zip(*job["trials"], strict=True))
        with Journal.open(
            journal, schedules={name: schedules.get(name, name) for name in names}, learning_rates=list(lrs),
            seeds=list(seeds), train=part.header.train, fingerprint=part.header.fingerprint,
            new_label=job["options"]["label"] is not None,
        ) as book:  # fmt: skip
            new = [result for result in part.results if result.spec not in book.finished]
            n_new += len(new)
            for result in new:
                book.append(result)
    n_final = sum(result.is_final for part in parts for result in part.results)
    return Collected(str(journal), len(job["trials"]), n_final, n_new)


def _read_job(folder: Path) -> dict[str, Any]:
    try:
        job: dict[str, Any] = json.loads((folder / _JOB).read_text(encoding="utf-8"))
        job["options"]["label"], job["task"], job["folder"], [TrialSpec(*trial) for trial in job["trials"]]
    except OSError:
        raise DataError(f"there is no job in {folder}; write one with: robust-lr run --command ... --emit") from None
    except (ValueError, KeyError, TypeError, RecursionError):
        raise DataError(f"{folder / _JOB} is not the description of a job") from None
    return job
