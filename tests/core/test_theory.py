"""The figures of robust_lr.theory against THE theory: reference tables, slow obvious twins, and the edges."""

import dataclasses
import subprocess
import sys
import tracemalloc

import numpy as np
import pytest

from robust_lr import theory
from robust_lr.exceptions import ScheduleError
from robust_lr.schedules.closed_forms import FunctionSchedule, TableSchedule
from robust_lr.schedules.specs import parse_schedule

SPECS = [
    "constant",
    "inverse-sqrt",
    "linear",
    "cosine",
    "polynomial(3)",
    "wsd(0.2)",
    "cosine(floor=0.1)",
    "warmup(0.2)+cosine",
    "warmup(steps=5)+constant",
]
SMALL_ARRAYS = [
    [2.0],
    [1.0, 0.25],
    [0.0, 0.5, 1.0, 0.5],
    [1.0, 0.0, 0.0, 1.0],
    [0.1, 0.9, 0.2, 0.8, 0.3, 0.01],
    [1.0] * 10 + [1e-3] * 10,
]


def multipliers(spec, total_steps):
    return parse_schedule(spec)(np.arange(total_steps), total_steps)


def bound_written_out(h, k, eta, diameter=1.0, gradient_bound=1.0):
    """B_k(eta) exactly as the theorem has it, with plain loops and every sum taken afresh."""
    n = len(h)
    s = [sum(h[t] for t in range(j, n)) for j in range(n)]
    v = [sum(h[t] ** 2 for t in range(j, n)) for j in range(n)]
    q = v[k] / s[k]
    for j in range(k, n - 1):
        q += (h[j] / s[j + 1]) * (v[j] / s[j])
    return diameter**2 / (2 * eta * s[k]) + eta * gradient_bound**2 / 2 * q


def small_runs():
    return [pytest.param(multipliers(s, T), id=f"{s}-{T}") for s in SPECS for T in (10, 37)] + [
        pytest.param(np.array(h), id=f"array-{i}") for i, h in enumerate(SMALL_ARRAYS)
    ]


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ("constant", [5.05, 1.25, 1, 1.25, 2.1123, 4.4312, 10.2332, 22.7472]),
        ("linear", [5.05, 1.25, 1, 1.1907, 1.5007, 2.0384, 2.9445, 4.4132]),
        ("cosine", [5.05, 1.25, 1, 1.1851, 1.4183, 1.7441, 2.1983, 2.8116]),
        ("wsd(0.2)", [5.05, 1.25, 1, 1.25, 1.84, 2.5885, 3.7433, 5.6224]),
    ],
)
def test_reference_table_of_the_misspecification_curve(spec, expected):
    curve = theory.misspecification_curve(spec, [0.1, 0.5, 1, 2, 4, 10, 30, 100], total_steps=10_000)
    np.testing.assert_allclose(curve, expected, rtol=0, atol=5.1e-5)


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ("polynomial(0.5)", 0.500),
        ("linear", 0.334),
        ("polynomial(2)", 0.200),
        ("polynomial(3)", 0.143),
        ("cosine", 0.207),
        ("wsd(0.2)", 0.334),
        ("constant", 0.792),
        ("inverse-sqrt", 0.805),
        ("cosine(floor=0.1)", 0.776),
    ],
)
def test_robustness_exponents_at_1e5_steps(spec, expected):
    assert theory.robustness_exponent(spec, total_steps=100_000) == pytest.approx(expected, abs=0.001)


def test_without_decay_the_exponent_creeps_up_to_its_limit():
    assert theory.robustness_exponent("constant", total_steps=1_000_000) == pytest.approx(0.835, abs=0.001)


def test_asymptotic_exponent_is_read_off_the_degree():
    expected = {
        "constant": 1,
        "inverse-sqrt": 1,
        "linear": 1 / 3,
        "polynomial(0.5)": 1 / 2,
        "polynomial(3)": 1 / 7,
        "cosine": 1 / 5,
        "wsd(0.2)": 1 / 3,
        "wsd(0.2, shape=cosine)": 1 / 5,
        "linear(floor=0.1)": 1,
        "warmup(0.1)+cosine": 1 / 5,
        "constant+cooldown(0.2)": 1 / 3,
    }
    assert {spec: theory.asymptotic_exponent(spec) for spec in expected} == pytest.approx(expected)
    assert theory.asymptotic_exponent(TableSchedule([1.0, 0.5], degree=4)) == pytest.approx(1 / 9)


