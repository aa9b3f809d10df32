"""One table over several sweeps: does what holds for one hold for all?"""

from __future__ import annotations

import math

import numpy as np

from robust_lr import SweepResult
from robust_lr.analysis import analyze_sweep
from robust_lr.report.groups import group_rows

INF = math.inf
VALLEY = [3.0, 1.5, 1.2, 1.05, 1.0, 1.04, 1.3, 2.0, 4.0]


def analysis_of(valleys, tolerance=0.0501, n_seeds=2):
    loss = np.array(list(valleys.values()), float)[:, :, None] + np.arange(float(n_seeds))
    sweep = SweepResult(list(valleys), 2.0 ** np.arange(loss.shape[1]), range(n_seeds), loss)
    return analyze_sweep(sweep, tolerance=tolerance)


def table(analyses):
    header, rows = group_rows(analyses)
    return {row[0]: dict(zip(header[1:], row[1:], strict=True)) for row in rows}


def test_each_schedule_has_one_row_over_the_sweeps_that_have_it():
    lower = [v - 0.5 for v in VALLEY]
    found = table({
        "short": analysis_of({"constant": VALLEY, "cosine": lower}),
        "long": analysis_of({"cosine": VALLEY[1:], "constant": [*lower[1:]]}),
        "longest": analysis_of({"cosine": VALLEY}, tolerance=0.0401),
    })  # fmt: skip
    assert list(found) == ["constant", "cosine"]
    assert found["constant"]["sweeps"] == "2"
    assert found["cosine"]["sweeps"] == "3"
    assert found["cosine"]["best lr"] == "8 to 16"
    assert found["cosine"]["lowest in"] == "2 of 3"
    assert found["constant"]["lowest in"] == "1 of 2"
    assert found["cosine"]["best at the edge"] == "0 of 3"
    assert found["cosine"]["half the trials cost"] == "at most 0.0400 (3 measured)"
    assert found["cosine"]["ratio for all"] == "4"
    assert found["constant"]["ratio for all"] == "8"


def test_a_sweep_without_an_answer_leaves_no_ratio_for_all():
    found = table({
        "a": analysis_of({"cosine": VALLEY}),
        "b": analysis_of({"cosine": sorted(VALLEY)}),
        "c": analysis_of({"cosine": [INF] * 9}),
        "d": analysis_of({"cosine": VALLEY[:2]}),
    })  # fmt: skip
    assert found["cosine"]["ratio for all"] == "-"
    assert found["cosine"]["best at the edge"] == "2 of 3"
    assert found["cosine"]["half the trials cost"] == "at most 0.0400 (1 measured)"
    only_diverged = table({"c": analysis_of({"cosine": [INF] * 9})})
    assert only_diverged["cosine"] == {
        "sweeps": "1", "best lr": "-", "lowest in": "0 of 1", "best at the edge": "0 of 0",
        "half the trials cost": "-", "ratio for all": "-",
    }  # fmt: skip


def test_a_coarser_grid_that_diverged_somewhere_is_not_a_number():
    found = table({"a": analysis_of({"cosine": [INF, 2.0, INF, 1.0, INF, 1.5, INF]})})
    assert found["cosine"]["half the trials cost"] == "diverged (1 measured)"
