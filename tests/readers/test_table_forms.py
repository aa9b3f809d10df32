"""Tables in the forms in which people keep them: separators, decimal commas, JSON, parquet."""

from __future__ import annotations

import gzip
import json
import math

import pytest

from robust_lr import SweepResult
from robust_lr.exceptions import DataError, OptionError
from robust_lr.readers.read import read_sweeps

ROWS = [(0.001, 0, 0.5), (0.001, 1, 0.51), (0.01, 0, 0.3), (0.01, 1, math.inf)]
LOSSES = {(lr, seed): loss for lr, seed, loss in ROWS}


@pytest.fixture
def sweep(tmp_path):
    """Write a file and read it as one sweep."""

    def read(content, name="runs.csv", **options):
        (tmp_path / name).write_bytes(content if isinstance(content, bytes) else content.encode())
        (found,) = read_sweeps(tmp_path / name, **options).values()
        return found

    return read


def losses(sweep):
    return {(t.spec.lr, t.spec.seed): t.loss for t in sweep.trials()}


def lines(*rows, between=",", ends="\n"):
    return "".join(between.join(map(str, row)) + ends for row in rows)


@pytest.mark.parametrize("separator", [",", ";", "\t", "|", ", ", " ; "])
@pytest.mark.parametrize("ends", ["\n", "\r\n", "\r"])
def test_any_separator_and_line_end_is_found(sweep, separator, ends):
    assert losses(sweep(lines(("lr", "seed", "loss"), *ROWS, between=separator, ends=ends))) == LOSSES


@pytest.mark.parametrize("first", ["", "sep=;\r\n", "\ufeff", "\n\n"])
def test_a_spreadsheet_with_decimal_commas_and_semicolons_is_read(sweep, first):
    text = first + "lr;seed;loss\n0,001;0;0,5\n1e-3;1;5,1E-1\n;;\n0,01;0;0,3\n0,01;1;diverged\n"
    assert losses(sweep(text)) == LOSSES


def test_quoted_decimal_commas_stand_between_commas(sweep):
    assert losses(sweep('lr,seed,loss\n"0,001",0,"0,5"\n"0,01",0,"0,3"\n')) == {(0.001, 0): 0.5, (0.01, 0): 0.3}


@pytest.mark.parametrize("values", ['"1,234",0.5', '"0,5",1.234'])
def test_a_comma_that_may_separate_thousands_is_refused(sweep, values):
    with pytest.raises(DataError, match=r"line 2: loss is '\S+', but '\S+' in line 3: write all with a decimal point"):
        sweep(lines(("lr", "loss"), *zip((0.1, 0.2), values.rsplit(",", 1), strict=True)))


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "cp1252"])
def test_a_spreadsheet_s_encoding_is_found(sweep, encoding):
    text = 'Größe;"lr" ;loss\nüber;0,1;1\n"zwei;\nZeilen";0,2;2\n'
    assert losses(sweep(text.encode(encoding))) == {(0.1, 0): 1, (0.2, 0): 2}


RECORDS = [dict(zip(("lr", "seed", "loss"), row, strict=True)) for row in ROWS]
COLUMNS = {name: [record[name] for record in RECORDS] for name in RECORDS[0]}


@pytest.mark.parametrize(
    "content",
    [
        json.dumps(RECORDS),
        json.dumps({"runs": RECORDS}, indent=2),
        "\n".join(map(json.dumps, RECORDS)) + "\n",
        json.dumps(COLUMNS),
        json.dumps({name: dict(enumerate(values)) for name, values in COLUMNS.items()}),
        json.dumps({"columns": list(COLUMNS), "index": [0, 1, 2, 3], "data": ROWS}),
        json.dumps([{"config": {"lr": r["lr"], "seed": r["seed"]}, "summary": {"loss": r["loss"]}} for r in RECORDS]),
        gzip.compress(json.dumps(RECORDS).encode()),
        gzip.compress(lines(("lr", "seed", "loss"), *ROWS).encode()),
    ],
    ids=["records", "named records", "lines", "columns", "numbered", "split", "nested", "gzipped", "gzipped CSV"],
)
def test_json_of_any_form_is_read_like_a_table(sweep, content):
    assert losses(sweep(content)) == LOSSES


def test_a_record_without_a_key_has_no_value_there_and_a_null_is_no_value(sweep):
    found = sweep('[{"lr": 0.1, "loss": 1}, {"lr": 0.2}, {"lr": 0.3, "loss": null}, {"lr": 0.4, "loss": NaN}]')
    assert losses(found) == {(0.1, 0): 1, (0.4, 0): math.inf}
    assert found.notes == ("2 trials left out: no loss (write nan or inf for a diverged run)",)


def test_parquet_is_read_and_its_float32_is_what_was_meant(sweep, tmp_path):
    pyarrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    table = pyarrow.table({"lr": pyarrow.array([0.001, 0.01, 0.01], pyarrow.float32()), "loss": [0.5, None, 0.3]})
    parquet.write_table(table, tmp_path / "runs.parquet")
    content = (tmp_path / "runs.parquet").read_bytes()
    assert sweep(content, "runs.parquet").learning_rates == pytest.approx([0.001, 0.01], rel=1e-7)
    with pytest.raises(DataError, match=r"cannot read .*broken.parquet as parquet: "):
        sweep(content[:50], "broken.parquet")


