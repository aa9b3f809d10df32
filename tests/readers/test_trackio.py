"""Trackio's SQLite file, as its own code wrote it, and as earlier versions did."""

from __future__ import annotations

import sqlite3

import pytest

from robust_lr.readers.read import read_sweeps
from tests.readers.trackers import some_runs, trackio_database, write_trackio


def test_a_file_of_trackio_itself(tmp_path):
    (sweep,) = read_sweeps(trackio_database(tmp_path)).values()
    assert sweep.learning_rates.tolist() == [0.1, 0.2] and sweep.loss[0, :, 0].tolist() == [1 / 3, float("inf")]
    assert sweep.notes[:2] == (
        "2 runs of Trackio",
        "learning rate: config/optimizer/lr; loss: val_loss; seed: config/seed",
    )
    assert [file.name for file in tmp_path.iterdir()] == ["sweep.db"]


def test_before_version_0_24_names_tell_runs_apart(tmp_path):
    with sqlite3.connect(tmp_path / "old.db") as database:
        database.execute("CREATE TABLE metrics (id INTEGER, timestamp TEXT, run_name TEXT, step INTEGER, metrics TEXT)")
        for lr in (0.1, 0.2):
            for step in range(3):
                row = (1, "2025-08-01T00:00:00", f"lr-{lr}", step, f'{{"loss": {lr + 2 - step}}}')
                database.execute("INSERT INTO metrics VALUES (?, ?, ?, ?, ?)", row)
    database.close()
    (sweep,) = read_sweeps(tmp_path).values()
    assert sweep.loss[0, :, 0].tolist() == pytest.approx([0.1, 0.2])
    assert "lr as in the names of the runs" in sweep.notes


@pytest.mark.parametrize("text", ["", "[" * 100_000, '{"seed": ' + "9" * 5000 + "}", None])
def test_a_run_with_a_damaged_config_is_left_out(tmp_path, text):
    path = write_trackio(tmp_path, [run for run in some_runs(0) if run.counts])
    with sqlite3.connect(path) as database:
        database.execute("UPDATE configs SET config = ? WHERE run_name = 'bold-4'", (text or b"\xff",))
    database.close()
    (sweep,) = read_sweeps(path).values()
    assert sweep.n_trials == 11 and any(note.startswith("1 row left out: no JSON") for note in sweep.notes)


def test_what_a_writer_wrote_into_its_log_counts_and_nothing_is_created(tmp_path):
    path = trackio_database(tmp_path)
    writer = sqlite3.connect(path)
    writer.execute("UPDATE configs SET config = ? WHERE run_name = 'sgd-0.1'", (b'{"lr": 0.4, "seed": 1}',))
    writer.execute("UPDATE configs SET config = ? WHERE run_name = 'sgd-0.2'", (b'{"lr": 0.8, "seed": 1}',))
    writer.commit()
    copy = tmp_path / "copy"  # as after a kill: the log without the memory that its writer shared
    copy.mkdir()
    for suffix in ("", "-wal"):
        (copy / f"sweep.db{suffix}").write_bytes((tmp_path / f"sweep.db{suffix}").read_bytes())
    for each in (path, copy / "sweep.db"):
        before = sorted(each.parent.iterdir())
        (sweep,) = read_sweeps(each).values()
        assert sweep.learning_rates.tolist() == [0.4, 0.8]
        assert sorted(each.parent.iterdir()) == before
    writer.close()
