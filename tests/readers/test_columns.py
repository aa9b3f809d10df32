"""Columns are found by the names that trackers and people give them, and what was found is said."""

from __future__ import annotations

import csv
import math

import pytest

from robust_lr.exceptions import DataError
from robust_lr.readers._names import loss_rank
from robust_lr.readers.read import read_sweeps
from robust_lr.readers.table import read_table


@pytest.fixture
def table(tmp_path):
    """Write a table of a header and rows, and return its path."""

    def write(header, *rows):
        with (tmp_path / "runs.csv").open("w", newline="") as file:
            csv.writer(file).writerows([header, *rows])
        return tmp_path / "runs.csv"

    return write


def notes_of(path, **options):
    (sweep,) = read_sweeps(path, **options).values()
    return sweep.notes


@pytest.mark.parametrize(
    "name",
    [
        "lr", "LR", "learning_rate", "Learning rate", "learningRate", "config/lr", "config.learning_rate", "params.lr",
        "params_lr", "hparams/lr", "config/optimizer/lr", "optimizer.lr", "base_lr", "peak_lr", "Max. LR", "lr0",
        "train_loop_config/lr", "Learning rate (peak)",
    ],
)  # fmt: skip
def test_a_learning_rate_is_found_by_its_name(table, name):
    assert [run.lr for run in read_table(table([name, "loss"], [0.1, 1], [0.2, 2])).runs] == [0.1, 0.2]


@pytest.mark.parametrize(
    "name", ["lr_decay", "warmup_lr", "min_lr", "critic_lr", "lr_scheduler", "eta", "final_lr", "rate"]
)
def test_what_is_no_learning_rate_is_not_taken_for_one(table, name):
    with pytest.raises(
        DataError, match=r"has no column 'lr'; its columns are .*; name the right ones with lr_name \(--lr"
    ):
        read_table(table([name, "loss"], [0.1, 1], [0.2, 2]))


@pytest.mark.parametrize(
    ("names", "chosen"),
    [
        (["train/loss", "val/loss", "test/loss"], "val/loss"),
        (["Train loss", "Val. loss"], "Val. loss"),
        (["metrics.train_loss", "metrics.val_loss"], "metrics.val_loss"),
        (["loss", "val_loss", "accuracy", "val_accuracy"], "val_loss"),
        (["eval/loss", "eval/accuracy", "train/loss"], "eval/loss"),
        (["value", "user_attrs_val_loss"], "value"),
        (["val_loss", "best_val_loss", "val_aux_loss"], "val_loss"),
        (["train_loss", "val_ppl"], "val_ppl"),
        (["final_loss", "loss_scale", "loss_std"], "final_loss"),
        (["train_loss"], "train_loss"),
        (["eval_perplexity", "eval_bleu"], "eval_perplexity"),
    ],
)
def test_a_final_loss_is_found_by_its_name(table, names, chosen):
    assert read_table(table(["lr", *names], [0.1, *range(1, len(names) + 1)])).metric == chosen


def test_with_a_direction_of_maximize_a_score_is_looked_for(table):
    path = table(["lr", "val/loss", "val/acc"], [0.1, 1, 0.3])
    assert read_table(path, direction="maximize").metric == "val/acc"


def test_the_loss_of_a_config_is_no_result_and_words_are_no_numbers(table):
    path = table(["config/loss", "loss_a", "lr", "loss"], ["mse", "mse", 0.1, 1], ["mse", "mse", 0.2, 2])
    assert read_table(path).metric == "loss"


@pytest.mark.parametrize(
    ("header", "says"),
    [
        (
            ["lr", "val/loss", "eval/loss"],
            "'val/loss', 'eval/loss' may each be the loss; choose with metric (--metric)",
        ),
        (["lr", "val_mse_loss", "val_kl_loss"], "choose with metric (--metric)"),
        (
            ["lr", "val_acc", "train_loss"],
            "'val_acc', 'train_loss' may each be the loss; choose with metric (--metric)",
        ),
        (["config/lr", "params/lr", "loss"], "may each be the learning rate; choose with lr_name (--lr-name)"),
    ],
)
def test_where_several_columns_may_be_meant_they_are_listed_with_the_option_that_decides(table, header, says):
    with pytest.raises(DataError) as caught:
        read_table(table(header, [1, 2, 3], [4, 3, 5]))
    assert says in str(caught.value)


def test_columns_with_equal_values_are_not_ambiguous(table):
    assert (
        read_table(table(["lr", "learning_rate", "loss", "val/loss", "eval/loss"], [0.1, 0.1, 9, 1, 1])).runs[0].loss
        == 1
    )


@pytest.mark.parametrize("names", [("learning_rate", "lr"), ("lr", "learning_rate")])
def test_the_peak_is_told_from_the_last_value_of_a_schedule(table, names):
    rows = [[0.1, 0.01, 1], [0.2, 0.02, 2], [0.4, 0.4, 3]]  # the last one is constant
    path = table([*names, "loss"], *rows)
    assert [run.lr for run in read_table(path).runs] == [0.1, 0.2, 0.4]
    assert notes_of(path)[0] == (
        f"learning rate: {names[0]} (not {names[1]}, which is never above it: probably the last value of a schedule); "
        "loss: loss"
    )
    assert read_table(path, lr_name=names[1]).runs[0].lr == 0.01