@pytest.mark.parametrize(
    ("spec", "at_10", "at_100"),
    [
        ("constant", 1.739, 4.736),
        ("linear", 1.484, 2.576),
        ("cosine", 1.426, 2.118),
        ("polynomial(3)", 1.247, 1.639),
    ],
)
def test_reference_table_of_the_grid_guarantee(spec, at_10, at_100):
    for ratio, expected in ((10, at_10), (100, at_100)):
        guarantee = theory.grid_guarantee(spec, ratio, total_steps=20_000)
        assert guarantee.worst == pytest.approx(expected, abs=5.1e-4)
        d = np.linspace(0, np.log(ratio), 4001)
        cost = np.minimum(
            theory.misspecification_curve(spec, np.exp(d), total_steps=20_000),
            theory.misspecification_curve(spec, np.exp(d) / ratio, total_steps=20_000),
        )
        assert cost.max() <= guarantee.worst * (1 + 1e-12)
        assert guarantee.worst == pytest.approx(cost.max(), rel=np.log(ratio) / 4000)
        assert guarantee.mean == pytest.approx(cost.mean(), rel=2e-4)


def test_constant_at_ratio_10_has_its_guarantee_in_closed_form():
    """At sqrt(10) the whole run is still the best suffix on both sides, so W(10) = (sqrt(10) + 1/sqrt(10)) / 2."""
    worst = theory.grid_guarantee("constant", 10, total_steps=20_000).worst
    assert worst == pytest.approx((10**0.5 + 10**-0.5) / 2, rel=1e-7)


def test_the_guarantee_grows_more_slowly_the_higher_the_degree():
    """W(r) ~ r**(s/(1+s)); at finite T the slope from 100 to 1000 is near that."""
    for spec, exponent in (("linear", 1 / 4), ("polynomial(2)", 1 / 6), ("polynomial(3)", 1 / 8)):
        low, high = (theory.grid_guarantee(spec, r, total_steps=100_000).worst for r in (100, 1000))
        assert np.log10(high / low) == pytest.approx(exponent, abs=0.02)


@pytest.mark.parametrize("h", small_runs())
def test_every_suffix_bound_is_the_formula_written_out(h):
    suffixes = theory.suffix_bounds(h)
    assert suffixes.step_sum.shape == suffixes.noise.shape == (len(h),)
    for k in range(len(h)):
        for eta in (0.01, 1.0, 30.0):
            got = 3.0**2 / (2 * eta * suffixes.step_sum[k]) + eta * 0.5**2 / 2 * suffixes.noise[k]
            assert got == pytest.approx(bound_written_out(h, k, eta, 3.0, 0.5), rel=1e-12)


@pytest.mark.parametrize("h", small_runs())
def test_the_bound_is_the_least_of_all_suffixes(h):
    etas = np.geomspace(1e-3, 1e4, 50)
    got = theory.last_iterate_bound(h, etas, diameter=3.0, gradient_bound=0.5)
    slow = [min(bound_written_out(h, k, eta, 3.0, 0.5) for k in range(len(h))) for eta in etas]
    np.testing.assert_allclose(got, slow, rtol=1e-11)


@pytest.mark.parametrize("h", small_runs())
def test_tuned_bound_is_the_minimum_over_learning_rates(h):
    tuned = theory.tuned_bound(h, diameter=3.0, gradient_bound=0.5)
    assert bound_written_out(h, tuned.start, tuned.learning_rate, 3.0, 0.5) == pytest.approx(tuned.bound, rel=1e-12)
    etas = tuned.learning_rate * np.append(np.geomspace(1e-6, 1e6, 2001), 1.0)
    bounds = theory.last_iterate_bound(h, etas, diameter=3.0, gradient_bound=0.5)
    assert bounds.min() == pytest.approx(tuned.bound, rel=1e-12)


