"""Tables of results as people have them: what is read, and what is said of a table that cannot be."""

from __future__ import annotations

import math
import time

import pytest

from robust_lr import SweepResult
from robust_lr.exceptions import DataError
from robust_lr.readers.table import read_table

INF = math.inf


@pytest.fixture
def table(tmp_path):
    """Write a table and return its path."""

    def write(text, encoding="utf-8"):
        path = tmp_path / "runs.csv"
        path.write_bytes(text if isinstance(text, bytes) else text.encode(encoding))
        return path

    return write


def losses(sweep):
    """The losses by (schedule, lr, seed)."""
    return {(t.spec.schedule, t.spec.lr, t.spec.seed): t.loss for t in sweep.trials()}


def test_learning_rates_need_not_be_evenly_spaced_nor_sorted(table):
    sweep = SweepResult.from_csv(table("lr,loss\n1e-3,1\n1e-4,3\n3e-4,2\n5e-3,9\n"))
    assert sweep.learning_rates.tolist() == [1e-4, 3e-4, 1e-3, 5e-3]
    assert sweep.loss[0, :, 0].tolist() == [3, 2, 1, 9]
    assert (sweep.schedules, sweep.seeds) == (("sweep",), (0,))


@pytest.mark.parametrize("word", ["nan", "NaN", "inf", "Infinity", "-inf", " inf "])
def test_a_run_that_ended_in_nan_or_inf_diverged(table, word):
    sweep = SweepResult.from_csv(table(f"lr,loss\n0.1,1\n0.2,{word}\n"))
    assert sweep.loss[0, :, 0].tolist() == [1, INF]


def test_a_row_without_a_loss_is_passed_over_and_said_so(table):
    assert [bool(run.excluded) for run in read_table(table("lr,loss\n0.1,1\n0.2,\n")).runs] == [False, True]
    sweep = SweepResult.from_csv(table("lr,loss,seed\n0.1,1,0\n0.2, ,0\n,,\n"))
    assert sweep.n_trials == 1
    assert sweep.notes == ("1 trial left out: no loss (write nan or inf for a diverged run)",)


def test_repeats_without_a_seed_column_are_replicates(table):
    sweep = SweepResult.from_csv(table("lr,loss\n0.1,1\n0.1,2\n0.2,3\n0.1,1\n0.2,4\n"))
    assert sweep.seeds == (0, 1, 2)
    assert sweep.loss[0, 0].tolist() == [1, 2, 1]
    assert sweep.loss[0, 1, :2].tolist() == [3, 4]
    assert math.isnan(sweep.loss[0, 1, 2])
    assert sweep.notes == (
        "no seeds were given: trials that share a learning rate are replicates, paired in their order",
    )


def test_rows_written_twice_without_a_seed_column_are_no_replicates(table):
    sweep = SweepResult.from_csv(table("lr,loss\n0.1,1\n0.2,inf\n0.3,3\n" + "0.1,1\n0.2,nan\n0.3,3.0\n"))
    assert losses(sweep) == {("sweep", 0.1, 0): 1, ("sweep", 0.2, 0): INF, ("sweep", 0.3, 0): 3}
    assert sweep.notes == (
        "3 trials left out: exact duplicates of others (there are no seeds, and every learning rate was repeated with "
        "identical losses)",
    )


@pytest.mark.parametrize(
    "text",
    [
        "0.1,1\n0.1,1\n0.2,3\n0.2,4\n",  # one learning rate tells them apart
        "0.1,1\n0.1,1\n0.2,3\n",  # a learning rate stands there once
        "0.1,inf\n0.1,nan\n0.2,inf\n0.2,inf\n",  # divergences are all alike
    ],
)
def test_some_identical_repeats_are_still_replicates(table, text):
    sweep = SweepResult.from_csv(table("lr,loss\n" + text))
    assert sweep.n_trials == text.count("\n")
    assert len(sweep.seeds) == 2


