"""Loss curves from tables of histories, as trackers export them."""

from __future__ import annotations

import math

import pytest

from robust_lr.exceptions import DataError
from robust_lr.readers.curves import read_curves


def table(tmp_path, rows, header="run_id,epoch,lr,seed,schedule,val_loss"):
    path = tmp_path / "runs.csv"
    path.write_text("\n".join([header, *rows]) + "\n")
    return path


def rows_of(run, lr, losses, seed=0):
    return [f"{run},{epoch},{lr},{seed},cosine,{loss}" for epoch, loss in enumerate(losses, 1)]


def test_a_table_of_histories_holds_a_curve_for_each_run(tmp_path):
    path = table(tmp_path, [*rows_of("a", 0.1, [3, 2, 1]), *rows_of("b", 0.2, [3, 1.5, "nan"], seed=1)])
    (first, second), notes = read_curves(path)
    assert (first.lr, first.steps, first.losses, first.final) == (0.1, (1, 2, 3), (3, 2, 1), 1)
    assert (first.seed, first.schedule, second.seed) == ("0", "cosine", "1")
    assert math.isnan(second.final) and not second.ended
    assert notes == []


def test_the_learning_rate_of_a_run_is_its_peak(tmp_path):
    path = table(tmp_path, [f"a,{e},{lr},0,cosine,{4 - e}" for e, lr in ((1, 0.05), (2, 0.1), (3, 0.01))])
    assert read_curves(path).curves[0].lr == 0.1


def test_a_run_that_was_stopped_is_left_out_and_one_that_diverged_is_not(tmp_path):
    path = table(tmp_path, [*rows_of("a", 0.1, [3, 2, 1]), *rows_of("b", 0.2, [3, 2]), *rows_of("c", 0.4, [3, "inf"])])
    curves, notes = read_curves(path)
    assert [each.lr for each in curves] == [0.1, 0.4]
    assert notes == ["1 run left out: stopped before the last step of the others; it might have become the best"]


def test_scores_count_as_negative_losses(tmp_path):
    path = table(tmp_path, rows_of("a", 0.1, [0.5, 0.9]))
    assert read_curves(path, metric="val_loss", direction="maximize").curves[0].losses == (-0.5, -0.9)


def test_a_table_with_a_row_for_each_run_has_no_curves(tmp_path):
    path = table(tmp_path, [f"{i},10,{lr},0,cosine,{lr}" for i, lr in enumerate((0.1, 0.2, 0.4))])
    with pytest.raises(DataError, match="holds no histories: a pruning audit needs a row for each step"):
        read_curves(path)


def test_the_files_of_a_tracker_are_refused_with_what_an_audit_reads(tmp_path):
    (tmp_path / "lr_0.1").mkdir()
    (tmp_path / "lr_0.1" / "events.out.tfevents.1.host").write_bytes(b"")
    with pytest.raises(DataError, match=r"holds TensorBoard; a pruning audit reads one table .* or with --optuna a"):
        read_curves(tmp_path)
