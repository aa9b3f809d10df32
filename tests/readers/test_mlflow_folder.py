"""MLflow's folders, also those that are being written."""

from __future__ import annotations

import shutil

import pytest

from robust_lr.exceptions import DataError
from robust_lr.readers._mlflow_folder import is_mlflow_run, read_mlflow_folders
from robust_lr.readers.read import read_sweeps
from tests.readers.trackers import some_runs, write_mlflow_folder

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")


@pytest.fixture
def folder(tmp_path):
    return write_mlflow_folder(tmp_path, [run for run in some_runs(0) if run.counts])


def test_a_damaged_run_is_left_out_with_the_reason(folder):
    metas = sorted(folder.glob("*/*/meta.yaml"))
    metas[0].write_text("")
    metas[1].write_text(metas[1].read_text()[:40])
    metas[2].write_text("run_id: !!python/object/apply:os.abort []\n")
    (sweep,) = read_sweeps(folder).values()
    assert sweep.n_trials == 9
    assert sum("row left out: " in note and "meta.yaml" in note for note in sweep.notes) == 3


def test_half_a_line_of_a_metric_is_passed_over(folder):
    (before,) = read_sweeps(folder).values()
    for metric in folder.glob("*/*/metrics/val_loss"):
        metric.write_text(metric.read_text() + "17000000")
    (after,) = read_sweeps(folder).values()
    assert after.n_trials == before.n_trials == 12


def test_a_run_and_an_experiment_may_be_named_too(folder):
    run = next(folder.glob("*/*/meta.yaml")).parent
    assert [s.n_trials for path in (run.parent, run) for s in read_sweeps(path).values()] == [12, 1]


def test_a_copied_run_is_one_run_and_runs_come_by_their_start(folder, tmp_path):
    shutil.copytree(folder, tmp_path / "backup")
    for meta in tmp_path.glob("*/*/*/meta.yaml"):
        (meta.parent / "params/seed").unlink()
    (sweep,) = read_sweeps(tmp_path).values()
    assert sweep.n_trials == 12
    starts = [
        row.cells["start_time"]
        for row in read_mlflow_folders([*filter(is_mlflow_run, folder.glob("*/*"))], folder).table().rows
    ]
    assert starts == sorted(starts)


def test_a_name_may_mean_the_param_or_the_metric(folder):
    (sweep,) = read_sweeps(folder, lr_name="lr", metric="val_loss", where=["lr!=0.3"]).values()
    assert sweep.learning_rates.tolist() == [0.01, 0.03, 0.1]
    (sweep,) = read_sweeps(folder, metric="lr").values()
    assert sweep.loss.max() == 0.3


def test_no_link_is_followed(folder, tmp_path):
    (tmp_path / "secret").write_text("0 0.001 9")
    for run in folder.glob("*/*/metrics"):
        (run / "val_loss").unlink()
        (run / "val_loss").symlink_to(tmp_path / "secret")
    with pytest.raises(DataError, match="no column 'loss'"):
        read_sweeps(folder)
