"""A sweep and a search optimize the metric and the direction that the user names."""

from __future__ import annotations

import math
import warnings

import pytest

from robust_lr import SweepResult, analyze_sweep, run_sweep, search_learning_rate
from robust_lr.exceptions import DataError, OptionError, RobustLRWarning, TrialError
from robust_lr.report.figures import learning_rate_chart
from robust_lr.report.search_figures import search_chart

LRS = [10.0 ** (i / 4 - 4) for i in range(13)]


def scored(*, lr, schedule, seed):
    error = 0.03 * math.log(lr / 0.02) ** 2
    return {"val_loss": 0.3 + error + 0.001 * seed, "acc": 0.9 - error - 0.001 * seed}


def accuracy(*, lr, schedule, seed):
    return 0.9 - 0.03 * math.log(lr / 0.02) ** 2 - 0.001 * seed * lr


def sweep_of(train=scored, **options):
    return run_sweep(train, LRS, ["cosine"], 2, **options)


def best(sweep):
    return analyze_sweep(sweep, tolerance=0.01).schedules[0].profile.best_lr


def test_a_score_and_a_loss_of_the_same_trials_have_the_same_best():
    by_score, by_loss = sweep_of(metric="acc", direction="maximize"), sweep_of(metric="val_loss")
    assert best(by_score) == best(by_loss) == pytest.approx(0.0178, rel=0.01)
    assert (by_score.direction, by_loss.direction) == ("maximize", "minimize")


def test_what_people_read_is_the_score():
    sweep = sweep_of(metric="acc", direction="maximize")
    for text in (str(sweep), str(analyze_sweep(sweep, tolerance=0.01))):
        assert "score" in text and "0.89" in text and "-0." not in text
    chart = learning_rate_chart(analyze_sweep(sweep, tolerance=0.01))
    mean = next(trace for trace in chart.panels[0].traces if trace.name == "mean")
    assert max(mean.y) == pytest.approx(0.899, abs=1e-3) and chart.y.label == "final score"
    assert chart.y.low < min(mean.y) and max(mean.y) < chart.y.high


def test_a_journal_keeps_what_was_returned_so_another_metric_needs_no_training(tmp_path):
    calls = []

    def counted(*, lr, schedule, seed):
        calls.append(lr)
        return scored(lr=lr, schedule=schedule, seed=seed)

    path = tmp_path / "sweep.jsonl"
    first = sweep_of(counted, metric="acc", direction="maximize", journal=path, label="x")
    again = sweep_of(counted, metric="val_loss", journal=path, label="x")
    assert len(calls) == 26
    assert SweepResult.from_journal(path, metric="acc", direction="maximize").loss.tolist() == first.loss.tolist()
    assert SweepResult.from_journal(path, metric="val_loss").loss.tolist() == again.loss.tolist()
    with pytest.raises(DataError, match="has no metric 'loss'; it has val_loss, acc"):
        SweepResult.from_journal(path)
    with pytest.raises(DataError, match=r"holds 26 trials with no metric 'f1'; it has val_loss, acc: choose"):
        sweep_of(counted, metric="f1", journal=path, label="x")


@pytest.mark.parametrize("options", [{}, {"metric": "other_loss"}])
def test_a_metric_that_does_not_come_ends_after_one_training(options):
    calls = []

    def counted(*, lr, schedule, seed):
        calls.append(lr)
        return scored(lr=lr, schedule=schedule, seed=seed)

    for run in (sweep_of, lambda train, **more: search_learning_rate(train, 1e-4, 0.1, tolerance=0.01, **more)):
        calls.clear()
        with pytest.raises(TrialError, match="it returned 'val_loss', 'acc'; to optimize another, pass metric="):
            run(counted, **options)
        assert len(calls) == 1


def test_a_return_value_that_is_wrong_later_fails_its_trial_only():
    def forgetful(*, lr, schedule, seed):
        return None if lr > 0.05 else lr + 0.1 * seed

    with pytest.warns(RobustLRWarning, match="4 of 26 trials failed"):
        sweep = sweep_of(forgetful)
    assert sweep.n_trials == 22


