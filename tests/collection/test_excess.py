"""What a coarser grid costs in one sweep, at ratios that sweeps with other grids share."""

from __future__ import annotations

import math

import numpy as np
import pytest

from robust_lr import SweepCollection, degradation_curve
from robust_lr.collection._excess import SweepExcess, common_ratios, sweep_excess
from tests.collection.synthetic import LRS, sweep, valley


def excess_of(loss, lrs=LRS, schedule="cosine", **more):
    (member,) = SweepCollection.from_sweeps([({}, sweep(loss, lrs, **more))])
    return sweep_excess(member, schedule)


def slow(loss, stride):
    """The worst of the sub-grids, one by one."""
    return max(min(loss[offset::stride]) for offset in range(stride)) - min(loss)


def test_one_seed_is_measured_on_the_runs_themselves():
    rng = np.random.default_rng(0)
    loss = valley(LRS, 0.3) + 0.02 * rng.normal(size=len(LRS))
    found = excess_of(loss)
    for stride, ratio in ((2, 4.0), (3, 8.0), (4, 16.0)):
        assert found.at(ratio) == (pytest.approx(slow(loss, stride)), -(-len(LRS) // stride))


def test_several_seeds_are_scored_on_held_out_ones():
    loss = (valley(LRS)[:, None] + 0.01 * np.random.default_rng(0).normal(size=(len(LRS), 4)))[None]
    curve = degradation_curve(sweep(loss), "cosine")
    assert excess_of(loss).at(4.0)[0] == curve.worst[1]


def test_a_grid_that_is_no_finer_says_nothing_of_a_ratio():
    found = excess_of(valley(LRS))
    assert math.isnan(found.at(2.0)[0]) and math.isnan(found.at(1.5)[0])


def test_learning_rates_written_with_three_digits_are_on_the_grid():
    lrs = [float(f"{lr:.3g}") for lr in 2.0 ** np.arange(-12, 1, 0.5)]
    loss = valley(np.array(lrs), -6.0)
    assert excess_of(loss, lrs).at(2.0)[0] == pytest.approx(slow(loss, 2))


def test_an_uneven_grid_errs_upwards():
    kept = [0, 1, 2, 4, 5, 6, 8, 9, 10, 12]  # without every fourth learning rate
    loss = valley(LRS, 0.3)
    even, uneven = excess_of(loss), excess_of(loss[kept], LRS[kept])
    assert uneven.uneven and not even.uneven
    for ratio in (4.0, 8.0, 16.0):
        assert uneven.at(ratio)[0] >= even.at(ratio)[0] - 1e-12


def test_a_ratio_wider_than_the_sweep_leaves_its_worst_learning_rate():
    assert excess_of([1.0, 0.5, 2.0], [1, 2, 4]).at(64.0) == (1.5, 1)


@pytest.mark.parametrize(
    ("loss", "why"),
    [
        ([1.0, 2.0], "fewer than 3 learning rates"),
        ([1.0, 2.0, math.nan], "fewer than 3 learning rates"),
        ([math.inf] * 3, "every learning rate diverged"),
        ([1.0] * 4, "every learning rate has the same loss"),
        ([math.nan] * 4, "no result"),
    ],
)
def test_a_sweep_that_shows_nothing_says_why(loss, why):
    assert excess_of(loss, LRS[: len(loss)]) == why
    assert excess_of(loss, LRS[: len(loss)], schedule="linear") == "no result"


def test_the_edge_is_where_the_best_is_the_last_that_was_tried():
    assert [excess_of(valley(LRS, at)).edge for at in (-6, 0, 6)] == ["lower", "", "upper"]
    assert excess_of(np.where(LRS > 8, math.inf, valley(LRS, 6))).edge == ""  # higher ones diverged


def test_the_ratios_are_those_that_a_tenth_of_the_sweeps_have():
    fine = np.sqrt(2.0) ** np.arange(-12, 13)
    mixed = [excess_of(valley(lrs), lrs) for lrs in (LRS, fine, fine, LRS)]
    assert all(isinstance(each, SweepExcess) for each in mixed)
    assert common_ratios(mixed)[:5] == pytest.approx([2**0.5, 2, 2**1.5, 4, 2**2.5])
    assert len(common_ratios([excess_of(valley(x := np.geomspace(0.01, 100, 300)), x)])) <= 11
