"""What holds of every table: any form reads back the same, and no order of rows or columns changes the answer."""

from __future__ import annotations

import csv
import gzip
import io
import json
import math
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from robust_lr.readers.read import read_sweeps

NAMES = ("schedule", "lr", "seed", "loss", "note")
SCHEDULES = ["cosine", "wsd(0.2)", "two, words", 'a "b"; c', "größer\tals", "a\nb"]
RATES = st.lists(st.integers(-30, 6), min_size=1, max_size=5, unique=True)


@st.composite
def tables(draw):
    """Rows of schedule, lr, seed, loss and a note; each trial once."""
    schedules = draw(st.lists(st.sampled_from(SCHEDULES), min_size=1, max_size=3, unique=True))
    rates = [float(f"{10 ** (i / 6):.6g}") for i in draw(RATES)]
    losses = st.one_of(st.floats(-1e6, 1e6), st.just(math.inf))
    note = st.text(st.characters(codec="utf-8", exclude_categories=["C"]), max_size=5)
    return [(s, lr, seed, draw(losses), draw(note)) for s in schedules for lr in rates for seed in (0, 7)]


def delimited(separator, comma=".", ends="\r\n"):
    def write(header, rows):
        stream = io.StringIO(newline="")
        texts = [[repr(x).replace(".", comma) if isinstance(x, float) else x for x in row] for row in rows]
        csv.writer(stream, delimiter=separator, lineterminator=ends).writerows([header, *texts])
        return stream.getvalue().encode()

    return write


def records(header, rows):
    return [dict(zip(header, row, strict=True)) for row in rows]


def parquet(header, rows):
    pyarrow, writer = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    stream = io.BytesIO()
    writer.write_table(pyarrow.Table.from_pylist(records(header, rows)), stream)
    return stream.getvalue()


FORMS = {
    "commas": delimited(","),
    "semicolons": delimited(";", ends="\n"),
    "decimal commas": delimited(";", ","),
    "quoted decimal commas": delimited(",", ","),
    "tabs": delimited("\t"),
    "gzipped": lambda header, rows: gzip.compress(delimited(",")(header, rows)),
    "json": lambda header, rows: json.dumps(records(header, rows)).encode(),
    "json lines": lambda header, rows: "\n".join(map(json.dumps, records(header, rows))).encode(),
    "json columns": lambda header, rows: json.dumps(dict(zip(header, zip(*rows, strict=True), strict=True))).encode(),
    "parquet": parquet,
}


def sweep_of(content):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "runs"
        path.write_bytes(content)
        (sweep,) = read_sweeps(path).values()
    return sweep


def losses(sweep):
    return {(t.spec.schedule, t.spec.lr, t.spec.seed): t.loss for t in sweep.trials()}


@settings(max_examples=30, deadline=None)
@given(tables())
@pytest.mark.parametrize("form", FORMS)
def test_a_clean_table_reads_back_equal_in_every_form(form, rows):
    found = sweep_of(FORMS[form](NAMES, rows))
    expected = {(schedule.strip(), lr, seed): loss for schedule, lr, seed, loss, _ in rows}
    assert losses(found) == expected


@settings(max_examples=100, deadline=None)
@given(tables(), st.randoms(use_true_random=False))
def test_no_order_of_rows_and_columns_changes_what_is_read(rows, random):
    order = random.sample(range(len(NAMES)), len(NAMES))
    shuffled = [[row[i] for i in order] for row in random.sample(rows, len(rows))]
    one, other = (sweep_of(FORMS["commas"](h, r)) for h, r in ((NAMES, rows), ([NAMES[i] for i in order], shuffled)))
    assert losses(one) == losses(other) and sorted(one.notes) == sorted(other.notes)
