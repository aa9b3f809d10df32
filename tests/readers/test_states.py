"""Runs that did not finish are left out, and so are rows that the user does not want; both are said."""

from __future__ import annotations

import pytest

from robust_lr import SweepResult
from robust_lr.exceptions import DataError, OptionError
from robust_lr.readers.read import read_sweeps

TEXT = (
    "Name,State,lr,seed,val/loss\na,finished,0.1,0,1\nb,{state},0.1,1,{loss}\nc,finished,0.2,0,2\nd,finished,0.2,1,3\n"
)


@pytest.fixture
def sweep(tmp_path):
    def read(text, **options):
        (tmp_path / "runs.csv").write_text(text)
        (found,) = read_sweeps(tmp_path / "runs.csv", **options).values()
        return found

    return read


@pytest.mark.parametrize(
    "state",
    [
        "running",
        "crashed",
        "failed",
        "killed",
        "FAILED",
        "KILLED",
        "Pruned",
        "TrialState.FAIL",
        "RUNNING",
        "crashed (OOM)",
        "in progress",
        "not finished",
        "OUT_OF_MEMORY",
        "InProgress",
        "NotResponding",
        "TimedOut",
        "Paused",
        "SUSPENDED",
        "lost",
    ],
)
def test_a_run_that_did_not_finish_is_left_out_with_a_note(sweep, state):
    found = sweep(TEXT.format(state=state, loss=0.01))
    assert found.n_trials == 3 and f"1 trial left out: State is {state}" in found.notes


@pytest.mark.parametrize("state", ["finished", "COMPLETE", "done", "TERMINATED", "success", "", "best so far"])
def test_any_other_state_counts(sweep, state):
    assert sweep(TEXT.format(state=state, loss=0.01)).n_trials == 4


def test_a_state_of_which_nothing_is_known_counts_with_a_note(sweep):
    note = "State 'terminated' counts as finished: leave it out with --where 'State!=terminated'"
    assert note in sweep(TEXT.format(state="terminated", loss=0.01)).notes
    assert not any("counts as" in note for note in sweep(TEXT.format(state="", loss=0.01)).notes)
    chosen = sweep(TEXT.format(state="terminated", loss=0.01), where=["State!=terminated"])
    assert chosen.n_trials == 3 and note not in chosen.notes


@pytest.mark.parametrize("loss", ["0.01", ""])
def test_a_state_of_diverged_is_an_infinite_loss(sweep, loss):
    found = sweep(TEXT.format(state="diverged", loss=loss))
    assert found.n_trials == 4 and found.diverged.sum() == 1
    assert ("1 row with a loss counted as diverged: State is diverged" in found.notes) == bool(loss)


FLAGS = "lr,seed,loss,{}\n0.1,0,1,{false}\n0.1,1,0.01,{true}\n0.2,0,2,{false}\n0.2,1,3,{false}\n"


@pytest.mark.parametrize("name", ["diverged", "is_diverged", "isDiverged"])
@pytest.mark.parametrize(("true", "false"), [("True", "False"), ("1", "0"), ("yes", "")])
def test_a_run_that_a_column_flags_as_diverged_has_an_infinite_loss(sweep, name, true, false):
    found = sweep(FLAGS.format(name, true=true, false=false))
    assert found.loss[0, :, 0].tolist() == [1, 2] and found.loss[0, :, 1].tolist() == [float("inf"), 3]


@pytest.mark.parametrize(
    ("name", "bad", "good"),
    [("failed", "True", "False"), ("crashed", "1", "0"), ("ok", "false", "true"), ("success", "no", "yes")],
)
def test_a_run_that_a_column_flags_as_failed_is_left_out_with_a_note(sweep, name, bad, good):
    text = FLAGS.format(name, true=bad, false=good)
    found = sweep(text)
    assert found.n_trials == 3 and f"1 trial left out: {name} is {bad}" in found.notes
    assert sweep(text, where=[f"{name}={bad}", f"{name}={good}"]).n_trials == 4


def test_a_column_of_other_values_is_no_flag(sweep):
    assert sweep(FLAGS.format("failed", true="3", false="0")).n_trials == 4


def test_a_column_of_other_words_is_no_state(sweep):
    found = sweep("Status,lr,loss\nsmall,0.1,1\nlarge,0.2,2\n")
    assert found.n_trials == 2 and not any("state: " in note for note in found.notes)


def test_a_crash_with_a_loss_of_nan_may_have_diverged_and_the_note_says_how_to_count_it(sweep):
    text = TEXT.format(state="crashed", loss="NaN")
    (note,) = [note for note in sweep(text).notes if "left out" in note]
    assert (
        "with a loss of NaN (to count these as diverged, give --where for each state, such as --where 'State=crashed')"
        in note
    )
    found = sweep(text, where=["State=crashed", "State=finished"])
    assert found.n_trials == 4 and found.diverged.sum() == 1


def test_a_word_in_place_of_a_loss_may_be_the_state(sweep):
    found = sweep("lr,loss\n0.1,1\n0.2,crashed\n0.3,Running\n0.4,diverged\n")
    assert found.n_trials == 2 and found.diverged.sum() == 1
    assert found.notes == ("1 trial left out: loss is crashed", "1 trial left out: loss is Running")


