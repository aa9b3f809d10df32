"""The command line in this process, in a folder of its own."""

from __future__ import annotations

import itertools
import sys

import pytest

from robust_lr.cli.main import main
from tests.cli.command_line import TRAIN, Answer

names = itertools.count()


@pytest.fixture
def robust_lr(capsys, monkeypatch, tmp_path):
    """Run the command line in tmp_path, in this process."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["robust-lr", *map(str, arguments)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as stop:
            main()
            raise SystemExit(0)
        out, err = capsys.readouterr()
        code = stop.value.code or 0
        assert "Traceback" not in out + err
        return Answer(code, out, err)

    return run


@pytest.fixture
def one_line(robust_lr):
    """Run what cannot work, and return the one line that says why."""

    def run(*arguments, code=2):
        answer = robust_lr(*arguments)
        assert answer.code == code
        assert answer.out == ""
        assert answer.err.startswith("error: ")
        assert answer.err.count("\n") == 1
        return answer.err.strip()

    return run


@pytest.fixture
def module(tmp_path):
    """Write a module with a name of its own and return that name."""

    def write(text=TRAIN):
        name = f"cli_module_{next(names)}"
        (tmp_path / f"{name}.py").write_text(text)
        return name

    return write
