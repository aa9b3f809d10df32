"""The measured losses are complete, and the curves through them are what the benchmarks of the search rely on."""

from __future__ import annotations

import importlib.util
import math
import sys
from pathlib import Path

import numpy as np
import pytest

from robust_lr import LearningRateSearch, SearchOptions
from robust_lr.exceptions import DataError

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"


def load(name):
    spec = importlib.util.spec_from_file_location(name, BENCHMARKS / f"{name}.py")
    module = sys.modules[spec.name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def table_curves():
    return load("table_curves")


def test_every_table_has_three_schedules_and_five_seeds_without_a_hole(table_curves):
    curves = table_curves.read_curves()
    assert sorted(curves) == sorted(
        f"{table} {schedule}"
        for table in ("digits-softmax", "digits-mlp", "char-mlp")
        for schedule in ("constant", "linear", "cosine")
    )
    for curve in curves.values():
        assert curve.n_seeds == 5
        assert not np.isnan(curve.losses).any()


def test_every_table_reaches_from_hardly_learning_to_a_cliff_over_eight_decades(table_curves):
    for curve in table_curves.read_curves().values():
        mean = curve.losses.mean(axis=1)
        best = int(mean.argmin())
        assert mean[0] > mean[best] + 1
        assert mean[-1] > mean[0]
        assert np.diff(np.log2(curve.learning_rates)) == pytest.approx(0.5)
        assert curve.learning_rates[-1] / curve.learning_rates[0] > 10**8


def test_a_curve_goes_through_what_was_measured_and_is_straight_in_log_lr_between(table_curves):
    curve = table_curves.TableCurve(np.array([0.01, 0.1, 1.0]), np.array([[3.0, 5.0], [1.0, 1.0], [2.0, 4.0]]))
    assert [curve(lr) for lr in (0.01, 0.1, 1.0)] == pytest.approx([4.0, 1.0, 3.0])
    assert curve(math.sqrt(0.01 * 0.1)) == pytest.approx(2.5)
    assert curve(1.0, seed=1) == 4.0
    assert curve.optimum == 0.1


def test_a_curve_ends_half_way_to_the_first_learning_rate_that_diverged_for_a_seed(table_curves):
    losses = np.array([[3.0, 3.0], [1.0, 1.0], [2.0, math.inf], [1.0, 1.0]])
    curve = table_curves.TableCurve(np.array([0.01, 0.1, 1.0, 10.0]), losses)
    assert curve(0.3) == pytest.approx(1.0)
    assert [curve(lr) for lr in (0.32, 1.0, 10.0, 1e9)] == [math.inf] * 4
    assert curve(10.0, seed=0) == 1.0
    assert curve.ends == (0.01, math.inf)


def test_outside_of_a_table_there_is_no_loss(table_curves):
    curve = table_curves.TableCurve(np.array([0.01, 0.1]), np.array([[2.0], [1.0]]))
    with pytest.raises(DataError, match=r"lr must be in the table, from 0\.01 to 0\.1, got 0\.2"):
        curve(0.2)


def test_the_command_that_makes_the_tables_still_trains_what_is_in_them(table_curves):
    make_tables = load("make_tables")
    task, grid = make_tables.TASKS["digits-softmax"]()  # the other two take their time
    curve = table_curves.read_curves()["digits-softmax cosine"]
    assert curve.learning_rates == pytest.approx(grid.values)
    lr = float(curve.learning_rates[int(curve.losses.mean(axis=1).argmin()) - 6])
    assert task(lr=lr, schedule="cosine", seed=1)["validation_loss"] == pytest.approx(curve(lr, seed=1), rel=1e-3)


@pytest.mark.parametrize("schedule", ["constant", "linear", "cosine"])
@pytest.mark.parametrize("k", range(6))
def test_a_search_that_is_told_of_large_noise_ends_by_itself(table_curves, schedule, k):
    curve, noise, rng = table_curves.read_curves()[f"char-mlp {schedule}"], 0.0148, np.random.default_rng(k)
    lr_min = curve.optimum / 100 * 100 ** ((k + 0.5) / 6)  # the best is in another place of the range each time
    options = SearchOptions(noise=noise, extend=False)
    search = LearningRateSearch(lr_min, 100 * lr_min, tolerance=0.005, options=options)
    while not search.done:
        for lr in search.ask():
            search.tell(lr, curve(lr) + noise * rng.standard_normal())
        assert search.result.n_trials < 40
    assert search.result.stop is not None
