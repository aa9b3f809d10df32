"""Loss against learning rate: the best, the edges, and cliffs told apart from growth."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from robust_lr import SweepResult, learning_rate_profile
from robust_lr.exceptions import InsufficientDataError

INF, NAN = math.inf, math.nan

# Real runs of a 124M language model, cosine, 50000 steps (arXiv:2501.18965): a cliff at 5e-3.
LLAMA_LRS = [1e-4, 5e-4, 1e-3, 2e-3, 5e-3]
LLAMA_COSINE = [3.13406, 2.98243, 2.96353, 2.95337, 7.58503]
LLAMA_CONSTANT = [3.13044, 3.11211, 3.14055, 3.19386]
# Softmax regression on the digits, constant schedule, ratio 2, means over 5 seeds: noise-limited growth, no cliff.
DIGITS_CONSTANT = [
    1.0375, 0.6871, 0.4688, 0.3524, 0.2956, 0.2721, 0.2653, 0.2656, 0.2699, 0.281, 0.3142, 0.4902, 1.4884, 5.0822,
    13.2826, 55.7297,
]  # fmt: skip


def profile_of(loss, lrs=None):
    loss = np.asarray(loss, float)
    loss = loss[:, None] if loss.ndim == 1 else loss
    lrs = 2.0 ** np.arange(loss.shape[0]) if lrs is None else lrs
    return learning_rate_profile(SweepResult(("cosine",), lrs, range(loss.shape[1]), loss[None]), "cosine")


def test_the_language_model_has_a_cliff_at_the_highest_learning_rate():
    profile = profile_of(LLAMA_COSINE, LLAMA_LRS)
    assert (profile.best_lr, profile.best_loss, profile.edge) == (2e-3, 2.95337, None)
    assert (profile.before_cliff, profile.cliff) == (2e-3, 5e-3)


def test_a_language_model_under_a_constant_schedule_only_gets_worse():
    profile = profile_of(LLAMA_CONSTANT, LLAMA_LRS[:4])
    assert (profile.best_lr, profile.cliff) == (5e-4, None)


@pytest.mark.parametrize("noise", [0.0, 0.001])
def test_the_digits_under_a_constant_schedule_have_no_cliff_however_high(noise):
    seeds = noise * np.random.default_rng(0).normal(size=(16, 5))
    profile = profile_of(np.array(DIGITS_CONSTANT)[:, None] * (1 + seeds), 2.0 ** np.arange(-7, 9))
    assert profile.best_lr in (0.5, 1.0)
    assert profile.cliff is None


@pytest.mark.parametrize("ratio", [2.0, 4.0])
def test_growth_of_the_excess_with_the_square_of_the_learning_rate_is_no_cliff(ratio):
    rho = ratio ** np.arange(-4.0, 5.0)
    loss = 1 + 0.01 * (rho**2 - 1) * (rho > 1) + 0.02 * (1 / rho - 1) * (rho < 1)
    assert profile_of(loss, rho).cliff is None


@pytest.mark.parametrize("chance", [2.3026, 10.0, 1e12])
def test_a_loss_that_jumps_to_chance_is_a_cliff(chance):
    profile = profile_of([1.2, 0.9, 0.75, 0.7, 0.71, 0.72, chance, chance])
    assert (profile.before_cliff, profile.cliff) == (32.0, 64.0)


def test_a_learning_rate_at_which_a_seed_diverges_is_a_cliff():
    profile = profile_of([[3, 3], [1, 1], [1.1, 1.1], [1.2, INF], [INF, INF]])
    assert (profile.before_cliff, profile.cliff) == (4.0, 8.0)
    assert profile.mean[3] == INF
    assert np.isnan(profile.interval[3]).all()


def test_runs_that_diverge_below_the_best_are_no_cliff():
    profile = profile_of([INF, INF, 2.0, 1.0, 1.5])
    assert profile.cliff is None
    assert profile.best_lr == 8.0


def test_a_lucky_neighbor_of_the_best_makes_no_cliff_of_the_next_one():
    noise = 0.02 * np.array([-1.0, 0.0, 1.0])
    loss = np.array([1.03, 1.02, 1.0, 1.000001, 1.03])[:, None] + np.stack([noise, noise, 0 * noise, noise, noise])
    assert profile_of(loss).cliff is None


def test_noise_at_the_bottom_of_the_valley_is_no_cliff():
    rng = np.random.default_rng(0)
    for _ in range(100):
        loss = np.array([3.0, 1.5, 1.01, 1.0, 1.0, 1.0, 1.01, 1.5])[:, None] + 0.01 * rng.normal(size=(8, 5))
        assert profile_of(loss).cliff is None


@pytest.mark.parametrize(
    ("loss", "edge"),
    [
        ([1, 2, 3], "lower"),
        ([3, 2, 1], "upper"),
        ([2, 1, 2], None),
        ([5], "both"),
        ([INF, 5, INF], None),
        ([INF, 5], "upper"),
    ],
)
def test_the_edge_is_where_the_best_is_the_last_of_its_side(loss, edge):
    assert profile_of(loss).edge == edge


def test_every_run_diverged_is_no_profile_but_says_where_to_look():
    with pytest.raises(InsufficientDataError) as caught:
        profile_of([[INF, INF], [INF, INF]], [0.3, 0.5])
    assert caught.value.needed == "learning rates below 0.3"


LOSSES = arrays(
    float,
    st.tuples(st.integers(1, 8), st.integers(1, 4)),
    elements=st.one_of(st.integers(-100, 100).map(float), st.sampled_from([INF, 1e6, NAN])),
)


@given(LOSSES)
def test_what_a_profile_says_of_any_losses_is_true(loss):
    try:
        profile = profile_of(loss)
    except InsufficientDataError as error:
        assert error.needed
        return
    means = [INF if np.isinf(row).any() else row.mean() for row in profile.loss]
    assert profile.best_loss == pytest.approx(min(means))
    assert means[profile.learning_rates.tolist().index(profile.best_lr)] == pytest.approx(min(means))
    if profile.cliff is not None:
        at = profile.learning_rates.tolist().index(profile.cliff)
        assert profile.cliff > profile.best_lr
        assert profile.before_cliff == profile.learning_rates[at - 1]
        assert means[at] > means[at - 1]
        assert math.isfinite(means[at - 1])
    inside = profile.interval[np.isfinite(profile.interval).all(axis=1)]
    assert (inside[:, 0] <= inside[:, 1]).all()


@given(LOSSES, st.sampled_from([0.125, 64.0]), st.integers(-50, 50))
def test_units_and_offset_of_the_loss_do_not_move_a_cliff(loss, factor, shift):
    assume(np.isfinite(loss).all(axis=1).any())
    a, b = profile_of(loss), profile_of(loss * factor + shift)
    assert (a.best_lr, a.edge) == (b.best_lr, b.edge)
    jumps = np.abs(np.diff(a.mean[np.isfinite(a.mean)]))
    if not jumps.size or jumps.min() > 0.5:  # a tie times ten is a matter of rounding
        assert a.cliff == b.cliff


@pytest.mark.parametrize("n_points", [5, 9, 13, 17])
@pytest.mark.parametrize("best", [0.01, 0.03, 0.05, 0.1])  # at 0.3 a grid of 9 ends one step above two that tie
def test_a_smooth_parabola_in_the_learning_rate_is_no_cliff(best, n_points):
    lrs = np.geomspace(1e-3, 1.0, n_points)
    assert profile_of([-5 + (lr - best) ** 2 for lr in lrs], lrs).cliff is None


def test_a_printed_profile_is_a_table_that_marks_the_best_and_the_cliff():
    sweep = SweepResult(("cosine",), [0.1, 0.2, 0.4], (0, 1), [[[1.3, 1.4], [1.0, 1.1], [math.inf, 1.2]]])
    profile = learning_rate_profile(sweep, "cosine")
    rows = {line.split()[0]: line for line in str(profile).splitlines()[4:]}
    assert rows["0.2"].split()[1] == "1.0500" and rows["0.2"].endswith("best")
    assert "1 of 2 diverged" in rows["0.4"] and rows["0.4"].endswith("cliff")
    assert repr(profile) == "LearningRateProfile('cosine', best_lr=0.2, best_loss=1.05, cliff=0.4)"
    assert "<table>" in profile._repr_html_()


@pytest.mark.parametrize("bad", [INF, 2.3])
@pytest.mark.parametrize("seed", range(5))
def test_a_random_search_has_bad_runs_anywhere_and_they_are_no_cliff(bad, seed):
    rng = np.random.default_rng(seed)
    lrs = 10 ** np.sort(rng.uniform(-4, 0, 40))
    loss = 0.3 + 0.1 * (np.log10(lrs) + 2) ** 2 + 0.003 * rng.normal(size=40)
    loss[[5, 24, 28, 33]] = bad
    assert lrs[24] > profile_of(loss, lrs).best_lr
    assert profile_of(loss, lrs).cliff is None
    loss[36:] = max(bad, 50.0)
    profile = profile_of(loss, lrs)
    assert (profile.before_cliff, profile.cliff) == (lrs[35], lrs[36])


def test_a_lucky_run_above_the_cliff_does_not_hide_it():
    profile = profile_of([3.0, 1.5, 1.0, 1.01, INF, 1.2, INF, INF])
    assert (profile.before_cliff, profile.cliff) == (8.0, 16.0)


def test_chance_after_a_divergence_is_one_cliff():
    profile = profile_of([2.2, 1.5, 1.0, 1.01, INF, 2.3, 2.3, 2.3])
    assert (profile.before_cliff, profile.cliff) == (8.0, 16.0)
