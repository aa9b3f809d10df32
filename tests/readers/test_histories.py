"""A table with a row for each epoch is read by the last row of each run."""

from __future__ import annotations

import math

import pytest

from robust_lr.exceptions import DataError
from robust_lr.readers.read import read_sweeps

FINAL = {(0.1, 0): 1.0, (0.1, 1): 1.5, (0.2, 0): 2.0, (0.2, 1): 2.5}
NAMES = {key: f"r{i}" for i, key in enumerate(FINAL)}


@pytest.fixture
def sweep(tmp_path):
    def read(rows, header="run_id,lr,seed,epoch,val_loss", **options):
        text = "\n".join([header, *(",".join(map(str, row)) for row in rows)])
        (tmp_path / "runs.csv").write_text(text)
        (found,) = read_sweeps(tmp_path / "runs.csv", **options).values()
        return found

    return read


def losses(sweep):
    return {(t.spec.lr, t.spec.seed): t.loss for t in sweep.trials()}


def epochs(key, n=5, final=None):
    return [[NAMES[key], *key, e, (FINAL[key] if final is None else final) + n - 1 - e] for e in range(n)]


ALL = [row for key in FINAL for row in epochs(key)]


@pytest.mark.parametrize("order", [1, -1])
def test_the_last_epoch_of_each_run_counts_in_any_order(sweep, order):
    found = sweep(ALL[::order])
    assert losses(found) == FINAL
    assert "20 rows are the histories of 4 runs over epoch: the last row counts" in found.notes


def test_a_history_needs_no_names_of_runs(sweep):
    assert losses(sweep([row[1:] for row in ALL], "lr,seed,epoch,val_loss")) == FINAL
    by_model = [[*row[1:], model] for row in ALL for model in "ab"]
    assert losses(sweep(by_model, "lr,seed,epoch,val_loss,model", where=["model=a"])) == FINAL


def test_a_logged_rate_of_each_epoch_is_no_learning_rate_but_its_peak_is(sweep):
    rows = [[NAMES[key], lr * (e + 1) / 2 if e < 2 else lr * (5 - e) / 4, k, e, FINAL[key] + 4 - e]
            for key in FINAL for lr, k in [key] for e in range(5)]  # fmt: skip
    found = sweep(rows, "name,lr,seed,epoch,val_loss")
    assert losses(found) == FINAL
    assert "lr varies within runs, as under a schedule: its highest value counts" in found.notes


def test_the_name_of_a_configuration_is_no_run_though_its_runs_ended_at_different_epochs(sweep):
    rows = [[name, lr, 20 + 7 * i + j, lr + j] for j, name in enumerate("ab") for i, lr in enumerate((0.1, 0.2, 0.4))]
    found = sweep(rows, "name,lr,epoch,val_loss")
    assert found.n_trials == 6 and any("also differ in name" in note for note in found.notes)


def test_the_last_row_with_a_loss_counts(sweep):
    rows = [[*row[:3], row[3], "" if row[3] == 4 else row[4]] for row in ALL]
    assert losses(sweep(rows)) == {key: loss + 1 for key, loss in FINAL.items()}


def test_a_run_that_ended_early_is_left_out_unless_it_diverged(sweep):
    rows = [row for key in list(FINAL)[:2] for row in epochs(key)] + epochs((0.2, 0), 2)
    found = sweep(rows)
    assert losses(found) == {key: FINAL[key] for key in list(FINAL)[:2]}
    assert any(note.startswith("1 trial left out: ended before the last epoch of the others") for note in found.notes)
    diverged = [*rows[:-1], [*rows[-1][:4], "nan"]]
    assert losses(sweep(diverged))[0.2, 0] == math.inf


def test_runs_that_stop_when_they_like_all_count(sweep):
    rows = [row for n, key in enumerate(FINAL, 3) for row in epochs(key, n)]
    found = sweep(rows)
    assert losses(found) == FINAL
    assert (
        "4 runs ended at different epochs (2 to 5), and all count: if training was not over, their losses are not "
        "comparable"
    ) in found.notes


RATES = [0.1 * 2**k for k in range(10)]


def lengths(ends):
    return [
        [f"r{i}", lr, 0, e, lr + n - e] for i, (lr, n) in enumerate(zip(RATES, ends, strict=True)) for e in range(n)
    ]


