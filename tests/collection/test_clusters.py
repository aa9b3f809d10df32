"""Which sweeps are alike."""

from __future__ import annotations

import numpy as np
import pytest

from robust_lr.collection._clusters import cluster_numbers, find_cluster_columns
from tests.collection.synthetic import collection


def test_the_columns_that_explain_the_values_are_found():
    rng = np.random.default_rng(0)
    sweeps = collection(8, 6).sweeps
    size, batch = (np.log([each.covariates[name] for each in sweeps]) for name in ("size", "batch"))
    noise = 0.1 * rng.normal(size=len(sweeps))
    assert find_cluster_columns(sweeps, np.sin(7 * size) + noise) == ("size",)
    assert find_cluster_columns(sweeps, np.sin(7 * batch) + noise) == ("batch",)


def test_columns_without_effect_are_taken_for_clusters_rather_than_not():
    sweeps = collection(8, 6).sweeps
    noise = np.random.default_rng(1).normal(size=len(sweeps))
    assert find_cluster_columns(sweeps, noise) == ("batch",)  # the fewer clusters, the less is claimed


def test_fewer_than_four_clusters_are_none():
    sweeps = collection(3, 3).sweeps
    assert find_cluster_columns(sweeps, np.arange(9.0)) == ()


def test_sweeps_are_numbered_by_their_values():
    sweeps = collection(3, 2).sweeps
    assert cluster_numbers(sweeps, ["size"]).tolist() == [0, 0, 1, 1, 2, 2]
    assert cluster_numbers(sweeps, []).tolist() == [0, 1, 2, 3, 4, 5]
    assert cluster_numbers(sweeps, ["batch"]).tolist() == [0, 1] * 3


@pytest.mark.parametrize("n", [1, 7])
def test_many_columns_are_tried_one_by_one(n):
    sweeps = collection(8, 6).sweeps
    assert find_cluster_columns(sweeps, np.arange(48.0) // 6 * n) == ("size",)
