"""What a user types on the command line means what it says."""

import sys

import pytest

from robust_lr import DataError
from robust_lr.cli.arguments import import_function, parse_tolerance, split_specs


@pytest.mark.parametrize(
    ("text", "means"),
    [("0.003", (0.003, False)), ("1%", (0.01, True)), ("1e-3", (0.001, False)), ("50 %", (0.5, True))],
)
def test_a_tolerance_is_a_loss_or_a_percentage(text, means):
    assert parse_tolerance(text) == means


@pytest.mark.parametrize("text", ["", "0", "-1", "abc", "nan", "inf", "%", "1%%"])
def test_what_is_no_tolerance_is_refused(text):
    with pytest.raises(DataError, match=r"tolerance must be a positive number such as 0\.003 or 1%"):
        parse_tolerance(text)


def test_commas_inside_brackets_do_not_split_schedules():
    assert split_specs("constant, wsd(0.2, shape=1-sqrt),cosine") == ["constant", "wsd(0.2, shape=1-sqrt)", "cosine"]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    return tmp_path


def test_a_function_is_found_by_module_or_by_file(folder):
    (folder / "my_training_a.py").write_text("def train(*, lr, schedule, seed):\n    return lr\n")
    assert import_function("my_training_a:train") is import_function("my_training_a.py:train")


def test_a_file_that_another_module_hides_is_refused_rather_than_mistaken(folder):
    (folder / "random.py").write_text("def train(*, lr, schedule, seed):\n    return lr\n")
    with pytest.raises(DataError, match="another module has the name 'random'; rename the file"):
        import_function("random.py:train")
