"""The two tables, cell by cell."""

from __future__ import annotations

import math

import numpy as np

from robust_lr import SweepResult
from robust_lr.analysis import analyze_sweep
from robust_lr.report.tables import degradation_rows, recommendation_rows

INF, NAN = math.inf, math.nan
VALLEY = [3.0, 1.5, 1.2, 1.05, 1.0, 1.04, 1.3, 2.0, 4.0]


def analysis_of(*valleys, tolerance=0.0501, n_seeds=3):
    loss = np.array(valleys, float)[:, :, None] + np.arange(float(n_seeds))
    names = ["constant", "cosine", "linear"][: len(valleys)]
    return analyze_sweep(SweepResult(names, 2.0 ** np.arange(loss.shape[1]), range(n_seeds), loss), tolerance=tolerance)


def test_costs_stand_under_their_ratio_and_brackets_mark_what_the_sweep_cannot_tell():
    narrow = [1.0, *VALLEY[:4], 0.9, 1.0, 1.1, 1.2]
    header, rows = degradation_rows(analysis_of(VALLEY, narrow), bands=False)
    assert header == ["schedule", "ratio 4\n5 trials", "ratio 8\n3 trials", "ratio 16\n3 trials"]
    assert rows[0] == ["constant", "0.0400", "0.0500", "0.2000"]
    assert rows[1][0] == "cosine"
    assert rows[1][3].startswith("(")


def test_bands_stand_on_a_second_line():
    _, rows = degradation_rows(analysis_of(VALLEY), bands=True)
    assert rows[0][1] == "0.0400\n[0.0400, 0.0400]"
    _, rows = degradation_rows(analysis_of(VALLEY, n_seeds=1), bands=True)
    assert rows[0][1] == "0.0400"


def test_a_grid_on_which_all_diverged_says_diverged():
    _, rows = degradation_rows(analysis_of([INF, 2.0, INF, 1.0, INF, 1.5, INF]), bands=True)
    assert rows[0][1] == "diverged"


def test_sweeps_of_different_learning_rates_are_headed_by_the_stride():
    loss = np.array([VALLEY, VALLEY])[:, :, None] + np.arange(2.0)
    loss[1, 2] = NAN
    analysis = analyze_sweep(SweepResult(("a", "b"), 2.0 ** np.arange(9), (0, 1), loss), tolerance=0.1)
    header, rows = degradation_rows(analysis, bands=False)
    assert header[:3] == ["schedule", "every 2nd", "every 3rd"]
    assert len(rows) == 2


def test_without_any_curve_there_is_no_table():
    assert degradation_rows(analysis_of([1.0, 2.0]), bands=True) == ([], [])


def test_recommendations_and_what_is_missing_share_a_table():
    header, rows = recommendation_rows(analysis_of(VALLEY, VALLEY[::-1], sorted(VALLEY)))
    assert header == ["schedule", "best lr", "loss", "ratio", "trials", "excess", "at most", "limited by"]
    assert rows[0] == ["constant", "16", "2.0000", "8", "3", "0.0500", "0.0500", "rates above the best"]
    assert rows[2] == ["linear", "1", "2.0000", "-", "-", "-", "-", "needs 1 learning rate below 1"]
    _, rows = recommendation_rows(analysis_of([INF, INF, INF]))
    assert rows[0] == ["constant", "-", "-", "-", "-", "-", "-", "needs learning rates below 1"]
