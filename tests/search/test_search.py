"""The learning-rate search: what somebody relies on who asks it, tells it, and believes what it says at its end."""

from __future__ import annotations

import itertools
import json
import math
import re

import numpy as np
import pytest

from robust_lr.exceptions import DataError, GridError, OptionError, ScheduleError
from robust_lr.schedules.closed_forms import TableSchedule
from robust_lr.search import LearningRateSearch, SearchOptions

TOLERANCE = 0.005


def parabola(best, bend=0.03, floor=0.3):
    return lambda lr: floor + bend * math.log(lr / best) ** 2


def with_cliff(loss, edge):
    return lambda lr: loss(lr) if lr < edge else math.inf


def tell(search, lr, loss):
    search.tell(lr, loss, status="ok" if math.isfinite(loss) else "diverged")


def run(search, loss, n=1, most=60):
    """Search to the end; return the result and the number of rounds."""
    rounds = 0
    while asked := search.ask(n):
        rounds += 1
        for lr in asked:
            tell(search, lr, loss(lr))
        assert search.result.n_trials < most
    assert search.done
    return search.result, rounds


def new_search(low=1e-3, high=0.1, *, tolerance=TOLERANCE, schedule=None, **options):
    return LearningRateSearch(low, high, tolerance=tolerance, schedule=schedule, options=SearchOptions(**options))


# --- finding the best, and stopping -----------------------------------------------------------------------------------


@pytest.mark.parametrize(("low", "high", "most"), [(1e-3, 0.1, 6), (1e-4, 1.0, 7), (1e-6, 100.0, 9)])
def test_a_smooth_valley_takes_few_trials_and_more_decades_few_more(low, high, most):
    for best in np.geomspace(3 * low, high / 3, 9):
        for bend in (0.0026, 0.01, 0.05):
            result, _ = run(new_search(low, high, noise=0.0), parabola(best, bend))
            assert result.n_trials <= most
            assert result.loss - 0.3 <= result.excess_bound <= TOLERANCE
            assert result.stop == "tolerance"


def test_two_decades_take_five_trials_on_average():
    bends = np.geomspace(0.0026, 0.052, 7)
    trials = [
        run(new_search(noise=0.0), parabola(best, bend))[0].n_trials
        for best in np.geomspace(1.6e-3, 0.063, 9)
        for bend in bends
    ]
    assert np.mean(trials) <= 5


@pytest.mark.parametrize("n", [1, 4])
def test_without_noise_one_repeat_shows_it_and_is_the_only_further_trial(n):
    for best in np.geomspace(4e-4, 0.3, 9):
        known, _ = run(new_search(1e-4, 1.0, noise=0.0), parabola(best), n=n)
        found, _ = run(new_search(1e-4, 1.0), parabola(best), n=n)
        assert found.n_trials - known.n_trials <= (1 if n == 1 else 2)
        assert len(found.history) - len({each.lr for each in found.history}) == 1
        assert (found.noise, found.stop) == (0.0, "tolerance")
        assert "the training seems to ignore its seed" in str(found)


def test_four_workers_need_two_rounds_in_the_median():
    rounds = [run(new_search(1e-4, 1.0), parabola(best), n=4)[1] for best in np.geomspace(4e-4, 0.3, 15)]
    assert np.median(rounds) <= 2


def test_the_first_trial_is_the_center_of_the_range_or_the_start():
    assert new_search().ask() == [0.01]
    assert new_search(start=0.02).ask() == [0.02]


def test_a_good_start_saves_the_look_at_a_wide_range():
    result, _ = run(new_search(1e-6, 100.0, start=0.02, noise=0.0), parabola(0.03))
    assert result.n_trials <= 5


def test_a_bad_start_walks_downhill_by_growing_steps():
    result, _ = run(new_search(1e-6, 1.0, start=1e-5), parabola(0.03))
    assert result.loss - 0.3 <= TOLERANCE
    assert result.n_trials <= 9


@pytest.mark.parametrize(
    ("options", "step"),
    [
        ({}, 2.0),
        ({"start_factor": 4.0}, 2.0),
        ({"start_factor": 1.1}, 1.2),
        ({"ratio": 3.0}, 3.0),
        ({"ratio": 3.0, "start_factor": 4.0}, 2.0),
    ],
)
def test_the_first_step_from_a_start_follows_its_spread(options, step):
    first, second = new_search(start=0.01, **options).ask(2)
    assert first / second == pytest.approx(step, rel=1e-3)


def test_a_search_from_a_start_goes_on_with_the_same_step_after_it_was_saved():
    for options in ({"start": 0.01}, {"start": 0.01, "start_factor": 1.5}, {"start": 0.01, "ratio": 3.0}):
        search = new_search(**options)
        twin = LearningRateSearch.from_dict(json.loads(json.dumps(search.to_dict())))
        assert twin.ask(2) == search.ask(2)
        assert twin.to_dict() == search.to_dict()


def test_a_good_start_with_a_small_spread_needs_a_trial_less_than_one_without():
    def mean_trials(**options):
        offs = (0.9, 0.95, 1.0, 1.05, 1.1)
        return np.mean([run(new_search(start=0.02, **options), parabola(0.02 * off))[0].n_trials for off in offs])

    assert mean_trials(start_factor=1.1) <= mean_trials(start_factor=4.0) - 1


def test_a_relative_tolerance_is_a_share_of_the_best_loss():
    result, _ = run(new_search(tolerance="10%"), parabola(0.02))
    assert result.tolerance == pytest.approx(0.1 * result.loss)
    assert result.excess_bound <= result.tolerance


