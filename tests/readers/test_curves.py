"""Loss curves from tables of histories, as trackers export them."""

from __future__ import annotations

import math

import pytest

from robust_lr.exceptions import DataError
from robust_lr.readers.curves import read_curves
from robust_lr.sweep.run import run_sweep
from robust_lr.testing import train_quadratic
from tests.readers.trackers import N_STEPS, WRITERS, some_runs


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


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")  # of the trackers
@pytest.mark.parametrize("tracker", WRITERS)
def test_the_histories_of_a_tracker_are_curves(tracker, tmp_path):
    runs = [run for run in some_runs(0) if run.state == "finished"][:5]
    curves, notes = read_curves(WRITERS[tracker](tmp_path, runs))
    assert notes == []
    read = sorted((each.lr, str(each.seed), each.steps, each.losses) for each in curves)
    steps = tuple(map(float, range(N_STEPS)))
    for (lr, seed, its_steps, losses), run in zip(read, sorted(runs, key=_by_rate_and_seed), strict=True):
        assert (lr, float(seed), its_steps) == (pytest.approx(run.lr), run.seed, steps)
        assert losses == pytest.approx(run.losses, rel=1e-6, nan_ok=True)


def _by_rate_and_seed(run):
    return run.lr, run.seed, run.losses


def test_rows_of_other_metrics_are_no_part_of_a_curve(tmp_path):
    path = table(tmp_path, [*rows_of("a", 0.1, [3, "", 1]), *rows_of("b", 0.2, [3, "", 2])])
    assert [each.losses for each in read_curves(path).curves] == [(3, 1), (3, 2)]


def test_a_journal_holds_no_histories(tmp_path):
    run_sweep(train_quadratic, [0.1, 0.2], ["constant"], 2, journal=tmp_path / "journal.jsonl")
    with pytest.raises(DataError, match=r"holds journals.*, without the values at each step; give a table with a row"):
        read_curves(tmp_path / "journal.jsonl")
