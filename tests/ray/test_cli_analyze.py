"""`robust-lr analyze --ray`: the folder of a Tune experiment analyzed like a file."""

from __future__ import annotations

import json
import math
import sys

import pytest

from robust_lr.cli import main as cli


@pytest.fixture(scope="module")
def experiment(ray_local, ray_folder):
    """The folder of an experiment with nested names, two schedules and two seeds."""
    from ray import tune

    def train(config):
        cell = config["cell"]
        loss = math.log2(cell["eta"]) ** 2 + 0.01 * cell["rng"] + (cell["anneal"] == "linear")
        tune.report({"eval": {"loss": 1 + loss}})

    axes = [(lr, name, seed) for lr in (0.25, 0.5, 1.0, 2.0, 4.0) for name in ("cosine", "linear") for seed in (0, 1)]
    cells = [{"eta": lr, "anneal": name, "rng": seed} for lr, name, seed in axes]
    return tune.Tuner(
        train,
        param_space={"cell": tune.grid_search(cells)},
        tune_config=tune.TuneConfig(reuse_actors=True, max_concurrent_trials=1),
        run_config=tune.RunConfig(name="digits", storage_path=str(ray_folder / "analyze"), verbose=0),
    ).fit()


@pytest.fixture
def robust_lr(capsys, monkeypatch, tmp_path, experiment):
    """Run the command line beside the folder "digits"; return exit code, what it printed, and its errors."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "digits").symlink_to(experiment.experiment_path)

    def run(*words):
        monkeypatch.setattr(sys, "argv", ["robust-lr", "analyze", *map(str, words)])
        with pytest.raises(SystemExit) as stop:
            cli.main()
            raise SystemExit(0)
        out, err = capsys.readouterr()
        assert "Traceback" not in out + err
        return stop.value.code or 0, " ".join(out.split()), err

    return run


NAMES = ("--lr-name", "eta", "--metric", "eval/loss", "--schedule-name", "anneal", "--seed-name", "rng")


def test_an_experiment_is_analyzed_like_a_csv_file_of_its_trials(robust_lr, experiment, tmp_path):
    rows = [{**result.config["cell"], "loss": result.metrics["eval"]["loss"]} for result in experiment]
    (tmp_path / "runs.csv").write_text(
        "eta,anneal,rng,loss\n" + "".join(f"{r['eta']!r},{r['anneal']},{r['rng']},{r['loss']!r}\n" for r in rows)
    )
    code, out, err = robust_lr("--ray", "digits", *NAMES, "--json", "ray.json")
    assert (code, err) == (0, "") and "cosine, linear; 5 learning rates 0.25..4; 2 seeds; 20 results" in out
    names = [name.replace("eval/loss", "loss") for name in NAMES]
    assert robust_lr("runs.csv", *names, "--json", "csv.json")[0] == 0
    ours, theirs = (json.loads((tmp_path / f"{name}.json").read_text())["schedules"] for name in ("ray", "csv"))
    for mine, other in zip(ours, theirs, strict=True):
        assert mine["schedule"] == other["schedule"] and mine["degradation"] == other["degradation"]
        assert mine["recommendation"]["ratio"] == other["recommendation"]["ratio"]


def test_the_report_names_the_experiment_and_reproduces_the_command(robust_lr, tmp_path):
    assert robust_lr("--ray", "digits", *NAMES, "--report", "report.html")[0] == 0
    html = (tmp_path / "report.html").read_text()
    assert "Learning-rate sweep: digits" in html and "Read from the Ray Tune experiment digits." in html
    assert "robust-lr analyze --ray digits --lr-name eta" in html


@pytest.mark.parametrize(
    "words, says",
    [
        (["--ray", "none"], "cannot read none: no such folder"),
        (["--ray", "."], "is no experiment of Ray Tune, it holds no experiment_state-*.json; its folder digits is one"),
        (["--ray", "digits"], "has no 'lr' in its configs; they have cell/anneal, cell/eta and cell/rng"),
        (["--ray", "digits", *NAMES[:2]], "has no report of 'loss'; its trials reported eval/loss"),
        (["--ray", "s3://bucket/digits"], "s3://bucket/digits is not on this machine"),
    ],
)
def test_what_is_wrong_with_an_experiment_is_one_line(robust_lr, words, says):
    code, out, err = robust_lr(*words)
    assert (code, out) == (2, "")
    assert err.startswith("error: ") and err.count("\n") == 1 and says in err


@pytest.mark.parametrize(
    "words", [["runs.csv", "--ray", "a"], ["--optuna", "a.log", "--ray", "a"], ["--ray", "a", "--group-by", "b"]]
)
def test_sources_exclude_each_other(robust_lr, words):
    code, out, err = robust_lr(*words)
    assert code == 2 and out == "" and err.startswith("error: ") and err.count("\n") == 1