def test_a_schedule_that_theory_finds_robust_has_a_wider_coarse_step():
    steps = [new_search(schedule=s).to_dict()["settings"]["ratio"] for s in ("constant", "polynomial(2)")]
    assert steps[0] == pytest.approx(4.0, rel=1e-3)
    assert steps[1] > 6
    assert new_search(schedule="cosine").result.schedule == "cosine"


def test_the_search_stops_when_its_trials_are_spent():
    search = new_search(max_trials=3)
    assert len(search.ask(10)) == 3
    assert search.ask() == []
    result, _ = run(new_search(max_trials=3), parabola(0.02, bend=0.5))
    assert (result.n_trials, result.stop, result.reason) == (3, "max_trials", "all 3 trials are used")
    assert result.excess_bound > TOLERANCE


def test_a_tolerance_too_fine_for_learning_rates_half_a_percent_apart_ends_by_the_resolution():
    result, _ = run(new_search(tolerance=1e-5), lambda lr: abs(math.log(lr / 0.0213)))
    assert result.stop == "resolution"
    assert result.excess_bound > 1e-5


def test_losses_that_are_all_equal_end_the_search_without_a_bound():
    result, _ = run(new_search(), lambda lr: 1.0)
    assert (result.n_trials, result.stop, result.excess_bound) == (3, "steps", None)
    assert result.bound_note == "every learning rate gave exactly the same result, as if the training ignored it"


# --- cliffs and edges -------------------------------------------------------------------------------------------------


def test_a_learning_rate_that_diverged_closes_the_range_above_it():
    result, _ = run(new_search(1e-4, 1.0), with_cliff(parabola(0.02), 0.05))
    diverged = [t.lr for t in result.history if t.status == "diverged"]
    assert result.loss - 0.3 <= result.excess_bound <= TOLERANCE
    assert result.cliff == min(diverged)
    assert all(later.lr < diverged[0] for later in result.history[result.history.index(_first_diverged(result)) + 1 :])


def _first_diverged(result):
    return next(t for t in result.history if t.status == "diverged")


def test_a_cliff_is_bisected_only_as_long_as_that_can_gain_the_tolerance():
    steep, flat = (
        run(new_search(), with_cliff(lambda lr, s=slope: 1 - s * math.log(lr), 0.03))[0] for slope in (0.1, 0.002)
    )
    assert flat.n_trials < steep.n_trials <= 14
    assert steep.excess_bound <= TOLERANCE
    assert flat.cliff > 1.5 * flat.lr


def test_when_the_best_is_the_upper_end_the_range_is_extended_unless_told_not_to():
    extended, _ = run(new_search(), parabola(0.7))
    assert extended.loss - 0.3 <= TOLERANCE
    assert extended.lr_range[1] > 0.1
    assert extended.edge is None
    kept, _ = run(new_search(extend=False), parabola(0.7))
    assert max(t.lr for t in kept.history) <= 0.1
    assert kept.edge == "upper"
    assert "beyond the upper end" in kept.bound_note


def test_when_the_best_is_the_lower_end_the_range_is_extended_downwards():
    result, _ = run(new_search(), parabola(2e-4))
    assert result.loss - 0.3 <= TOLERANCE
    assert result.lr_range[0] < 1e-3


def test_an_extension_is_no_wider_than_the_range():
    result, _ = run(new_search(), lambda lr: -math.log(lr))
    assert result.edge == "upper"
    assert max(t.lr for t in result.history) <= 0.1 * 100 * 1.001


def test_nothing_is_tried_past_a_learning_rate_that_diverged_when_the_range_is_extended():
    result, _ = run(new_search(), with_cliff(parabola(5.0, bend=0.005), 0.25))
    diverged = [t.lr for t in result.history if t.status == "diverged"]
    assert diverged == sorted(diverged, reverse=True)
    after = result.history[result.history.index(_first_diverged(result)) + 1 :]
    assert all(t.lr < diverged[0] for t in after)
    assert result.excess_bound <= TOLERANCE


def test_when_everything_diverges_the_search_says_so_and_has_no_learning_rate():
    result, _ = run(new_search(), lambda lr: math.inf)
    assert math.isnan(result.lr)
    assert (result.loss, result.excess_bound, result.good_interval) == (math.inf, None, None)
    assert result.stop == "diverged"
    assert min(t.lr for t in result.history) < 1e-3


def test_a_plateau_far_from_the_valley_is_no_doubt_and_its_bend_is_reported():
    def loss(lr):
        return 0.3 + 2 / (1 + (lr / 0.003) ** 2) + 0.02 * math.log(lr / 0.05) ** 2 * (lr > 0.05)

    result, _ = run(new_search(1e-7, 1.0), loss)
    assert result.assumption_violation is None
    assert "has one valley overall" in result.bound_note
    least = min(loss(lr) for lr in np.geomspace(1e-7, 1.0, 2001))
    assert result.loss - least <= result.excess_bound <= TOLERANCE


# --- doubt ------------------------------------------------------------------------------------------------------------


def two_valleys(first, second, difference, bend):
    return lambda lr: min(parabola(first, bend)(lr), parabola(second, bend, 0.3 + difference)(lr))


def test_a_second_valley_is_reported_the_bound_withdrawn_and_the_coarse_grid_tried():
    result, _ = run(new_search(1e-4, 1.0), two_valleys(1e-3, 0.1, 0.02, 0.04))
    assert "more than one valley" in result.assumption_violation
    assert result.excess_bound is None
    assert result.bound_note.startswith("the data contradict one convex valley: ")
    assert result.stop == "assumption-violation"
    xs = np.log(sorted([1e-4, *(t.lr for t in result.history), 1.0]))
    assert np.diff(xs).max() <= 2 * math.log(4)


