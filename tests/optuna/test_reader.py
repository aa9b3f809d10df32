"""Studies by their files: `read_sweeps` finds out that a path is Optuna's, and never writes there."""

from __future__ import annotations

import hashlib
import math

import numpy as np
import optuna
import pytest
from optuna.distributions import FloatDistribution, IntDistribution
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import TrialState, create_trial

from robust_lr.exceptions import DataError, OptionError
from robust_lr.readers.read import read_sweeps

LOSSES = {(lr, seed): (math.log10(lr) + 1) ** 2 + 0.01 * seed for lr in (0.01, 0.1, 1.0) for seed in (0, 1)}


def _write(path, *names, lr_name="learning_rate"):
    """Studies with these losses, and a trial that failed, in an SQLite file or a journal."""
    storage = JournalStorage(JournalFileBackend(str(path))) if path.suffix == ".log" else f"sqlite:///{path}"
    space = {lr_name: FloatDistribution(1e-6, 10), "seed": IntDistribution(0, 9)}
    for name in names:
        study = optuna.create_study(storage=storage, study_name=name)
        for (lr, seed), loss in {**LOSSES, (0.1, 9): None}.items():
            state = TrialState.FAIL if loss is None else TrialState.COMPLETE
            params = {lr_name: lr, "seed": seed}
            study.add_trial(create_trial(params=params, distributions=space, value=loss, state=state))
    return path


@pytest.mark.parametrize("name", ["study.db", "study.log"])
def test_a_study_gives_the_sweep_of_a_clean_table(tmp_path, name):
    lines = [f"{lr!r},{seed},{loss!r}" for (lr, seed), loss in LOSSES.items()]
    (tmp_path / "clean.csv").write_text("\n".join(["lr,seed,loss", *lines]))
    (clean,) = read_sweeps(tmp_path / "clean.csv").values()
    (sweep,) = read_sweeps(_write(tmp_path / name, "sweep")).values()
    assert sweep.learning_rates.tolist() == clean.learning_rates.tolist()
    assert np.array_equal(sweep.loss[:, :, :2], clean.loss) and len(sweep.failures) == 1


def test_each_study_of_a_storage_is_a_sweep(tmp_path):
    path = _write(tmp_path / "study.db", "large", "small")
    assert list(read_sweeps(path)) == ["large", "small"]
    _write(tmp_path / "other.log", "one")
    assert list(read_sweeps(tmp_path)) == ["other.log", "study.db, large", "study.db, small"]


def test_one_of_several_studies_can_be_chosen_by_its_name(tmp_path):
    path = _write(tmp_path / "study.db", "large", "small")
    assert list(read_sweeps(path, where=["study=small"])) == [""]
    with pytest.raises(DataError, match=r"study.db holds no study that is asked for; it holds large and small"):
        read_sweeps(path, where=["study=medium"])


def test_the_file_stays_as_it_is(tmp_path):
    path = _write(tmp_path / "study.db", "sweep")
    path.chmod(0o444)
    before = hashlib.sha1(path.read_bytes()).digest()
    read_sweeps(f"sqlite:///{path}")
    assert hashlib.sha1(path.read_bytes()).digest() == before and [*tmp_path.iterdir()] == [path]


def test_options_of_tables_are_refused_by_name(tmp_path):
    path = _write(tmp_path / "study.log", "sweep")
    with pytest.raises(OptionError, match=r"where is for tables; .*study.log is a study; --schedule-name takes any"):
        read_sweeps(path, where=["seed=1"])
