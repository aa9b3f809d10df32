"""publish: what the dashboard's own server, started for real, then serves."""

from __future__ import annotations

import contextlib
import json
import math
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import optuna
import pytest
from optuna.artifacts import FileSystemArtifactStore
from optuna_dashboard import get_note, save_note

from robust_lr import GeometricGrid, RobustLRError
from robust_lr_optuna._storages import journal_storage
from robust_lr_optuna.dashboard import publish, recommendation_note
from robust_lr_optuna.grid_sampler import GeometricGridSampler
from robust_lr_optuna.plots import analyze_study

PLOTS = {"robust-lr-learning-rate", "robust-lr-degradation"}


def sweep(storage=None, *, n_points=7):
    sampler = GeometricGridSampler(GeometricGrid(1e-3, 1.0, n_points), schedules=["cosine", "wsd(0.2)"], seeds=2)
    study = optuna.create_study(storage=storage, study_name="digits", sampler=sampler, load_if_exists=True)

    def objective(trial):
        lr, seed = trial.suggest_float("lr", 1e-4, 10.0, log=True), trial.suggest_int("seed", 0, 9)
        trial.suggest_categorical("schedule", ["cosine", "wsd(0.2)"])
        return 1 + 0.1 * math.log10(lr / 0.03) ** 2 + 0.001 * seed

    study.optimize(objective)
    return study


@contextlib.contextmanager
def dashboard_of(url, folder):
    """The address of a dashboard that runs in a process of its own."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    program = str(Path(sys.executable).with_name("optuna-dashboard"))
    command = [program, url, "--artifact-dir", str(folder), "--host", "127.0.0.1", "--port", str(port)]
    server = subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True, env=os.environ
    )
    address = f"http://127.0.0.1:{port}"
    try:
        for _ in range(300):
            assert server.poll() is None, "the dashboard has ended"
            with contextlib.suppress(urllib.error.URLError, ConnectionError):
                get(f"{address}/api/studies")
                break
            time.sleep(0.1)
        yield address
    finally:
        os.killpg(server.pid, signal.SIGTERM)
        server.wait(timeout=20)


def get(address):
    with urllib.request.urlopen(address, timeout=20) as response:
        return response.read().decode()


@pytest.fixture(params=[pytest.param("sqlite", marks=pytest.mark.slow), "journal"])
def place(request, tmp_path):
    """The storage as the study and as the dashboard name it, and the folder of the artifacts."""
    (tmp_path / "artifacts").mkdir()
    if request.param == "sqlite":
        url = f"sqlite:///{tmp_path}/study.db"
        return url, url, tmp_path / "artifacts"
    return journal_storage(tmp_path / "study.log"), str(tmp_path / "study.log"), tmp_path / "artifacts"


def test_the_dashboard_serves_plots_note_and_report_and_after_a_second_time_still_one_of_each(place):
    storage, url, folder = place
    study, store = sweep(storage), FileSystemArtifactStore(folder)
    publish(study, artifact_store=store)
    publish(sweep(storage, n_points=9), artifact_store=store)
    with dashboard_of(url, folder) as address:
        summary = json.loads(get(f"{address}/api/studies"))["study_summaries"]
        assert [each["study_name"] for each in summary] == ["digits"]
        number = summary[0]["study_id"]
        detail = json.loads(get(f"{address}/api/studies/{number}?after=0"))
        plots = {each["id"]: json.loads(each["graph_object"]) for each in detail["plotly_graph_objects"]}
        assert set(plots) == PLOTS
        mean = next(trace for trace in plots["robust-lr-learning-rate"]["data"] if trace["name"] == "mean")
        assert len(mean["x"]) == 13  # 7 and 9 points over one range have 3 in common
        assert detail["note"]["body"].count("## Learning rates (robust-lr)") == 1
        assert "| cosine | " in detail["note"]["body"]
        assert [each["filename"] for each in detail["artifacts"]] == ["robust-lr-report.html"]
        report = get(f"{address}/artifacts/{number}/{detail['artifacts'][0]['artifact_id']}")
        assert report.startswith("<!doctype html>") and "Learning rates of digits" in report
    assert len(list(folder.iterdir())) == 1


def test_what_the_user_has_written_into_the_note_stays():
    study = sweep()
    save_note(study, "# Mine\n\nmy words")
    publish(study)
    assert get_note(study).startswith("# Mine\n\nmy words\n\n## Learning rates (robust-lr)\n")
    save_note(study, get_note(study) + "\n## After\n\nmore words\n")
    first = get_note(study)
    publish(study)
    assert get_note(study) == first
    publish(study, tolerance=0.5)
    note = get_note(study)
    assert note != first and note.startswith("# Mine\n\nmy words\n\n## L") and note.endswith("## After\n\nmore words\n")
    assert note.count("robust-lr") == 1


def test_an_analysis_is_published_as_it_is_and_given_back():
    study = sweep()
    analysis = analyze_study(study, tolerance=0.123)
    assert publish(study, analysis) is analysis
    assert "tolerance 0.123" in get_note(study)
    with pytest.raises(RobustLRError, match="an analysis or the options of one, got both: tolerance"):
        publish(study, analysis, tolerance=0.1)


def test_a_report_that_was_deleted_in_the_dashboard_is_published_again(tmp_path):
    study, store = sweep(), FileSystemArtifactStore(tmp_path)
    publish(study, artifact_store=store)
    (old,) = tmp_path.iterdir()
    study._storage.set_study_system_attr(study._study_id, f"artifacts:{old.name}", "null")  # what the dashboard writes
    old.unlink()
    publish(study, artifact_store=store)
    (new,) = tmp_path.iterdir()
    assert new.name != old.name


def test_other_artifacts_of_the_study_stay(tmp_path):
    study, store = sweep(), FileSystemArtifactStore(tmp_path / "store")
    (tmp_path / "store").mkdir()
    (tmp_path / "mine.txt").write_text("mine")
    mine = optuna.artifacts.upload_artifact(
        artifact_store=store, file_path=str(tmp_path / "mine.txt"), study_or_trial=study
    )
    publish(study, artifact_store=store)
    publish(study, artifact_store=store)
    assert len(optuna.artifacts.get_all_artifact_meta(study)) == 2
    assert (tmp_path / "store" / mine).read_text() == "mine"


def test_names_are_shown_as_they_are_in_markdown():
    study = optuna.create_study()
    for name in ("a|b", "c_d_*e*", "[x](y) <b>"):
        for lr in (0.1, 0.2, 0.4):
            study.add_trial(
                optuna.create_trial(
                    params={"lr": lr}, value=lr, user_attrs={"kind": name},
                    distributions={"lr": optuna.distributions.FloatDistribution(0.01, 1.0, log=True)},
                )
            )  # fmt: skip
    note = recommendation_note(analyze_study(study, schedule_name="kind"))
    assert r"| a\|b | " in note and r"| c\_d\_\*e\* | " in note and r"| \[x\](y) \<b\> | " in note


def test_without_the_dashboard_the_error_says_what_to_install(monkeypatch):
    study = sweep()
    monkeypatch.setitem(sys.modules, "optuna_dashboard", None)
    with pytest.raises(RobustLRError, match=r"needs optuna-dashboard: pip install 'robust-lr\[dashboard\]'"):
        publish(study)
