"""An axis without effect on the losses is said, and is no evidence for anything."""

from __future__ import annotations

import math

import numpy as np
import pytest

from robust_lr import SweepResult, analyze_sweep, degradation_curve
from robust_lr._page import to_text
from robust_lr.report.text import analysis_blocks

INF, NAN = math.inf, math.nan
VALLEY = np.array([3.0, 1.5, 1.2, 1.05, 1.0, 1.04, 1.3, 2.0, 4.0])
SEEDS = np.array([0.0, 0.011, -0.007])
NOISE = np.random.default_rng(0).normal(0, 0.002, (2, 9, 3))


def sweep_of(loss, names=("constant", "cosine"), **more):
    loss = np.asarray(loss, float)
    return SweepResult(names[: len(loss)], 2.0 ** np.arange(loss.shape[1]), range(loss.shape[2]), loss, **more)


def healthy():
    return VALLEY[None, :, None] + SEEDS + NOISE


def text_of(sweep, tolerance=0.05):
    return to_text(analysis_blocks(analyze_sweep(sweep, tolerance=tolerance)))


def test_a_sweep_that_uses_all_its_axes_has_no_note():
    unused = sweep_of(healthy()).unused_axes
    assert (unused.schedules, unused.seeds, unused.learning_rates, unused.notes) == ((), (), (), ())


def test_schedules_with_equal_losses_are_said_and_do_not_tie():
    sweep = sweep_of(np.stack([healthy()[0]] * 2))
    text = text_of(sweep)
    assert "constant and cosine have the same losses to the last bit" in text
    assert "tie" not in text.split() and "ends lowest" not in text
    assert "Best learning rate  16, loss" in text
    assert analyze_sweep(sweep, tolerance=0.05).comparison.schedules == ("constant",)


def test_only_some_schedules_may_be_the_same_and_the_others_are_compared():
    a, b = healthy()
    sweep = sweep_of([a, a, b + 0.5], names=("linear", "polynomial", "constant"))
    assert sweep.unused_axes.schedules == (("linear", "polynomial"),)
    text = text_of(sweep)
    assert "linear and polynomial have the same losses" in text
    assert "linear ends lowest, beyond the noise" in text and "Best learning rate  16 under linear," in text


def test_seeds_with_equal_losses_are_one_seed_and_give_no_band():
    sweep = sweep_of(np.repeat(healthy()[:, :, :1], 3, axis=2))
    text = text_of(sweep)
    assert "all 3 seeds have the same losses to the last bit" in text
    assert "needed: a training that uses its seed" in text and "Add 2 seeds" not in text
    analysis = analyze_sweep(sweep, tolerance=0.05)
    assert not analysis.recommendations
    assert all(np.isnan(entry.curve.worst_interval[1:]).all() for entry in analysis.schedules)


def test_seeds_that_repeat_others_add_no_confidence():
    three = healthy()
    repeated = sweep_of(np.concatenate([three, three[:, :, :2]], axis=2))
    assert repeated.unused_axes.seeds == ((0, 3), (1, 4))
    a, b = (analyze_sweep(sweep, tolerance=0.05) for sweep in (repeated, sweep_of(three)))
    np.testing.assert_array_equal(a.schedules[0].curve.worst_interval, b.schedules[0].curve.worst_interval)


def test_equal_losses_at_all_learning_rates_are_said_and_give_no_best():
    sweep = sweep_of(np.ones((2, 9, 1)) + SEEDS)
    text = text_of(sweep)
    assert "all learning rates have the same loss to the last bit" in text
    assert "Best learning rate  none: all learning rates have the same loss" in text and "within" not in text
    assert "needed: a training that uses its learning rate" in text


def test_a_schedule_may_be_the_only_one_to_ignore_the_learning_rate():
    loss = healthy()
    loss[1] = 2.0 + SEEDS
    sweep = sweep_of(loss)
    assert sweep.unused_axes.learning_rates == ("cosine",)
    analysis = analyze_sweep(sweep, tolerance=0.05)
    assert list(analysis.recommendations) == ["constant"]


@pytest.mark.parametrize(
    "loss",
    [
        np.full((2, 9, 3), INF),  # all diverged
        np.full((2, 9, 3), NAN),  # nothing known
        np.where(np.arange(9)[None, :, None] < 1, healthy()[:1], INF).repeat(2, axis=0),  # one finite learning rate
        np.concatenate([healthy()[:1, :, :1], np.full((1, 9, 1), NAN)]),  # one seed, one schedule known
        [[[0.1, 0.1], [0.2, 0.3]]],  # two accuracies that agree by chance
        [[[0.1], [0.1]]],  # two learning rates
        [[[0.1, 0.2], [0.1, 0.2], [INF, 0.2]]],  # the largest learning rate diverges
    ],
)
def test_equal_losses_that_prove_nothing_get_no_note(loss):
    assert [note for note in sweep_of(loss).unused_axes.notes if "schedule" not in note] == []


def test_missing_results_do_not_hide_an_axis_without_effect():
    loss = np.repeat(healthy()[:, :, :1], 3, axis=2)
    loss[0, 3, 1] = loss[1, 5, 0] = NAN
    assert sweep_of(loss).unused_axes.seeds == ((0, 1, 2),)


def test_the_note_reaches_every_face():
    sweep = sweep_of(np.repeat(healthy()[:, :, :1], 3, axis=2), notes=["half of it"])
    assert sweep.notes == ("half of it",) and len(sweep.caveats) == 2
    note = sweep.caveats[1]
    analysis = analyze_sweep(sweep, tolerance=0.05)
    assert f"Note: {note}." in str(sweep) and f"Note: {note}." in analysis.to_markdown()
    assert note in analysis.to_dict()["notes"]
    assert any("seeds have the same losses" in warning for warning in degradation_curve(sweep, "cosine").warnings)