def test_each_schedule_is_looked_at_for_duplicated_rows_by_itself(table):
    sweep = SweepResult.from_csv(table("schedule,lr,loss\na,0.1,1\na,0.1,1\nb,0.1,1\nb,0.1,2\n"))
    assert losses(sweep) == {("a", 0.1, 0): 1, ("b", 0.1, 0): 1, ("b", 0.1, 1): 2}
    assert [note.split()[0] for note in sweep.notes] == ["1", "no"]


def test_learning_rates_that_differ_in_the_last_bit_are_one(table):
    sweep = SweepResult.from_csv(table("lr,seed,loss\n0.3,0,1\n0.30000000000000004,1,2\n0.30001,0,3\n"))
    assert sweep.learning_rates.tolist() == [0.3, 0.30001]
    assert sweep.loss[0, 0].tolist() == [1, 2]


def test_one_seed_is_a_sweep(table):
    assert SweepResult.from_csv(table("lr,seed,loss\n0.1,42,1\n0.2,42,2\n")).seeds == (42,)


def test_a_repeated_row_counts_once_and_is_noted(table):
    sweep = SweepResult.from_csv(table("lr,seed,loss\n0.1,0,1\n0.1,0,1\n0.1,0,1.0\n0.2,0,inf\n0.2,0,nan\n"))
    assert sweep.n_trials == 2
    assert sweep.notes == ("3 trials left out: exact duplicates of others",)


def test_one_trial_with_two_losses_is_refused_by_its_line_numbers(table):
    with pytest.raises(
        DataError, match=r"line 2 and line 4 give one trial .*, lr 0.1, seed 0\) two losses, 1 and 1.5; name"
    ):
        SweepResult.from_csv(table("lr,seed,loss\n0.1,0,1\n0.2,0,1\n0.1,0,1.5\n"))


def test_seeds_may_be_words_or_huge_or_negative(table):
    words = SweepResult.from_csv(table("lr,seed,loss\n0.1,bob,1\n0.1,alice,2\n0.2,alice,3\n0.2,bob,4\n"))
    assert losses(words) == {("sweep", 0.1, 1): 1, ("sweep", 0.1, 0): 2, ("sweep", 0.2, 0): 3, ("sweep", 0.2, 1): 4}
    numbers = SweepResult.from_csv(table("lr,seed,loss\n0.1,-3,1\n0.1,123456789012345678901,2\n"))
    assert numbers.seeds == (-3, 123456789012345678901)
    floats = SweepResult.from_csv(table("lr,seed,loss\n0.1,0.0,1\n0.1,1.0,2\n"))
    assert floats.seeds == (0, 1)


@pytest.mark.parametrize("seed", ["\u00b2", "--5", "-", "1e3", "9" * 5000, "0x1", "1_0"])
def test_a_seed_that_only_looks_like_a_number_is_a_word(table, seed):
    assert SweepResult.from_csv(table(f"lr,seed,loss\n0.1,{seed},1\n0.2,{seed},2\n")).n_trials == 2


def test_files_saved_by_a_spreadsheet_read_like_any_other(table):
    text = 'schedule,lr,loss\r\n"cosine, long",0.1,1\r\n\r\n"cosine, long",0.2,2\r\n'
    sweep = SweepResult.from_csv(table(text, "utf-8-sig"))
    assert sweep.schedules == ("cosine, long",)
    assert sweep.loss[0, :, 0].tolist() == [1, 2]


def test_blanks_after_the_commas_do_not_matter(table):
    sweep = SweepResult.from_csv(table("lr, loss, schedule, seed\n0.1, 1, cosine, 0\n0.2, 2, cosine, 0\n"))
    assert losses(sweep) == {("cosine", 0.1, 0): 1, ("cosine", 0.2, 0): 2}


