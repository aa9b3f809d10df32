"""A file is read by its kind, and a table is one sweep for each of its groups."""

from __future__ import annotations

import math

import pytest

from robust_lr import GeometricGrid, run_sweep
from robust_lr.exceptions import DataError, OptionError
from robust_lr.readers.read import read_sweeps


@pytest.fixture
def table(tmp_path):
    def write(text):
        (tmp_path / "runs.csv").write_text(text)
        return tmp_path / "runs.csv"

    return write


@pytest.fixture
def journal(tmp_path):
    def train(*, lr, schedule, seed):
        return {"loss": lr, "accuracy": 1 - lr} if lr < 0.5 else math.inf

    run_sweep(train, GeometricGrid(0.1, 0.8, 4), ["cosine"], 1, journal=tmp_path / "sweep.jsonl", label="train")
    return tmp_path / "sweep.jsonl"


def test_a_table_without_groups_is_one_sweep(table):
    (sweep,) = read_sweeps(table("eta,final\n0.1,1\n0.2,2\n"), lr_name="eta", metric="final").values()
    assert sweep.loss[0, :, 0].tolist() == [1, 2]


def test_groups_come_in_the_order_of_their_numbers_and_an_empty_one_is_named(table):
    text = "steps,model,lr,loss\n25000,b,0.1,1\n100000,a,0.1,2\n25000,a,0.1,3\n50,a,0.1,\n"
    sweeps = read_sweeps(table(text), group_by=["steps", "model"])
    assert list(sweeps) == ["steps = 25000, model = a", "steps = 25000, model = b", "steps = 100000, model = a"]
    assert [sweep.loss.item() for sweep in sweeps.values()] == [3, 1, 2]
    assert {sweep.notes for sweep in sweeps.values()} == {("no run has a result where steps = 50, model = a",)}


def test_a_metric_may_be_maximized_in_a_table_and_in_a_journal(table, journal):
    (sweep,) = read_sweeps(table("lr,accuracy\n0.1,0.5\n0.2,nan\n"), metric="accuracy", direction="maximize").values()
    assert sweep.loss[0, :, 0].tolist() == [-0.5, math.inf]
    (sweep,) = read_sweeps(journal, metric="accuracy", direction="maximize").values()
    assert sweep.loss[0, :, 0] == pytest.approx([-0.9, -0.8, -0.6, math.inf])


def test_a_journal_is_one_sweep_and_takes_no_option_of_tables(journal):
    (sweep,) = read_sweeps(journal).values()
    assert sweep.n_trials == 4 and sweep.notes == ()
    with pytest.raises(OptionError, match=r"group_by is for tables; .*sweep.jsonl is a journal"):
        read_sweeps(journal, group_by=["steps"])


def test_a_file_that_is_not_there_is_said_to_be(tmp_path):
    with pytest.raises(DataError, match=r"cannot read .*none.csv: No such file"):
        read_sweeps(tmp_path / "none.csv")
