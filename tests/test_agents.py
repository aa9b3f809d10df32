"""AGENTS.md keeps its word: its commands run in its order, and the fields that it names are there."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PAGE = (ROOT / "AGENTS.md").read_text(encoding="utf-8")
COMMANDS = [line for block in re.findall(r"```sh\n(.*?)```", PAGE, re.DOTALL) for line in block.splitlines()]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder in which the commands of the page have run."""
    folder = tmp_path_factory.mktemp("agents")
    (script,) = re.findall(r"<!-- file: train.py -->\n\n```python\n(.*?)```", PAGE, re.DOTALL)
    (folder / "train.py").write_text(script)
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    for number, line in enumerate(COMMANDS):
        words = [sys.executable, "-m", "robust_lr", *shlex.split(line)[1:]]
        done = subprocess.run(
            words, cwd=folder, check=False, capture_output=True, text=True, env={**os.environ, "PATH": path}
        )
        assert done.returncode == 0, f"{line}\n{done.stdout}{done.stderr}"
        (folder / f"{number}.out").write_text(done.stdout)
    return folder


def test_the_dry_run_prints_the_commands(folder):
    lines = (folder / "0.out").read_text().splitlines()
    assert len([line for line in lines if "train.py --lr" in line]) == 14


def test_a_search_answers_with_a_learning_rate_and_a_bound(folder):
    found = json.loads((folder / "search.json").read_text())
    assert found["stop"] == "tolerance" and 0 <= found["excess_bound"] <= 0.02
    for name in ("lr", "loss", "excess_bound", "bound_note", "stop", "reason", "notes", "lr_range", "edge"):
        assert f"`{name}`" in PAGE and name in found


def test_an_analysis_recommends_a_grid(folder):
    (entry,) = json.loads((folder / "analysis.json").read_text())["schedules"]
    assert entry["recommendation"]["ratio"] > 1
    for name in ("best_lr", "best_loss", "edge", "cliff", "recommendation", "missing"):
        assert f"`{name}" in PAGE and name in entry
    assert (folder / "report.html").stat().st_size > 10_000


def test_a_check_prints_its_verdict(folder):
    assert {each["verdict"] for each in json.loads((folder / f"{len(COMMANDS) - 1}.out").read_text())["checks"]} == {
        "within"
    }


def test_the_files_that_llms_txt_names_are_there():
    for target in re.findall(r"\]\(([^)]+)\)", (ROOT / "llms.txt").read_text(encoding="utf-8")):
        assert (ROOT / target).exists()
