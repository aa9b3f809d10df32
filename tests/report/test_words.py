"""The sentences: each says what the figures say."""

from __future__ import annotations

import math
import re

import numpy as np
import pytest

from robust_lr import SweepResult
from robust_lr.analysis import analyze_sweep
from robust_lr.report.figures import degradation_chart, learning_rate_chart
from robust_lr.report.words import alerts, caveats, comparison_sentences, details, headline, how_bands_are_made

INF, NAN = math.inf, math.nan
VALLEY = [3.0, 1.5, 1.2, 1.05, 1.0, 1.04, 1.3, 2.0, 4.0]
LLAMA = ([1e-4, 5e-4, 1e-3, 2e-3, 5e-3], [3.13406, 2.98243, 2.96353, 2.95337, 7.58503])


def analysis_of(*valleys, tolerance=0.0501, lrs=None, shift=(0.0, 1.0, 2.0), **more):
    loss = np.array(valleys, float)[:, :, None] + np.array(shift)
    names = ["constant", "cosine", "linear"][: len(valleys)]
    lrs = 2.0 ** np.arange(loss.shape[1]) if lrs is None else lrs
    return analyze_sweep(SweepResult(names, lrs, range(len(shift)), loss, **more), tolerance=tolerance)


def said(analysis, schedule=0):
    return details(analysis.schedules[schedule], analysis.tolerance)


def test_the_headline_gives_ratio_trials_and_cost():
    line = headline(analysis_of(VALLEY).schedules[0])
    assert line == "constant: 3 trials (ratio 8) lose at most 0.0500 (measured 0.0500; 95% confidence)."


def test_the_headline_says_what_is_needed_where_there_is_no_recommendation():
    edge = headline(analysis_of(VALLEY[:4]).schedules[0])
    assert edge.startswith("No recommendation for constant: the best learning rate, 8, is the highest in the sweep")
    assert edge.endswith("needed: 1 learning rate above 8.")
    assert "one seed" in headline(analysis_of(VALLEY, shift=(0.0,)).schedules[0])


def test_the_optimum_and_its_neighborhood_are_named():
    first = said(analysis_of(VALLEY))[0]
    assert first == "Best learning rate 16, loss 2.0000; within 0.0501 of it: 8 to 32."
    assert said(analysis_of(VALLEY, tolerance=0.01))[0].endswith("within 0.01 of it: no other in the sweep.")


def test_a_gap_in_the_neighborhood_is_not_papered_over():
    first = said(analysis_of([3.0, 1.02, 1.5, 1.0, 1.01, 2.0, 3.0], tolerance=0.05))[0]
    assert "2, 8 to 16" in first


def test_the_sides_are_told_by_the_factors_of_this_grid():
    lines = said(analysis_of(VALLEY))
    assert "A learning rate 2 times too low (8) costs 0.0500, one 2 times too high (32) costs 0.0400." in lines
    lines = said(analysis_of([3.0, 1.0, INF], lrs=[0.1, 0.5, 1.0]))
    assert "A learning rate 5 times too low (0.1) costs 2.0000, one 2 times too high (1) diverges." in lines


def test_what_each_side_costs_at_the_first_ratio_that_costs_too_much_is_said():
    lines = said(analysis_of(VALLEY))
    assert "A learning rate 16 times too low costs 2.0000, one too high costs 3.0000." in lines
    assert any(line.startswith("Why not coarser: 3 trials (ratio 16) could lose 0.2000, more than") for line in lines)


def test_a_cliff_is_told_apart_from_runs_that_diverge():
    lrs, losses = LLAMA
    lines = said(analysis_of(losses, lrs=lrs, shift=(0.0,)))
    jump = [line for line in lines if line.startswith("Stability cliff")]
    assert "between 0.002 and 0.005 the loss jumps from 2.9534 to 7.5850" in jump[0]
    assert "The best learning rate is the last one before the cliff: leave a margin, or look between the two." in lines
    lines = said(analysis_of([3, 2, 1, 1.1, INF]))
    assert any("between 8 and 16 training starts to diverge" in line for line in lines)
    assert not any("last one before the cliff" in line for line in lines)


def test_without_a_cliff_none_is_mentioned():
    assert "cliff" not in " ".join([*said(analysis_of(VALLEY)), *alerts(analysis_of(VALLEY).schedules[0])])


def test_the_trials_saved_are_those_of_this_schedule_with_their_time():
    lines = said(analysis_of(VALLEY, seconds=600.0))
    assert "This saves 18 of 27 trials, 3.0 h of training." in lines
    assert "This saves 18 of 27 trials, 18 min of training." in said(analysis_of(VALLEY, seconds=60.0))
    assert "This saves 18 of 27 trials, 9.0 s of training." in said(analysis_of(VALLEY, seconds=0.5))
    assert "This saves 18 of 27 trials." in said(analysis_of(VALLEY))