def test_in_doubt_the_valley_of_the_best_is_still_searched():
    def loss(lr):
        return 0.3 + min(0.03 * math.log(lr / 1e-3) ** 2, 0.02 + 0.03 * math.log(lr / 0.4) ** 2)

    result, _ = run(new_search(1e-4, 1.0, extend=False), loss)
    assert result.stop == "assumption-violation"
    assert result.excess_bound is None
    assert result.loss <= 0.3 + TOLERANCE


def test_ups_and_downs_far_above_the_best_are_no_doubt():
    def loss(lr):
        valley = 0.3 + 0.03 * math.log(lr / 1e-3) ** 2
        return valley if lr < 1e-2 else 2.3 + 0.03 * math.sin(20 * math.log(lr))

    result, _ = run(new_search(1e-5, 1.0, extend=False), loss)
    assert result.assumption_violation is None
    assert result.loss - 0.3 <= result.excess_bound <= TOLERANCE


def test_when_everything_diverges_three_coarse_steps_below_the_range_are_tried():
    for n in (1, 4):
        result, _ = run(new_search(1e-4, 1.0), lambda lr: math.inf, n=n)
        assert result.stop == "diverged"
        assert result.lr_range[0] == pytest.approx(1e-4 / 4**3, rel=1e-3)
        assert min(tell.lr for tell in result.history) == result.lr_range[0]


@pytest.mark.parametrize("decades", [2, 4])
def test_two_valleys_are_doubted_in_nine_of_ten_cases(decades):
    rng = np.random.default_rng(decades)
    low, high = 10.0 ** (-decades / 2), 10.0 ** (decades / 2)
    doubted, n = 0, 0
    while n < 100:
        first, second = np.sort(rng.uniform(math.log(low) * 0.9, math.log(high) * 0.9, 2))
        bend, difference = np.exp(rng.uniform(math.log(0.0026), math.log(0.052))), rng.uniform(-0.1, 0.1)
        loss = two_valleys(math.exp(first), math.exp(second), difference, bend)
        top = max(loss(math.exp(x)) for x in np.linspace(first, second, 101))
        if second - first < 0.4 * math.log(high / low) or top < 0.35 + max(difference, 0.0):
            continue
        n += 1
        doubted += run(new_search(low, high, extend=False), loss)[0].assumption_violation is not None
    assert doubted >= 90


def test_a_divergence_below_a_learning_rate_that_works_is_a_doubt():
    result, _ = run(new_search(), lambda lr: math.inf if lr < 0.005 else parabola(0.02)(lr))
    assert "diverged, but the larger" in result.assumption_violation
    assert result.excess_bound is None


def test_a_wiggle_below_the_tolerance_is_no_second_valley():
    rng = np.random.default_rng(0)
    wiggles = {}
    for best in np.geomspace(3e-3, 0.05, 12):
        loss = lambda lr, best=best: parabola(best)(lr) + wiggles.setdefault(lr, 2e-4 * rng.normal())  # noqa: E731
        result, _ = run(new_search(), loss)
        assert result.assumption_violation is None
        assert parabola(best)(result.lr) - 0.3 <= TOLERANCE
        assert result.n_trials <= 12


# --- noise ------------------------------------------------------------------------------------------------------------


def noisy(loss, size, seed):
    rng = np.random.default_rng(seed)
    return lambda lr: loss(lr) + size * rng.normal()


def test_with_little_noise_the_bound_counts_it_and_still_closes():
    for seed in range(10):
        result, _ = run(new_search(noise=3e-4), noisy(parabola(0.02), 3e-4, seed))
        assert result.stop == "tolerance"
        assert "trials have a noise of 0.0003" in result.bound_note
        assert parabola(0.02)(result.lr) - 0.3 <= result.excess_bound


def test_noise_above_the_tolerance_ends_a_search_as_noise_limited():
    result, _ = run(new_search(noise=0.05), noisy(parabola(0.02, bend=0.05), 0.05, 0))
    assert result.stop == "noise-limited"
    assert result.n_trials <= 8


def test_another_seed_is_asked_for_where_it_helps_more_than_another_learning_rate():
    repeats = 0
    for seed in range(3):
        result, _ = run(new_search(noise=0.0025, noise_trials=30), noisy(parabola(0.02), 0.0025, seed))
        repeats += result.n_trials - len({t.lr for t in result.history})
    assert repeats > 0


def test_noise_that_nobody_told_is_measured_before_a_bound_is_claimed():
    for size in (0.0005, 0.005):
        for seed in range(5):
            result, _ = run(new_search(1e-4, 1.0), noisy(parabola(0.02), size, seed))
            assert result.noise > 0
            assert "95% intervals" in result.bound_note
            assert parabola(0.02)(result.lr) - 0.3 <= result.excess_bound <= 20 * size + TOLERANCE
            assert f"Seeds differ by about {result.noise:.2g} (standard deviation)." in str(result)


@pytest.mark.parametrize("noise", [0.02, 10.0, 1e100, 1e308])
def test_however_large_the_noise_is_a_search_ends_within_few_trials_and_with_a_bound(noise):
    result, _ = run(new_search(1e-4, 1.0, noise=noise), parabola(0.02))
    assert (result.stop, result.excess_bound < math.inf) == ("noise-limited", True)
    assert result.n_trials <= 5


