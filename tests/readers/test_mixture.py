"""Trials that differ in other settings are no seeds; what only names a run, or has no effect, is no setting."""

from __future__ import annotations

import csv
import random

import pytest

from robust_lr import SweepResult
from robust_lr.exceptions import DataError
from robust_lr.readers.read import read_sweeps

LRS = [1e-3 * 2**i for i in range(8)]
SIZES = (1e6, 4e6, 1.6e7)
BATCHES = (32, 64)


def loss(size, batch, lr):
    """Larger models end lower, and larger batches want a larger rate."""
    import math

    return 3 - 0.1 * math.log(size) + 0.05 * math.log2(lr / (8e-3 * batch / 64)) ** 2


@pytest.fixture
def table(tmp_path):
    def write(header, rows):
        path = tmp_path / "runs.csv"
        with path.open("w", newline="") as file:
            csv.writer(file).writerows([header.split(","), *rows])
        return path

    return write


def grid_of_tasks(*more):
    """Rows of params, batch_size, lr, loss, and a function of these for each further column."""
    return [
        [int(size), batch, lr, loss(size, batch, lr), *(each(size, batch, lr) for each in more)]
        for size in SIZES for batch in BATCHES for lr in LRS
    ]  # fmt: skip


def test_tasks_of_several_sizes_are_no_seeds_and_the_command_to_type_is_given(table):
    path = table("params,batch_size,lr,loss", grid_of_tasks())
    with pytest.raises(
        DataError, match=r"up to 6 trials share a learning rate.*no seeds.*--group-by params,batch_size "
    ):
        read_sweeps(path)
    assert len(read_sweeps(path, group_by=["params", "batch_size"])) == 6


def test_grouping_by_too_few_columns_is_refused_with_the_columns_that_lack(table):
    path = table("params,batch_size,lr,loss", grid_of_tasks())
    with pytest.raises(DataError, match=r"they differ in params, .*--group-by batch_size,params "):
        read_sweeps(path, group_by=["batch_size"])


def test_a_setting_that_follows_from_another_one_is_not_asked_for(table):
    path = table("params,batch_size,lr,loss,ffn", grid_of_tasks(lambda size, batch, lr: int(size**0.5)))
    assert len(read_sweeps(path, group_by=["params", "batch_size"])) == 6
    with pytest.raises(DataError, match="--group-by params,batch_size "):
        read_sweeps(path)


def test_a_setting_of_an_unknown_name_counts_by_its_losses(table):
    rows = [[f"v{int(size)}", lr, value] for size, batch, lr, value in grid_of_tasks() if batch == BATCHES[0]]
    with pytest.raises(DataError, match="--group-by variant "):
        read_sweeps(table("variant,lr,loss", rows))


def repeats(n, *more, seed=0):
    """Rows of lr, loss, and further columns, n repeats of one training at each rate."""
    draw = random.Random(seed)
    return [[lr, loss(1e6, 32, lr) + draw.gauss(0, 0.01), *(each(draw, k) for each in more)]
            for lr in LRS for k in range(n)]  # fmt: skip


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("gpu", lambda draw, k: f"gpu{draw.randrange(4)}"), ("host", lambda draw, k: f"host{k}"),
        ("run_id", lambda draw, k: draw.randrange(10**9)), ("runtime", lambda draw, k: draw.randrange(60, 64)),
        ("num_workers", lambda draw, k: draw.choice((2, 4))), ("shard", lambda draw, k: draw.choice("ab")),
    ],
)  # fmt: skip
@pytest.mark.parametrize("n", [3, 20])
def test_a_column_without_effect_leaves_repeats_as_they_are(table, name, values, n):
    (sweep,) = read_sweeps(table(f"lr,loss,{name}", repeats(n, values))).values()
    assert len(sweep.seeds) == n and any("replicates" in note for note in sweep.notes)


def test_a_setting_that_goes_with_the_seed_is_the_seeds_own(table):
    rows = [[lr, k, loss(1e6, 32, lr) + 0.05 * k, 2**k] for lr in LRS for k in range(4)]
    (sweep,) = read_sweeps(table("lr,seed,loss,batch_size", rows)).values()
    assert len(sweep.seeds) == 4


def test_a_column_without_effect_is_not_asked_for_beside_one_that_has(table):
    draw = random.Random(0)
    path = table("batch_size,lr,loss,shard,params", [
        [batch, lr, value, draw.choice("ab"), size] for size, batch, lr, value in grid_of_tasks()
    ])  # fmt: skip
    with pytest.raises(DataError, match="--group-by batch_size,params "):
        read_sweeps(path)


def test_a_rate_that_was_rounded_is_the_exact_one_and_a_note_says_so(table):
    rows = [[0.000345, 0, 1.0], [0.0003453, 1, 1.1], [0.000691, 0, 0.9], [0.0006906, 1, 0.95], [0.00138, 0, 1.2]]
    (sweep,) = read_sweeps(table("lr,seed,loss", rows)).values()
    assert sweep.learning_rates.tolist() == [0.0003453, 0.0006906, 0.00138]
    note = "learning rates written with fewer digits count as the exact ones: 0.000345 as 0.0003453 and 0.000691 as "
    assert any(each.startswith(note) for each in sweep.notes)


@pytest.mark.parametrize("rates", [(0.101, 0.1011, 0.1012, 0.1013), (0.001, 0.0010001), (0.1, 0.101, 0.102)])
def test_a_fine_grid_keeps_its_rates(table, rates):
    path = table("lr,loss", [[lr, 1 + i] for i, lr in enumerate(rates)])
    assert SweepResult.from_csv(path).learning_rates.tolist() == list(rates)


def test_rates_that_one_seed_was_run_at_are_two(table):
    path = table("lr,seed,loss", [[lr, k, lr + k] for lr in (0.000345, 0.0003453, 0.01) for k in range(2)])
    assert SweepResult.from_csv(path).loss.shape == (1, 3, 2)
