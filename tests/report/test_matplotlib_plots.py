"""Plots: what is drawn is what was measured, and no data are too poor to draw."""

from __future__ import annotations

import io
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from matplotlib.axes import Axes
from matplotlib.colors import to_hex

from robust_lr import SweepResult
from robust_lr.analysis import analyze_sweep
from robust_lr.report._drawing import DIVERGED
from robust_lr.report.figures import (
    GUIDE_LABEL,
    WORST_LABEL,
    degradation_chart,
    learning_rate_chart,
)
from robust_lr.report.matplotlib_plots import (
    answer_figure,
    degradation_figure,
    draw,
    learning_rate_figure,
    search_figure,
)
from robust_lr.search import LearningRateSearch, SearchOptions
from robust_lr.search._result import rounded_up
from robust_lr.theory import grid_guarantee

INF, NAN = math.inf, math.nan
VALLEY = [3.0, 1.5, 1.2, 1.05, 1.0, 1.04, 1.3, 2.0, 4.0]


def sweep_of(*valleys, shift=(0.0, 1.0, 2.0), names=("constant", "cosine", "linear", "wsd(0.2)", "e")):
    loss = np.array(valleys, float)[:, :, None] + np.array(shift)
    return SweepResult(names[: len(valleys)], 2.0 ** np.arange(loss.shape[1]), range(len(shift)), loss)


def analysis_of(*valleys, tolerance=0.0501, **more):
    return analyze_sweep(sweep_of(*valleys, **more), tolerance=tolerance)


def drawn(ax):
    """Draw the figure that the axes belong to, and return the axes."""
    ax.figure.savefig(io.BytesIO(), format="svg")
    return ax


def loss_axes(sweep):
    return learning_rate_figure(analyze_sweep(sweep, tolerance=0.0501)).axes[0]


def texts(ax):
    return " ".join([ax.get_title(), *(t.get_text() for t in ax.texts)])


def lines_at(ax, marker):
    return [line for line in ax.lines if line.get_marker() == marker]


def test_the_learning_rate_plot_shows_mean_best_and_every_seed():
    ax = drawn(loss_axes(sweep_of(VALLEY)))
    assert isinstance(ax, Axes)
    (mean,) = lines_at(ax, "o")
    assert list(mean.get_xdata()) == [2.0**i for i in range(9)]
    assert mean.get_ydata() == pytest.approx([v + 1 for v in VALLEY])
    (star,) = lines_at(ax, "*")
    assert (star.get_xdata()[0], star.get_ydata()[0]) == (16, 2.0)
    seeds = [list(line.get_ydata()) for line in ax.lines if len(line.get_xdata()) == 9 and line is not mean]
    assert [[v + s for v in VALLEY] for s in range(3)] == seeds
    assert (ax.get_xscale(), ax.get_yscale()) == ("log", "log")
    assert not lines_at(ax, "x")
    assert "edge" not in texts(ax)
    assert "cliff" not in texts(ax)


def test_diverged_runs_are_red_crosses_at_the_top_even_where_other_seeds_survived():
    sweep = sweep_of(VALLEY)
    loss = np.array(sweep.loss)
    loss[0, 7, 1] = loss[0, 8] = INF
    sweep = SweepResult(sweep.schedules, sweep.learning_rates, sweep.seeds, loss)
    ax = drawn(loss_axes(sweep))
    (crosses,) = lines_at(ax, "x")
    assert list(crosses.get_xdata()) == [128, 256]
    assert to_hex(crosses.get_color()) == DIVERGED
    top = ax.transAxes.transform((0, 0.9))[1]
    assert all(crosses.get_transform().transform((1, y))[1] > top for y in crosses.get_ydata())
    assert "cliff" in texts(ax)


def test_an_edge_and_a_cliff_are_written_where_they_are():
    assert "edge of the grid" in texts(loss_axes(sweep_of([3, 2, 1])))
    ax = drawn(loss_axes(sweep_of([3.0, 1.2, 1.1, 1.0, 9.0])))
    assert "cliff" in texts(ax)
    assert "edge" not in texts(ax)