@pytest.mark.parametrize(
    ("where", "losses", "said"),
    [
        (["state=finished"], [1, 2, 3], "1 row left out: not State=finished"),
        (["State!=finished"], [0.5], "3 rows left out: not State!=finished"),
        (["lr=0.10", "State=finished"], [1], "2 rows left out: not lr=0.10"),
        (["Name=a", "Name=d"], [1, 3], "2 rows left out: not Name=a or Name=d"),
        (["Name != a", "Name!=d"], [2], "1 row left out: not Name!=a"),
    ],
)
def test_only_rows_that_meet_the_conditions_count(sweep, where, losses, said):
    found = sweep(TEXT.format(state="crashed", loss=0.5), where=where)
    assert sorted(trial.loss for trial in found.trials()) == losses
    assert said in found.notes


@pytest.mark.parametrize(
    ("where", "error", "says"),
    [
        ("State", OptionError, "where must be like 'column=value' or 'column!=value', got 'State'"),
        ("=x", OptionError, "where must be like"),
        ("lr>=0.1", OptionError, "where must be like .* got 'lr>=0.1'"),
        ("lr <= 0.1", OptionError, "where must be like"),
        ("Name~=a", OptionError, "where must be like"),
        ("lr==0.1", OptionError, "where must be like"),
        ("stat=finished", DataError, "has no column 'stat'; its columns are Name, State, lr, seed, val/loss"),
        ("State=done", DataError, "holds no row with a value in 'val/loss'; .*4 rows left out: not State=done"),
    ],
)
def test_a_condition_that_cannot_hold_is_said(sweep, where, error, says):
    with pytest.raises(error, match=says):
        sweep(TEXT.format(state="crashed", loss=0.5), where=[where])


RERUN = "lr,seed,loss,Created\n0.1,0,1,{}\n0.2,0,3,{}\n0.1,0,2,{}\n"


def test_of_a_run_and_its_rerun_the_latest_counts_if_the_table_has_times(sweep):
    for times, loss in ((("2026-01-01", "2026-01-02", "2026-01-03"), 2), (("3.1.2026 10:00", "", "2.1.2026"), 1)):
        found = sweep(RERUN.format(*times))
        assert found.loss[0, :, 0].tolist() == [loss, 3]
        assert "1 trial left out: a later trial has the same learning rate, schedule and seed" in found.notes


def test_without_times_a_rerun_is_refused_until_the_user_says_which_counts(sweep):
    text = RERUN.format("", "", "")
    says = (
        r"runs.csv, line 2 and line 4 give one trial .* two losses, 1 and 2; .* repeats='last' or 'first' \(--repeats\)"
    )
    with pytest.raises(DataError, match=says):
        sweep(text)
    assert [sweep(text, repeats=which).loss[0, 0, 0] for which in ("first", "last")] == [1, 2]


@pytest.mark.parametrize("column", ["time", "Created"])
def test_durations_do_not_say_which_rerun_is_the_latest(sweep, column):
    with pytest.raises(DataError, match=r"give one trial .* two losses"):
        sweep(RERUN.replace("Created", column).format("90.5", "100", "110.25"))
    assert sweep(RERUN.replace("Created", column).format("1.76e9", "1.76e9", "1.77e9")).loss[0, 0, 0] == 2


def test_a_word_among_seeds_that_are_numbers_is_no_seed(sweep):
    text = "lr,seed,loss\n0.1,0,1\n0.1,1,2\n0.1,mean,1.5\n0.2,0,3\n0.2,1,4\n"
    with pytest.raises(DataError, match=r"line 4: seed is 'mean' among numbers \(--where 'seed!=mean' leaves"):
        sweep(text)
    assert sweep(text, where=["seed!=mean"]).n_trials == 4
    assert sweep("lr,seed,loss\n0.1,a,1\n0.1,b,2\n0.2,a,3\n0.2,b,4\n").n_trials == 4


def test_from_csv_takes_the_same_options(tmp_path):
    (tmp_path / "runs.csv").write_text("State,lr,seed,loss\nfinished,0.1,0,1\nfinished,0.1,0,2\nbad,0.2,0,3\n")
    sweep = SweepResult.from_csv(tmp_path / "runs.csv", where=["State!=bad"], repeats="last")
    assert sweep.loss.tolist() == [[[2]]]


def test_all_trials_with_two_losses_come_in_one_list(sweep):
    with pytest.raises(
        DataError, match=r"has 2 problems: line 2 and line 3 give .*; line 4 and line 5 give .*; name the"
    ):
        sweep("lr,seed,loss\n0.1,0,1\n0.1,0,2\n0.2,0,1\n0.2,0,2\n")


def test_a_run_that_was_exported_twice_counts_once_also_without_seeds(sweep):
    rows = "0,a,0.1,1\n1,b,0.1,2\n2,a,0.1,1\n3,c,0.2,3\n"
    assert sweep(f",ID,lr,loss\n{rows}").n_trials == 3
    assert sweep(f",model,lr,loss\n{rows}").n_trials == 4  # not the name of a run
