"""A training script as people have it is swept and searched without an edit."""

from __future__ import annotations

import math
import shlex
from pathlib import Path

import pytest

from robust_lr import CommandTask, run_sweep, search_learning_rate
from robust_lr.cli.main import run_command
from robust_lr.journal.journal import read_journal
from tests.commands.scripts import PYTHON

pytestmark = pytest.mark.slow  # the script of test_task.py is small and quick
SCRIPT = shlex.quote(str(Path(__file__).parent / "nano_gpt.py"))
COMMAND = f"{PYTHON} {SCRIPT} --learning_rate={{lr}} --decay={{schedule}} --seed={{seed}} --max_iters={{total_steps}}"
OPTIONS = {"metric_regex": r"val loss (\S+)", "total_steps": 40, "trials_dir": "trials"}


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_its_last_validation_loss_is_the_metric():
    found = CommandTask(COMMAND, **OPTIONS)(lr=0.01, schedule="cosine", seed=3)
    (log,) = Path("trials").glob("**/*log*")
    lines = [line for line in log.read_text().splitlines() if "val loss" in line]
    assert [line.partition(":")[0] for line in lines] == ["step 0", "step 20", "step 40"]
    assert list(found.values()) == [float(lines[-1].rpartition(" ")[2])] and 1 < next(iter(found.values())) < 4.5


def test_it_is_swept_by_one_command(folder, capsys):
    words = [
        "run", "--command", COMMAND, "--metric-regex", OPTIONS["metric_regex"], "--total-steps", "40",
        "--lr-min", "0.001", "--lr-max", "0.1", "--n-points", "3", "--schedules", "constant,cosine", "--seeds", "2",
        "--journal", "sweep.jsonl", "--n-jobs", "2",
    ]  # fmt: skip
    assert run_command(words) in (0, 1)  # 1: too few learning rates for a recommendation
    results = read_journal("sweep.jsonl").results
    assert len({r.spec for r in results}) == len(results) == 12 and all(math.isfinite(r.loss) for r in results)
    assert "best learning rate" in capsys.readouterr().out.lower()


def test_it_is_searched():
    task = CommandTask(COMMAND, **OPTIONS)
    result = search_learning_rate(task, 1e-3, 0.3, schedule="cosine", tolerance=0.2, journal="search.jsonl")
    sweep = run_sweep(task, [1e-3], ["cosine"], 1)
    assert result.loss < sweep.loss[0, 0, 0] - 0.2, "the best of a search is well below the loss at its lower end"