def test_the_degradation_plot_shows_worst_band_tolerance_and_recommendation():
    analysis = analysis_of(VALLEY)
    entry = analysis.schedules[0]
    ax = drawn(degradation_figure(analysis, {"constant": "cosine"}).axes[0])
    by_label = {line.get_label(): line for line in ax.lines}
    worst = by_label[WORST_LABEL]
    assert list(worst.get_xdata()) == [4, 8, 16, 32, 64]
    assert worst.get_ydata() == pytest.approx(entry.curve.worst[1:6])
    assert by_label["mean over offsets"].get_ydata() == pytest.approx(entry.curve.mean[1:6])
    assert any(line.get_ydata()[0] == 0.0501 for line in ax.lines if len(line.get_xdata()) == 2)
    assert any(line.get_xdata()[0] == 8 for line in ax.lines if line.get_linestyle() == ":")
    full, hollow = lines_at(ax, "o")
    assert list(full.get_xdata()) == [4, 8, 16]
    assert list(hollow.get_xdata()) == [32, 64]
    assert hollow.get_markerfacecolor() == "white"
    assert "ratio 8, 3 trials" in ax.get_title()


@pytest.mark.parametrize("spec", ["constant", "cosine", "wsd(0.2)", "inverse-sqrt"])
def test_the_guide_has_the_shape_of_the_guarantee_and_meets_the_last_trustworthy_point(spec):
    analysis = analysis_of(VALLEY)
    curve = analysis.schedules[0].curve
    ax = degradation_figure(analysis, {"constant": spec}).axes[0]
    (guide,) = [line for line in ax.lines if line.get_label() == GUIDE_LABEL]
    ratio = np.array(guide.get_xdata())
    shape = np.array([grid_guarantee(spec, r, total_steps=1000).worst - 1 for r in ratio])
    at = ratio.tolist().index(16)
    assert guide.get_ydata() == pytest.approx(shape * curve.worst[3] / shape[at], rel=5e-3)


@pytest.mark.parametrize("spec", ["sweep", "cosin", "warmup(steps=5000)+cosine"])
def test_without_a_schedule_that_theory_knows_there_is_no_guide(spec):
    ax = drawn(degradation_figure(analysis_of(VALLEY), {"constant": spec}).axes[0])
    assert GUIDE_LABEL not in [line.get_label() for line in ax.lines]


def test_the_answer_shows_excess_tolerance_what_is_as_good_and_the_next_grid_of_all_schedules_in_one_panel():
    figure = answer_figure(analysis_of([v + 0.2 for v in VALLEY], VALLEY))
    (ax,) = figure.axes
    drawn(ax)
    assert (ax.get_xscale(), ax.get_yscale()) == ("log", "log")
    by_label = {line.get_label(): line for line in ax.lines}
    best = by_label["cosine"]
    assert best.get_ydata()[[0, 3, 5, 8]] == pytest.approx([2.0, 0.05, 0.04, 3.0])
    assert by_label["constant"].get_ydata()[4] == pytest.approx(0.2)
    assert set(by_label["tolerance"].get_ydata()) == {0.0501}
    grid = [line for line in ax.lines if line.get_label() == "next grid"]
    assert {x for line in grid for x in line.get_xdata()} == {2, 16, 128}
    (shade,) = ax.collections
    assert shade.get_paths()[0].vertices[:, 0].min() == 8
    assert shade.get_paths()[0].vertices[:, 0].max() == 32
    assert {"try 2", "try 16", "try 128", "as good", "tolerance 0.0501"} <= {text.get_text() for text in ax.texts}
    assert (
        ax.get_title()
        == "Best learning rate: 16 under cosine; as good: 8 to 32\nEnough for new seeds of this task: 2, 16, 128"
    )


def test_the_answer_marks_what_diverged_and_what_to_run_without_a_recommendation():
    ax = drawn(answer_figure(analysis_of([3.0, 1.2, 1.0, INF, INF], shift=(0.0,))).axes[0])
    (crosses,) = lines_at(ax, "x")
    assert list(crosses.get_xdata()) == [8, 16]
    assert "Run next: a second seed at 1, 2 and 4" in ax.get_title()
    assert not lines_at(ax, "^")


