"""What a user types on the command line means what it says."""

import sys

import pytest

from robust_lr.cli.arguments import import_function, split_specs
from robust_lr.exceptions import DataError


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
