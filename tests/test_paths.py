"""A name that no file can have is the name of no file, not an exception of the system."""

from __future__ import annotations

import pytest

from robust_lr import SweepResult, run_sweep
from robust_lr._paths import exists, is_file, is_folder
from robust_lr.exceptions import RobustLRError

TOO_LONG = "9" * 400


def test_files_and_folders_are_told_apart(tmp_path):
    (tmp_path / "file").touch()
    names = ("file", ".", "none", TOO_LONG)
    said = [(is_file(tmp_path / name), is_folder(tmp_path / name), exists(tmp_path / name)) for name in names]
    assert said == [(True, False, True), (False, True, True), (False, False, False), (False, False, False)]


def train(*, lr, schedule, seed):
    return lr


@pytest.mark.parametrize(
    "use",
    [
        lambda: SweepResult.from_journal(TOO_LONG),
        lambda: SweepResult.from_csv(TOO_LONG),
        lambda: run_sweep(train, [0.1], ["constant"], 1, journal=TOO_LONG, label="x"),
        lambda: run_sweep(train, [0.1], ["constant"], 1, journal="j.jsonl", results_uri=TOO_LONG, label="x"),
    ],
    ids=["from_journal", "from_csv", "journal", "results_uri"],
)
def test_a_name_that_is_too_long_is_one_line(use, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(RobustLRError, match="File name too long") as caught:
        use()
    assert "\n" not in str(caught.value)