@pytest.mark.parametrize("n", [1, 2, 3])
def test_long_titles_are_wrapped_and_stay_inside_their_figure(n):
    names = [f"warmup(0.0{i})+wsd(cooldown=0.2, shape=1-sqrt)+a name that never ends" for i in range(1, 4)]
    analysis = analysis_of(*[VALLEY] * n, names=names)
    for figure in (answer_figure(analysis), learning_rate_figure(analysis), degradation_figure(analysis)):
        figure.savefig(io.BytesIO(), format="png", dpi=100)
        for text in [ax.title for ax in figure.axes] + [figure._suptitle] * bool(figure.get_suptitle()):
            box = text.get_window_extent()
            assert figure.bbox.x0 <= box.x0 < box.x1 <= figure.bbox.x1
            assert figure.bbox.y0 <= box.y0 < box.y1 <= figure.bbox.y1
        for ax in figure.axes:
            assert "never" in ax.get_title() or ax.get_title().startswith("Best")


def test_a_plot_is_drawn_on_the_axes_that_are_given():
    from matplotlib.figure import Figure

    left, right = Figure().subplots(1, 2)
    analysis = analysis_of(VALLEY, VALLEY[::-1])
    assert draw(learning_rate_chart(analysis), [left]) is draw(degradation_chart(analysis), [right]) is left.figure
    assert left.get_title().startswith("constant") and right.get_ylabel() == "excess final loss"
    drawn(left)


@pytest.mark.parametrize("n", [1, 3, 5])
def test_a_figure_has_one_panel_a_schedule_that_carries_it(n):
    analysis = analysis_of(*[VALLEY] * n, [INF] * 9) if n < 5 else analysis_of(*[VALLEY] * n)
    for figure in (learning_rate_figure(analysis), degradation_figure(analysis)):
        assert len(figure.axes) == n
        names = [ax.get_title().split("\n")[0] for ax in figure.axes]
        assert names == list(analysis.sweep.schedules[:n])
        figure.savefig(io.BytesIO())


def test_the_legend_explains_every_line_although_the_first_schedule_has_no_guide():
    figure = degradation_figure(analysis_of(VALLEY, VALLEY, names=("mine", "cosine")))
    explained = {t.get_text() for t in figure.legends[0].get_texts()}
    drawn_lines = {line.get_label() for ax in figure.axes for line in ax.lines if line.get_label()[0] != "_"}
    assert {WORST_LABEL, "mean over offsets", GUIDE_LABEL, "tolerance", "recommended ratio"} <= drawn_lines <= explained


def test_titles_and_panels_do_not_overlap():
    figure = degradation_figure(analysis_of(*[VALLEY] * 5))
    figure.savefig(io.BytesIO(), format="png", dpi=100)
    boxes = [ax.get_tightbbox() for ax in figure.axes]
    for i, a in enumerate(boxes):
        assert not any(a.overlaps(b) for b in boxes[i + 1 :])
        assert figure.bbox.x0 <= a.x0 < a.x1 <= figure.bbox.x1
        assert figure.bbox.y0 <= a.y0 < a.y1 <= figure.bbox.y1


@pytest.mark.parametrize(
    "valleys",
    [
        [[INF] * 5],
        [[1.0]],
        [[INF]],
        [[1.0, 2.0]],
        [[-3.0, -4.0, -3.5]],
        [[-1.0, 0.0, 1.0, INF]],
        [[0.0] * 5],
        [[2.0] * 5],
        [[INF, 1.0, INF]],
        [[INF, 2.0, INF, 1.0, INF]],
        [[3.0, 1.0, 2.0], [-3.0, -4.0, -3.5], [INF] * 3, [0.0] * 3],
        [[1e99, 1.0, 1e-99]],
        [[1e308, 1.0, 1e200]],
        [[1.0, 1.0 + 1e-15, 1.0]],
    ],
)
@pytest.mark.parametrize("shift", [(0.0,), (0.0, 1.0)])
def test_poor_data_are_drawn_as_far_as_they_go(valleys, shift):
    analysis = analysis_of(*valleys, shift=shift)
    for figure in (answer_figure(analysis), learning_rate_figure(analysis), degradation_figure(analysis)):
        figure.savefig(io.BytesIO(), format="svg")
    if not any(np.isfinite(v).any() for v in valleys):
        assert "No schedule has enough data" in learning_rate_figure(analysis).get_suptitle()


