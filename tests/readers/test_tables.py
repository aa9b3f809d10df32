"""Each tracker gives the sweep of a clean table of the same runs, and takes the options of tables."""

from __future__ import annotations

import numpy as np
import pytest

from robust_lr.exceptions import DataError
from robust_lr.readers.read import read_sweeps
from tests.readers.trackers import WRITERS, some_runs, write_csv, write_tensorboard

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")


@pytest.mark.parametrize("tracker", WRITERS)
@pytest.mark.parametrize("seed", [0, 1])
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
