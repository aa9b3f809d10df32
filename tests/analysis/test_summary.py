"""The whole analysis of any sweep: always a value, always strict JSON."""

from __future__ import annotations

import io
import json
import math
from html import unescape

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from rich.console import Console

from robust_lr import SweepResult
from robust_lr._page import box_text
from robust_lr.analysis import analyze_sweep
from robust_lr.exceptions import OptionError
from robust_lr.report.answer import answer_box, conclusion
from robust_lr.report.console import print_analysis
from robust_lr.report.tables import degradation_rows, recommendation_rows
from robust_lr.report.words import alerts, caveats, comparison_sentences, details, headline

INF, NAN = math.inf, math.nan

CELL = st.one_of(
    st.integers(-20, 20).map(float),
    st.floats(-1e3, 1e3),
    st.sampled_from([INF, NAN, 0.0, 1e-300, 1e150, -1e150, 1e308, -1e308]),
)
LOSSES = arrays(float, st.tuples(st.integers(1, 3), st.integers(1, 7), st.integers(1, 4)), elements=CELL)
HARMLESS = arrays(
    float,
    st.tuples(st.integers(1, 3), st.integers(1, 7), st.integers(1, 4)),
    elements=st.one_of(st.floats(-5, 5), st.floats(0, 1), st.sampled_from([INF, NAN, 0.0, 9.0])),
)


def analysis_of(loss, tolerance=0.1, **more):
    loss = np.asarray(loss, float)
    names = ["constant", "cosine", "wsd(0.2)"][: loss.shape[0]]
    return analyze_sweep(
        SweepResult(names, 2.0 ** np.arange(loss.shape[1]), range(loss.shape[2]), loss, **more), tolerance=tolerance
    )


def everything_said(analysis):
    lines = [conclusion(analysis), *caveats(analysis), *comparison_sentences(analysis)]
    for entry in analysis.schedules:
        lines += [headline(entry), *alerts(entry), *details(entry, analysis.tolerance)]
    for header, rows in (
        degradation_rows(analysis, bands=True),
        degradation_rows(analysis, bands=False),
        recommendation_rows(analysis),
    ):
        assert all(len(row) == len(header) for row in rows)
        lines += [cell for row in rows for cell in row]
    return lines


@given(LOSSES, st.floats(1e-6, 1e6))
def test_any_losses_give_an_analysis_in_strict_json_and_in_words(loss, tolerance):
    analysis = analysis_of(loss, tolerance)
    content = analysis.to_dict()
    assert json.loads(json.dumps(content, allow_nan=False)) == content
    everything_said(analysis)
    for entry in analysis.schedules:
        assert (entry.recommendation is None) == (entry.missing is not None)
        if entry.missing is not None:
            assert entry.missing.needed


@given(HARMLESS, st.floats(1e-3, 10))
def test_nothing_that_is_said_has_a_nan_in_it(loss, tolerance):
    for line in everything_said(analysis_of(loss, tolerance)):
        assert "nan" not in line
        assert "  " not in line
        assert ".." not in line


def test_infinity_and_nan_everywhere_become_null():
    loss = np.full((2, 4, 2), NAN)
    loss[0] = INF
    text = json.dumps(analysis_of(loss, seconds=NAN).to_dict(), allow_nan=False)
    assert '"n_diverged": 8' in text
    one_seed = analysis_of([[[3.0], [INF], [1.0], [INF]]]).to_dict()
    json.dumps(one_seed, allow_nan=False)
    assert one_seed["schedules"][0]["profile"][1]["mean"] is None


def test_the_figures_are_those_of_the_analysis():
    loss = np.array([3.0, 1.5, 1.2, 1.0, 1.1, 1.4, 2.0])[None, :, None] + np.array([0.0, 1.0, 2.0])
    analysis = analysis_of(loss, 0.25, seconds=10.0, specs={"constant": "constant"}, notes=["half of it"])
    content = analysis.to_dict()
    schedule = content["schedules"][0]
    advice = analysis.recommendations["constant"]
    assert content["schema"] == 2
    assert content["learning_rates"] == [1, 2, 4, 8, 16, 32, 64]
    assert (content["n_trials"], content["n_diverged"], content["n_failed"]) == (21, 0, 0)
    assert content["notes"] == ["half of it"]
    assert (schedule["best_lr"], schedule["edge"], schedule["cliff"], schedule["spec"]) == (8, None, None, "constant")
    assert schedule["recommendation"]["ratio"] == advice.ratio == 8
    assert schedule["recommendation"]["learning_rates"] == advice.learning_rates.tolist()
    assert schedule["recommendation"]["seconds_saved"] == 10.0 * advice.trials_saved
    assert [row["ratio"] for row in schedule["degradation"]] == [2, 4, 8, 16, 32, 64]
    assert [row["covered"] for row in schedule["degradation"]] == [True, True, True, False, False, False]
    assert [row["lowest"] for row in content["comparison"]] == ["constant"] * len(content["comparison"])


