"""Each tracker gives the sweep of a clean table of the same runs, and takes the options of tables."""

from __future__ import annotations

import numpy as np
import pytest

from robust_lr.exceptions import DataError
from robust_lr.readers.read import read_sweeps
from tests.readers.trackers import WRITERS, some_runs, write_csv, write_tensorboard

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")


# Their libraries take seconds.
SLOW = ("mlflow.db", "wandb")


@pytest.mark.parametrize(("tracker", "seed"), [(t, s) for t in WRITERS for s in (0, 1, 2) if s == 0 or t not in SLOW])
def test_a_tracker_gives_the_sweep_of_a_clean_table(tmp_path, tracker, seed):
    runs = some_runs(seed)
    (sweep,) = read_sweeps(WRITERS[tracker](tmp_path, runs)).values()
    (clean,) = read_sweeps(write_csv(tmp_path / "clean.csv", runs)).values()
    assert sweep.learning_rates.tolist() == clean.learning_rates.tolist()
    assert sweep.seeds == clean.seeds and sweep.n_trials == clean.n_trials == 12
    exact = {"rtol": 2e-7} if tracker.startswith("tensorboard") else {"rtol": 0}  # its scalars are float32
    np.testing.assert_allclose(sweep.loss, clean.loss, **exact)
    assert "runs of " in sweep.notes[0]
    assert not any("also differ" in note for note in sweep.notes)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_tensorboard(tmp_path_factory.mktemp("board"), [run for run in some_runs(0) if run.counts])


def test_the_options_of_tables_hold_for_trackers(folder):
    (sweep,) = read_sweeps(folder, metric="val/loss", lr_name="lr", seed_name="seed", where=["seed!=2"]).values()
    assert sweep.seeds == (0, 1) and sweep.n_trials == 8
    assert list(read_sweeps(folder, group_by=["seed"])) == ["hparams/seed = 0", "hparams/seed = 1", "hparams/seed = 2"]
    (scores,) = read_sweeps(folder, metric="val/loss", direction="maximize").values()
    assert scores.direction == "maximize" and scores.loss[0, 0, 0] < 0


def test_a_name_that_is_nearly_right_is_suggested(folder):
    for wrong in ({"metric": "val_los"}, {"where": ["val_los=1"]}, {"group_by": ["val_los"]}):
        with pytest.raises(DataError, match=r"no column 'val_los'; its columns are .*; did you mean 'val/loss'\?"):
            read_sweeps(folder, **wrong)