def test_noise_that_two_repeats_understate_ends_a_search_all_the_same():
    search, first = new_search(1e-4, 1.0), {}

    def loss(lr):  # alike at the first two repeats, and nowhere else
        seen = first.setdefault(lr, len(first))
        return parabola(0.02)(lr) + 0.05 * math.sin(12.9898 * seen) + 1e-3 * len(search.result.history)

    result, _ = run(search, loss, most=40)
    assert result.stop is not None


def test_a_search_that_noise_limits_says_what_to_run_for_more_and_goes_on_if_told():
    result, _ = run(new_search(noise=0.004), noisy(parabola(0.02), 0.004, 0))
    assert result.stop == "noise-limited"
    assert re.search(r"seeds differ by about 0\.004; it would take (?:about \d+|over 1000) more trials", result.reason)
    assert "return the mean over several seeds from each training, or accept a tolerance of " in str(result)
    further, _ = run(new_search(noise=0.004, noise_trials=1000, max_trials=30), noisy(parabola(0.02), 0.004, 0))
    assert further.excess_bound < result.excess_bound
    assert further.n_trials > result.n_trials


def test_the_best_learning_rate_lies_in_its_interval():
    for best in np.geomspace(2e-4, 0.5, 13):
        result, _ = run(new_search(1e-4, 1.0, extend=False), parabola(best))
        low, high = result.best_interval
        assert low * (1 - 1e-3) <= best <= high * (1 + 1e-3)
        assert low <= result.lr <= high
        where = f"between {low:.4g} and {high:.4g}" if f"{low:.4g}" != f"{high:.4g}" else f"at {low:.4g}"
        assert f"The true optimum lies {where}; the best one tried is {result.lr:.4g}." in str(result)


@pytest.mark.parametrize("n", [40, 400, 10_000])
def test_a_metric_that_counts_has_no_bound(n):
    for best in np.geomspace(1e-3, 0.1, 5):
        result, _ = run(new_search(1e-4, 1.0), lambda lr, best=best: round(n * parabola(best)(lr)) / n)
        assert (result.stop, result.excess_bound, result.best_interval) == ("steps", None, None) or n == 10_000
        assert "in steps" in result.bound_note or n == 10_000


def test_float32_accuracies_are_seen_as_steps_and_losses_are_not():
    accuracy, _ = run(new_search(1e-4, 1.0), lambda lr: float(np.float32(round(150 * parabola(0.02)(lr)) / 150)))
    loss, _ = run(new_search(1e-4, 1.0), lambda lr: float(np.float32(parabola(0.02)(lr))))
    assert (accuracy.stop, loss.stop) == ("steps", "tolerance")


def test_whoever_knows_that_a_metric_moves_in_steps_may_say_so_or_deny_it():
    told, _ = run(new_search(stepwise=True), parabola(0.02))
    assert (told.stop, told.bound_note) == ("steps", "the metric moves in steps")
    denied, _ = run(new_search(stepwise=False), lambda lr: round(400 * parabola(0.02)(lr)) / 400)
    assert denied.excess_bound is not None


def test_several_tells_at_one_learning_rate_are_averaged_and_tell_the_noise():
    search = new_search()
    (lr,) = search.ask()
    for loss in (0.50, 0.52, 0.54):
        search.tell(lr, loss)
    assert search.result.loss == pytest.approx(0.52)
    assert search.result.n_trials == 3


def test_a_learning_rate_that_diverged_with_one_seed_counts_as_diverged():
    search = new_search()
    (lr,) = search.ask()
    search.tell(lr, 0.5)
    search.tell(lr, math.nan, status="diverged")
    assert math.isnan(search.result.lr)


# --- ask, tell, forget ------------------------------------------------------------------------------------------------


def test_asking_again_before_telling_never_repeats_a_learning_rate():
    search = new_search(1e-4, 1.0)
    asked = search.ask(3) + search.ask() + search.ask(4)
    assert len(set(asked)) == len(asked) == 8
    assert search.in_flight == tuple(asked)


def test_the_order_of_the_tells_makes_no_difference():
    loss = parabola(0.03)
    outcomes = set()
    for order in itertools.permutations(range(4)):
        search = new_search(1e-4, 1.0)
        asked = search.ask(4)
        for i in order:
            tell(search, asked[i], loss(asked[i]))
        result = search.result
        outcomes.add((tuple(search.ask(2)), result.lr, result.excess_bound))
    assert len(outcomes) == 1


def test_a_forgotten_learning_rate_is_asked_for_again_and_may_still_be_told():
    search = new_search()
    (lr,) = search.ask()
    search.forget(lr)
    assert search.in_flight == ()
    assert search.ask() == [lr]
    search.forget(lr)
    search.tell(lr, 0.4)
    assert search.result.loss == 0.4
    with pytest.raises(DataError, match="not in flight"):
        search.forget(lr)


def test_learning_rates_of_ones_own_are_used():
    loss = parabola(0.03)
    search = new_search(1e-4, 1.0)
    for lr in (0.0025, 0.01, 0.03, 0.1):
        search.tell(lr, loss(lr), external=True)
    result, _ = run(search, loss)
    assert [t.external for t in result.history[:4]] == [True] * 4
    alone, _ = run(new_search(1e-4, 1.0), loss)
    assert result.n_trials - 4 < alone.n_trials


def test_a_learning_rate_that_went_through_a_logarithm_is_still_known():
    search = new_search()
    (lr,) = search.ask()
    search.tell(math.exp(math.log(lr)) * (1 + 1e-12), 0.5)
    assert search.result.lr == lr


