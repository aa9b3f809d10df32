"""Trials of somebody else's search become a sweep, whose notes say what its reader cannot see."""

from __future__ import annotations

import math

import numpy as np
import pytest

from robust_lr import TrialResult, TrialSpec
from robust_lr.exceptions import DataError
from robust_lr.readers.external import ForeignTrial, counted_trials, label_text, listed, read_lr, sweep_of_trials


def trial(number, loss, *, lr=1.0, seed=None, schedule="cosine", is_complete=True):
    status = "failed" if math.isnan(loss) else "ok" if math.isfinite(loss) else "diverged"
    return ForeignTrial(number, seed, TrialResult(TrialSpec(schedule, lr, 0), loss, status), is_complete)


def losses(sweep):
    return {(t.spec.lr, t.spec.seed): t.loss for t in sweep.trials() if t.is_final}


def test_the_first_complete_result_of_a_cell_counts():
    tries = [
        trial(0, math.nan, seed="7"),
        trial(1, math.inf, seed="7", is_complete=False),
        trial(2, 0.5, seed="7"),
        trial(3, 0.4, seed="7"),
        trial(4, 0.3, seed="8"),
    ]
    counted, notes = counted_trials(tries)
    assert [each.number for each in counted] == [2, 4]
    assert notes == ["2 trials left out: another has its learning rate, schedule and seed, and came first"]


def test_a_failure_counts_where_there_is_no_result():
    counted, notes = counted_trials([trial(0, math.nan, seed="7"), trial(1, math.nan, seed="7"), trial(2, 1.0, lr=2.0)])
    assert [each.number for each in counted] == [0, 2] and notes == []
    assert [failure.spec for failure in sweep_of_trials(counted).failures] == [TrialSpec("cosine", 1.0, 0)]


def test_without_seeds_all_results_of_a_learning_rate_are_replicates():
    sweep = sweep_of_trials(counted_trials([trial(0, 1.0), trial(1, 2.0, lr=2.0), trial(2, 3.0)])[0])
    assert losses(sweep) == {(1.0, 0): 1.0, (1.0, 1): 3.0, (2.0, 0): 2.0}
    assert sweep.notes == (
        "without seeds, trials of one learning rate are taken for replicates, paired in their order",
    )


def test_identical_repeats_of_every_learning_rate_are_one_run():
    sweep = sweep_of_trials([trial(2 * i + k, lr, lr=lr) for i, lr in enumerate((1.0, 2.0)) for k in (0, 1)])
    assert losses(sweep) == {(1.0, 0): 1.0, (2.0, 0): 2.0}
    assert "2 trials left out: without seeds, identical repeats" in sweep.notes[0]


def test_seeds_that_were_drawn_with_the_learning_rate_are_noise_and_no_axis():
    sweep = sweep_of_trials([trial(i, lr, lr=lr, seed=str(i)) for i, lr in enumerate((1.0, 2.0, 4.0))])
    assert sweep.loss.shape == (1, 3, 1) and "no learning rate was run with two seeds" in sweep.notes[0]


def test_notes_come_in_the_order_of_reading_and_specs_are_kept():
    tries = [trial(i, lr, lr=lr) for i, lr in enumerate((1.0, 1.1, 100.0))]
    sweep = sweep_of_trials(tries, notes=["first"], differ_in=["width"], specs={"cosine": "cosine(floor=0.1)"})
    assert sweep.notes[0] == "first" and sweep.notes[1].startswith("the trials differ in width as well")
    assert sweep.notes[2].startswith(
        "the learning rates are no geometric grid, neighbours are 1.1 to 90.91 times apart"
    )
    assert dict(sweep.specs) == {"cosine": "cosine(floor=0.1)"}


@pytest.mark.parametrize("steps", [[2, 2, 2], [2, 4, 2], [2 ** (1 / 8), 2 ** (7 / 8), 2]])
def test_a_grid_that_is_refined_in_part_is_still_a_grid(steps):
    lrs = np.cumprod([1.0, *steps])
    assert sweep_of_trials([trial(i, float(lr), lr=float(lr)) for i, lr in enumerate(lrs)]).notes == ()


@pytest.mark.parametrize("value, lr", [(0.30000000000000004, 0.3), (1, 1.0), (np.float32(0.5), 0.5)])
def test_a_learning_rate_has_twelve_digits(value, lr):
    assert read_lr(value, "trial 1: lr") == lr


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
        read_lr(value, "trial 1: lr")


def test_names_are_texts_and_many_are_cut_short():
    assert [label_text(value) for value in (3, 3.0, 0.5, "cosine", True)] == ["3", "3", "0.5", "cosine", "True"]
    assert listed(["a", "b"]) == "a, b" and listed(["a"] * 25).endswith("a and 5 more")