def test_columns_are_found_by_the_names_that_were_given(table):
    text = "eta,final,which,run\n0.1,1,a,0\n0.1,2,b,0\n"
    sweep = SweepResult.from_csv(table(text), lr_name="eta", metric="final", schedule_name="which", seed_name="run")
    assert losses(sweep) == {("a", 0.1, 0): 1, ("b", 0.1, 0): 2}


def test_runs_know_their_group(table):
    runs = read_table(table("lr,loss,steps,model\n0.1,1,100,a\n0.1,2,200,\n"), group_by=["steps", "model"]).runs
    assert [run.group for run in runs] == [("100", "a"), ("200", "")]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("rate,loss\n0.1,1\n", "no column 'lr'; its columns are rate, loss"),
        ("a;b\n0.1;1\n", "no column 'lr', 'loss'; its columns are a, b"),
        ("", "no column 'lr', 'loss'; its columns are none"),
        ("\n\n", "no column 'lr', 'loss'"),
        ("lr,loss\n", "holds no row with a value in 'loss'"),
        ("lr,loss\n0.1,\n", "holds no row with a value in 'loss'"),
        ("lr,loss\n0.1,1\n\n0.2,good\n", "line 4: loss must be a number, got 'good'"),
        ("lr,loss\n0.1,1\nfast,2\n", "line 3: lr must be a number, got 'fast'"),
        ("loss,lr\n1\n", "line 2 has 1 value for 2 columns"),
        ("lr,loss\n,1\n", "1 row left out: no learning rate"),
        ("lr,loss\n-0.1,1\n", "line 2: lr must be positive (1e-100 to 1e100), got -0.1"),
        ("lr,loss\n0,1\n", "line 2: lr must be positive (1e-100 to 1e100), got 0"),
        ("lr,loss\nnan,1\n", "1 row left out: no learning rate"),
        ("lr,loss\n1e-300,1\n", "line 2: lr must be positive (1e-100 to 1e100), got 1e-300"),
        ("lr,loss\ninf,1\n", "line 2: lr must be positive (1e-100 to 1e100), got inf"),
        ("lr,loss,schedule\n0.1,1,\n", "line 2: schedule is empty"),
        ("lr,loss,seed\n0.1,1,0\n0.1,2, \n", "line 3: seed is empty"),
        ("lr,loss,lr\n0.1,1,0.3\n", "more than one column 'lr'"),
        (b"\x89PNG\r\n\x1a\n\x00\x00\xff", "as CSV"),
        (b"lr,loss\n0.1,\xff\n", "line 2: loss must be a number, got '\u00ff'"),
        (b"lr,loss\n\x00,1\n", "line 2"),
        ("lr,loss\n0.1," + "9" * 200_000 + "\n", "as CSV: field larger than field limit"),
    ],
)
def test_a_table_that_cannot_be_read_says_where_in_one_line(table, text, says):
    path = table(text)
    with pytest.raises(DataError) as caught:
        SweepResult.from_csv(path)
    assert says in str(caught.value)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_file_that_is_not_there_or_a_folder_is_said_to_be(tmp_path):
    with pytest.raises(DataError, match=r"cannot read .*none.csv: No such file"):
        read_table(tmp_path / "none.csv")
    with pytest.raises(DataError, match="Is a directory"):
        read_table(tmp_path)


def test_the_options_name_the_missing_column(table):
    with pytest.raises(DataError, match="no column 'budget', 'run'"):
        read_table(table("lr,loss\n0.1,1\n"), seed_name="run", group_by=["budget"])


def test_fifty_thousand_rows_are_read_in_a_moment(table):
    lines = [f"s{s},{i / 1000},{k},{i + k}" for s in range(5) for i in range(1, 101) for k in range(100)]
    path = table("schedule,lr,seed,loss\n" + "\n".join(lines))
    start = time.process_time()
    sweep = SweepResult.from_csv(path)
    assert time.process_time() - start < 10
    assert sweep.loss.shape == (5, 100, 100)
    assert sweep.n_trials == 50_000
