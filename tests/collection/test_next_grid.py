"""The grid of the next sweep covers the range of those before it."""

from __future__ import annotations

import numpy as np
import pytest

from robust_lr import SweepCollection
from robust_lr.collection import analyze_collection
from tests.collection.synthetic import LRS, collection, sweep, valley


@pytest.mark.parametrize("tolerance", [1e-6, 0.01, 0.05, 0.3])
def test_its_ratio_is_the_recommended_one_and_no_end_of_the_range_is_far(tolerance):
    answer = analyze_collection(collection(), tolerance=tolerance).answer
    grid, (low, high) = answer.learning_rates, answer.lr_range
    assert (low, high) == (LRS[0], LRS[-1]) and len(grid) >= answer.n_trials
    assert np.diff(np.log(grid)) == pytest.approx(np.log(answer.ratio))
    step = answer.ratio * 1.001
    assert low / step < grid[0] < low * step and high / step < grid[-1] < high * step


def test_its_learning_rates_are_those_of_the_sweeps():
    answer = analyze_collection(collection(), tolerance=0.05).answer
    assert all(np.isclose(LRS, lr, rtol=1e-6).any() for lr in answer.learning_rates)


def test_the_range_holds_the_best_of_every_sweep():
    short = [({"i": i}, sweep(valley(LRS[:7], np.sin(i) / 9 - 4), LRS[:7])) for i in range(9)]
    far = ({"i": 9}, sweep(valley(LRS, 5.0)))
    answer = analyze_collection(SweepCollection.from_sweeps([*short, far]), tolerance=0.05).answer
    assert answer.lr_range[1] >= max(each.best_lr for each in answer.sweeps) > LRS[6]
    assert answer.learning_rates[-1] * answer.ratio > answer.lr_range[1]
