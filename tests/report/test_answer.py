"""The box: what is best, what is as good, what to run next, and what that saves."""

from __future__ import annotations

import math
import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from robust_lr import SweepResult
from robust_lr._page import BOX_WIDTH, Box, box_text
from robust_lr.analysis import analyze_sweep
from robust_lr.readers.runs import Run
from robust_lr.report.answer import answer_box, answer_of, conclusion, overview_box, picture_title
from robust_lr.report.text import analysis_blocks

INF, NAN = math.inf, math.nan
VALLEY = [3.0, 1.5, 1.2, 1.05, 1.0, 1.04, 1.3, 2.0, 4.0]
FLAT = [1.02, 1.01, 1.005, 1.0, 1.0, 1.0, 1.005, 1.01, 1.02]


def analysis_of(*valleys, names=("constant", "cosine", "linear"), tolerance=0.0501, shift=(0.0, 1.0, 2.0), **more):
    loss = np.array(valleys, float)[:, :, None] + np.array(shift)
    sweep = SweepResult(names[: len(valleys)], 2.0 ** np.arange(loss.shape[1]), range(len(shift)), loss, **more)
    return analyze_sweep(sweep, tolerance=tolerance)


def box_of(*valleys, **options):
    return dict(answer_box(analysis_of(*valleys, **options)).rows)


def test_the_box_gives_the_best_what_is_as_good_the_next_grid_and_what_it_saves():
    assert box_of(VALLEY) == {
        "Best learning rate": "16 under constant, loss 2.0000 (mean of 3 seeds)",
        "As good": "8 to 32 (within 0.0501 of it)",
        "Next grid": "2, 16, 128 (ratio 8)",
        "Saves": "18 of 27 trials; costs at most 0.0500 (95% confidence)",
        "Holds for": "new seeds of this task; other data, sizes or lengths need several sweeps",
    }


def test_the_learning_rates_of_the_next_grid_can_be_pasted_and_are_those_of_the_recommendation():
    lrs = np.geomspace(1e-4, 1.0, 17)
    loss = (np.log10(lrs)[None, :, None] + 2) ** 2 + np.zeros((1, 1, 3)) + np.arange(3)
    analysis = analyze_sweep(SweepResult(("cosine",), lrs, range(3), loss), tolerance=0.3)
    text = dict(answer_box(analysis).rows)["Next grid"]
    pasted = [float(number) for number in text.partition(" (")[0].split(",")]
    assert pasted == pytest.approx(analysis.recommendations["cosine"].learning_rates, rel=1e-5)


def test_the_time_that_a_coarser_grid_saves_is_named():
    assert box_of(VALLEY, seconds=600.0)["Saves"].startswith("18 of 27 trials, 3.0 h of training; costs")


def test_the_lowest_schedule_is_the_answer_if_no_other_ends_as_low():
    box = box_of([v + 0.5 for v in FLAT], VALLEY)
    assert box["Best learning rate"].startswith("16 under cosine, loss 2.0000")
    assert "Tied schedules" not in box


def test_of_schedules_that_tie_the_one_with_the_fewest_trials_is_the_answer_and_the_others_are_named():
    noise = 0.02 * np.random.default_rng(1).normal(size=(2, 9, 5))
    wide = [3.0, 1.2, 1.05, 1.02, 1.01, 1.02, 1.05, 1.2, 3.0]
    narrow = [3.0, 2.0, 1.5, 1.2, 1.0, 1.2, 1.5, 2.0, 3.0]
    loss = np.array([narrow, wide])[:, :, None] + noise
    analysis = analyze_sweep(SweepResult(("constant", "cosine"), 2.0 ** np.arange(9), range(5), loss), tolerance=0.15)
    answer, box = answer_of(analysis), dict(answer_box(analysis).rows)
    trials = {name: advice.n_trials for name, advice in analysis.recommendations.items()}
    assert trials["cosine"] < trials["constant"]
    assert answer.entry.schedule == "cosine"
    assert box["Tied schedules"] == "constant: no difference beyond the noise"


