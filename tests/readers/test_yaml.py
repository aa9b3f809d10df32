"""YAML is read as plain data."""

from __future__ import annotations

import sys

import pytest

from robust_lr.exceptions import DataError, OptionError
from robust_lr.readers._yaml import read_yaml


@pytest.fixture
def file(tmp_path):
    def write(text):
        (tmp_path / "config.yaml").write_text(text)
        return tmp_path / "config.yaml"

    return write


def test_a_mapping_is_read(file):
    assert read_yaml(file("lr: 0.1\nnote: 'a & b * c'\n")) == {"lr": 0.1, "note": "a & b * c"}


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "holds no mapping"),
        ("- 1\n", "holds no mapping"),
        ("a: [1\n", "as YAML"),
        ("\x00", "as YAML"),
        ("[" * 3000, "as YAML"),
        ("!!python/object/apply:os.abort []\n", "as YAML"),
        ("a: &a [1, 2]\nb: [*a, *a]\n", "has references"),
    ],
)
def test_anything_else_is_one_line(file, text, says):
    with pytest.raises(DataError, match=says) as caught:
        read_yaml(file(text))
    assert "\n" not in str(caught.value)


def test_without_the_library_the_error_says_what_to_install(file, monkeypatch):
    monkeypatch.setitem(sys.modules, "yaml", None)
    with pytest.raises(OptionError, match="pip install pyyaml"):
        read_yaml(file("a: 1"))