def test_negative_losses_have_a_linear_axis_with_their_band():
    losses = np.array([-3.0, -4.0, -3.5])[:, None] + [[0.0, 0.3, 0.1], [0.2, 0.0, 0.1], [0.1, 0.0, 0.3]]
    ax = drawn(loss_axes(SweepResult(("constant",), [1, 2, 4], range(3), losses[None])))
    assert ax.get_yscale() == "linear"
    band = ax.collections[0].get_paths()[0].vertices
    assert band[:, 1].max() - band[:, 1].min() > 1.2


@pytest.mark.parametrize("name", ["a$b$c", "$\\nonsense{$", "two\nlines"])
def test_a_schedule_may_have_any_name(name):
    analysis = analysis_of(VALLEY, VALLEY, names=(name, "cosine"))
    for figure in (learning_rate_figure(analysis), degradation_figure(analysis)):
        figure.savefig(io.BytesIO(), format="svg")
        assert figure.axes[0].get_title().startswith(name)


@settings(max_examples=6, deadline=None)
@given(
    arrays(
        float,
        st.tuples(st.integers(1, 3), st.integers(1, 6), st.integers(1, 3)),
        elements=st.one_of(st.floats(-5, 5), st.sampled_from([INF, NAN, 0.0])),
    )
)
def test_any_losses_can_be_drawn(loss):
    sweep = SweepResult(["a", "cosine", "c"][: len(loss)], 3.0 ** np.arange(loss.shape[1]), range(loss.shape[2]), loss)
    analysis = analyze_sweep(sweep, tolerance=0.1)
    for figure in (answer_figure(analysis), learning_rate_figure(analysis), degradation_figure(analysis)):
        figure.canvas.draw()


def searched(loss, **options):
    search = LearningRateSearch(1e-4, 1.0, tolerance=0.005, schedule="cosine", options=SearchOptions(**options))
    while not search.done:
        for lr in search.ask():
            search.tell(lr, loss(lr), status="ok" if math.isfinite(loss(lr)) else "diverged")
    return search.result


def test_the_search_figure_shows_every_trial_the_best_what_is_as_good_and_what_diverged():
    result = searched(lambda lr: 0.3 + 0.03 * math.log(lr / 0.02) ** 2 if lr < 0.15 else INF)
    figure = search_figure(result)
    (ax,) = figure.axes
    drawn(ax)
    mean = lines_at(ax, "o")[-1]  # above the trials at each learning rate
    ok = {tell.lr: tell.loss for tell in result.history if tell.status == "ok"}
    assert dict(zip(mean.get_xdata(), mean.get_ydata(), strict=True)) == ok
    (star,) = lines_at(ax, "*")
    assert (star.get_xdata()[0], star.get_ydata()[0]) == (result.lr, result.loss)
    assert {lr for cross in lines_at(ax, "x") for lr in cross.get_xdata()} == {t.lr for t in result.history} - set(ok)
    numbers = {text.get_text() for text in ax.texts}
    first = {tell.lr: str(i) for i, tell in reversed(list(enumerate(result.history, 1))) if tell.status == "ok"}
    assert set(first.values()) <= numbers
    explained = {text.get_text() for text in figure.legends[0].get_texts()}
    assert f"nothing is better by more than {rounded_up(result.excess_bound)}" in explained
    assert f"Best learning rate: {result.lr:.4g}" in figure.get_suptitle()
    assert "better by more than the tolerance" in ax.get_title()


@pytest.mark.parametrize("max_trials", [0, 1, 2])
@pytest.mark.parametrize("loss", [1.0, 0.0, -3.0, INF])
def test_the_search_figure_shows_a_search_that_has_only_begun(loss, max_trials):
    search = LearningRateSearch(1e-4, 1.0, tolerance=0.005)
    for lr in search.ask(max_trials) if max_trials else []:
        search.tell(lr, loss, status="ok" if math.isfinite(loss) else "diverged")
    figure = search_figure(search.result)
    drawn(figure.axes[0])
    assert "not finished" in figure.axes[0].get_title()
