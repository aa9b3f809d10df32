"""Choosing a learning rate: on the cells that exist, and never on the seed that scores it."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from robust_lr import SweepResult
from robust_lr.analysis._selection import cross_fit, loss_block
from robust_lr.exceptions import DataError, InsufficientDataError
from robust_lr.trials import TrialResult, TrialSpec

INF, NAN = math.inf, math.nan


def sweep_of(loss, lrs=None, seeds=None):
    """A sweep of one schedule with these losses (L, K)."""
    loss = np.asarray(loss, float)
    lrs = 2.0 ** np.arange(loss.shape[0]) if lrs is None else lrs
    return SweepResult(("cosine",), lrs, range(loss.shape[1]) if seeds is None else seeds, loss[None])


def test_a_complete_sweep_is_taken_whole():
    block = loss_block(sweep_of([[3, 1], [2, INF], [1, 1]]), "cosine")
    assert block.loss.tolist() == [[3, 1], [2, INF], [1, 1]]
    assert block.notes == ()
    assert block.converged.tolist() == [True, False, True]
    assert block.mean.tolist() == [2, INF, 1]
    assert block.best == 2


def test_a_seed_that_was_begun_only_counts_for_what_it_has():
    loss = [[1, 2, NAN], [3, 4, NAN], [5, 6, 7], [8, 9, NAN]]
    block = loss_block(sweep_of(loss, seeds=(10, 20, 30)), "cosine")
    assert block.seeds == (10, 20, 30)
    assert block.n_seeds.tolist() == [2, 2, 3, 2]
    assert block.mean - block.mean[0] == pytest.approx([0, 2, 4, 7])
    assert block.notes == ("learning rates with fewer than 3 seeds, which the bands allow for: 1 (2), 2 (2) and 8 (2)",)


def test_a_learning_rate_that_lacks_an_easy_seed_is_not_called_worse_for_it():
    loss = np.array([3.0, 1.0, 2.0, 4.0])[:, None] + np.array([0.0, 0.5, -5.0])
    loss[1, 2] = NAN
    block = loss_block(sweep_of(loss), "cosine")
    assert block.learning_rates[block.best] == 2
    assert block.mean == pytest.approx([1.5, -0.5, 0.5, 2.5])


def test_learning_rates_that_share_no_seed_cannot_be_compared_and_the_larger_group_is_kept():
    loss = [[1.0, NAN, NAN], [2.0, NAN, NAN], [NAN, 0.0, 0.1], [NAN, 1.0, 1.1]]
    block = loss_block(sweep_of(loss), "cosine")
    assert block.learning_rates.tolist() == [4, 8]
    assert block.notes == ("learning rates left out because they share no seed with the others: 1 and 2",)


def test_a_learning_rate_that_another_schedule_has_alone_needs_no_note():
    loss = np.array([[[1.0], [NAN], [3.0]], [[1.0], [2.0], [3.0]]])
    block = loss_block(SweepResult(("a", "b"), [1, 2, 4], (0,), loss), "a")
    assert block.learning_rates.tolist() == [1, 4]
    assert block.notes == ()


@given(arrays(float, st.tuples(st.integers(1, 6), st.integers(1, 4)), elements=st.sampled_from([1.0, 2.0, INF, NAN])))
def test_every_learning_rate_with_a_result_is_kept_unless_it_shares_no_seed(loss):
    try:
        block = loss_block(sweep_of(loss), "cosine")
    except InsufficientDataError as error:
        assert error.needed
        return
    rows = [int(math.log2(lr)) for lr in block.learning_rates]
    np.testing.assert_array_equal(block.loss, loss[np.ix_(rows, block.seeds)])
    left_out = [i for i in range(len(loss)) if i not in rows and not np.isnan(loss[i]).all()]
    assert bool(left_out) == any("share no seed" in note for note in block.notes)
    kept = np.isfinite(loss[rows]).any(axis=0) & True
    for i in left_out:
        assert np.isfinite(loss[i]).any()
        assert not np.isfinite(
            loss[i][np.isfinite(loss[[r for r in rows if not np.isinf(loss[r]).any()]]).any(axis=0)]
        ).any()
    assert kept.any()


@given(st.permutations(range(12)))
def test_the_order_of_the_results_does_not_matter(order):
    loss = np.arange(12.0).reshape(4, 3) ** 1.5 % 5
    loss[1, 2] = NAN
    trials = [
        TrialResult(TrialSpec("cosine", 2.0**i, k), float(loss[i, k]), "ok")
        for i in range(4)
        for k in range(3)
        if (i, k) != (1, 2)
    ]
    sweep = SweepResult.from_trials(
        {"cosine": ""}, 2.0 ** np.arange(4), (0, 1, 2), [trials[i] for i in order if i < 11]
    )
    expected = loss_block(sweep_of(loss), "cosine")
    np.testing.assert_array_equal(loss_block(sweep, "cosine").mean, expected.mean)


def test_a_loss_that_exploded_without_reaching_infinity_counts_as_diverged():
    block = loss_block(sweep_of([[1, 2], [1e150, 1], [1e308, 1e308]]), "cosine")
    assert block.converged.tolist() == [True, False, False]


@pytest.mark.parametrize(
    ("loss", "says", "needed"),
    [
        ([[NAN, NAN], [NAN, NAN]], "cosine: no trial has a result", "at least one finished trial"),
        ([[INF, INF], [INF, 1]], "every learning rate, 1 to 2, diverged", "learning rates below 1"),
    ],
)
def test_nothing_to_choose_from_says_what_is_needed(loss, says, needed):
    with pytest.raises(InsufficientDataError) as caught:
        loss_block(sweep_of(loss), "cosine")
    assert says in str(caught.value)
    assert caught.value.needed == needed


def test_an_unknown_schedule_is_an_error():
    with pytest.raises(DataError, match="it has cosine"):
        loss_block(sweep_of([[1.0]]), "linear")


def slow_choice(loss, candidates, held_out):
    """The candidate with the lowest mean over the other seeds; one that diverged anywhere counts as +inf."""
    others = [k for k in range(loss.shape[1]) if k != held_out] or [held_out]
    best, lowest = candidates[0], INF
    for i in candidates:
        mean = INF if any(math.isinf(x) for x in loss[i]) else sum(loss[i, k] for k in others) / len(others)
        if mean < lowest:
            best, lowest = i, mean
    return best, lowest


@given(st.data())
def test_each_seed_is_scored_at_the_learning_rate_that_the_other_seeds_choose(data):
    shape = data.draw(st.tuples(st.integers(1, 6), st.integers(1, 5)))
    values = st.one_of(st.integers(-50, 50).map(float), st.just(INF))
    loss = data.draw(arrays(float, shape, elements=values))
    candidates = np.array(sorted(data.draw(st.sets(st.integers(0, shape[0] - 1), min_size=1))))
    sweep = sweep_of(loss)
    try:
        fit = cross_fit(loss_block(sweep, "cosine"))
    except InsufficientDataError:
        return
    score = fit.score(candidates)
    for k in range(shape[1]):
        best, lowest = slow_choice(loss, candidates.tolist(), k)
        assert score[k] == (INF if lowest == INF else loss[best, k])
        if lowest < INF:
            assert fit.choice(candidates)[k] == best
            assert fit.choosing[best, k] == pytest.approx(lowest)


def test_a_lucky_learning_rate_does_not_profit_from_its_luck():
    rng = np.random.default_rng(0)
    scores, optimistic = [], []
    for _ in range(300):
        loss = rng.normal(size=(16, 5))  # all learning rates are equally good: 0
        fit = cross_fit(loss_block(sweep_of(loss), "cosine"))
        scores.append(fit.score(np.arange(16)).mean())
        optimistic.append(loss.mean(axis=1).min())
    assert abs(np.mean(scores)) < 0.08  # five standard errors
    assert np.mean(optimistic) < -0.5
