"""Runs of other tools become a sweep, whose notes say what its reader cannot see."""

from __future__ import annotations

import math

import numpy as np
import pytest

from robust_lr import SweepResult, TrialSpec
from robust_lr._text import listed
from robust_lr.exceptions import DataError, OptionError
from robust_lr.readers.runs import Run

DUPLICATE = "an earlier trial has the same learning rate, schedule and seed"


def run(loss, *, lr=1.0, seed=None, schedule="cosine", **others):
    return Run(loss=loss, lr=lr, seed=seed, schedule=schedule, **others)


def sweep_of(*runs, repeats="first", **options):
    return SweepResult.from_runs(runs, repeats=repeats, **options)


def losses(sweep):
    return {(t.spec.lr, t.spec.seed): t.loss for t in sweep.trials() if t.is_final}


def test_the_first_complete_result_of_a_trial_counts():
    sweep = sweep_of(
        run(math.nan, seed="7"),
        run(math.inf, seed="7", complete=False),
        run(0.5, seed="7"),
        run(0.4, seed="7"),
        run(0.3, seed="8"),
    )
    assert losses(sweep) == {(1.0, 7): 0.5, (1.0, 8): 0.3}
    assert sweep.notes == (f"2 trials left out: {DUPLICATE}",)


def test_a_repeat_with_another_loss_is_refused_unless_the_first_is_to_count():
    runs = [run(0.5, seed=7, where="line 2"), run(0.4, seed=7.0, where="line 3")]
    assert losses(sweep_of(*runs)) == {(1.0, 7): 0.5}
    with pytest.raises(DataError, match=r"line 2 and line 3 give one trial .*, seed 7\) two losses, 0.5 and 0.4"):
        sweep_of(*runs, repeats="refuse")


def test_a_failure_counts_where_there_is_no_result():
    sweep = sweep_of(run(math.nan, seed="7"), run(math.nan, seed="7"), run(1.0, lr=2.0))
    assert losses(sweep) == {(2.0, 0): 1.0} and sweep.notes == ()
    assert [(failure.spec.lr, failure.status) for failure in sweep.failures] == [(1.0, "failed")]


def test_without_seeds_all_results_of_a_learning_rate_are_replicates():
    sweep = sweep_of(run(1.0), run(2.0, lr=2.0), run(3.0))
    assert losses(sweep) == {(1.0, 0): 1.0, (1.0, 1): 3.0, (2.0, 0): 2.0}
    assert sweep.notes == (
        "no seeds were given: trials that share a learning rate are replicates, paired in their order",
    )


def test_identical_repeats_of_every_learning_rate_are_one_run():
    sweep = sweep_of(*(run(lr, lr=lr) for lr in (1.0, 2.0) for _ in (0, 1)))
    assert losses(sweep) == {(1.0, 0): 1.0, (2.0, 0): 2.0}
    assert sweep.notes == (
        "2 trials left out: exact duplicates of others (there are no seeds, and every learning rate was repeated with "
        "identical losses)",
    )


def test_seeds_that_were_drawn_with_the_learning_rate_are_noise_and_no_axis():
    sweep = sweep_of(*(run(lr, lr=lr, seed=str(i)) for i, lr in enumerate((1.0, 2.0, 4.0))))
    assert sweep.loss.shape == (1, 3, 1) and "no learning rate was run with two seeds" in sweep.notes[0]


def test_notes_come_in_the_order_of_reading_and_specs_are_kept():
    spec, params = "cosine(floor=0.1)", ({"width": 8, "depth": 2}, {"width": 16, "depth": 2}, None)
    runs = [run(lr, lr=lr, spec=spec, params=each) for lr, each in zip((1.0, 1.1, 100.0), params, strict=True)]
    sweep = sweep_of(*runs, run(0.0, excluded="pruned"), run(0.0, lr=-1, excluded="pruned"), notes=["first"])
    assert sweep.notes[:2] == ("first", "2 trials left out: pruned")
    assert sweep.notes[2].startswith("the trials also differ in width, so")
    assert sweep.notes[3].startswith(
        "the learning rates are not a geometric grid (neighbors are 1.1 to 90.91 times apart)"
    )
    assert dict(sweep.specs) == {"cosine": spec}


