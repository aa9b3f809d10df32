"""The plan of a sweep: rounds of seeds that depend on the results alone."""

from __future__ import annotations

import pytest

from robust_lr import TrialResult, TrialSpec
from robust_lr.exceptions import TrialError
from robust_lr.sweep.plan import FixedSeeds, SeedPlan, SweepPlan

SPECS = {"a": "constant"}


class OnlyTheBest:
    """One seed everywhere, each further one at the learning rate with the lowest loss."""

    seeds, n_first = (3, 1, 2), 1

    def next_cells(self, sweep):
        return [("a", sweep.learning_rates[sweep.loss[0, :, 0].argmin()])] if sweep.loss[0, :, 0].min() < 1 else []

    def late_trials(self, sweep):
        return ()

    def notes(self, n_trials, n_full):
        return [f"{n_trials} of {n_full}"]


def result(spec, loss):
    return TrialResult(spec, loss, "ok")


def carry_out(plan, loss_of):
    rounds = []
    while trials := plan.next_trials():
        rounds.append([(trial.lr, trial.seed) for trial in trials])
        for trial in trials:
            assert not plan.next_trials()  # the next round waits for the last result of this one
            plan.add(result(trial, loss_of(trial)))
    return rounds


def test_fixed_seeds_are_one_round():
    plan = SweepPlan(SPECS, [1.0, 2.0], FixedSeeds([4, 5]), {})
    assert carry_out(plan, lambda trial: trial.lr) == [[(1.0, 4), (1.0, 5), (2.0, 4), (2.0, 5)]]
    assert plan.sweep().seeds == (4, 5) and plan.sweep().notes == ()


def test_a_further_seed_is_trained_where_the_plan_says():
    plan = SweepPlan(SPECS, [1.0, 2.0], OnlyTheBest(), {})
    assert carry_out(plan, lambda trial: trial.lr - 1) == [[(1.0, 3), (2.0, 3)], [(1.0, 1)], [(1.0, 2)]]
    assert plan.sweep(notes=["first"]).notes == ("first", "4 of 6")
    assert isinstance(OnlyTheBest(), SeedPlan) and isinstance(FixedSeeds([0]), SeedPlan)


def test_a_seed_that_was_used_elsewhere_is_made_up_for_once():
    class Late(OnlyTheBest):
        def late_trials(self, sweep):
            return [("a", 2.0, seed) for seed in sweep.seeds]

    plan = SweepPlan(SPECS, [1.0, 2.0], Late(), {})
    assert carry_out(plan, lambda t: t.lr - 1) == [[(1.0, 3), (2.0, 3)], [(1.0, 1)], [(2.0, 1)], [(1.0, 2)], [(2.0, 2)]]


def test_a_plan_that_asks_for_nothing_is_over():
    plan = SweepPlan(SPECS, [1.0, 2.0], OnlyTheBest(), {})
    assert carry_out(plan, lambda trial: trial.lr) == [[(1.0, 3), (2.0, 3)]]
    assert plan.sweep().seeds == (3,)


@pytest.mark.parametrize("n_known", range(5))
def test_with_the_results_of_a_stopped_sweep_it_goes_on_with_the_same_trials(n_known):
    whole = SweepPlan(SPECS, [1.0, 2.0], OnlyTheBest(), {})
    carry_out(whole, lambda trial: trial.lr - 1)
    known = {r.spec: r for r in whole.results[:n_known]}
    plan = SweepPlan(SPECS, [1.0, 2.0], OnlyTheBest(), known)
    assert len(plan.results) == n_known
    rounds = carry_out(plan, lambda trial: trial.lr - 1)
    assert sum(map(len, rounds)) == len(whole.results) - n_known
    assert {r.spec for r in plan.results} == {r.spec for r in whole.results}


def test_results_that_the_plan_does_not_ask_for_change_nothing():
    other = result(TrialSpec("a", 2.0, 2), -5.0)
    plan = SweepPlan(SPECS, [1.0, 2.0], OnlyTheBest(), {other.spec: other})
    assert carry_out(plan, lambda trial: trial.lr - 1) == [[(1.0, 3), (2.0, 3)], [(1.0, 1)], [(1.0, 2)]]
    assert other not in plan.results


def test_a_training_that_always_fails_stops_the_sweep():
    plan = SweepPlan(SPECS, [1.0, 2.0], FixedSeeds([0, 1]), {})
    first, second, third, _ = plan.next_trials()
    for trial in (first, second):
        plan.add(TrialResult(trial, float("nan"), "failed", error="ValueError: no"))
    with pytest.raises(TrialError, match="each of the first 3 trials; the first: ValueError: no"):
        plan.add(TrialResult(third, float("nan"), "failed", error="ValueError: no"))


def test_a_complete_sweep_is_not_judged_again_by_each_look_at_it():
    class Judged(FixedSeeds):
        n = 0

        def next_cells(self, sweep):
            Judged.n += 1
            return ()

        def late_trials(self, sweep):
            Judged.n += 1
            return ()

    plan = SweepPlan({"cosine": "cosine"}, [0.1, 1.0], Judged([0]), {})
    for spec in plan.next_trials():
        plan.add(TrialResult(spec, 0.5, "ok"))
    before = Judged.n
    assert [plan.next_trials() for _ in range(5)] == [[]] * 5
    assert Judged.n - before <= 2
