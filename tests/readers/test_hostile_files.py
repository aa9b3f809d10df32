"""Files from strangers: reading them ends in an answer or one clear line, and never runs code."""

from __future__ import annotations

import json
import math
import os
import pickle
import subprocess
import sys
from pathlib import Path

import optuna
import pytest

from robust_lr import SweepResult, parse_schedule
from robust_lr._text import printable
from robust_lr.commands.job import collect_job
from robust_lr.exceptions import RobustLRError, ScheduleError
from robust_lr.readers.read import read_sweeps
from robust_lr.report.console import make_console
from robust_lr_optuna import GeometricGridSampler, journal_storage

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


HOSTILE = f"=cosine<script>alert(1)</script>{ESCAPE}"


def table_of(folder: Path) -> Path:
    rows = [
        f'"{HOSTILE}",{lr},{seed},{(lr - 0.1) ** 2 + 0.01 * seed}' for lr in (0.01, 0.1, 1.0, 10.0) for seed in (0, 1)
    ]
    (folder / "runs.csv").write_text("\n".join(["schedule,lr,seed,loss", *rows]), encoding="utf-8")
    return folder / "runs.csv"


def study_of(folder: Path) -> Path:
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = optuna.create_study(
        study_name=f"study{ESCAPE}<script>alert(1)</script>",
        storage=journal_storage(folder / "study.log"),
        sampler=GeometricGridSampler([0.01, 0.1, 1.0, 10.0], schedules=[HOSTILE, "linear"], seeds=2),
    )
    study.set_user_attr("planted", HOSTILE)

    def objective(trial: optuna.Trial) -> float:
        trial.set_user_attr("planted", HOSTILE)
        trial.suggest_categorical("schedule", [HOSTILE, "linear"])
        return (trial.suggest_float("lr", 1e-3, 100, log=True) - 0.1) ** 2 + 0.01 * trial.suggest_int("seed", 0, 9)

    study.optimize(objective)
    return folder / "study.log"


def mlruns_of(folder: Path) -> Path:
    for i, (lr, seed) in enumerate((lr, seed) for lr in (0.01, 0.1, 1.0, 10.0) for seed in (0, 1)):
        run = folder / "mlruns" / "1" / f"{i:032x}"
        (run / "params").mkdir(parents=True)
        (run / "metrics").mkdir()
        (run / "meta.yaml").write_text(f"run_id: {i:032x}\nrun_name: x\nstatus: 3\nstart_time: {i}\n")
        for name, value in (("lr", str(lr)), ("seed", str(seed)), ("schedule", HOSTILE)):
            (run / "params" / name).write_text(value, encoding="utf-8")
        (run / "metrics" / "loss").write_text(f"{i} {(lr - 0.1) ** 2 + 0.01 * seed} 10\n")
    (folder / "mlruns" / "1" / "meta.yaml").write_text("experiment_id: '1'\nname: '" + "<script>alert(1)</script>'\n")
    return folder / "mlruns"


@pytest.mark.parametrize("made_by", [table_of, study_of, mlruns_of], ids=["table", "study", "tracker"])
def test_markup_and_escapes_in_what_strangers_recorded_stay_text(tmp_path, made_by) -> None:
    found = analyze(made_by(tmp_path), "--report", "r.html", "--json", "r.json")
    assert found.returncode == 0, found.stderr
    assert "cosine" in found.stdout
    page = (tmp_path / "r.html").read_text(encoding="utf-8")
    assert "<script>alert" not in page
    assert not set(found.stdout + found.stderr + page) & set("\x1b\x07\u202e")


class Planted:
    """Runs code wherever it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> object:
        return Path.touch, (self.mark,)


@pytest.mark.parametrize(
    "name", ["study.pkl", "model.joblib", "checkpoint.pt", "runs.csv", "j.jsonl", "events.out.tfevents.1.x"]
)
def test_a_pickled_file_is_refused_in_one_line_and_never_loaded(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(pickle.dumps(Planted(tmp_path / "ran")))
    found = analyze(tmp_path / name)
    assert found.returncode == 2
    assert "Traceback" not in found.stderr
    assert not (tmp_path / "ran").exists()


def test_a_pickled_file_beside_results_is_not_loaded(tmp_path: Path) -> None:
    table_of(tmp_path)
    for name in ("sampler.pkl", "model.joblib", "checkpoint.pt", "searcher-state.pkl"):
        (tmp_path / name).write_bytes(pickle.dumps(Planted(tmp_path / "ran")))
    found = analyze(tmp_path)
    assert found.returncode == 0, found.stderr
    assert not (tmp_path / "ran").exists()


def test_a_table_that_is_written_runs_no_formula_in_a_spreadsheet(tmp_path: Path) -> None:
    sweep = SweepResult(
        ("=cmd|' /C calc'!A0", "+1", "cosine"), [0.1, 1.0], (0,), [[[0.5], [1.0]]] * 3,
        metrics={"@acc": [[[0.5], [0.6]]] * 3},
    )  # fmt: skip
    sweep.to_csv(tmp_path / "runs.csv")
    cells = [cell for line in (tmp_path / "runs.csv").read_text().splitlines() for cell in line.split(",")]
    assert not [cell for cell in cells if cell.lstrip('"').startswith(("=", "+", "-", "@"))]
    again = SweepResult.from_csv(tmp_path / "runs.csv")
    assert sorted(again.schedules) == sorted(sweep.schedules)


@pytest.mark.parametrize("way", [["--optuna"], []], ids=["option", "path"])
def test_a_password_in_the_url_of_a_storage_is_not_shown_though_it_holds_an_at(tmp_path: Path, way: list[str]) -> None:
    url = "postgresql+psycopg://user:fir@secnd@127.0.0.1:1/db"
    words = [sys.executable, "-m", "robust_lr", "analyze", *way, url, "--json", "r.json"]
    found = subprocess.run(words, check=False, capture_output=True, text=True, cwd=tmp_path, timeout=120)
    assert found.returncode == 2
    assert "fir" not in found.stdout + found.stderr
    assert "secnd" not in found.stdout + found.stderr