def test_parquet_without_a_library_says_what_to_install(sweep, monkeypatch):
    monkeypatch.setattr("robust_lr.readers._parquet._LIBRARIES", {"no_such_library": None})
    with pytest.raises(
        OptionError, match=r"runs.parquet is a parquet file, which needs a library: pip install pyarrow$"
    ):
        sweep(b"PAR1", "runs.parquet")


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (
            "lr,seed,loss\n0.1,0,1\n0.2,0,1000,2\n0.3,0\n",
            "has 2 problems: line 3 has 4 values for 3 columns; line 4 has 2",
        ),
        (
            "lr,seed,loss\n0,1,0,1\n0,2,0,2\n",
            "line 2 has 4 values for 3 columns (decimal commas need another separator",
        ),
        ('lr,loss,note\n0.1,1,"two\n\nlines"\n\nx,2,\n', "line 6: lr must be a number, got 'x'"),
        ('lr,loss\n0.1,1\n"0.2,2\n0.3,3\n', "as CSV: the quotation mark in line 3 is not closed"),
        ('{"lr": 0.1, "loss": 1}\n{"lr": 0.2, "loss"\n', "as JSON lines: line 2: "),
        ('{"lr": 0.1, "loss": 1}\n[1]\n', "as JSON lines: line 2 is no record"),
        ('[{"lr": 0.1, "loss": "good"}, {"lr": 0.2, "loss": 1}]', "record 1: loss must be a number, got 'good'"),
        ('{"a": [1, 2], "b": [1]}', "its JSON is no list of records, nor columns"),
        ("[1, 2", "as JSON: "),
        (b"\x1f\x8bbroken", "cannot read"),
        (b"PK\x03\x04xl/workbook.xml", "it is a workbook or an archive; save the table as CSV"),
        (b"\x89PNG\r\n\x1a\n\x00\xff", "as CSV, JSON or parquet: it is not text"),
        ("lr,loss\n0,1\n0,2\n", "got 0.0; a schedule that ends at zero logs this: name the column of its peak"),
    ],
)
def test_a_form_that_cannot_be_read_is_one_line_that_names_the_place(sweep, content, says):
    with pytest.raises(DataError) as caught:
        sweep(content)
    assert says in str(caught.value) and "\n" not in str(caught.value)


def test_all_problems_of_a_file_come_at_once_up_to_ten(sweep):
    with pytest.raises(DataError) as caught:
        sweep("lr,seed,loss\n0.1,0,bad\n-1,0,2\n0.3,0\n0.1,,1\n")
    for said in (
        "has 4 problems: line 4 has 2 values for 3 columns; line 2: loss must be a number, got 'bad'; line 3: lr must",
        "line 5: seed is empty (--where 'seed!=' leaves such rows out)",
    ):
        assert said in str(caught.value)
    with pytest.raises(DataError, match=r"has 15 problems: line 2.*line 11.*; and 5 more$"):
        sweep("lr,loss\n1,1\n".replace("1,1\n", "x,1\n" * 15))


@pytest.mark.parametrize("word", ["", "-", "NA", "N/A", "None", "null", "#N/A", "<NA>", " \u2013 "])
def test_what_stands_for_no_value_is_no_loss(sweep, word):
    found = sweep(f"lr,loss\n0.1,1\n0.2,{word}\n")
    assert losses(found) == {(0.1, 0): 1}
    assert found.notes == ("1 trial left out: no loss (write nan or inf for a diverged run)",)


@pytest.mark.parametrize("word", ["", "-", "nan"])
def test_a_row_without_a_learning_rate_is_left_out_and_said(sweep, word):
    assert sweep(f"lr,loss\n0.1,1\n{word},0.1\n").notes == ("1 trial left out: no learning rate",)


def test_files_that_were_joined_repeat_their_header(sweep):
    assert losses(sweep("lr,loss\n0.1,1\nlr,loss\n0.2,2\n")) == {(0.1, 0): 1, (0.2, 0): 2}


def test_learning_rates_that_are_equal_up_to_float32_are_one(sweep):
    found = sweep("lr,seed,loss\n0.001,0,1\n0.0010000000474974513,1,2\n0.009999999776482582,0,3\n0.01,1,4\n")
    assert found.learning_rates.tolist() == [0.001, 0.01] and found.seeds == (0, 1)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('{"columns": ["lr", "loss"], "data": [0.1, 1]}', "neither a journal nor a table"),
        ('{"columns": [["a", "lr"], ["a", "loss"]], "data": [[0.1, 1]]}', "neither a journal nor a table"),
        ('[{"lr": 0.1, "loss": ' + "1" * 5000 + "}]", "a whole number in it has too many digits"),
        ('{"lr": 0.1, "loss": 1}\n{"lr": 0.1, "loss": ' + "1" * 5000 + "}", "a whole number in it has too many digits"),
        ("[" * 5000 + "]" * 5000, "neither a journal nor a table|nested too deeply"),
        ('{"a":' * 5000 + "1" + "}" * 5000, "nested too deeply"),
        ("[" * 500_000, "nested too deeply"),
    ],
)
def test_json_that_is_no_table_is_refused_in_one_line(tmp_path, text, says):
    (tmp_path / "runs.json").write_text(text)
    with pytest.raises(DataError, match=says) as caught:
        read_sweeps(tmp_path / "runs.json")
    assert "\n" not in str(caught.value)


def test_a_comma_that_may_mean_thousands_is_no_decimal_comma_by_itself(tmp_path):
    path = tmp_path / "runs.csv"
    path.write_text("lr;loss\n0.1;1,234\n0.2;2,345\n")
    with pytest.raises(DataError, match=r"line 2: loss is '1,234', which may be 1.234 or 1234: write it with"):
        SweepResult.from_csv(path)
    for text in ("lr;loss\n0,1;1,234\n0,2;2,345\n", "lr;loss\n0.1;1,234\n0.2;0,345\n"):
        path.write_text(text)
        assert SweepResult.from_csv(path).loss[0, 0, 0] == 1.234
