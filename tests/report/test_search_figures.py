"""The chart of a search: the valley can be seen, and nothing that was tried is missing."""

from __future__ import annotations

import math

import pytest

from robust_lr import LearningRateSearch, SearchOptions, search_learning_rate
from robust_lr.report.search_figures import search_chart
from robust_lr.search._result import rounded_up

INF = math.inf


def searched(loss, *, tolerance=0.005, low=1e-4, high=1.0, **options):
    search = LearningRateSearch(low, high, tolerance=tolerance, options=SearchOptions(**options))
    while not search.done:
        for lr in search.ask():
            search.tell(lr, loss(lr), status="ok" if math.isfinite(loss(lr)) else "diverged")
    return search.result


def valley(lr):
    return 0.3 + 0.03 * math.log(lr / 0.02) ** 2


def traces(chart):
    return {trace.name: trace for trace in chart.panels[0].traces}


def in_length(*, lr, schedule, seed, total_steps):
    return 0.0153 + 1 / total_steps + 0.03 * math.log(lr / 0.2) ** 2


@pytest.mark.parametrize("exploded", [8.65e232, 1e6, 3e38, INF])
def test_a_trial_that_explodes_is_a_cross_at_the_top_and_the_valley_stays_visible(exploded):
    result = searched(lambda lr: valley(lr) if lr < 0.15 else exploded)
    chart = search_chart(result)
    broken = {each.lr for each in result.history if each.lr >= 0.15}
    assert broken and set(traces(chart)["diverged or exploded"].x) == broken
    assert chart.y.high < 3
    assert all(chart.y.low <= y <= chart.y.high for trace in chart.panels[0].traces for y in trace.y)
    trained = {each.lr for each in result.history} - broken
    assert set(traces(chart)["mean"].x) == trained


def test_a_trial_far_worse_than_the_valley_below_the_best_is_a_triangle_at_the_top():
    result = searched(lambda lr: valley(lr) if lr > 0.002 else 1e5)
    chart = search_chart(result)
    assert set(traces(chart)["worse than shown"].x) == {each.lr for each in result.history if each.lr <= 0.002}
    assert chart.y.high < 3


def test_a_usual_search_hides_nothing():
    result = searched(valley)
    shown = traces(search_chart(result))
    assert set(shown["mean"].x) == {each.lr for each in result.history}
    assert not {"worse than shown", "diverged or exploded"} & shown.keys()


def test_over_horizons_the_shorter_trainings_are_lines_of_their_own():
    result = search_learning_rate(
        in_length, 1e-3, 1.0, tolerance=0.02, total_steps=1000, horizons=[0.1, 0.3, 1], progress=False
    )
    chart = search_chart(result)
    shown = traces(chart)
    for each in result.shorter:
        assert set(shown[f"{each.total_steps} steps"].x) == {one.lr for one in each.history}
    assert set(shown["mean, 1000 steps"].x) == {one.lr for one in result.history}
    labels = list(chart.y.ticks().values())
    assert len(labels) >= 3 and all(len(label) <= 6 for label in labels)


def test_one_trial_has_an_axis_as_wide_as_the_tolerance():
    result = searched(lambda lr: 0.0153046, max_trials=1)
    y = search_chart(result).y
    assert y.high - y.low >= 0.01
    assert len(set(y.ticks().values())) == len(y.ticks()) >= 3


def test_the_picture_says_what_the_text_says():
    result = searched(valley)
    names = traces(search_chart(result))
    assert f"nothing is better by more than {rounded_up(result.excess_bound)}" in names
    assert f"by more than {rounded_up(result.excess_bound)}," in str(result)
    span = names["surely within the tolerance"]
    assert span.x == result.good_interval
    early = searched(valley, max_trials=3)
    assert any(name.startswith("if there is no noise, nothing is better") for name in traces(search_chart(early)))


def test_a_bound_that_says_nothing_leaves_the_axis_to_the_losses():
    chart = search_chart(searched(valley, noise=1e10))
    assert chart.y.high - chart.y.low < 10


def test_scores_are_drawn_as_scores():
    result = search_learning_rate(
        lambda *, lr, schedule, seed: 0.9 - 0.03 * math.log(lr / 0.02) ** 2 if lr < 0.1 else -1e9,
        1e-4, 1.0, tolerance=0.005, direction="maximize", progress=False,
    )  # fmt: skip
    chart = search_chart(result)
    assert traces(chart)["best"].y == (-result.loss,)
    assert -3 < chart.y.low < 0.9 < chart.y.high
