"""MLflow's SQLite file: which runs count, and that the file stays as it is."""

from __future__ import annotations

import hashlib
import math

import pytest

from robust_lr.exceptions import DataError
from robust_lr.readers.read import read_sweeps
from tests.readers.trackers import mlflow_client

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")


@pytest.fixture
def store(tmp_path):
    """Log runs: `log(lr, loss, ...)` returns the run's name; and the path."""
    client, path = mlflow_client(tmp_path)

    def log(lr, *losses, experiment="0", parent=None, status="FINISHED", **params):
        tags = {"mlflow.parentRunId": parent} if parent else {}
        name = client.create_run(experiment, tags=tags).info.run_id
        for key, value in {"lr": lr, **params}.items():
            if value is not None:
                client.log_param(name, key, value)
        for step, loss in enumerate(losses):
            client.log_metric(name, "val_loss", loss, step=step)
        client.set_terminated(name, status)
        return name

    return log, client, path


def losses(path, **options):
    (sweep,) = read_sweeps(path, **options).values()
    return dict(zip(sweep.learning_rates.tolist(), sweep.loss[0, :, 0].tolist(), strict=True)), sweep.notes


def test_the_parent_of_nested_runs_is_left_out_and_its_params_choose_no_column(store):
    log, _, path = store
    parent = log(0.1, 0.01, **{"optimizer.lr": 0.5})
    for lr in (0.1, 0.2):
        log(None, lr, parent=parent, **{"optimizer.lr": lr})
    found, notes = losses(path)
    assert found == {0.1: 0.1, 0.2: 0.2}
    assert "1 row left out: the parent of nested runs" in notes


def test_a_parent_that_was_trained_itself_counts_and_what_is_nested_in_it_does_not(store):
    log, _, path = store
    for lr in (0.1, 0.2, 0.4):
        parent = log(lr, lr)
        log(1e-5, 0.01, parent=parent, init=f"model-{lr}")
    found, notes = losses(path)
    assert found == {0.1: 0.1, 0.2: 0.2, 0.4: 0.4}
    why = "nested in a run with a learning rate and settings of its own, which counts instead"
    assert f"3 rows left out: {why}" in notes


def test_folds_nested_in_the_run_with_their_mean_count_and_their_mean_does_not(store):
    log, _, path = store
    for lr in (0.1, 0.2):
        parent = log(lr, lr)
        for fold in range(2):
            log(lr, lr + 1 - 2 * fold, parent=parent, fold=fold)
    _, notes = losses(path)
    assert "2 rows left out: the parent of nested runs" in notes and notes[0] == "6 runs of MLflow"


def test_steps_are_compared_within_an_experiment(store):
    log, client, path = store
    other = client.create_experiment("short")
    for lr in (0.1, 0.2, 0.4):
        log(lr, 9.0, 8.0, lr)
        log(lr, 9.0, 2 * lr, experiment=other)
    log(0.8, 9.0, 0.01)
    groups = read_sweeps(path)
    (sweep,) = groups.values()
    assert sweep.n_trials == 6
    assert any(note.startswith("1 trial left out: ended before the last step of the others") for note in sweep.notes)


def test_an_experiment_without_seeds_can_be_read_beside_one_with_seeds(store):
    log, client, path = store
    other = client.create_experiment("nameless")
    for lr in (0.1, 0.2):
        for seed in (0, 1):
            log(lr, lr, seed=seed)
        log(lr, 2 * lr, experiment=other)
    with pytest.raises(DataError, match=r"params\.seed is empty"):
        read_sweeps(path)
    assert losses(path, where=["experiment=nameless"])[0] == {0.1: 0.2, 0.2: 0.4}
    assert [sweep.n_trials for sweep in read_sweeps(path, group_by=["experiment"]).values()] == [4, 2]


def test_a_finished_run_that_logged_its_loss_once_counts_with_a_note(store):
    log, _, path = store
    log(0.1, 9.0, 8.0, 0.1)
    log(0.2, 9.0, 8.0, 0.2)
    log(0.4, 0.4)
    found, notes = losses(path)
    assert found == {0.1: 0.1, 0.2: 0.2, 0.4: 0.4}
    assert "1 run logged metrics.val_loss without a step: it counts as the final value" in notes


def test_infinity_is_a_divergence_and_killed_runs_and_deleted_ones_do_not_count(store):
    log, client, path = store
    log(0.1, 3.0, 1.0)
    log(0.2, 3.0, -math.inf)
    log(0.3, 3.0, 0.5, status="KILLED")
    client.delete_run(log(0.4, 3.0, 0.5))
    other = client.create_experiment("other")
    log(0.5, 3.0, 0.5, experiment=other)
    client.delete_experiment(other)
    found, notes = losses(path)
    assert found == {0.1: 1.0, 0.2: math.inf}
    assert "1 trial left out: status is KILLED" in notes and notes[0] == "3 runs of MLflow"


def test_experiments_are_told_apart(store):
    log, client, path = store
    other = client.create_experiment("large")
    for lr in (0.1, 0.2):
        log(lr, lr)
        log(lr, 2 * lr, experiment=other)
    assert list(read_sweeps(path, group_by=["experiment"])) == ["experiment = Default", "experiment = large"]
    found, _ = losses(path, where=["experiment=large"])
    assert found == {0.1: 0.2, 0.2: 0.4}
    _, notes = losses(path)
    assert any("differ in experiment" in note for note in notes)


def test_the_file_stays_as_it_is_and_no_other_appears(store):
    log, _, path = store
    log(0.1, 1.0)
    log(0.2, 1.5)
    before = hashlib.sha1(path.read_bytes()).digest()
    there = sorted(path.parent.iterdir())
    read_sweeps(f"sqlite:///{path}")
    assert hashlib.sha1(path.read_bytes()).digest() == before and sorted(path.parent.iterdir()) == there


def test_runs_without_a_loss_are_an_error_of_one_line(store):
    log, _, path = store
    log(0.1)
    with pytest.raises(DataError, match=r"mlflow.db has no column 'loss'; its columns are run_id, name, .*params.lr"):
        read_sweeps(path)