def test_a_configured_rate_comes_before_a_logged_one(table):
    path = table(["lr", "config/lr", "loss"], [0.5, 0.1, 1], [0.01, 0.2, 2])
    assert [run.lr for run in read_table(path).runs] == [0.1, 0.2]


def test_what_was_guessed_is_said_in_one_line_and_what_is_plain_is_not(table):
    path = table(
        ["Name", "State", "config/lr", "config/seed", "scheduler", "val/loss"], ["a", "finished", 0.1, 0, "cosine", 1]
    )
    assert notes_of(path) == (
        "learning rate: config/lr; loss: val/loss; schedule: scheduler; seed: config/seed; state: State",
    )
    assert notes_of(table(["schedule", "lr", "seed", "loss"], ["cosine", 0.1, 0, 1])) == ()
    assert notes_of(table(["eta", "final"], [0.1, 1]), lr_name="eta", metric="final") == ()


def test_a_sweep_that_was_written_by_to_csv_is_judged_by_its_loss(table):
    path = table(["schedule", "lr", "seed", "loss", "seconds", "validation_loss"], ["cosine", 0.1, 0, 1, 9, 2])
    assert read_table(path).runs[0].loss == 1


def test_a_name_may_be_given_without_its_group_or_capitals(table):
    path = table(["params.Model", "params.lr", "metrics.mean_return"], ["a", 0.1, 1], ["b", 0.1, 2])
    sweeps = read_sweeps(path, metric="mean_return", group_by=["model"], direction="minimize")
    assert {name: sweep.loss.item() for name, sweep in sweeps.items()} == {"params.Model = a": 1, "params.Model = b": 2}


def test_a_score_without_a_direction_gets_a_note(table):
    path = table(["lr", "val_acc"], [0.1, 0.5], [0.2, 0.9])
    assert any(
        note.startswith("'val_acc' looks like a score, but smaller counts as better here") for note in notes_of(path)
    )
    assert not any("looks like" in note for note in notes_of(path, direction="maximize"))


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("model", "abab"), ("config/batch_size", (32, 64, 32, 64)), ("params.weight_decay", (0.1, 0.2, 0.3, 0.4)),
        ("Optimizer", ("adam", "sgd", "adam", "sgd")), ("iterations", (100, 200, 100, 200)), ("variant", "xxyy"),
    ],
)  # fmt: skip
def test_settings_that_vary_without_a_group_are_named_with_the_option(table, name, values):
    rows = zip((0.1, 0.1, 0.2, 0.2), (1, 2, 3, 4), values, strict=True)
    (note,) = [note for note in notes_of(table(["lr", "loss", name], *rows)) if "also differ" in note]
    assert note.startswith(f"the trials also differ in {name}, so a loss") and "(--group-by)" in note


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("val_acc", (0.1, 0.2, 0.1, 0.2)), ("Name", "abcd"), ("Notes", "xxyy"), ("train/loss", (1, 1, 2, 2)),
        ("Runtime", (60, 60, 61, 61)), ("grad_norm", (0.123, 0.234, 0.345, 0.456)), ("min_lr", (1, 1, 2, 2)),
        ("model", "aaaa"),
    ],
)  # fmt: skip
def test_what_was_measured_or_only_names_a_run_is_no_setting(table, name, values):
    rows = zip((0.1, 0.1, 0.2, 0.2), (1, 2, 3, 4), values, strict=True)
    assert not any(
        "also differ" in note for note in notes_of(table(["lr", "final_loss", name], *rows), metric="final_loss")
    )


def test_one_trial_with_two_losses_names_the_setting_that_tells_them_apart(table):
    path = table(["lr", "seed", "loss", "model"], [0.1, 0, 1, "a"], [0.1, 0, 2, "b"], [0.2, 0, 1, "a"])
    with pytest.raises(
        DataError, match=r"two losses, 1 and 2; they differ in model: name one as a group \(--group-by\)"
    ):
        read_sweeps(path)
    assert len(read_sweeps(path, group_by=["model"])) == 2


def test_the_number_of_a_run_is_no_seed_and_no_learning_rate_is_lost(table):
    rows = [
        [f"run-{i}", lr, lr + 0.01 * k] for i, (lr, k) in enumerate((lr, k) for lr in (0.1, 0.2, 0.4) for k in range(3))
    ]
    (sweep,) = read_sweeps(table(["run", "lr", "loss"], *rows), seed_name="run").values()
    assert sweep.loss.shape == (1, 3, 3) and not any(map(math.isnan, sweep.loss.flat))
    assert sweep.notes == (
        "no seed was run at two learning rates, so seeds seem to number the runs: they are ignored",
        "trials that share a learning rate are replicates, paired in their order",
    )


def test_a_loss_before_training_comes_last():
    names = ["initial_train_loss", "initial_loss", "train_loss", "loss", "val_loss"]
    assert sorted(names, key=loss_rank) == names[::-1]
