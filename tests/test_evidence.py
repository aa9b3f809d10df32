"""Every measurement of the evidence runs in a short form, and the page holds what was measured."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.evidence import page, rows

ROOT = Path(__file__).parents[1]
SHORT = {  # group -> names and rounds
    "pool": ["--rounds", "3"],
    "studies": ["journal", "safe-sqlite", "sqlite", "postgresql", "--rounds", "1"],
    "cluster": ["--rounds", "1"],
    "processes": ["--rounds", "3"],
    "disks": ["--rounds", "2"],
    "journals": ["--rounds", "3"],
    "inputs": ["--rounds", "1", "--seed", "70000"],
    "scale": ["--rounds", "3"],
    "stored": [],
}


def measured(group, folder, *options):
    command = [sys.executable, "-m", f"benchmarks.evidence.{group}", *options, "--results", str(folder)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode in (0, 1), done.stderr
    return {row["what"]: row for row in json.loads((folder / f"{group}.json").read_text())}


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("group", SHORT)
def test_a_short_form_of_every_measurement_is_as_promised(group, tmp_path):
    found = measured(group, tmp_path, *SHORT[group])
    if group == "scale":  # times on a busy machine are no test; all cells and the memory are
        assert all(float(row["figure"].split(" MB of memory")[0].rsplit(" ", 1)[1]) < 1000 for row in found.values())
    else:
        assert [row["figure"] for row in found.values() if not row["is_right"]] == []


def test_every_group_is_on_the_page_in_make_and_in_the_tests():
    modules = {path.stem for path in Path(page.__file__).parent.glob("*.py")} - {"page", "rows", "cells", "ray_storm"}
    assert set(page.GROUPS) == set(SHORT) == modules
    assert f"for group in {' '.join(page.GROUPS)};" in (ROOT / "Makefile").read_text()


def test_figures_that_the_docs_have_are_read_from_there_with_their_command_and_date(tmp_path):
    found = measured("stored", tmp_path)
    assert len(found) >= 6
    assert all(row["command"].startswith("python benchmarks/") and row["date"] >= "2026" for row in found.values())


def test_a_row_that_is_measured_again_replaces_the_old_one_and_keeps_the_others(tmp_path):
    path = tmp_path / "group.json"
    for what, figure in (("a", "1"), ("b", "2"), ("a", "3")):
        rows._write(path, {"what": what, "figure": figure})
    assert [(row["what"], row["figure"]) for row in rows.read(path)] == [("a", "3"), ("b", "2")]


def test_the_page_is_made_of_the_stored_results_and_shows_what_is_not_as_promised(tmp_path, monkeypatch):
    monkeypatch.setattr(page, "RESULTS", tmp_path)
    row = {"what": "kills", "how_hard": "40", "figure": "299 of 300", "command": "python x", "date": "2026-01-01"}
    about = {"machine": "2 cores", "versions": {"python": "3.11"}}
    (tmp_path / "pool.json").write_text(json.dumps([{**row, **about, "is_right": False}]))
    assert "| kills | 40 | **not as promised:** 299 of 300 | `python x` | 2026-01-01 |" in page.text()


def test_the_page_in_the_docs_is_the_one_of_the_stored_results():
    assert page.PAGE.read_text(encoding="utf-8") == page.text()