def test_a_search_that_was_stopped_after_any_trial_goes_on_the_same():
    loss = with_cliff(parabola(0.03), 0.2)
    search, undisturbed = new_search(1e-4, 1.0), new_search(1e-4, 1.0)
    expected, _ = run(undisturbed, loss)
    while asked := search.ask(1):
        search = LearningRateSearch.from_dict(json.loads(json.dumps(search.to_dict(), allow_nan=False)))
        assert search.in_flight == tuple(asked)
        tell(search, asked[0], loss(asked[0]))
        search = LearningRateSearch.from_dict(json.loads(json.dumps(search.to_dict(), allow_nan=False)))
    assert search.result == expected


# --- trials that fail -------------------------------------------------------------------------------------------------


def failing(search, loss, fails, n=1):
    """Search to the end where the trials at some learning rates are given up; return the result and what was asked."""
    everything = []
    while asked := search.ask(n):
        everything += asked
        for lr in asked:
            tell(search, lr, loss(lr)) if not fails(lr) else search.tell(lr, status="failed")
    assert search.done
    return search.result, everything


@pytest.mark.parametrize("n", [1, 3])
def test_a_search_goes_around_a_learning_rate_that_failed(n):
    result, asked = failing(new_search(1e-4, 1.0), parabola(0.02), lambda lr: lr == 0.01, n)
    assert asked.count(0.01) == 1
    assert (result.stop, result.failed) == ("tolerance", (0.01,))
    assert result.loss - 0.3 <= result.excess_bound <= TOLERANCE
    assert result.n_trials == len(asked) - 1 == len(result.history) - 1
    assert [(each.status, math.isnan(each.loss)) for each in result.history if each.lr == 0.01] == [("failed", True)]
    assert "Trials at lr = 0.01 failed; the search left it out." in str(result)


def test_three_failures_end_a_search_and_are_named():
    result, asked = failing(new_search(1e-4, 1.0), parabola(0.02), lambda lr: True)
    assert (result.stop, len(asked), result.n_trials) == ("failures", 3, 0)
    assert result.reason == "trials at lr = 0.0004642, 0.01 and 0.2154 failed; 3 failures end a search"
    assert math.isnan(result.lr)


def test_a_failure_that_leaves_a_place_unseen_is_no_hindrance_once_the_bound_is_small():
    result, _ = failing(new_search(1e-3, 1.0), parabola(0.02), lambda lr: lr > 0.3)
    assert result.stop == "tolerance"
    assert result.excess_bound <= TOLERANCE
    assert len(result.failed) == 1


def test_failures_that_leave_nothing_to_try_end_a_search():
    result, _ = failing(new_search(1e-3, 0.1, extend=False), with_cliff(parabola(0.02), 0.03), lambda lr: lr == 0.01)
    assert result.stop in ("tolerance", "failures")
    search = new_search(1e-3, 0.1, max_trials=2)
    result, asked = failing(search, parabola(0.02), lambda lr: lr == 0.01)
    assert (len(asked), result.stop) == (2, "failures")
    assert result.reason == "trials at lr = 0.01 failed, and max_trials = 2 allows no more"


def test_a_search_whose_further_seeds_fail_ends_and_keeps_its_best():
    search, seen = new_search(noise=0.001), set()
    result, _ = failing(search, parabola(0.02), lambda lr: lr in seen or bool(seen.add(lr)))
    assert result.stop in ("failures", "tolerance", "noise-limited")
    assert result.loss < 0.31


def test_while_others_run_a_failure_is_not_the_end():
    search = new_search(1e-3, 0.1, max_trials=2)
    first, second = search.ask(2)
    search.tell(first, status="failed")
    assert not search.done
    assert search.ask() == []
    search.tell(second, 0.4)
    assert search.result.stop == "failures"


def test_a_result_that_comes_later_replaces_a_failure():
    search = new_search()
    (lr,) = search.ask()
    search.tell(lr, status="failed")
    assert search.result.failed == (lr,)
    assert search.in_flight == ()
    search.tell(lr, 0.4)
    assert search.result.failed == ()
    assert [each.status for each in search.result.history] == ["ok"]


def test_a_state_with_a_failure_goes_on_the_same():
    search = new_search(1e-4, 1.0)
    search.tell(search.ask()[0], status="failed")
    state = json.loads(json.dumps(search.to_dict(), allow_nan=False))
    twin = LearningRateSearch.from_dict(state)
    assert twin.to_dict() == search.to_dict()
    assert twin.ask(3) == search.ask(3)
    assert twin.result == search.result


def test_a_state_that_version_0_1_0_wrote_goes_on():
    state = {
        "format": 1,
        "settings": {
            "lr_min": 0.0001, "lr_max": 1.0, "tolerance": 0.01, "ratio": 4.839, "start": None, "max_trials": 9,
            "relative": True, "extend": False, "noise": None,
        },
        "schedule": "cosine",
        "tells": [
            {"lr": 0.01, "loss": 0.314, "status": "ok", "foreign": False},
            {"lr": 0.2154, "loss": None, "status": "diverged", "foreign": False},
            {"lr": 0.03, "loss": 0.31, "status": "ok", "foreign": True},
        ],
        "in_flight": [0.0004642],
        "asked": [0.0004642, 0.01, 0.2154],
    }  # fmt: skip
    search = LearningRateSearch.from_dict(state)
    later = {"noise_trials": 6, "stepwise": None, "start_factor": None}  # options of later versions
    assert search.to_dict() == state | {"settings": state["settings"] | later}
    assert search.in_flight == (0.0004642,)
    assert search.result.tolerance == pytest.approx(0.0031)
    assert [each.external for each in search.result.history] == [False, False, True]
    assert search.result.cliff == 0.2154
    search.tell(0.0004642, parabola(0.02)(0.0004642))
    result, _ = run(search, with_cliff(parabola(0.02), 0.1))
    assert result.n_trials <= 9