@pytest.mark.parametrize("h", small_runs())
def test_misspecification_curve_is_the_ratio_of_bounds_for_any_diameter_and_gradient(h):
    rho = np.geomspace(1e-3, 1e5, 30)
    for diameter, gradient_bound in ((1.0, 1.0), (7.0, 1e-3)):
        tuned = theory.tuned_bound(h, diameter=diameter, gradient_bound=gradient_bound)
        slow = [
            min(bound_written_out(h, k, r * tuned.learning_rate, diameter, gradient_bound) for k in range(len(h)))
            / tuned.bound
            for r in rho
        ]
        np.testing.assert_allclose(theory.misspecification_curve(h, rho), slow, rtol=1e-11)


def test_the_curve_has_the_shape_and_order_of_rho():
    rho = np.array([[100.0, 0.1, 1.0], [2.0, 2.0, 30.0]])
    curve = theory.misspecification_curve("cosine", rho, total_steps=100)
    assert curve.shape == (2, 3)
    one_by_one = [float(theory.misspecification_curve("cosine", r, total_steps=100)) for r in rho.ravel()]
    assert curve.ravel().tolist() == one_by_one
    assert theory.misspecification_curve("cosine", [], total_steps=100).shape == (0,)
    assert theory.last_iterate_bound("cosine", 0.1, total_steps=100).shape == ()


@pytest.mark.parametrize("spec", [*SPECS, "polynomial(0.5)"])
@pytest.mark.parametrize("ratio", [1.5, 3.0, 10.0, 100.0])
def test_resolution_is_the_inverse_of_the_guarantee(spec, ratio):
    worst = theory.grid_guarantee(spec, ratio, total_steps=10_000).worst
    assert theory.resolution_for_tolerance(spec, worst - 1, total_steps=10_000) == pytest.approx(ratio, rel=1e-6)


def test_resolution_stops_before_the_first_ratio_that_fails():
    """This run in two stages has an R that dips again, so 1 + tolerance is met once more further out."""
    h = np.append(np.ones(100), np.full(3000, 1e-4))
    tolerance = 3.0
    ratio = theory.resolution_for_tolerance(h, tolerance)
    ratios = ratio * np.array([0.1, 0.5, 0.999, 1.001, 1.01])
    within = [theory.grid_guarantee(h, r).worst <= 1 + tolerance for r in ratios]
    assert within == [True, True, True, False, False]
    rho = np.geomspace(1, 1e5, 400)
    assert (np.diff(theory.misspecification_curve(h, rho)) < 0).any()


def test_too_small_costs_less_than_the_symmetric_law_where_a_later_suffix_is_best():
    """Under inverse-sqrt it pays to leave out the first steps, so the law (rho + 1/rho)/2 is only an upper bound."""
    assert theory.tuned_bound("inverse-sqrt", total_steps=10_000).start == 50
    curve = theory.misspecification_curve("inverse-sqrt", [0.1, 0.5], total_steps=10_000)
    np.testing.assert_allclose(curve, [4.7371, 1.2214], atol=5.1e-5)


def test_a_floor_loses_the_robustness():
    costs = [theory.misspecification_curve(s, 30.0, total_steps=10_000) for s in ("cosine", "cosine(floor=0.1)")]
    assert costs[1] > 2 * costs[0]


def test_transfer_ratio_is_the_quotient_of_the_tuned_learning_rates():
    args = {"total_steps": 5000}
    ratio = theory.transfer_ratio("constant", "cosine", **args)
    tuned = [theory.tuned_bound(s, **args).learning_rate for s in ("constant", "cosine")]
    assert ratio == pytest.approx(tuned[1] / tuned[0], rel=1e-15)
    assert ratio > 2
    assert ratio * theory.transfer_ratio("cosine", "constant", **args) == pytest.approx(1, rel=1e-14)
    assert theory.transfer_ratio("linear", multipliers("linear", 5000), **args) == 1.0
    assert theory.transfer_ratio([1.0, 1.0], [0.5, 0.5]) == pytest.approx(2)


def test_a_run_of_one_step():
    assert theory.tuned_bound([4.0]) == theory.TunedBound(start=0, learning_rate=0.25, bound=1.0)
    np.testing.assert_allclose(theory.misspecification_curve("cosine", [0.1, 1, 10], total_steps=1), [5.05, 1, 5.05])
    assert theory.grid_guarantee("linear", 100, total_steps=1).worst == pytest.approx(5.05)
    assert theory.resolution_for_tolerance("linear", 4.05, total_steps=1) == pytest.approx(100)