def test_what_is_remarked_of_runs_that_count_is_said_once_with_their_number():
    remark = "failed without a reason"
    runs = [run(1.0), run(math.nan, lr=2.0, remark=remark), run(math.nan, lr=4.0, remark=remark)]
    assert sweep_of(*runs).notes == ("2 trials failed without a reason",)


@pytest.mark.parametrize("steps", [[2, 2, 2], [2, 4, 2], [2 ** (1 / 8), 2 ** (7 / 8), 2]])
def test_a_grid_that_is_refined_in_part_is_still_a_grid(steps):
    assert sweep_of(*(run(float(lr), lr=float(lr)) for lr in np.cumprod([1.0, *steps]))).notes == ()


def test_a_value_that_is_maximized_becomes_a_loss_and_is_shown_as_it_was():
    sweep = sweep_of(run(0.9, lr=0.1), run(-math.inf, lr=0.2), direction="maximize")
    assert losses(sweep) == {(0.1, 0): -0.9, (0.2, 0): math.inf}
    assert (sweep.notes, sweep.direction) == ((), "maximize")
    assert [line.split() for line in str(sweep).splitlines()[-2:]] == [["0.1", "0.9000"], ["0.2", "diverged"]]
    with pytest.raises(OptionError, match="direction must be 'minimize' or 'maximize', got 'max'"):
        sweep_of(run(0.9), direction="max")


def test_runs_without_a_result_are_no_sweep_and_the_error_says_what_they_are():
    with pytest.raises(
        DataError, match=r"study 'a' has no finished trial with a result; 1 trial left out: not finished"
    ):
        sweep_of(run(math.nan), run(1.0, excluded="not finished"), source="study 'a'")


@pytest.mark.parametrize(
    "given, is_kept",
    [
        ({"loss": 1.0}, (1.0, "ok")),
        ({"loss": -math.inf}, (math.inf, "diverged")),
        ({"loss": 1.0, "status": "diverged"}, (math.inf, "diverged")),
        ({"loss": math.inf, "status": "out_of_memory"}, ("nan", "out_of_memory")),
        ({}, ("nan", "failed")),
    ],
)
def test_the_status_and_the_loss_of_a_run_agree(given, is_kept):
    kept = Run(lr=0.1, **given)
    assert ("nan" if math.isnan(kept.loss) else kept.loss, kept.status) == is_kept


@pytest.mark.parametrize("value, lr", [(0.30000000000000004, 0.3), (1, 1.0), (np.float32(0.5), 0.5)])
def test_a_learning_rate_has_twelve_digits(value, lr):
    assert Run(lr=value).lr == lr


@pytest.mark.parametrize(
    "value, says",
    [
        ("0.1", "trial 1: lr must be a number, got '0.1'"),
        (True, "trial 1: lr must be a number, got True"),
        (0.0, r"trial 1: lr must be positive \(1e-100 to 1e100\), got 0.0"),
        (math.nan, "got nan"),
        (math.inf, "got inf"),
    ],
)
def test_what_is_no_learning_rate_is_refused(value, says):
    with pytest.raises(DataError, match=says):
        Run(lr=value, where="trial 1")


def test_schedules_and_seeds_are_texts_and_many_names_are_cut_short():
    assert [Run(lr=1.0, seed=value).seed for value in (3, 3.0, 0.5, "bob", True)] == ["3", "3", "0.5", "bob", "True"]
    assert Run(lr=1.0, schedule=2.0).schedule == "2"
    assert listed(["a", "b"]) == "a and b" and listed(["a"] * 25).endswith("a and 5 more")


def test_a_seed_is_a_whole_number_or_its_place_among_the_names():
    sweep = sweep_of(*(run(1.0, lr=lr, seed=seed) for lr in (0.1, 0.2) for seed in ("12", "-3")))
    assert sweep.seeds == (-3, 12)
    assert [result.spec for result in sweep_of(run(1.0, seed="b"), run(2.0, seed="a")).trials()] == [
        TrialSpec("cosine", 1.0, 0),
        TrialSpec("cosine", 1.0, 1),
    ]