def test_of_a_sweep_that_goes_on_only_the_finished_runs_count_though_they_are_few(sweep):
    found = sweep(lengths([20, 20, 20, 17, 15, 15, 11, 8, 8, 5]))
    assert found.learning_rates.tolist() == RATES[:3]
    assert any(note.startswith("7 trials left out: ended before the last epoch of the others") for note in found.notes)


@pytest.mark.parametrize("short", [[10] * 9, [10] * 8 + [7]])
def test_one_run_that_was_trained_longer_than_all_others_does_not_count(sweep, short):
    found = sweep(lengths([30, *short]))
    assert found.learning_rates.tolist() == RATES[1 : 1 + short.count(10)]
    assert any(note.startswith("1 trial left out: went on after epoch 9, where the others") for note in found.notes)


def test_a_run_that_was_stopped_does_not_count_beside_longer_ones_that_diverged(sweep):
    rows = [
        [*row[:4], "nan" if row[0] in ("r0", "r1") and row[3] else row[4]] for row in lengths([9, 9, 9, 5, *[9] * 6])
    ]
    found = sweep([row for row in rows if row[0] in ("r0", "r1", "r3")])
    assert losses(found) == {(RATES[0], 0): math.inf, (RATES[1], 0): math.inf}


def test_replicates_that_ended_at_different_epochs_are_no_history(sweep):
    rows = [[lr, epoch, lr + epoch / 100] for lr in (0.1, 0.2, 0.4) for epoch in (31 + round(50 * lr), 40, 52)]
    assert sweep(rows, "lr,epoch,loss").n_trials == 9


def test_a_column_that_groups_the_runs_is_no_history(sweep):
    rows = [[lr, steps, lr * steps] for lr in (0.1, 0.2) for steps in (10, 20, 30)]
    assert sweep(rows, "lr,step,loss", schedule_name="step").n_trials == 6


@pytest.mark.parametrize("steps", [("500", '"1,000"', '"10,000"'), ("9k", "10k", "11k"), ("epoch 9", "epoch 10", "x")])
@pytest.mark.parametrize("header", ["run_id,lr,seed,epoch,val_loss", "name_of_it,lr,seed,epoch,val_loss"])
def test_steps_that_are_no_plain_numbers_are_refused_in_a_history(sweep, header, steps):
    rows = [[NAMES[key], *key, step, FINAL[key] + 2 - i] for key in FINAL for i, step in enumerate(steps)]
    with pytest.raises(DataError, match=r"epoch must be a plain number, got .*the last row of a run is unknown"):
        sweep(rows, header)


def test_steps_with_a_decimal_comma_are_numbers(sweep):
    rows = [[*row[:3], f'"{row[3]},5"', row[4]] for row in ALL]
    assert losses(sweep(rows)) == FINAL


@pytest.mark.parametrize("n_seeds", [1, 2])
def test_the_log_of_one_run_is_no_sweep(sweep, n_seeds):
    rows = [
        [seed, 100 * i, lr, 3 - i / 10] for seed in range(n_seeds) for i, lr in enumerate([0.1, 0.3, 0.2, 0.05, 0.01])
    ]
    with pytest.raises(DataError, match=r"looks like the training log of .*: step rises while lr varies; .* run_id"):
        sweep(rows, "seed,step,lr,loss")
    runs = [[f"r{i}", *row] for i, row in enumerate(rows)]
    assert sweep(runs, "run_id,seed,step,lr,loss").n_trials == len(rows)


def test_trials_of_a_random_search_may_be_numbered_by_a_step(sweep):
    rows = [[i, lr, 3 - i / 10] for i, lr in enumerate([0.1, 0.03, 0.2, 0.01, 0.05])]
    assert sweep(rows, "iteration,lr,loss").n_trials == 5


@pytest.mark.parametrize("steps", [("1k", "2k", "3k"), ("1,000", "2,000", "3,000"), ("epoch 1", "epoch 2", "epoch 3")])
def test_a_log_whose_rate_varies_is_noticed_by_steps_in_words_too(sweep, steps):
    rows = [(f'"{step}"', rate, loss) for step, rate, loss in zip(steps, (0.3, 0.2, 0.1), (3, 2, 1), strict=True)]
    with pytest.raises(DataError, match=r"looks like the training log of 1 run: step rises while lr varies"):
        sweep(rows, "step,lr,loss")
