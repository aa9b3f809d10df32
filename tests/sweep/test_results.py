"""The sweep as a value: built from arrays, trials, tables and journals, written and read back."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from robust_lr import GeometricGrid, SweepResult, TrialResult, TrialSpec, run_sweep
from robust_lr.exceptions import DataError, JournalError

INF, NAN = math.inf, math.nan


def small(**changes):
    values = {
        "schedules": ("constant", "cosine"),
        "learning_rates": [0.1, 0.2, 0.4],
        "seeds": (0, 7),
        "loss": [[[1.0, 2.0], [3.0, INF], [NAN, 4.0]], [[5.0, 6.0], [7.0, 8.0], [9.0, -10.0]]],
    } | changes
    return SweepResult(**values)


def test_a_sweep_says_what_it_holds():
    sweep = small()
    assert (sweep.n_trials, int(sweep.diverged.sum())) == (11, 1)
    assert repr(sweep) == ("SweepResult(constant, cosine; 3 learning rates 0.1..0.4; 2 seeds; 11 results, 1 diverged)")
    one = SweepResult(("a",), [1e-4], (0,), [[[0.5]]])
    assert repr(one) == "SweepResult(a; 1 learning rate 0.0001; 1 seed; 1 result, 0 diverged)"
    assert sweep.index("cosine") == 1
    assert np.isnan(sweep.seconds).all()


def test_a_sweep_cannot_be_changed_nor_changes_with_the_array_it_came_from():
    loss = np.ones((1, 2, 1))
    sweep = SweepResult(("a",), [1, 2], (0,), loss)
    loss[:] = 5
    assert sweep.loss.max() == 1
    with pytest.raises(ValueError, match="read-only"):
        sweep.loss[0, 0, 0] = 2
    with pytest.raises(AttributeError):
        sweep.seeds = (1,)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"loss": [[1.0, 2.0]]}, "loss must have the shape (schedules, learning rates, seeds) = (2, 3, 2), got (1, 2)"),
        ({"loss": [[["a"]]]}, "expected an array of numbers"),
        ({"loss": [[1.0], [2.0, 3.0]]}, "expected an array of numbers"),
        ({"loss": np.full((2, 3, 2), -INF)}, "a diverged run is +inf"),
        ({"learning_rates": [0.1, 0.4, 0.2]}, "ascending"),
        ({"learning_rates": [0.1, 0.1, 0.2]}, "distinct"),
        ({"learning_rates": [0.0, 0.1, 0.2]}, "positive"),
        ({"learning_rates": [0.1, 0.2, INF]}, "finite"),
        ({"learning_rates": [[0.1, 0.2, 0.4]]}, "at least one schedule, learning rate and seed"),
        ({"learning_rates": []}, "at least one"),
        ({"schedules": ()}, "at least one"),
        ({"seeds": ()}, "at least one"),
        ({"schedules": ("a", "a")}, "schedules must be distinct"),
        ({"seeds": (3, 3)}, "seeds must be distinct"),
        ({"seeds": (3, np.int64(3))}, "seeds must be distinct"),
        ({"seeds": (0.5, 1.5)}, "a seed must be a whole number, got 0.5"),
        ({"seeds": ("0", "1")}, "a seed must be a whole number, got '0'"),
        ({"seconds": [1.0, 2.0, 3.0, 4.0]}, "seconds must have the shape"),
        ({"seconds": "long"}, "expected an array of numbers"),
        ({"metrics": {"accuracy": [1.0]}}, "metric 'accuracy' must have the shape"),
    ],
)
def test_a_sweep_that_cannot_be_says_why_in_one_line(changes, says):
    with pytest.raises(DataError) as caught:
        small(**changes)
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


def test_an_unknown_schedule_is_answered_with_the_known_ones():
    with pytest.raises(DataError, match=r"no schedule 'linear'; it has constant, cosine"):
        small().index("linear")


def test_trials_of_a_sweep_make_up_the_same_sweep_again():
    sweep = small(seconds=2.5, metrics={"accuracy": np.arange(12.0).reshape(2, 3, 2)})
    again = SweepResult.from_trials(
        dict.fromkeys(sweep.schedules, ""), sweep.learning_rates, sweep.seeds, sweep.trials()
    )
    np.testing.assert_array_equal(again.loss, sweep.loss)
    assert again.n_trials == len(sweep.trials()) == 11
    assert [t.status for t in sweep.trials()].count("diverged") == 1


def test_the_latest_result_of_a_trial_counts_and_a_failed_one_is_kept_apart():
    spec, other = TrialSpec("a", 0.1, 0), TrialSpec("a", 0.2, 0)
    results = [
        TrialResult(spec, NAN, "failed", error="out of memory"),
        TrialResult(spec, 0.5, "ok", 3.0, {"accuracy": 0.9}),
        TrialResult(other, NAN, "failed", error="boom"),
    ]
    sweep = SweepResult.from_trials({"a": "cosine"}, [0.2, 0.1], [0], results)
    assert sweep.loss[0, 0, 0] == 0.5
    assert np.isnan(sweep.loss[0, 1, 0])
    assert [f.error for f in sweep.failures] == ["boom"]
    assert sweep.specs == {"a": "cosine"}
    assert sweep.metrics["accuracy"][0, 0, 0] == 0.9
    assert np.isnan(sweep.metrics["accuracy"][0, 1, 0])


def test_a_trial_of_another_sweep_is_refused():
    with pytest.raises(DataError, match=r"not a trial of this sweep"):
        SweepResult.from_trials({"a": ""}, [0.1], [0], [TrialResult(TrialSpec("a", 0.3, 0), 1.0, "ok")])


def assert_same(a, b):
    """Equal in everything that a table can carry."""
    assert sorted(a.schedules) == sorted(b.schedules)
    assert a.learning_rates.tolist() == b.learning_rates.tolist()
    assert a.seeds == b.seeds
    order = [b.index(name) for name in a.schedules]
    np.testing.assert_array_equal(a.loss, b.loss[order])


LOSS = st.one_of(st.floats(allow_nan=False, allow_infinity=False), st.just(INF))


@given(st.data())
def test_a_sweep_written_as_csv_reads_back_to_the_last_digit(tmp_path_factory, data):
    names = data.draw(
        st.lists(
            st.text("abc,;\"' (=)\u00e9\n", min_size=1).map(str.strip).filter(bool), min_size=1, max_size=3, unique=True
        )
    )
    lrs = sorted(data.draw(st.sets(st.floats(1e-12, 1e6).map(lambda lr: float(f"{lr:.12g}")), min_size=1, max_size=4)))
    seeds = sorted(data.draw(st.sets(st.integers(-5, 10**12), min_size=1, max_size=3)))
    cells = len(names) * len(lrs) * len(seeds)
    loss = data.draw(st.lists(LOSS, min_size=cells, max_size=cells))
    sweep = SweepResult(names, lrs, seeds, np.reshape(loss, (len(names), len(lrs), len(seeds))))
    path = tmp_path_factory.mktemp("csv") / "sweep.csv"
    sweep.to_csv(path)
    assert_same(sweep, SweepResult.from_csv(path))


def test_missing_and_failed_trials_are_not_in_the_csv(tmp_path):
    small().to_csv(tmp_path / "sweep.csv")
    assert len((tmp_path / "sweep.csv").read_text().splitlines()) == 1 + 11
    assert_same(small(), SweepResult.from_csv(tmp_path / "sweep.csv"))


def test_metrics_stand_beside_the_loss_in_the_csv_even_when_their_names_clash(tmp_path):
    ones = np.ones((2, 3, 2))
    sweep = small(seconds=2.0, metrics={"accuracy": ones / 2, "lr": 0 * ones, "seed": 9 * ones, "schedule": ones})
    sweep.to_csv(tmp_path / "sweep.csv")
    header, first, *_ = (tmp_path / "sweep.csv").read_text().splitlines()
    assert header.split(",")[:6] == ["schedule", "lr", "seed", "loss", "seconds", "accuracy"]
    assert first.split(",")[:6] == ["constant", "0.1", "0", "1.0", "2.0", "0.5"]
    assert_same(sweep, SweepResult.from_csv(tmp_path / "sweep.csv"))


VALIDATION = {"validation_loss": [[[1.5, 2.5], [3.5, NAN], [NAN, 4.5]], [[NAN, INF], [-INF, 8.5], [9.5, -10.5]]]}


def test_a_sweep_can_be_judged_by_one_of_its_metrics():
    sweep = small(metrics=VALIDATION, notes=["half of it"], seconds=2.0, specs={"cosine": "cosine"})
    judged = sweep.with_loss("validation_loss")
    expected = [[[1.5, 2.5], [3.5, INF], [NAN, 4.5]], [[NAN, INF], [INF, 8.5], [9.5, -10.5]]]
    np.testing.assert_array_equal(judged.loss, expected)
    assert judged.notes == (
        "half of it",
        "judged by the metric 'validation_loss'",
        "1 trial left out: no 'validation_loss'",
    )
    assert (judged.schedules, judged.seeds, judged.specs) == (sweep.schedules, sweep.seeds, sweep.specs)
    assert list(judged.metrics) == ["validation_loss"]
    assert judged.seconds.max() == 2.0
    assert sweep.loss[0, 0, 0] == 1.0


def test_a_run_without_any_result_has_none_by_a_metric_either():
    judged = small(metrics={"error": np.ones((2, 3, 2))}).with_loss("error")
    assert math.isnan(judged.loss[0, 2, 0])
    assert judged.notes == ("judged by the metric 'error'",)


@pytest.mark.parametrize(("metrics", "known"), [({}, "none"), (VALIDATION, "validation_loss")])
def test_an_unknown_metric_is_answered_with_the_known_ones(metrics, known):
    with pytest.raises(DataError, match=f"the sweep has no metric 'val'; it has {known}"):
        small(metrics=metrics).with_loss("val")


def test_a_csv_judged_by_a_metric_keeps_the_divergences(tmp_path):
    sweep = small(metrics=VALIDATION)
    sweep.to_csv(tmp_path / "sweep.csv")
    again = SweepResult.from_csv(tmp_path / "sweep.csv", metric="validation_loss")
    np.testing.assert_array_equal(again.loss, sweep.with_loss("validation_loss").loss)
    assert again.diverged.sum() == 3


def test_a_journal_reads_back_as_the_sweep_that_was_returned(tmp_path):
    def train(*, lr, schedule, seed):
        return {"loss": lr if lr < 0.5 else INF, "accuracy": seed / 10}

    path = tmp_path / "sweep.jsonl"
    sweep = run_sweep(train, GeometricGrid(0.1, 0.8, 4), ["cosine", "constant"], 2, journal=path, label="train")
    again = SweepResult.from_journal(path)
    np.testing.assert_array_equal(again.loss, sweep.loss)
    np.testing.assert_array_equal(again.metrics["accuracy"], sweep.metrics["accuracy"])
    assert (again.schedules, again.seeds, again.specs) == (sweep.schedules, sweep.seeds, sweep.specs)


def test_a_file_that_is_no_journal_is_refused(tmp_path):
    (tmp_path / "x.jsonl").write_text("{}\n")
    with pytest.raises(JournalError, match="not a journal"):
        SweepResult.from_journal(tmp_path / "x.jsonl")
    with pytest.raises(JournalError, match="cannot read"):
        SweepResult.from_journal(tmp_path / "none.jsonl")


def test_a_sweep_prints_its_mean_losses_and_notes():
    text = str(small(notes=["half of it"]))
    assert text.splitlines()[0] == repr(small()).removeprefix("SweepResult(").removesuffix(")") + "."
    assert "Note: half of it." in text
    rows = [line.split() for line in text.splitlines()[-3:]]
    assert rows[:2] == [["0.1", "1.5000", "5.5000"], ["0.2", "diverged", "7.5000"]]
    assert text.splitlines()[-1].split() == ["0.4", "4.0000", "(1", "of", "2)", "-0.5000"]
    assert "<td>diverged</td>" in small()._repr_html_()


def test_huge_and_missing_losses_print_too():
    text = str(small(loss=[[[1e308, 1e308]] * 3, [[NAN, NAN]] * 3]))
    assert text.splitlines()[-1].split() == ["0.4", "1e+308", "-"]


def test_a_metric_may_be_maximized():
    judged = small(metrics={"accuracy": np.full((2, 3, 2), 0.9)}).with_loss("accuracy", direction="maximize")
    assert judged.loss[0, 0, 0] == -0.9 and judged.loss[0, 1, 1] == INF
    assert judged.direction == "maximize" and "0.9000" in str(judged) and "-0.9" not in str(judged)
    assert judged.with_loss("accuracy", direction="minimize").loss[0, 0, 0] == 0.9