def test_a_search_maximizes_and_reads_as_a_score():
    result = search_learning_rate(scored, 1e-3, 0.3, tolerance=0.005, metric="acc", direction="maximize")
    assert result.lr == pytest.approx(0.02, rel=0.2) and result.loss == pytest.approx(-0.9, abs=0.01)
    text = str(result)
    assert "(score 0.898403, 8 trials)" in text and "-0.8" not in text and "loss 0" not in text
    chart = search_chart(result)
    star = next(trace for trace in chart.panels[0].traces if trace.name == "best")
    assert star.y == (pytest.approx(-result.loss),) and chart.y.label == "final score"


def test_a_search_without_a_direction_never_leaves_its_range_for_a_worse_score():
    with pytest.warns(RobustLRWarning, match="'accuracy' looks like a score"):
        result = search_learning_rate(accuracy, 1e-3, 0.3, tolerance=0.005)
    assert all(1e-3 <= each.lr <= 0.3 for each in result.history)
    assert "'accuracy' looks like a score" in str(result)


def test_a_direction_that_is_given_is_not_doubted():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for direction in ("minimize", "maximize"):
            search_learning_rate(accuracy, 1e-3, 0.3, tolerance=0.005, direction=direction)
            assert run_sweep(accuracy, LRS, ["cosine"], 2, direction=direction).notes == ()


def test_a_search_in_which_nothing_has_an_effect_says_so():
    constant = search_learning_rate(lambda *, lr, schedule, seed: 0.3, 1e-3, 0.3, tolerance=0.005)
    assert "learning rates have the same loss to the last bit" in str(constant)


@pytest.mark.parametrize("run", [run_sweep, search_learning_rate])
@pytest.mark.parametrize("options", [{"direction": "max"}, {"metric": ""}, {"metric": 3}])
def test_a_wrong_metric_or_direction_is_refused_before_the_first_trial(run, options):
    def never(*, lr, schedule, seed):
        raise AssertionError

    arguments = (LRS, ["cosine"], 2) if run is run_sweep else (1e-3, 0.3)
    more = {} if run is run_sweep else {"tolerance": 0.01}
    with pytest.raises(OptionError):
        run(never, *arguments, **more, **options)


@pytest.mark.parametrize(
    ("train", "says"),
    [
        (lambda lr, seed: lr, r"\(lr, seed\) does not take schedule by keyword: add the parameters"),
        (lambda learning_rate, scheduler, seed: 0, "does not take lr and schedule by keyword and needs learning_rate"),
        (lambda *, lr, schedule, seed, data: 0, r"needs data too: bind it, functools.partial\("),
        (dict, "got the class dict"),
        (7, "must be callable"),
    ],
)
def test_a_function_that_cannot_be_called_is_named_before_the_first_trial(train, says):
    with pytest.raises(OptionError, match=says):
        run_sweep(train, LRS, ["cosine"], 1)
    with pytest.raises(OptionError, match=says):
        search_learning_rate(train, 1e-3, 0.3, tolerance=0.01)


def test_failures_above_the_sweep_are_named_and_may_count_as_diverged():
    def raises(*, lr, schedule, seed):
        if lr > 0.02:
            raise RuntimeError("returned nan values")
        return accuracy(lr=lr, schedule=schedule, seed=seed) * -1

    with pytest.warns(RobustLRWarning, match="6 of 26 trials failed"):
        sweep = sweep_of(raises, direction="minimize")
    text = str(analyze_sweep(sweep, tolerance=0.01))
    assert "results at 0.0316228, 0.0562341 and 0.1, where trials failed" in text
    assert "learning rate above" not in text
    diverged = sweep.with_failed_as_diverged()
    assert (diverged.diverged.sum(), diverged.failures) == (6, ())
    assert analyze_sweep(diverged, tolerance=0.01).schedules[0].profile.cliff == pytest.approx(0.0316, rel=0.01)