# --- the result -------------------------------------------------------------------------------------------------------


def test_a_result_may_be_asked_for_before_anything_is_known():
    result = new_search().result
    assert math.isnan(result.lr)
    assert (result.excess_bound, result.n_trials, result.history) == (None, 0, ())
    assert (result.stop, result.reason) == (None, "")


def test_every_learning_rate_in_the_good_interval_is_within_the_tolerance_of_the_best():
    loss = with_cliff(parabola(0.02), 0.06)
    result, _ = run(new_search(1e-4, 1.0), loss)
    low, high = result.good_interval
    assert low < result.lr < high
    assert all(loss(lr) <= result.loss + TOLERANCE + 1e-12 for lr in np.geomspace(low, high, 101))


def test_a_result_prints_its_findings_and_what_was_tried():
    result, _ = run(new_search(), with_cliff(parabola(0.02), 0.03))
    first, *rest = str(result).splitlines()
    assert first == f"Best learning rate: {result.lr:.4g} (loss {result.loss:.6g}, {result.n_trials} trials)"
    assert f"Training breaks at {result.cliff:.4g}, {result.cliff / result.lr:.2g} times the best." in rest
    table = [line.split() for line in rest[rest.index("") + 2 :]]
    assert [float(row[0]) for row in table] == sorted({each.lr for each in result.history})
    assert [row[0] for row in table if row[-1] == "best"] == [f"{result.lr:.4g}"]
    assert "diverged" in [row[1] for row in table]
    assert "\n" not in repr(result)
    assert repr(result).startswith(f"SearchResult(lr={result.lr!r}, ")
    assert result._repr_html_() == f"<pre>{result}</pre>"


def test_a_result_cannot_be_changed():
    with pytest.raises(AttributeError):
        new_search().result.lr = 1.0


# --- errors at the door -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("low", "high", "options", "error", "words"),
    [
        (0.1, 0.1, {}, GridError, "lr_min must be below lr_max, got 0.1 and 0.1"),
        (-1.0, 0.1, {}, GridError, "lr_min must be a finite number > 0, got -1.0"),
        (1e-3, math.inf, {}, GridError, "lr_max must be a finite number > 0, got inf"),
        (
            1e-3,
            0.1,
            {"tolerance": math.nan},
            OptionError,
            "tolerance must be a positive number such as 0.003, or a share such as '1%', got nan",
        ),
        (
            1e-3,
            0.1,
            {"tolerance": 0.0},
            OptionError,
            "tolerance must be a positive number such as 0.003, or a share such as '1%', got 0.0",
        ),
        (1e-3, 0.1, {"ratio": 1.0}, GridError, "ratio must be a finite number >= 1.05, got 1.0"),
        (1e-3, 0.1, {"start": 1.0}, GridError, "start must be a finite number >= 0.001 and <= 0.1, got 1.0"),
        (1e-3, 0.1, {"start": 0.01, "start_factor": 1}, GridError, "start_factor must be a finite number > 1, got 1"),
        (1e-3, 0.1, {"start_factor": 2}, OptionError, "start_factor is the spread of a start: give start too"),
        (1e-3, 0.1, {"max_trials": 0}, OptionError, "max_trials must be a whole number of at least 1, got 0"),
        (1e-3, 0.1, {"noise": -1.0}, OptionError, "noise must be a finite number >= 0, got -1.0"),
        (1e-3, 0.1, {"schedule": "cosin"}, ScheduleError, "unknown schedule 'cosin'"),
    ],
)
def test_options_out_of_range_are_refused_in_one_line(low, high, options, error, words):
    with pytest.raises(error) as caught:
        new_search(low, high, **options)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_tells_that_cannot_be_are_refused_in_one_line():
    search = new_search()
    (lr,) = search.ask()
    with pytest.raises(DataError, match=r"lr=0.5 was never asked for; tell\(..., external=True\)"):
        search.tell(0.5, 0.1)
    with pytest.raises(
        DataError,
        match="loss must be a finite number, got inf; tell a trial without one as status='diverged' or 'failed'",
    ):
        search.tell(lr, math.inf)
    with pytest.raises(DataError, match="loss must be a finite number, got nan"):
        search.tell(lr, math.nan)
    with pytest.raises(DataError, match="status must be 'ok', 'diverged' or 'failed', got 'lost'"):
        search.tell(lr, 0.1, status="lost")
    with pytest.raises(DataError, match="lr must be a finite number > 0, got -1"):
        search.tell(-1, 0.1, external=True)
    with pytest.raises(OptionError, match="n must be a whole number of at least 1, got 0"):
        search.ask(0)
    assert search.in_flight == (lr,)


@pytest.mark.parametrize("state", [{}, None, {"format": 99}, {"format": 1}, {"format": 1, "settings": {}}])
def test_a_state_that_is_none_is_refused(state):
    with pytest.raises(DataError, match="state of"):
        LearningRateSearch.from_dict(state)


