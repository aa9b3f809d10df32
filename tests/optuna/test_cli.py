"""`robust-lr analyze --optuna`: a study analyzed like a file, and no password on the screen or in a report."""

from __future__ import annotations

import json
import math
import sys

import optuna
import pytest

from robust_lr import GeometricGrid
from robust_lr.cli import main as cli
from robust_lr_optuna import GeometricGridSampler, journal_storage, results


@pytest.fixture(autouse=True)
def quiet():
    optuna.logging.set_verbosity(optuna.logging.ERROR)


@pytest.fixture
def robust_lr(capsys, monkeypatch, tmp_path):
    """Run the command line in tmp_path; return exit code, what it printed, and its errors."""
    monkeypatch.chdir(tmp_path)

    def run(*words):
        monkeypatch.setattr(sys, "argv", ["robust-lr", "analyze", *map(str, words)])
        with pytest.raises(SystemExit) as stop:
            cli.main()
            raise SystemExit(0)
        out, err = capsys.readouterr()
        assert "Traceback" not in out + err
        return stop.value.code or 0, " ".join(out.split()), err

    return run


def objective(trial):
    lr = trial.suggest_float("lr", 1e-3, 1e3, log=True)
    trial.set_user_attr("validation", lr)
    return 1 + 0.01 * math.log2(lr) ** 2 + 0.001 * trial.suggest_int("seed", 0, 9)


@pytest.fixture
def journal(tmp_path):
    """A journal with one study, a grid with three seeds."""
    sampler = GeometricGridSampler(GeometricGrid(1 / 16, 16, 9), seeds=3)
    storage = journal_storage(tmp_path / "study.log")
    optuna.create_study(storage=storage, study_name="digits", sampler=sampler).optimize(objective)
    return tmp_path / "study.log"


def test_a_study_is_analyzed_like_a_csv_file_of_its_trials(robust_lr, journal, tmp_path):
    study = optuna.load_study(study_name="digits", storage=journal_storage(journal))
    done = study.get_trials(states=[optuna.trial.TrialState.COMPLETE])
    rows = [f"{t.params['lr']!r},{t.params['seed']},{t.value!r}\n" for t in done]
    (tmp_path / "runs.csv").write_text("lr,seed,loss\n" + "".join(rows))
    code, of_study, _ = robust_lr("--optuna", "study.log", "--study", "digits", "--json", "study.json")
    assert code == 0 and "Next grid" in of_study
    robust_lr("runs.csv", "--json", "csv.json")
    ours, theirs = (json.loads((tmp_path / f"{name}.json").read_text())["schedules"] for name in ("study", "csv"))
    assert ours[0]["degradation"] == theirs[0]["degradation"]
    assert ours[0]["recommendation"]["ratio"] == theirs[0]["recommendation"]["ratio"]


def test_the_names_of_a_study_are_options_like_those_of_columns(robust_lr, journal):
    options = ("--lr-name", "lr", "--seed-name", "seed", "--metric")
    assert "the loss is the user attribute 'validation'" in robust_lr("--optuna", journal, *options, "validation")[1]
    assert robust_lr("--optuna", journal, *options, "0")[0] == 0
    _, out, _ = robust_lr("--optuna", journal, "--schedule-name", "seed", "--seed-name", "validation")
    assert "0, 1, 2; 9 learning rates" in out


def test_a_tpe_study_over_a_continuous_range_is_analyzed_and_says_what_its_points_allow(robust_lr, tmp_path):
    url = f"sqlite:///{tmp_path / 'tpe.db'}"
    study = optuna.create_study(storage=url, sampler=optuna.samplers.TPESampler(seed=0))
    study.optimize(lambda trial: math.log(trial.suggest_float("lr", 1e-5, 10.0, log=True)) ** 2, n_trials=25)
    code, out, err = robust_lr("--optuna", url, "--report", "report.html")
    assert (code, err) == (1, "")
    assert "25 learning rates" in out and "the learning rates are not a geometric grid (neighbors are 1." in out
    assert "One seed" in out and "not a geometric grid" in (tmp_path / "report.html").read_text()


def test_the_report_names_the_study_and_reproduces_the_command_without_the_password(
    robust_lr, journal, tmp_path, monkeypatch
):
    url = "postgresql://me:s3cret@host/db?sslpassword=0ther"
    read = results.sweep_from_storage
    monkeypatch.setattr(results, "sweep_from_storage", lambda where, *rest, **options: read(journal, *rest))
    code, out, _ = robust_lr(f"--optuna={url}", "--study", "digits", "--report", "report.html", "--json", "a.json")
    html, figures = (tmp_path / "report.html").read_text(), (tmp_path / "a.json").read_text()
    assert code == 0 and not any(word in text for word in ("s3cret", "0ther") for text in (html, figures, out))
    assert "Learning-rate sweep: digits" in html
    assert "Read from postgresql://me:***@host/db?sslpassword=***." in html
    assert "robust-lr analyze &#x27;--optuna=postgresql://me:***@host/db?sslpassword=***&#x27; --study digits" in html


@pytest.mark.parametrize(
    "words, says",
    [
        (["--optuna", "study.log", "--study", "mnist"], "study.log holds no study 'mnist'; it holds digits"),
        (["--optuna", "none.log"], "cannot read none.log: no such file"),
        (["--optuna", "study.log", "--lr-name", "eta"], "no parameter 'eta'; its parameters are lr and seed"),
        (["--optuna", "study.log", "--metric", "3"], "metric must be the position of an objective, 0 to 0"),
        (["--optuna", "postgresql+psycopg://me:s3cret@127.0.0.1:1/db"], "cannot read postgresql+psycopg://me:***@127"),
    ],
)
def test_what_is_wrong_with_a_study_is_one_line(robust_lr, journal, words, says):
    code, out, err = robust_lr(*words)
    assert (code, out) == (2, "")
    assert err.startswith("error: ") and err.count("\n") == 1 and says in err and "s3cret" not in err


@pytest.mark.parametrize(
    "words",
    [[], ["runs.csv", "--optuna", "study.log"], ["runs.csv", "--study", "a"], ["--optuna", "a.log", "--group-by", "b"]],
)
def test_a_file_and_a_study_exclude_each_other(robust_lr, words):
    code, out, err = robust_lr(*words)
    assert code == 2 and out == "" and err.startswith("error: ") and err.count("\n") == 1


def test_without_the_plug_in_the_error_says_what_to_install(robust_lr, journal, monkeypatch):
    monkeypatch.setitem(sys.modules, "robust_lr_optuna.results", None)
    code, out, err = robust_lr("--optuna", journal)
    assert (code, out) == (2, "") and "pip install 'robust-lr[optuna]'" in err and err.count("\n") == 1
    assert "--optuna STORAGE" in robust_lr("--help")[1]
