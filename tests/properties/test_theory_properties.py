"""What holds of the theory for every schedule, or for every annealed one, checked on drawn schedules."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from robust_lr.theory import (
    grid_guarantee,
    last_iterate_bound,
    misspecification_curve,
    resolution_for_tolerance,
    suffix_bounds,
    transfer_ratio,
    tuned_bound,
)

MULTIPLIER = st.one_of(st.just(0.0), st.floats(1e-6, 1.0))
ANY_RUN = st.lists(MULTIPLIER, min_size=1, max_size=30).filter(any)
RHO = st.lists(st.floats(1e-6, 1e6), min_size=1, max_size=20)


@st.composite
def annealed(draw):
    """A schedule of a named family, long enough (T, see `TOO_LATE`) that more than its last few steps act."""
    p, c = draw(st.floats(0.3, 4.0)), draw(st.floats(0.1, 1.0))
    spec = draw(st.sampled_from(["constant", "linear", "cosine", f"polynomial({p})", f"wsd({c})", f"wsd({c}, 1-sqrt)"]))
    return spec, draw(st.integers(500, 3000))


# A guarantee evaluates thousands of points, so these properties draw fewer runs and have no deadline.
slow = settings(max_examples=25, deadline=None)

TOO_LATE = 20.0  # below sqrt(500): up to here R is monotone; further out only the last steps act, and it may dip


def every_suffix(h, rho):
    """R from all suffixes at every rho, without the search."""
    suffixes, tuned = suffix_bounds(h), tuned_bound(h)
    usable = suffixes.step_sum > 0
    eta = np.asarray(rho)[:, None] * tuned.learning_rate
    bounds = 1 / (2 * eta * suffixes.step_sum[usable]) + eta / 2 * suffixes.noise[usable]
    return bounds.min(axis=1) / tuned.bound


@given(ANY_RUN, RHO)
def test_the_search_finds_the_least_of_all_suffixes(h, rho):
    np.testing.assert_allclose(misspecification_curve(h, rho), every_suffix(h, rho), rtol=1e-11)


@given(ANY_RUN, RHO)
def test_misspecification_never_helps_and_a_tuned_rate_costs_nothing(h, rho):
    assert (misspecification_curve(h, rho) >= 1).all()
    assert misspecification_curve(h, 1.0) <= 1 + 1e-14


@given(ANY_RUN, RHO)
def test_the_curve_lies_below_the_symmetric_law_and_on_it_while_the_whole_run_is_best(h, rho):
    rho = np.asarray(rho)
    curve, law = misspecification_curve(h, rho), (rho + 1 / rho) / 2
    assert (curve <= law * (1 + 1e-12)).all()
    if tuned_bound(h).start == 0:
        np.testing.assert_allclose(curve[rho <= 1], law[rho <= 1], rtol=1e-12)


@given(ANY_RUN, st.floats(1e-4, 1e4), st.floats(1e-4, 1e4))
def test_log_r_never_rises_faster_than_log_rho(h, a, b):
    curve = misspecification_curve(h, [a, b])
    assert abs(np.log(curve[1] / curve[0])) <= abs(np.log(b / a)) + 1e-12


@given(ANY_RUN, RHO, st.floats(1e-3, 1e3))
def test_scaling_the_multipliers_leaves_the_curve_and_divides_the_learning_rate(h, rho, c):
    scaled = np.asarray(h) * c
    tuned, tuned_scaled = tuned_bound(h), tuned_bound(scaled)
    np.testing.assert_allclose(tuned_scaled.bound, tuned.bound, rtol=1e-9)
    if tuned_scaled.start == tuned.start:  # two suffixes can be equally good up to rounding
        np.testing.assert_allclose(misspecification_curve(scaled, rho), misspecification_curve(h, rho), rtol=1e-9)
        np.testing.assert_allclose(tuned_scaled.learning_rate * c, tuned.learning_rate, rtol=1e-9)


@given(ANY_RUN, st.integers(0, 5), st.integers(0, 5), RHO)
def test_steps_of_zero_around_the_run_change_nothing(h, before, after, rho):
    padded = [0.0] * before + h + [0.0] * after
    np.testing.assert_allclose(misspecification_curve(padded, rho), misspecification_curve(h, rho), rtol=1e-12)


@given(ANY_RUN, st.floats(1e-3, 1e3), st.floats(1e-3, 1e3), st.floats(1e-3, 1e3))
def test_the_bound_scales_with_diameter_and_gradient(h, eta, diameter, gradient_bound):
    scaled = last_iterate_bound(h, eta, diameter=diameter, gradient_bound=gradient_bound)
    plain = last_iterate_bound(h, eta * gradient_bound / diameter)
    np.testing.assert_allclose(scaled, diameter * gradient_bound * plain, rtol=1e-9)


@slow
@given(ANY_RUN, st.floats(1e-3, 100.0))
def test_at_the_resolution_both_ends_of_the_range_cost_exactly_the_tolerance(h, tolerance):
    ratio = resolution_for_tolerance(h, tolerance)
    assert ratio > 1
    mesh = np.log(ratio) / 1024
    assert abs(np.log(grid_guarantee(h, ratio).worst / (1 + tolerance))) <= mesh
    for smaller in (ratio**0.3, ratio**0.9):
        assert grid_guarantee(h, smaller).worst <= (1 + tolerance) * (1 + 1e-9)


@given(ANY_RUN, st.floats(1e-3, 10.0), st.floats(1e-3, 10.0))
def test_more_tolerance_never_asks_for_a_finer_grid(h, a, b):
    low, high = sorted((a, b))
    assert resolution_for_tolerance(h, low) <= resolution_for_tolerance(h, high) * (1 + 1e-12)


@slow
@given(ANY_RUN, st.floats(1.0, 1e4))
def test_a_guarantee_is_at_least_its_mean_and_at_most_the_symmetric_one(h, ratio):
    guarantee = grid_guarantee(h, ratio)
    assert 1 <= guarantee.mean <= guarantee.worst * (1 + 1e-12)
    assert guarantee.worst <= (ratio**0.5 + ratio**-0.5) / 2 * (1 + 1e-9)
    assert grid_guarantee(h, 1.0).worst <= 1 + 1e-14


@given(annealed(), st.floats(1.0, TOO_LATE), st.floats(1.0, TOO_LATE))
def test_under_annealing_the_curve_rises_away_from_one_on_both_sides(run, a, b):
    (spec, total_steps), (low, high) = run, sorted((a, b))
    over = misspecification_curve(spec, [low, high], total_steps=total_steps)
    under = misspecification_curve(spec, [1 / low, 1 / high], total_steps=total_steps)
    assert over[0] <= over[1] * (1 + 1e-12)
    assert under[0] <= under[1] * (1 + 1e-12)
    assert (over <= under * (1 + 1e-12)).all()


@slow
@given(annealed(), st.floats(1.0, TOO_LATE), st.floats(1.0, TOO_LATE))
def test_under_annealing_a_coarser_grid_guarantees_less(run, a, b):
    (spec, total_steps), (low, high) = run, sorted((a, b))
    finer, coarser = (grid_guarantee(spec, r, total_steps=total_steps) for r in (low, high))
    assert finer.worst <= coarser.worst * (1 + 1e-6)
    assert finer.mean <= coarser.mean * (1 + 1e-6)


@given(annealed())
def test_under_annealing_the_whole_run_is_the_best_suffix(run):
    spec, total_steps = run
    assert tuned_bound(spec, total_steps=total_steps).start == 0


@given(st.integers(1, 30).flatmap(lambda n: st.tuples(*[st.lists(st.floats(1e-3, 1.0), min_size=n, max_size=n)] * 3)))
def test_transfer_there_and_back_is_one_and_transfers_chain(runs):
    a, b, c = runs
    np.testing.assert_allclose(transfer_ratio(a, b) * transfer_ratio(b, a), 1.0, rtol=1e-12)
    np.testing.assert_allclose(transfer_ratio(a, b) * transfer_ratio(b, c), transfer_ratio(a, c), rtol=1e-12)
