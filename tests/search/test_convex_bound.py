"""The bound on what a valley can still hide: against hand calculation, and against a slow twin on a mesh."""

from __future__ import annotations

import math
from itertools import combinations

import numpy as np
import pytest

from robust_lr.search._convex_bound import ConvexBound, Point, height_above_chord, highest_ridge


def valley(losses, xs=None, *, low=None, high=None, error=0.0):
    xs = range(len(losses)) if xs is None else xs
    points = tuple(Point(float(x), float(loss), error) for x, loss in zip(xs, losses, strict=True))
    return ConvexBound(points, points[0].x if low is None else low, points[-1].x if high is None else high)


def slow_gain(points, best, x):
    """The least of the lines through any two points on one side of x, with their errors: the bound as it is defined."""
    gains = []
    for near, far in combinations(sorted(points, key=lambda p: abs(p.x - x)), 2):
        if (near.x - x) * (far.x - x) >= 0 and abs(far.x - x) > abs(near.x - x):
            t = (x - near.x) / (near.x - far.x)
            weights = dict.fromkeys((best, near, far), 0.0)
            for point, weight in ((best, 1.0), (near, -1 - t), (far, t)):
                weights[point] += weight
            error = math.hypot(*(w * p.error for p, w in weights.items()))
            gains.append(sum(w * p.loss for p, w in weights.items()) + error)
    return min(gains, default=math.inf)


def test_three_points_leave_as_much_to_gain_as_the_steeper_line_carries_on():
    assert valley([1.0, 0.0, 0.5]).excess_bound == 1.0
    assert valley([2.0, 0.0, 0.5]).excess_bound == 2.0


def test_the_lines_from_both_sides_meet_inside_a_gap():
    # Slopes -3 and 1 through (-1, 1) and (1, 0): they meet at x = 0 - 0.75 of it, 1 below the best.
    found = valley([4.0, 1.0, 0.0, 1.0], [-2.0, -1.0, 0.0, 1.0]).gaps[1]
    assert found.at == pytest.approx(-0.5)
    assert found.max_improvement == pytest.approx(0.5)


def test_two_points_bound_nothing_between_them():
    assert valley([1.0, 2.0]).excess_bound == math.inf


def test_a_parabola_with_a_point_at_its_minimum_is_bounded_by_its_curvature():
    for step in (0.5, 1.0, 2.0):
        xs = step * np.arange(-2, 3)
        assert valley(0.03 * xs**2, xs).excess_bound == pytest.approx(0.03 * step**2 / 2)


def test_before_a_cliff_the_loss_may_fall_on_as_steeply_as_it_did():
    assert valley([1.0, 0.4], high=3.0).gaps[-1].max_improvement == pytest.approx(2 * 0.6)
    assert valley([0.4, 1.0, 2.0], high=9.0).gaps[-1].max_improvement == 0


def test_where_the_loss_flattens_out_the_convex_part_alone_is_used():
    curve = valley([2.3, 2.2, 0.4, 0.3, 0.5])
    assert curve.core == (1, 4)
    assert curve.gaps[0].left == 1.0
    assert curve.excess_bound == valley([2.2, 0.4, 0.3, 0.5]).excess_bound


def test_errors_raise_the_bound():
    exact, rough = valley([1.0, 0.0, 0.5]), valley([1.0, 0.0, 0.5], error=0.01)
    assert rough.bound_without_errors == exact.excess_bound
    # The line through the best and the worst of its two neighbors, each with an error of 0.01.
    assert rough.excess_bound == pytest.approx(1.0 + 0.01 * math.sqrt(2))


@pytest.mark.parametrize("error", [0.0, 0.003])
def test_the_closed_form_is_the_maximum_of_the_definition_on_a_mesh(error):
    rng = np.random.default_rng(3)
    for _ in range(40):
        xs = np.sort(rng.uniform(-3, 3, 5))
        slopes = np.sort(rng.normal(size=4))
        losses = np.concatenate([[0.0], np.cumsum(slopes * np.diff(xs))])
        curve = valley(losses, xs, low=-4.0, high=4.0, error=error)
        for gap in curve.gaps:
            mesh = np.linspace(gap.left, gap.right, 401)[1:-1].tolist()
            slow = max(0.0, *(slow_gain(curve.points, curve.points[curve.best], x) for x in mesh))
            assert gap.max_improvement >= slow - 1e-12
            # With errors a pair that is farther than the nearest three points could be a little better still.
            most = slow + 0.02 * (gap.right - gap.left) + 2 * error
            assert gap.max_improvement <= most or gap.max_improvement == slow


def test_height_above_a_chord_is_what_the_errors_cannot_explain():
    points = [Point(0.0, 1.0, 0.1), Point(1.0, 2.5, 0.1), Point(3.0, 1.0, 0.1)]
    assert height_above_chord(*points) == pytest.approx(1.5 - 0.2)
    assert height_above_chord(Point(0, 1e9), Point(1, 1e9 + 1e-4), Point(2, 1e9)) == 0.0


def test_the_highest_ridge_is_measured_from_the_higher_of_its_valleys():
    losses = [0.5, 0.2, 0.6, 0.4, 0.9, 0.1]
    height, (left, top, right) = highest_ridge([Point(float(i), loss) for i, loss in enumerate(losses)])
    assert (height, left.loss, top.loss, right.loss) == (pytest.approx(0.7), 0.2, 0.9, 0.1)
    assert highest_ridge([Point(0.0, 2.0), Point(1.0, 1.0), Point(2.0, 1.5)]) is None
