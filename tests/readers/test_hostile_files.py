"""Files from strangers: reading them ends in an answer or one clear line, and never runs code."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from pathlib import Path

import pytest

from robust_lr import parse_schedule
from robust_lr._text import printable
from robust_lr.commands.job import collect_job
from robust_lr.exceptions import RobustLRError, ScheduleError
from robust_lr.readers.read import read_sweeps
from robust_lr.report.console import make_console

ESCAPE = "\x1b]0;owned\x07\x1b[2J\u202e"


def journal(path: Path, *, schedule: str = "cosine", swap: tuple[str, str] = ("", ""), extra: str = "") -> Path:
    lrs = [10 ** (-4 + 2 * i / 3) for i in range(7)]
    header = {
        "record": "sweep", "format": 1, "library": "0.1.0", "learning_rates": lrs, "schedules": {schedule: schedule},
        "seeds": [0, 1, 2], "train": "t:train", "created": "2026-01-01T00:00:00+00:00",
    }  # fmt: skip
    trials = [
        {
            "record": "trial", "schedule": schedule, "lr": lr, "seed": seed, "status": "ok",
            "loss": (math.log10(lr) + 2) ** 2 + 0.01 * seed, "seconds": 0.5, "metrics": {}, "error": None,
        }
        for lr in lrs for seed in (0, 1, 2)
    ]  # fmt: skip
    path.write_text("\n".join(map(json.dumps, [header, *trials])).replace(*swap, 1) + "\n" + extra)
    return path


def analyze(path: Path, *options: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(path.parent), *sys.path])}
    words = [sys.executable, "-m", "robust_lr", "analyze", str(path), *options]
    return subprocess.run(words, check=False, capture_output=True, text=True, env=environment, cwd=path.parent)


def test_a_report_of_a_journal_does_not_import_the_function_that_its_schedule_names(tmp_path: Path) -> None:
    (tmp_path / "bystander.py").write_text("print('IMPORTED')\ndef go(*a):\n    open('called', 'w')\n    return 1\n")
    found = analyze(journal(tmp_path / "j.jsonl", schedule="function(bystander:go)"), "--report", "report.html")
    assert found.returncode == 0, found.stderr
    assert "IMPORTED" not in found.stdout + found.stderr
    assert not (tmp_path / "called").exists()


def test_a_spec_from_a_file_imports_nothing_and_says_so() -> None:
    with pytest.raises(ScheduleError, match="names a function, and reading results imports none"):
        parse_schedule("warmup(0.1)+function(os:getcwd)", import_functions=False)


@pytest.mark.parametrize(
    "swap",
    [
        ('"seconds": 0.5', '"seconds": 1' + "0" * 400),
        ('"seconds": 0.5', '"seconds": 1' + "0" * 9000),
        ('"loss": ', '"loss": 1' + "0" * 400 + ', "was": '),
        ('"seed": 0', '"seed": 1e999'),
        ('"metrics": {}', '"metrics": ' + '{"a":' * 5000 + "1" + "}" * 5000),
        ('"metrics": {}', '"metrics": []'),
        ('"error": null', '"error": 1.5'),
        ('"learning_rates": [', '"learning_rates": [1e999, "x", '),
    ],
    ids=[
        "400 digits",
        "9000 digits",
        "huge loss",
        "infinite seed",
        "deep",
        "no metrics",
        "error of a number",
        "no learning rate",
    ],
)
def test_a_damaged_journal_is_one_line_that_names_its_line(tmp_path: Path, swap: tuple[str, str]) -> None:
    with pytest.raises(RobustLRError, match=r"line [12] of the journal|finite|positive") as error:
        read_sweeps(journal(tmp_path / "j.jsonl", swap=swap))
    assert "\n" not in str(error.value)


def test_a_deeply_nested_last_line_counts_as_torn(tmp_path: Path) -> None:
    extra = '{"record": "trial", "x": ' + "[" * 100_000 + "]" * 100_000 + "}\n"
    assert len(read_sweeps(journal(tmp_path / "j.jsonl", extra=extra))[""].learning_rates) == 7


@pytest.mark.parametrize("text", ["[]", "{}", "[" * 100_000, '{"trials": 3, "options": {}, "task": {}, "folder": 1}'])
def test_a_damaged_job_is_one_line(tmp_path: Path, text: str) -> None:
    (tmp_path / "job.json").write_text(text)
    with pytest.raises(RobustLRError, match="is not the description of a job"):
        collect_job(tmp_path, tmp_path / "j.jsonl")


def test_names_from_a_file_do_not_steer_the_terminal(tmp_path: Path) -> None:
    found = analyze(journal(tmp_path / "j.jsonl", schedule=f"cosine{ESCAPE}"))
    assert found.returncode == 0, found.stderr
    assert r"\x1b[2J\u202e" in found.stdout
    assert not set(found.stdout) & set(ESCAPE[:1] + "\x07\u202e")


def test_an_error_about_a_name_from_a_file_does_not_steer_the_terminal(tmp_path: Path) -> None:
    table = tmp_path / "runs.csv"
    table.write_text(f"lr,seed,loss\n0.1{ESCAPE},0,1.0\n", encoding="utf-8")
    found = analyze(table)
    assert found.returncode == 2
    assert not set(found.stderr) & set(ESCAPE[:1] + "\x07\u202e")


def test_printable_keeps_what_people_write() -> None:
    text = "Größe\tλ = 1e-3\nnächste Zeile — fine 学习率"
    assert printable(text) == text


def test_the_console_spells_controls_out(capsys: pytest.CaptureFixture[str]) -> None:
    make_console().print(f"lr{ESCAPE}")
    assert capsys.readouterr().out == "lr\\x1b]0;owned\\x07\\x1b[2J\\u202e\n"


def test_markup_in_a_name_stays_text_in_a_report(tmp_path: Path) -> None:
    found = analyze(journal(tmp_path / "j.jsonl", schedule="cosine<script>alert(1)</script>"), "--report", "r.html")
    assert found.returncode == 0, found.stderr
    page = (tmp_path / "r.html").read_text(encoding="utf-8")
    assert "<script>alert" not in page
    assert "&lt;script&gt;alert" in page
