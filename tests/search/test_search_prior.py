"""A search with a prior: what it saves, what it claims, and when it goes on without."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from robust_lr.exceptions import OptionError
from robust_lr.prior import ValleyPrior, suggest_learning_rates
from robust_lr.search import LearningRateSearch, SearchOptions

PRIOR = ValleyPrior(
    lr=3e-3, lr_spread=0.35, left_rise=0.009, left_spread=0.15, right_rise=0.013, right_spread=0.35, noise=0.0, dof=15,
)  # fmt: skip
LOW, HIGH = 1e-4, 0.1


def valley(best, *, left=0.009, right=0.013):
    def loss(lr):
        u = math.log2(lr / best)
        return 3 + (left * abs(u) ** 1.5 if u < 0 else right * u * u)

    return loss


def run(loss, prior=PRIOR, *, n=1, **options):
    search = LearningRateSearch(
        LOW, HIGH, tolerance=0.005, prior=prior, options=SearchOptions(**{"noise": 0.0, "extend": False} | options)
    )
    while asked := search.ask(n):
        for lr in asked:
            value = loss(lr)
            search.tell(lr, value, status="ok" if math.isfinite(value) else "diverged")
    return search.result


@pytest.mark.parametrize("off", [0.6, 0.8, 1.0, 1.25, 1.6])
def test_on_a_sweep_like_the_earlier_ones_it_saves_trials_and_is_right(off):
    loss = valley(3e-3 * off)
    cold, warm = run(loss, None), run(loss)
    assert warm.n_trials <= 4 < cold.n_trials
    assert loss(warm.lr) - 3 <= 0.005
    assert warm.stop == "tolerance"


def test_the_result_says_that_the_prior_carries_the_claim_and_how_often_that_is_true():
    result = run(valley(3e-3))
    assert (result.claim, result.probability, result.excess_bound) == ("prior", 0.95, 0.005)
    assert "in 95% of sweeps like the earlier ones" in str(result)
    assert "by what earlier sweeps show" in str(result)


def test_without_a_prior_the_claim_is_that_of_convexity():
    result = run(valley(3e-3), None)
    assert (result.claim, result.probability) == ("convexity", None)


def test_a_prior_of_too_few_sweeps_guides_the_search_but_the_bound_ends_it():
    guided = run(valley(3.5e-3), replace(PRIOR, required=1.0))
    assert guided.claim == "convexity"
    assert guided.n_trials < run(valley(3.5e-3), None).n_trials


FOREIGN = {
    "far below": valley(2e-4),
    "far above": valley(6e-2),
    "steep": valley(1e-2, left=0.5, right=0.5),
    "flat": valley(8e-4, left=0.0015, right=0.0015),
    "cliff below": lambda lr: math.inf if lr > 1e-3 else valley(6e-4)(lr),
    "exploding where the prior expects the best": lambda lr: valley(2e-4)(lr) + 300 * max(lr - 1e-3, 0),
    "steep at the far end": valley(8e-2, left=0.05, right=0.2),
    "falling before a cliff": lambda lr: math.inf if lr > 2e-2 else valley(1.8e-2)(lr),
}


@pytest.mark.parametrize("name", list(FOREIGN))
def test_where_the_prior_does_not_fit_the_search_goes_on_without_it(name):
    loss = FOREIGN[name]
    cold, warm = run(loss, None), run(loss)
    assert warm.n_trials <= cold.n_trials + 2
    best = min(loss(LOW * (HIGH / LOW) ** (k / 2000)) for k in range(2001))
    assert loss(warm.lr) - best <= 0.005


def test_a_trial_far_above_the_valley_where_the_prior_expects_the_best_is_enough_to_contradict_it():
    search = LearningRateSearch(LOW, HIGH, tolerance=0.005, prior=PRIOR, options=SearchOptions(noise=0.0))
    (lr,) = search.ask()
    search.tell(lr, status="diverged")
    assert any("contradict the prior" in note for note in search.result.notes)


def test_after_trials_by_the_prior_the_first_look_at_the_range_takes_no_more_trials_than_without_it():
    search = LearningRateSearch(LOW, HIGH, tolerance=0.005, prior=PRIOR, options=SearchOptions(noise=0.0))
    for _ in range(2):
        (lr,) = search.ask()
        search.tell(lr, valley(2e-4, left=0.5, right=0.5)(lr))
    asked = search.ask(3)
    assert min(asked) < 1e-3
    assert max(asked) < HIGH / 3  # the loss rises there


def test_where_the_prior_leaves_a_decade_unseen_the_result_names_it():
    two = {"near": valley(3e-3), "far": valley(1.0, left=0.5, right=0.5)}
    search = LearningRateSearch(1e-4, 10.0, tolerance=0.005, prior=PRIOR, options=SearchOptions(noise=0.0))
    while asked := search.ask():
        search.tell(asked[0], min(two["near"](asked[0]), two["far"](asked[0]) - 0.1))
    result = search.result
    assert result.claim == "prior"
    assert "nothing was tried: a second valley there would go unseen" in str(result)
    low, high = result.to_dict()["untried"]
    assert high / low >= 10 and not any(low < each.lr < high for each in result.history)


def test_losses_that_contradict_the_prior_are_reported():
    assert any("contradict the prior" in note for note in run(FOREIGN["far below"]).notes)


def test_a_prior_that_expects_the_best_outside_the_range_changes_nothing():
    beyond = replace(PRIOR, lr=30.0)
    cold, warm = run(valley(3e-3), None), run(valley(3e-3), beyond)
    assert [each.lr for each in warm.history] == [each.lr for each in cold.history]
    assert "outside the range: not used" in warm.notes[0]


@pytest.mark.parametrize("n", [1, 3])
def test_a_search_that_is_killed_asks_for_the_same_trials(n):
    loss = valley(4e-3)
    whole = run(loss, n=n)
    search = LearningRateSearch(LOW, HIGH, tolerance=0.005, prior=PRIOR, options=SearchOptions(noise=0.0, extend=False))
    while True:
        search = LearningRateSearch.from_dict(search.to_dict())  # a new process after every round
        if not (asked := search.ask(n)):
            break
        for lr in asked:
            search.tell(lr, loss(lr))
    assert search.result == whole


def test_the_order_of_the_results_does_not_matter():
    told = [(each.lr, each.loss) for each in run(valley(4e-3)).history]

    def next_ones(order):
        search = LearningRateSearch(LOW, HIGH, tolerance=0.001, prior=PRIOR, options=SearchOptions(noise=0.0))
        for lr, loss in order:
            search.tell(lr, loss, external=True)
        return search.ask(2)

    assert next_ones(told) == next_ones(told[::-1])


def test_only_what_at_returns_is_a_prior():
    with pytest.raises(OptionError, match=r"prior must be what LearningRatePrior\.at returns"):
        LearningRateSearch(LOW, HIGH, tolerance=0.005, prior=0.003)


def test_the_few_to_run_at_once_hold_a_good_one_as_often_as_they_say():
    suggestion = suggest_learning_rates(PRIOR, tolerance=0.005)
    assert suggestion.probability < 0.95 <= suggestion.probability_of_few
    assert suggestion.interval[0] < suggestion.lr < suggestion.interval[1]
    assert 2 <= len(suggestion.learning_rates) <= 4


def test_a_small_known_noise_is_a_margin_in_the_bound_and_costs_few_trials():
    exact, noisy = run(valley(3e-3), None), run(valley(3e-3), None, noise=0.0015)
    assert noisy.n_trials <= exact.n_trials + 2
    assert noisy.stop == "tolerance"
    assert noisy.noise == 0.0015
    assert "trials have a noise of 0.0015" in noisy.bound_note


def test_a_decade_without_a_trial_is_named_since_a_second_valley_there_would_go_unseen():
    search = LearningRateSearch(1e-4, 1.0, tolerance=0.005, options=SearchOptions(noise=0.0, max_trials=5))
    for k in range(5):
        lr = 10.0 ** (k - 4)
        search.tell(lr, 3 + 0.01 * math.pi * math.log10(lr / 0.013) ** 2, external=True)
    assert search.result.excess_bound is not None
    assert "a second valley there would go unseen" in str(search.result)