@pytest.mark.parametrize(
    ("low", "high", "options", "error", "words"),
    [
        (1e-3, 1e308, {}, GridError, "lr_max must be from 1e-300 to 1e+300, got 1e+308"),
        (1e-320, 0.1, {}, GridError, "lr_min must be from 1e-300 to 1e+300, got 1e-320"),
        (1.0, 1.005, {}, GridError, "lr_max must be at least 1.01 times lr_min, got 1.005 and 1.0"),
        (1e-3, 0.1, {"ratio": 1.01}, GridError, "ratio must be a finite number >= 1.05, got 1.01"),
        (
            1e-3,
            0.1,
            {"tolerance": "1 percent"},
            OptionError,
            "tolerance must be a positive number such as 0.003, or a share such as '1%', got '1 percent'",
        ),
        (1e-3, 0.1, {"extend": "x"}, OptionError, "extend must be True or False, got 'x'"),
    ],
)
def test_options_that_no_search_can_work_with_are_refused_in_one_line(low, high, options, error, words):
    with pytest.raises(error, match=f"^{re.escape(words)}$"):
        new_search(low, high, **options)


def test_a_learning_rate_too_large_for_a_float_is_refused_in_one_line():
    with pytest.raises(GridError, match=r"^lr_max must be a finite number > 0, got a number too large for a float$"):
        new_search(1e-3, 10**400)


def test_the_narrowest_range_and_the_finest_ratio_end():
    result, _ = run(new_search(1.0, 1.01, ratio=1.05, extend=False), parabola(1.005))
    assert 1.0 <= result.lr <= 1.01


def test_what_is_no_loss_and_no_learning_rate_is_refused_in_one_line():
    search = new_search()
    (lr,) = search.ask()
    with pytest.raises(
        DataError,
        match=r"^loss must be a finite number, got True; tell a trial without one as status='diverged' or 'failed'$",
    ):
        search.tell(lr, True)
    with pytest.raises(DataError, match=r"^loss must be a finite number, got a number too large for a float; tell"):
        search.tell(lr, 10**400)
    with pytest.raises(DataError, match=r"^lr must be from 1e-300 to 1e\+300, got 1e\+308$"):
        search.tell(1e308, 0.1, external=True)
    with pytest.raises(DataError, match=r"^external must be True or False, got 'no'$"):
        search.tell(lr, 0.1, external="no")
    assert search.in_flight == (lr,)
    assert search.result.n_trials == 0


def test_forgetting_what_is_not_in_flight_says_what_is():
    search = new_search()
    with pytest.raises(DataError, match=r"^lr=0.5 is not in flight; nothing is$"):
        search.forget(0.5)
    search.ask()
    with pytest.raises(DataError, match=r"^lr=0.5 is not in flight; in flight are \[0.01\]$"):
        search.forget(0.5)


def test_a_result_of_ones_own_leaves_the_trial_in_flight_that_runs_at_its_learning_rate():
    loss, search = parabola(0.03), new_search(1e-4, 1.0)
    lr, other = search.ask(2)
    search.tell(lr, loss(lr), external=True)
    assert search.in_flight == (lr, other)
    assert lr not in search.ask(2)
    search.tell(lr, loss(lr))
    assert lr not in search.in_flight
    assert [told.external for told in search.result.history] == [True, False]


@pytest.mark.parametrize(
    "damage",
    [
        {"in_flight": [math.nan]},
        {"in_flight": [-1.0]},
        {"in_flight": ["x"]},
        {"in_flight": [0.5]},
        {"asked": [0.0]},
        {"asked": None},
        {"schedule": 3},
        {"tells": [{"lr": 0.01, "loss": 10**400, "status": "ok", "foreign": True}]},
        {"tells": [{"lr": 0.01, "loss": 0.3, "status": "ok", "foreign": "no"}]},
    ],
)
def test_a_damaged_state_is_refused_in_one_line(damage):
    search = new_search()
    search.ask(2)
    with pytest.raises(DataError, match=r"^the state of this LearningRateSearch is damaged: .+$"):
        LearningRateSearch.from_dict(search.to_dict() | damage)


def test_a_search_under_a_schedule_that_no_spec_describes_goes_on():
    search = new_search(schedule=TableSchedule([1.0, 0.5, 0.1]))
    search.ask()
    assert LearningRateSearch.from_dict(search.to_dict()).result.schedule == search.result.schedule


# --- losses that are hard to read -------------------------------------------------------------------------------------


def test_losses_that_explode_without_an_overflow_leave_the_bound_true():
    """Gradient descent on least squares: sum of l (1 - lr l)^(2 T), up to 1e36 before it overflows."""
    for seed in range(12):
        curvatures = 10 ** np.random.default_rng(seed).uniform(-3, 0, size=6)

        def loss(lr, curvatures=curvatures):
            with np.errstate(over="ignore"):
                return float((curvatures * np.abs(1 - lr * curvatures) ** 100).sum())

        result, _ = run(new_search(1e-2, 1e3, tolerance=0.001, extend=False), loss)
        assert result.stop == "tolerance"
        assert result.loss - min(map(loss, np.geomspace(1e-2, 1e3, 5001))) <= result.excess_bound <= 0.001
        assert result.n_trials <= 15


@pytest.mark.parametrize("extend", [False, True])
def test_a_loss_that_falls_ever_faster_up_to_the_end_of_the_range_is_not_chased(extend):
    result, _ = run(new_search(1e-4, 0.1, extend=extend), lambda lr: 1 - lr)
    assert (result.stop, result.edge) == ("edge", "upper")
    assert result.reason == "the loss still falls at the upper end of the range: widen it"
    assert result.lr == result.lr_range[1]
    assert result.n_trials <= 20


def test_a_best_at_the_end_of_the_range_is_said():
    result, _ = run(new_search(1e-4, 0.1, extend=False), parabola(1.0))
    assert result.stop == "tolerance"
    assert result.reason.endswith("; the best lies on its upper end")


