"""The README keeps its word: its Python runs, and its command lines are ones that the program knows."""

import re
import shlex
from pathlib import Path

import pytest
from typer.testing import CliRunner

from robust_lr.cli import app

README = (Path(__file__).parents[1] / "README.md").read_text()
PYTHON = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
COMMANDS = [line.strip() for line in README.splitlines() if line.startswith("    robust-lr ")]


@pytest.mark.parametrize("code", PYTHON)
def test_the_python_in_the_readme_runs_and_prints_a_recommendation(code, capsys):
    exec(compile(code, "README.md", "exec"), {})
    assert re.search(r"cosine: ratio [\d.]+, \d+ trials?, excess loss [\d.]+ \[", capsys.readouterr().out)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_option_in_the_readme_exists(command):
    name, *arguments = shlex.split(command)[1:]
    known = CliRunner().invoke(app, [name, "--help"], env={"COLUMNS": "200"}).output
    assert all(option in known for option in arguments if option.startswith("--"))


def test_the_readme_holds_code_and_commands():
    assert PYTHON
    assert len(COMMANDS) >= 4