def test_keeping_the_grid_is_an_answer_with_its_reason():
    box = box_of(VALLEY, tolerance=0.001)
    assert box["Next grid"] == "keep this one: 9 learning rates from 1 to 256 (ratio 2)"
    assert box["Why not coarser"].startswith("5 trials (ratio 4) could lose 0.0400, more than the tolerance 0.001")
    assert "Saves" not in box


def test_a_grid_kept_because_the_sweep_is_narrow_says_what_to_add_and_for_what():
    box = box_of([3.0, 1.5, 1.0, 1.2], tolerance=2.0)
    assert box["Next grid"].startswith("keep this one: 4 learning rates from 1 to 8")
    assert box["Why not coarser"] == (
        "a coarser grid may do, but the sweep is too narrow to measure ratio 4: add 1 learning rate above 8"
    )


@pytest.mark.parametrize(
    ("valley", "needed"),
    [
        (VALLEY[:5], "1 learning rate above 16: 32"),
        (VALLEY[4:], "1 learning rate below 1: 0.5"),
        ([1.0, 2.0], "1 more learning rate"),
    ],
)
def test_without_a_recommendation_the_box_says_what_to_run_and_why(valley, needed):
    box = box_of(valley)
    assert box["Run next"] == needed
    assert box["Why"]
    assert "constant:" not in box["Why"] and "needed" not in box["Why"]


def test_where_nothing_trained_the_box_says_so_and_what_to_run():
    assert box_of([INF] * 4) == {
        "Best learning rate": "none: every learning rate, 1 to 8, diverged", "Run next": "learning rates below 1"
    }  # fmt: skip


def test_axes_without_effect_are_no_evidence_and_no_schedule_is_called_best():
    box = box_of(VALLEY, VALLEY, shift=(0.0, 1.0, 2.0))
    assert box["Best learning rate"].startswith("16, loss 2.0000")
    assert "Tied schedules" not in box
    assert "equal for every seed" in box_of(VALLEY, shift=(0.0, 0.0, 0.0))["Best learning rate"]
    box = box_of([1.0] * 5)
    assert box["Best learning rate"] == "none: all learning rates have the same loss to the last bit"
    assert box["Run next"] == "a training that uses its learning rate"


def test_runs_that_diverged_above_the_best_are_no_edge():
    box = box_of([3.0, 1.5, 1.0, INF, INF])
    assert box["Best learning rate"].startswith("4 under")
    assert "keep" in box["Next grid"] or "Run next" in box
    assert "8" not in box["As good"]


def test_an_unfinished_sweep_is_finished_before_anything_else():
    box = box_of(VALLEY, VALLEY, shift=(0.0,), n_left=4)
    assert box["Run next"] == "the same run command again (in Python: the same call): 4 trials are left"
    assert not {"Why", "Until then", "Next grid"} & set(box)
    assert box_of(VALLEY, n_left=1)["Run next"].endswith("1 trial is left")
    assert box_of(VALLEY, n_left=1)["Next grid"] == "2, 16, 128 (ratio 8)"  # known already
    text = str(analysis_of(VALLEY, shift=(0.0,), n_left=4))
    assert "needs the trials left" in text and "yet: the sweep is unfinished" in text


def test_a_seed_that_is_missing_at_the_best_rate_is_said_in_plain_words():
    loss = np.array(VALLEY)[None, :, None] + np.arange(3.0)
    loss[0, 4, 2] = NAN
    box = dict(answer_box(analyze_sweep(SweepResult(("constant",), 2.0 ** np.arange(9), range(3), loss))).rows)
    assert "(mean of 2 of 3 seeds, corrected for the missing one)" in box["Best learning rate"]


def test_one_seed_asks_for_more_and_offers_a_guess():
    box = box_of(VALLEY, FLAT, shift=(0.0,))
    assert "(one seed)" in box["Best learning rate"]
    assert box["Schedules"] == "one seed cannot tell which one is lowest"
    assert box["Run next"].startswith("a second seed at 8, 16 and 32")
    assert box["Until then"].startswith("a guess from the means alone: 2, 16, 128 (ratio 8)")


def test_a_tied_schedule_whose_best_is_at_the_edge_may_end_lower_beyond_it():
    falling = [3.0, 2.0, 1.5, 1.3, 1.2, 1.1, 1.05, 1.01, 1.0]
    box = box_of(VALLEY, falling)
    assert box["Best learning rate"].startswith("16 under constant")
    assert box["Run too"] == "1 learning rate above 256 under cosine: its best is at the edge of the sweep"