def test_a_run_of_two_steps():
    """h = (1, 1/2): S = (3/2, 1/2), q = (1/2 + 1/(1/2), 1/2)."""
    suffixes = theory.suffix_bounds("linear", total_steps=2)
    assert suffixes.step_sum.tolist() == [1.5, 0.5]
    assert suffixes.noise.tolist() == [2.5, 0.5]
    assert theory.tuned_bound("linear", total_steps=2).start == 1


@pytest.mark.parametrize(
    "h",
    [
        [1.0, 0.5, 0.25, 0.0],
        [1.0, 0.5, 0.25, 0.0, 0.0, 0.0],
        [1.0, 0.5, 0.25, 1e-20, 1e-25],
        [1.0, 0.5, 0.25, 1e-200, 5e-324],
    ],
)
def test_a_tail_of_zeros_or_of_rounding_is_no_candidate(h):
    short, long = theory.suffix_bounds([1.0, 0.5, 0.25]), theory.suffix_bounds(h)
    np.testing.assert_allclose(long.step_sum, np.append(short.step_sum, np.zeros(len(h) - 3)), rtol=1e-15)
    np.testing.assert_allclose(long.noise, np.append(short.noise, np.full(len(h) - 3, np.inf)), rtol=1e-15)
    rho = np.geomspace(1e-6, 1e6, 31)
    np.testing.assert_allclose(
        theory.misspecification_curve(h, rho), theory.misspecification_curve([1.0, 0.5, 0.25], rho), rtol=1e-13
    )


def test_annealing_to_exactly_zero_is_the_run_without_its_last_step():
    to_zero = 1 - np.arange(100) / 99
    assert theory.tuned_bound(to_zero).bound == pytest.approx(theory.tuned_bound("linear", total_steps=99).bound)
    rounded = np.cos(np.pi / 2 * np.arange(100) / 99) ** 2  # ends at 4e-33
    assert theory.tuned_bound(rounded).bound == pytest.approx(theory.tuned_bound("cosine", total_steps=99).bound)
    table = TableSchedule([1.0, 0.5, 0.0])
    assert theory.tuned_bound(table, total_steps=60).bound < 1


def test_steps_of_zero_before_and_inside_the_run():
    rho = np.geomspace(1e-3, 1e3, 13)
    np.testing.assert_allclose(
        theory.misspecification_curve([0.0, 0.0, 1.0, 0.5], rho), theory.misspecification_curve([1.0, 0.5], rho)
    )
    assert np.isfinite(theory.suffix_bounds([1.0, 0.0, 0.0, 1.0]).noise).all()


@pytest.mark.parametrize("h", [[1.0, 1e-10], [1e100] * 5, [1e-100] * 5, [1e100, 1.0, 1e-100], np.full(3, 1e99)])
def test_extreme_multipliers_stay_finite(h):
    tuned = theory.tuned_bound(h)
    assert 0 < tuned.learning_rate < np.inf
    curve = theory.misspecification_curve(h, [1e-300, 1e-9, 1.0, 1e9, 1e300])
    assert np.isfinite(curve).all()
    assert curve[2] == 1
    assert np.isfinite(theory.resolution_for_tolerance(h, 1e6))


def test_a_steep_polynomial_underflows_quietly():
    curve = theory.misspecification_curve("polynomial(100)", [1, 10, 100], total_steps=10_000)
    np.testing.assert_allclose(curve, np.array([1, 10, 100]) ** (1 / 201), rtol=0.02)


def test_a_schedule_its_spec_and_its_array_agree():
    schedule = parse_schedule("warmup(0.1)+linear")
    same = FunctionSchedule(schedule)
    values = {
        theory.tuned_bound(s, total_steps=50)
        for s in ("warmup(0.1)+linear", schedule, same, schedule(np.arange(50), 50), list(schedule(np.arange(50), 50)))
    }
    assert len(values) == 1


