"""The plotly figures of a study: they show what the analysis says, for studies of every kind."""

from __future__ import annotations

import json
import math
import subprocess
import sys

import numpy as np
import optuna
import pytest
from optuna.distributions import FloatDistribution
from optuna.trial import create_trial

from robust_lr import RobustLRError
from robust_lr.analysis import Analysis
from robust_lr.exceptions import DataError
from robust_lr_optuna.plots import analyze_study, plot_degradation, plot_learning_rate

LR = FloatDistribution(1e-4, 10.0, log=True)
LRS = [1e-3 * 2.0**i for i in range(11)]


def study_with(
    loss=lambda lr, seed, name: 1 + 0.1 * math.log10(lr / 0.03) ** 2 + 0.001 * seed,
    names=("cosine", "constant"), seeds=3, direction="minimize",
):  # fmt: skip
    study = optuna.create_study(direction=direction)
    for name in names:
        for lr in LRS:
            for seed in range(seeds):
                attrs = {"schedule": name, "seed": seed}
                study.add_trial(
                    create_trial(
                        params={"lr": lr}, distributions={"lr": LR}, value=loss(lr, seed, name), user_attrs=attrs
                    )
                )
    return study


AXES = {"schedule_name": "schedule", "seed_name": "seed"}


def traces(figure, name):
    return [trace for trace in figure.data if trace.name == name]


def test_each_schedule_has_a_panel_with_its_mean_on_logarithmic_axes():
    study = study_with()
    analysis = analyze_study(study, **AXES)
    figure = plot_learning_rate(study, **AXES)
    assert [note.text.partition("<br>")[0] for note in figure.layout.annotations] == list(analysis.sweep.schedules)
    for trace, entry in zip(traces(figure, "mean"), analysis.schedules, strict=True):
        assert np.allclose(trace.x, LRS) and np.allclose(trace.y, entry.profile.mean)
    for trace, entry in zip(traces(figure, "best"), analysis.schedules, strict=True):
        assert (trace.x[0], trace.y[0]) == (entry.profile.best_lr, entry.profile.best_loss)
    for trace, entry in zip(traces(figure, "recommended grid"), analysis.schedules, strict=True):
        assert np.allclose(trace.x, entry.recommendation.learning_rates)
    assert figure.layout.xaxis.type == figure.layout.yaxis.type == "log"
    assert figure.layout.yaxis.title.text == "final loss"


def test_diverged_runs_and_the_cliff_are_marked():
    study = study_with(lambda lr, s, n: math.inf if lr > 0.5 else 1 + 0.1 * math.log10(lr / 0.03) ** 2 + 0.001 * s)
    figure = plot_learning_rate(study, **AXES)
    assert len(traces(figure, "diverged")) == len(traces(figure, "cliff")) == 2
    for trace in traces(figure, "diverged"):
        assert np.allclose(trace.x, [lr for lr in LRS if lr > 0.5]) and set(trace.text) == {"3 of 3 diverged"}
    for trace in traces(figure, "cliff"):
        assert sorted(set(trace.x)) == pytest.approx([0.256, 0.512])


def test_coarser_grids_are_shown_with_tolerance_and_recommendation():
    study = study_with()
    analysis = analyze_study(study, tolerance=0.02, **AXES)
    figure = plot_degradation(analysis)
    for entry, worst, ratio in zip(
        analysis.schedules,
        traces(figure, "worst offset (hollow: too narrow to tell)"),
        traces(figure, "recommended ratio"),
        strict=True,
    ):
        shown = entry.curve.worst[1 : 1 + len(worst.x)]
        assert np.allclose(worst.y, np.maximum(shown, min(worst.y)))
        assert ratio.x[0] == entry.recommendation.ratio
    assert {y for trace in traces(figure, "tolerance") for y in trace.y} == {0.02}


def test_a_relative_tolerance_is_of_the_lowest_loss():
    assert analyze_study(study_with(), tolerance="1%", **AXES).tolerance == pytest.approx(0.01, rel=0.01)
    assert analyze_study(study_with(), tolerance=0.5, **AXES).tolerance == 0.5