def test_runs_without_a_schedule_are_never_called_by_a_made_up_name():
    runs = [Run(lr=2.0**i, loss=v + s, seed=s) for i, v in enumerate(VALLEY) for s in range(3)]
    for counted in (runs, runs[::3]):
        analysis = analyze_sweep(SweepResult.from_runs(counted), tolerance=0.0501)
        assert dict(answer_box(analysis).rows)["Best learning rate"].startswith("16, loss ")
        assert not re.search(r"\bsweep[;:]|for sweep|under sweep|^sweep ", str(analysis), re.MULTILINE)


def test_a_value_that_is_maximized_is_shown_as_it_was_given():
    runs = [Run(lr=2.0**i, loss=1 - v / 10 + (s - 1) / 100, seed=s) for i, v in enumerate(VALLEY) for s in range(3)]
    analysis = analyze_sweep(SweepResult.from_runs(runs, direction="maximize"), tolerance=0.00501)
    box = dict(answer_box(analysis).rows)
    assert box["Best learning rate"] == "16, score 0.9000 (mean of 3 seeds)"
    assert box["Next grid"] == "2, 16, 128 (ratio 8)"
    assert "-0.9" not in str(analysis)


def test_several_groups_share_one_box_with_a_line_each():
    box = overview_box(
        {"steps = 1": analysis_of(VALLEY), "steps = 2": analysis_of([INF] * 9), "b": analysis_of(VALLEY[:5])}
    )
    rows = dict(box.rows)
    assert rows["steps = 1"] == "16 under constant; as good: 8 to 32; next grid: 2, 16, 128 (ratio 8)"
    assert rows["steps = 2"] == "none: every learning rate, 1 to 256, diverged; run next: learning rates below 1"
    assert rows["b"].endswith("run next: 1 learning rate above 16")


def test_the_two_lines_of_the_picture_say_what_is_best_and_what_to_run():
    assert picture_title(analysis_of(VALLEY)) == (
        "Best learning rate: 16 under constant; as good: 8 to 32", "Enough for new seeds of this task: 2, 16, 128"
    )  # fmt: skip
    assert picture_title(analysis_of(VALLEY[:5]))[1] == "Run next: 1 learning rate above 16: 32"


def test_the_box_is_text_whose_numbers_can_be_copied_at_any_width():
    box = Box("Answer", [("Next grid", ", ".join(f"{2.0**i:g}" for i in range(40)))])
    for width in (40, 80, 500):
        lines = box_text(box, width=width).splitlines()
        assert max(map(len, lines)) <= min(width, BOX_WIDTH)
        numbers = " ".join(lines[1:-1]).removeprefix("Next grid").split(", ")
        assert [float(number) for number in numbers] == [float(f"{2.0**i:g}") for i in range(40)]


LOSSES = arrays(
    float,
    st.tuples(st.integers(1, 3), st.integers(1, 7), st.integers(1, 4)),
    elements=st.one_of(st.floats(-5, 5), st.sampled_from([INF, NAN, 0.0, 1e300])),
)


@given(LOSSES)
def test_the_box_is_first_and_names_the_best_and_what_to_do_for_any_losses(loss):
    names = ["constant", "cosine", "linear"][: len(loss)]
    sweep = SweepResult(names, 2.0 ** np.arange(loss.shape[1]), range(loss.shape[2]), loss)
    analysis = analyze_sweep(sweep, tolerance=0.1)
    box = answer_box(analysis)
    assert analysis_blocks(analysis)[0] == box
    rows = dict(box.rows)
    assert "Next grid" in rows or "Run next" in rows
    assert all(rows.values())
    answer = answer_of(analysis)
    if answer is not None:
        lowest = min(e.profile.best_loss for e in analysis.schedules if e.profile is not None)
        chosen = [answer.entry, *answer.tied]
        assert lowest in [e.profile.best_loss for e in chosen]
        assert conclusion(analysis).startswith(f"Best learning rate: {answer.profile.best_lr:g}")
