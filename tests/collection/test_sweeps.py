"""Many sweeps as one value."""

from __future__ import annotations

import math

import numpy as np
import pytest

from robust_lr import SweepCollection, SweepResult, run_sweep
from robust_lr.collection._covariates import of_names
from robust_lr.exceptions import DataError


def sweep(losses=(1.2, 1.0, 1.1), lrs=(0.1, 0.2, 0.4), **more):
    return SweepResult(("cosine",), lrs, (0,), np.reshape(losses, (1, -1, 1)), **more)


def test_a_table_becomes_one_sweep_for_each_combination_of_values(tmp_path):
    path = tmp_path / "runs.csv"
    rows = [f"{n},{data},{lr},{1 + lr}" for n in ("1e6", "2e6") for data in ("c4", "pile") for lr in (0.1, 0.2)]
    path.write_text("\n".join(["params,data,lr,loss", *rows]))
    collection = SweepCollection.from_table(path, group_by=["params", "data"])
    assert len(collection) == 4
    assert collection.numeric == ("params",) and collection.categorical == ("data",)
    assert dict(collection.sweeps[1].covariates) == {"params": 1e6, "data": "pile"}
    assert collection.sweeps[1].label == "params = 1e6, data = pile"


def train(*, lr, schedule, seed):
    return (lr - 0.2) ** 2


def test_journals_say_their_covariates_in_their_paths(tmp_path):
    for size in ("1e6", "3e6"):
        (tmp_path / f"params={size}").mkdir()
        journal = tmp_path / f"params={size}" / "batch_size=64.jsonl"
        run_sweep(train, [0.1, 0.2, 0.4], ["cosine"], seeds=1, journal=journal)
    collection = SweepCollection.from_folder(tmp_path)
    assert [dict(each.covariates) for each in collection] == [
        {"params": 1e6, "batch_size": 64.0},
        {"params": 3e6, "batch_size": 64.0},
    ]


def test_files_that_say_nothing_are_told_apart_by_their_names(tmp_path):
    for name in ("first", "second"):
        (tmp_path / f"{name}.csv").write_text("lr,loss\n0.1,1\n0.2,0.9\n")
    collection = SweepCollection.from_files(sorted(tmp_path.glob("*.csv")))
    assert [each.covariates["file"] for each in collection] == [str(tmp_path / f"{n}.csv") for n in ("first", "second")]


@pytest.mark.parametrize(
    ("names", "covariates"),
    [
        (["steps = 50, model = m"], {"steps": "50", "model": "m"}),
        (["data = org/set, v2, optimizer = adamw(b1=0.9, b2=0.95)"],
         {"data": "org/set, v2", "optimizer": "adamw(b1=0.9, b2=0.95)"}),
        (["runs/a.csv, size = 1", "runs/b.csv, size = 1"], {"file": "runs/a.csv", "size": "1"}),
        (["runs/a.csv, size = 1", "runs/a.csv, size = 2"], {"size": "1"}),
        (["params=1e9/data=c4,batch_size=64.jsonl"], {"params": "1e9", "data": "c4", "batch_size": "64"}),
        ([""], {}),
        (["a = 1", "b = 1"], {"sweep": "a = 1"}),
    ],
)  # fmt: skip
def test_names_say_the_covariates(names, covariates):
    assert of_names(names)[0] == covariates


def test_a_folder_without_journals_names_the_pattern(tmp_path):
    with pytest.raises(DataError, match=r"holds no file \*\*/\*\.jsonl"):
        SweepCollection.from_folder(tmp_path)


def test_points_are_means_with_divergence_and_the_noise_of_one_trial():
    two = SweepResult(("cosine",), [0.1, 0.2, 0.4], (0, 1), [[[1.2, 1.4], [1.0, 1.1], [1.5, math.inf]]])
    (member,) = SweepCollection.from_sweeps([({}, two)])
    points = member.points("cosine")
    assert points.loss.tolist() == pytest.approx([1.3, 1.05, math.inf])
    assert points.n_seeds.tolist() == [2, 2, 2] and points.noise > 0
    assert member.points("linear") is None
    (single,) = SweepCollection.from_sweeps([({}, sweep((1.0, math.nan, math.inf)))])
    points = single.points("cosine")
    assert points.learning_rates.tolist() == [0.1, 0.4] and points.loss.tolist() == [1.0, math.inf]
    assert math.isnan(points.noise)


def test_clusters_are_the_sweeps_with_equal_values():
    pairs = [({"params": size, "batch": batch}, sweep()) for size in (1e6, 2e6) for batch in (32, 64, 128)]
    collection = SweepCollection.from_sweeps(pairs)
    assert {key: len(each) for key, each in collection.clusters(["params"]).items()} == {(1e6,): 3, (2e6,): 3}
    with pytest.raises(DataError, match="no covariate 'size'; it has params and batch"):
        collection.clusters(["size"])


def test_a_collection_refuses_what_does_not_fit_together():
    with pytest.raises(DataError, match="at least one sweep"):
        SweepCollection.from_sweeps([])
    with pytest.raises(DataError, match="need the same covariates: sweep 0 has a, sweep 1 b"):
        SweepCollection.from_sweeps([({"a": 1}, sweep()), ({"b": 1}, sweep())])
    with pytest.raises(DataError, match="same direction"):
        SweepCollection.from_sweeps([({}, sweep()), ({}, sweep(direction="maximize"))])