def test_results_are_frozen_and_the_input_is_left_alone():
    h = np.array([1.0, 0.5, 1e-200])
    suffixes = theory.suffix_bounds(h)
    assert h.tolist() == [1.0, 0.5, 1e-200]
    with pytest.raises(ValueError, match="read-only"):
        suffixes.noise[0] = 0
    with pytest.raises(dataclasses.FrozenInstanceError):
        theory.grid_guarantee(h, 2.0).worst = 1.0


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: theory.tuned_bound("cosine"), "total_steps is needed with the schedule cosine"),
        (lambda: theory.tuned_bound("cosin", total_steps=10), "unknown schedule 'cosin'"),
        (
            lambda: theory.tuned_bound("cosine", total_steps=0),
            "total_steps must be a whole number of at least 1, got 0",
        ),
        (lambda: theory.tuned_bound("cosine", total_steps=2.5), "total_steps must be a whole number"),
        (lambda: theory.tuned_bound([1.0, 1.0], total_steps=3), r"must have the shape \(3,\), got \(2,\)"),
        (lambda: theory.tuned_bound([[1.0, 1.0]]), r"shape \(T,\) with T >= 1, got \(1, 2\)"),
        (lambda: theory.tuned_bound([]), r"got \(0,\)"),
        (lambda: theory.tuned_bound(1.0), r"got \(\)"),
        (lambda: theory.tuned_bound([1.0, np.nan]), "must be finite and >= 0, got nan"),
        (lambda: theory.tuned_bound([1.0, np.inf]), "must be finite and >= 0, got inf"),
        (lambda: theory.tuned_bound([1.0, -0.5]), "must be finite and >= 0, got -0.5"),
        (lambda: theory.tuned_bound([0.0, 0.0]), "the largest multiplier must be in .* got 0.0"),
        (lambda: theory.tuned_bound([1e200]), "the largest multiplier must be in"),
        (lambda: theory.tuned_bound(None, total_steps=3), "shape|expected"),
        (lambda: theory.tuned_bound(lambda t: t, total_steps=3), "expected a spec, a schedule or a 1-D array"),
        (lambda: theory.tuned_bound([1.0], diameter=0.0), "diameter must be a finite number > 0, got 0.0"),
        (lambda: theory.last_iterate_bound([1.0], 1.0, gradient_bound=-1), "gradient_bound must be"),
        (lambda: theory.last_iterate_bound([1.0], [1.0, 0.0]), "learning_rate must be finite and > 0, got 0.0"),
        (lambda: theory.last_iterate_bound([1.0], "fast"), "learning_rate must be a number"),
        (lambda: theory.misspecification_curve([1.0], [np.nan]), "rho must be finite and > 0, got nan"),
        (lambda: theory.grid_guarantee([1.0], 0.5), "ratio must be a finite number >= 1, got 0.5"),
        (lambda: theory.grid_guarantee([1.0], np.inf), "ratio must be"),
        (lambda: theory.resolution_for_tolerance([1.0], 0), "max_suboptimality_increase must be a finite number > 0"),
        (lambda: theory.resolution_for_tolerance([1.0], np.nan), "max_suboptimality_increase must be"),
        (lambda: theory.transfer_ratio([1.0], [1.0, 1.0]), "same number of steps, got 1 and 2"),
        (lambda: theory.transfer_ratio("linear", [1.0, 1.0]), "total_steps is needed"),
        (lambda: theory.asymptotic_exponent([1.0, 0.5]), "expected a schedule"),
    ],
)
def test_errors_say_in_one_line_what_was_expected_and_what_came(call, message):
    with pytest.raises(ScheduleError, match=message) as caught:
        call()
    assert "\n" not in str(caught.value)


def test_a_schedule_of_the_wrong_shape_is_refused():
    class Short:
        degree = None

        def __call__(self, step, total_steps):
            return np.ones(3)

    with pytest.raises(ScheduleError, match=r"must have the shape \(5,\), got \(3,\)"):
        theory.tuned_bound(Short(), total_steps=5)


def test_a_million_steps_and_many_factors_need_no_table_of_both():
    h = np.random.default_rng(0).uniform(size=1_000_000)
    tracemalloc.start()
    theory.misspecification_curve(h, np.geomspace(0.01, 1000, 200))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 20 * h.nbytes


def test_theory_loads_no_scipy():
    code = "import sys; import robust_lr.theory; sys.exit('scipy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