def test_the_documented_fields_are_those_that_are_written(pytestconfig):
    page = (pytestconfig.rootpath / "docs" / "reference" / "analysis-json.md").read_text(encoding="utf-8")
    loss = np.array([3.0, 1.5, 1.2, 1.0, 1.1, 1.4, 2.0])[None, :, None] + np.array([0.0, 1.0, 2.0])
    content = analysis_of(np.concatenate([loss, loss + 0.5]), 0.25).to_dict()
    schedule, compared = content["schedules"][0], content["comparison"][0]
    parts = [content, schedule, compared, schedule["profile"][0], schedule["degradation"][0]]
    parts += [schedule["recommendation"], compared["schedules"][0], {"reason": "", "needed": "", "estimate": None}]
    for part in parts:
        for field in part:
            assert f"`{field}`" in page, field


def test_schedules_that_miss_data_do_not_keep_the_others_from_an_answer():
    good = np.array([3.0, 1.2, 1.0, 1.1, 2.0])[:, None] + np.array([0.0, 1.0])
    loss = np.stack([good, np.full((5, 2), INF), np.full((5, 2), NAN)])
    analysis = analysis_of(loss, 0.5)
    assert list(analysis.recommendations) == ["constant"]
    assert [entry.missing and entry.missing.needed for entry in analysis.schedules] == [
        None, "learning rates below 1", "at least one finished trial",
    ]  # fmt: skip
    assert analysis.comparison.schedules == ("constant",)


def test_two_learning_rates_have_a_profile_and_ask_for_a_third():
    entry = analysis_of([[[1.0, 1.1], [2.0, 2.1]]]).schedules[0]
    assert entry.profile is not None
    assert entry.curve is None
    assert entry.missing.needed == "1 more learning rate"


@pytest.mark.parametrize("tolerance", [0.0, -1.0, NAN, INF])
def test_a_tolerance_out_of_range_is_an_error_with_any_data(tolerance):
    for loss in ([[[2.0, 2.0], [1.0, 1.0], [2.0, 2.0]]], [[[1.0], [2.0]]], [[[INF]]]):
        with pytest.raises(OptionError, match="tolerance must be a positive number such as"):
            analysis_of(loss, tolerance)


def test_a_confidence_level_out_of_range_is_an_error_with_any_data():
    for loss in ([2.0, 1.0, 2.0], [1.0], [INF]):
        sweep = SweepResult(("a",), 2.0 ** np.arange(len(loss)), (0,), np.array(loss)[None, :, None])
        with pytest.raises(OptionError, match="confidence_level"):
            analyze_sweep(sweep, tolerance=0.1, confidence_level=95)


def test_a_percentage_is_of_the_lowest_loss():
    sweep = SweepResult(("a",), [0.1, 1.0], (0,), [[[2.0], [float("inf")]]])
    assert analyze_sweep(sweep, tolerance="1%").tolerance == pytest.approx(0.02)
    assert analyze_sweep(sweep, tolerance="0.5").tolerance == 0.5


@pytest.mark.parametrize(
    ("loss", "tolerance"),
    [
        ([[1.0, 3.0], [0.1, 4.1]], 0.02),  # not of the lowest single run
        ([[0.1, INF], [3.0, 5.0]], 0.04),  # a mean with a divergence in it is no mean
        ([[2.0, NAN], [NAN, NAN]], 0.02),
        ([[-4.0, -2.0], [INF, 1.0]], 0.03),
        ([[1e308, 1e308], [1.7e308, 1.7e308]], 1e306),
        ([[INF, 1.0], [INF, NAN]], 0.01),
    ],
)
def test_a_percentage_is_of_the_lowest_mean_over_the_seeds(loss, tolerance):
    sweep = SweepResult(("a",), [0.1, 1.0], (0, 1), [loss])
    assert analyze_sweep(sweep, tolerance="1%").tolerance == pytest.approx(tolerance)


def test_an_analysis_prints_what_the_command_line_prints():
    loss = np.array([3.0, 1.5, 1.2, 1.0, 1.1, 1.4, 2.0])[None, :, None] + np.array([0.0, 1.0, 2.0])
    analysis = analysis_of(loss, 0.25)
    text, console = str(analysis), Console(file=io.StringIO(), width=150)
    print_analysis(analysis, console)
    assert text.split() == console.file.getvalue().split()
    assert text.startswith(box_text(answer_box(analysis))) and headline(analysis.schedules[0]) in text
    assert "\n" not in repr(analysis) and "recommended ratios: constant 8" in repr(analysis)
    assert all(text in unescape(analysis._repr_html_()) for _, text in answer_box(analysis).rows)
    assert analysis.to_markdown().startswith("**Answer**\n\n- **Best learning rate**: 8 under constant, loss 2.0000")