def test_one_seed_is_called_optimistic_once_for_all_schedules():
    analysis = analysis_of(VALLEY, VALLEY, shift=(0.0,))
    assert sum("One seed" in line for line in caveats(analysis)) == 1
    assert not any("one seed" in line for entry in analysis.schedules for line in alerts(entry))
    assert any("estimates alone suggest 3 trials (ratio 8)" in line for line in said(analysis))
    assert not caveats(analysis_of(VALLEY))


def test_the_notes_of_the_data_are_passed_on():
    assert caveats(analysis_of(VALLEY, notes=["3 rows were odd"])) == ["Note: 3 rows were odd."]


def test_the_comparison_names_the_lowest_and_those_that_are_not_told_apart():
    high, low = [v + 0.5 for v in VALLEY], VALLEY
    lines = comparison_sentences(analysis_of(high, low))
    assert re.match(r"With 9 .*trials: cosine ends lowest, beyond the noise \(loss 2\.0000", lines[0])
    nearly = np.array([low, low], float)[:, :, None] + np.array([[[0.0, 1.0, 2.0]], [[0.1, 0.9, 2.1]]])
    close = analyze_sweep(SweepResult(["constant", "cosine"], 2.0 ** np.arange(9), range(3), nearly), tolerance=0.05)
    assert re.match(r"With 9 .*trials: constant and cosine tie \(loss 2\.0000", comparison_sentences(close)[0])
    lines = comparison_sentences(analysis_of(high, low, shift=(0.0,)))
    assert "cosine ends lowest, but without a second seed this may be noise" in lines[0]
    assert comparison_sentences(analysis_of(low)) == []


def test_huge_losses_are_written_short():
    assert "1e+06" in said(analysis_of([3e6, 2e6, 1e6, 1.1e6, 3e6], tolerance=1.0, shift=(0.0, 1.0)))[0]


@pytest.mark.parametrize("noise", [0.001, 0.01, 0.1])
def test_the_cost_in_the_headline_is_the_upper_end_of_the_band(noise):
    rng = np.random.default_rng(5)
    loss = np.array(VALLEY)[None, :, None] + noise * rng.normal(size=(1, 9, 5))
    analysis = analyze_sweep(SweepResult(("cosine",), 2.0 ** np.arange(9), range(5), loss), tolerance=0.4)
    advice = analysis.recommendations["cosine"]
    assert advice.trials_saved > 0
    line = headline(analysis.schedules[0])
    assert f"at most {advice.confidence_interval[1]:.4f} (measured {advice.excess_loss:.4f}; 95% confidence)" in line


# What the bands rest on


def noisy_sweep(n_seeds, missing=()):
    loss = np.array(VALLEY)[:, None] + 0.01 * np.random.default_rng(0).normal(size=(9, n_seeds))
    for place, seed in missing:
        loss[place, seed] = np.nan
    return SweepResult(("cosine",), 2.0 ** np.arange(9), range(n_seeds), loss[None])


def test_the_bands_say_how_many_seeds_and_degrees_of_freedom_they_rest_on():
    for n_seeds in (2, 3, 5):
        analysis = analyze_sweep(noisy_sweep(n_seeds))
        df = round(analysis.schedules[0].curve.df)
        text = f"95% bands from the noise of all learning rates together: {n_seeds} seeds at each learning rate, {df}"
        assert how_bands_are_made(analysis) == f"{text} degrees of freedom."


def test_missing_cells_are_counted_where_they_are_missing():
    analysis = analyze_sweep(noisy_sweep(5, missing=[(0, 1), (0, 2), (0, 3), (4, 2)]), confidence_level=0.9)
    assert how_bands_are_made(analysis).startswith(
        "90% bands from the noise of all learning rates together: 2 to 5 seeds"
    )


def test_a_given_noise_is_named_and_one_seed_without_any_has_no_bands():
    given = how_bands_are_made(analyze_sweep(noisy_sweep(1), noise=0.02))
    assert (
        given == "95% bands from a noise of 0.02, which was given: 1 seed at each learning rate, 4 degrees of freedom."
    )
    assert how_bands_are_made(analyze_sweep(noisy_sweep(1))) == ""


def test_pictures_and_text_say_the_same_about_their_bands():
    analysis = analyze_sweep(noisy_sweep(3))
    text = how_bands_are_made(analysis)
    assert learning_rate_chart(analysis).note == degradation_chart(analysis).note == text
    assert text in str(analysis) and text in analysis.to_markdown()