@pytest.mark.parametrize(("lr", "loss"), [(1e3, math.nan), (1e3, 3.0), (10.0, math.nan), (1e-6, 3.0), (1e-6, math.nan)])
def test_what_is_known_from_outside_the_range_does_not_lead_the_search_out_of_it(lr, loss):
    search = new_search(extend=False)
    search.tell(lr, loss, status="ok" if math.isfinite(loss) else "diverged", external=True)
    result, _ = run(search, parabola(5.0))
    assert all(1e-3 <= told.lr <= 0.1 for told in result.history if not told.external)
    assert result.lr_range == (1e-3, 0.1)
    assert result.n_trials >= 4


def test_what_is_known_from_far_outside_does_not_lead_an_extension_further_than_the_range_is_wide():
    search = new_search()
    search.tell(1e6, math.nan, status="diverged", external=True)
    result, _ = run(search, parabola(1e4))
    assert result.lr_range[1] <= 10.0 * (1 + 1e-9)


def test_a_doubt_that_was_noise_is_cleared_by_a_second_seed():
    rng, seen = np.random.default_rng(0), []

    def loss(lr):
        noise = 0.02 * rng.standard_normal()
        seen.append(lr)
        return 0.3 + 0.01 * math.log(lr / 0.01) ** 2 + noise

    for _ in range(8):
        result, _ = run(new_search(1e-4, 1.0, extend=False), loss)
        assert result.assumption_violation is None or len(seen) > len(set(seen))
        assert result.stop in ("tolerance", "noise-limited", "resolution")
        seen.clear()


def test_a_seed_that_diverged_is_told_from_a_learning_rate_that_did():
    search = new_search(extend=False)
    for lr, loss in [(0.005, 0.36), (0.02, 0.3), (0.02, 0.3), (0.08, 0.36)]:
        search.tell(lr, loss, external=True)
    search.tell(0.02, math.nan, status="diverged", external=True)
    assert search.result.assumption_violation == "lr = 0.02 diverged in 1 of 3 trials, but the larger lr = 0.08 did not"


@pytest.mark.parametrize("floor", [1e-3, 1e-5, 0.0])
def test_a_share_of_a_loss_near_zero_ends_within_few_trials(floor):
    result, _ = run(new_search(1e-4, 1.0, tolerance="1%"), parabola(0.0213, floor=floor))
    assert result.n_trials <= 12
    assert result.stop == "tolerance"
    assert result.tolerance >= 1e-6


def test_a_tolerance_far_below_what_learning_rates_can_show_ends_within_few_trials():
    for tolerance in (1e-10, 1e-100, 1e-300):
        result, _ = run(new_search(1e-4, 1.0, tolerance=tolerance), parabola(0.02))
        assert result.n_trials <= 15
        assert result.stop == "resolution"
        assert result.loss <= 0.3 + 1e-5


def test_results_beyond_max_trials_are_counted_in_the_reason():
    search = new_search(max_trials=2)
    for lr in (0.002, 0.01, 0.05):
        search.tell(lr, parabola(0.01)(lr), external=True)
    assert search.result.reason == "all 2 trials are used (3 results are known)"


@pytest.mark.parametrize("n_told", [0, 3, 5, 7])
@pytest.mark.parametrize("noise", [None, 0.0, 0.01])
def test_however_many_are_asked_for_at_once_only_useful_ones_come_and_never_twice(n_told, noise):
    search = new_search(1e-4, 1.0, tolerance=1e-6, noise=noise)
    for _ in range(n_told):
        for lr in search.ask():
            tell(search, lr, parabola(0.02)(lr))
    asked = search.ask(1000)
    lrs = set(asked)
    assert len(asked) == (1000 if n_told == 0 else len(lrs)) or noise  # with noise, a second seed is a trial too
    assert n_told == 0 or len(asked) <= 30


@pytest.mark.parametrize("tolerance", [1e-6, 1e-10, 1e-100, 1e-300, "1%", "0.0000001%"])
@pytest.mark.parametrize("floor", [0.0, 0.3])
def test_no_tolerance_is_too_small_for_a_search_to_end(tolerance, floor):
    shapes = (
        parabola(0.02, floor=floor),
        lambda lr: floor + 0.03 * abs(math.log(lr / 0.02)),
        lambda lr: floor + lr**-0.6 * 1e-2 + 0.1 * lr**2,
    )
    for loss in shapes:
        result, _ = run(new_search(1e-4, 1.0, tolerance=tolerance), loss)
        assert result.n_trials <= 35


@pytest.mark.parametrize("noise", [1.0, 1e10, 1e100, 1e308])
def test_noise_far_above_the_tolerance_ends_a_search_after_a_few_trials(noise):
    result, _ = run(new_search(1e-4, 1.0, noise=noise), parabola(0.02))
    assert (result.stop, result.n_trials <= 12) == ("noise-limited", True)


@pytest.mark.parametrize("tolerance", [0.05, "10%"])
def test_where_the_range_begins_just_below_a_cliff_the_search_goes_down(tolerance):
    def train(lr):
        return 0.4 + 0.3 * math.log10(lr / 0.05) ** 2 if lr < 0.8 else 270_000.0

    search = LearningRateSearch(0.3, 10, tolerance=tolerance)
    while search.result.stop is None:
        for lr in search.ask(1):
            search.tell(lr, status="diverged") if lr > 1.5 else search.tell(lr, train(lr))
    result = search.result
    assert result.stop == "tolerance" and result.excess_bound <= result.tolerance < 0.1
    assert result.loss <= 0.4 + result.tolerance and result.lr < 0.2