def test_a_study_that_maximizes_shows_its_scores_on_a_linear_axis():
    figure = plot_learning_rate(study_with(lambda lr, s, n: 1 - abs(math.log10(lr) + 2), direction="maximize"), **AXES)
    assert figure.layout.yaxis.type == "linear"
    assert max(traces(figure, "mean")[0].y) == pytest.approx(1 - abs(math.log10(0.008) + 2), abs=0.1)


def test_a_study_of_another_sampler_over_a_range_is_plotted():
    study = optuna.create_study(sampler=optuna.samplers.TPESampler(seed=0))
    study.optimize(lambda trial: 1 + math.log10(trial.suggest_float("lr", 1e-4, 1.0, log=True)) ** 2, n_trials=15)
    for plot in (plot_learning_rate, plot_degradation):
        figure = plot(study)
        assert len(figure.layout.annotations) == 1
        assert not traces(figure, "each seed") and not traces(figure, "band, 95%")


@pytest.mark.parametrize("n", [1, 2, 3, 4, 5, 7])
def test_any_number_of_schedules_fits(n):
    names = [f"cosine({i + 1})" for i in range(n)]
    figure = plot_learning_rate(study_with(names=names, seeds=1), **AXES)
    assert len(figure.layout.annotations) == n
    assert sum(bool(trace.showlegend) for trace in figure.data) == len({trace.name for trace in figure.data})


def test_a_sweep_without_a_result_that_carries_a_plot_says_so():
    study = study_with(lambda lr, s, n: math.inf)
    assert plot_learning_rate(study, **AXES).layout.title.text == "No schedule has enough data to plot"
    assert plot_degradation(study, **AXES).layout.title.text == "No schedule has enough data to plot"


def test_the_figures_are_plain_json_that_any_plotly_reads():
    """No base64 arrays, which older versions of plotly.js do not know, and no NaN or infinity."""

    def refuse(constant):
        raise AssertionError(constant)

    study = study_with(lambda lr, s, n: math.inf if lr > 0.5 and s else 1 + lr)
    for plot in (plot_learning_rate, plot_degradation):
        text = plot(study, **AXES).to_json()
        assert "bdata" not in text
        json.loads(text, parse_constant=refuse)


def test_an_analysis_is_taken_as_it_is():
    analysis = analyze_study(study_with(), **AXES)
    assert isinstance(analysis, Analysis)
    assert plot_learning_rate(analysis).to_json() == plot_learning_rate(study_with(), **AXES).to_json()
    with pytest.raises(RobustLRError, match="takes no options, got tolerance"):
        plot_degradation(analysis, tolerance=0.1)


def test_a_study_without_a_learning_rate_is_refused():
    study = optuna.create_study()
    study.optimize(lambda trial: trial.suggest_float("x", 0, 1), n_trials=2)
    with pytest.raises(DataError, match="no parameter 'lr'"):
        plot_learning_rate(study)


def test_without_plotly_the_error_says_what_to_install(monkeypatch):
    analysis = analyze_study(study_with(), **AXES)
    monkeypatch.setitem(sys.modules, "plotly", None)
    monkeypatch.delitem(sys.modules, "plotly.subplots", raising=False)
    with pytest.raises(RobustLRError, match=r"need plotly: pip install 'robust-lr\[dashboard\]'"):
        plot_learning_rate(analysis)


def test_importing_the_plots_loads_neither_plotly_nor_the_dashboard():
    code = (
        "import sys, robust_lr_optuna.plots, robust_lr_optuna.dashboard\n"
        "print('plotly' in sys.modules, 'optuna_dashboard' in sys.modules, 'matplotlib' in sys.modules)"
    )
    path = ":".join(sys.path)
    command = [sys.executable, "-c", code]
    loaded = subprocess.run(command, capture_output=True, text=True, check=True, env={"PYTHONPATH": path})
    assert loaded.stdout.split() == ["False"] * 3
