"""Plausible curves: they go through the three points they are made of, and never bend the wrong way."""

from __future__ import annotations

import math

import numpy as np
import pytest

from robust_lr.search._convex_bound import Point
from robust_lr.search._curves import Curve, curves_through

BEST = Point(0.0, 0.3)
AROUND = (Point(-1.5, 0.4), Point(2.0, 0.35))


def test_every_curve_goes_through_the_three_points():
    for _, curve in curves_through(BEST, AROUND, tolerance=0.005):
        assert [curve(p.x) for p in (BEST, *AROUND)] == pytest.approx([0.3, 0.4, 0.35])


def test_every_curve_is_convex():
    xs = np.linspace(-4, 4, 101)
    for _, curve in curves_through(BEST, AROUND, tolerance=0.005):
        assert (np.diff([curve(x) for x in xs], 2) > 0).all()


def test_they_differ_in_where_the_loss_is_least():
    xs = np.linspace(-1.5, 2.0, 351)
    lowest = [xs[np.argmin([curve(x) for x in xs])] for _, curve in curves_through(BEST, AROUND, tolerance=0.005)]
    assert min(lowest) < 0.1
    assert max(lowest) > 0.5


def test_the_weights_add_up_to_one_and_gentle_curves_have_more():
    weights, curves = zip(*curves_through(BEST, AROUND, tolerance=0.005), strict=True)
    assert math.fsum(weights) == pytest.approx(1.0)
    assert max(zip(weights, curves, strict=True), key=lambda pair: pair[0])[1].right_rate == 0.25


def test_another_point_moves_the_weight_to_the_curves_that_meet_it():
    truth = Curve(BEST, left=0.01, right=1e-4, left_rate=1.0, right_rate=3.0)
    three, more = [Point(x, truth(x)) for x in (-1.5, 2.0)], Point(2.5, truth(2.5))
    blind = {curve: w for w, curve in curves_through(BEST, three, tolerance=0.005)}
    seeing = {curve: w for w, curve in curves_through(BEST, three, near=[more], tolerance=0.005)}
    found = next(curve for curve in seeing if (curve.left_rate, curve.right_rate) == (1.0, 3.0))
    assert (found.left, found.right) == pytest.approx((0.01, 1e-4))
    assert seeing[found] > 2 * blind[found]


def test_there_is_none_through_points_that_bend_downwards():
    assert curves_through(BEST, (Point(-1.0, 0.1), Point(1.0, 0.1)), tolerance=0.005) == ()


def test_points_far_apart_and_losses_that_exploded_are_no_trouble():
    curves = curves_through(BEST, (Point(-60.0, 2.0), Point(90.0, 1e8)), near=[Point(80.0, 1e3)], tolerance=1e-6)
    assert all(math.isfinite(curve(x)) for _, curve in curves for x in (-60.0, -1.0, 50.0, 90.0))
