"""The README keeps its word, and the page on the search: the Python runs, and the command lines are known."""

import io
import re
import shlex
import subprocess
import sys
from pathlib import Path

import optuna
import pytest
from rich.console import Console

from robust_lr import SweepResult, analyze_sweep, parse_schedule
from robust_lr.cli.main import all_commands, build_parser
from robust_lr.cli.plugins import load_plugins
from robust_lr.report.console import print_analysis

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
SEARCH = (ROOT / "docs" / "search.md").read_text()
PYTHON = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
PAGES = "".join(path.read_text() for path in [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))])
_COMMAND = r"^ {4,}.*?(robust-lr (?:plan|run|search|analyze|demo) .*)$"
COMMANDS = sorted(set(re.findall(_COMMAND, PAGES, re.MULTILINE)))
SCRIPTS = sorted(set(re.findall(r"python ((?:benchmarks|examples)/\w+\.py[^`\n]*)", PAGES)))


PRINTS = (
    r"cosine: ratio [\d.]+, \d+ trials?, excess loss [\d.]+ \[",
    r"\[0\.0\]",
    r"constant, cosine; 7 learning rates .*; 56 results, 0 diverged",
    r"13 learning rates 0.001..1; 4 seeds; 52 results, 0 diverged",
    r"cosine; 7 learning rates 0.001..1; 3 seeds; 21 results, 0 diverged",
    r"6 trials; no other learning rate is better by more than 0.00\d\d",
)


@pytest.mark.parametrize(("code", "prints"), list(zip(PYTHON, PRINTS, strict=True)))
def test_the_python_in_the_readme_runs_and_prints_what_it_should(code, prints, capsys, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")  # else Ray writes a token into the home folder
    verbosity = optuna.logging.get_verbosity()
    try:
        exec(compile(code, "README.md", "exec"), {})
    finally:
        optuna.logging.set_verbosity(verbosity)
    assert re.search(prints, capsys.readouterr().out)


# Ray's is the one of tests/ray/test_learning_rate_searcher.py.
PAGE = [code for code in re.findall(r"```python\n(.*?)```", SEARCH, re.DOTALL) if "ray" not in code]


@pytest.mark.parametrize("code", PAGE)
def test_the_python_in_the_page_on_the_search_runs_and_prints_a_learning_rate_or_a_count(code, tmp_path):
    (tmp_path / "page.py").write_text(code)
    done = subprocess.run(
        [sys.executable, "-W", "error", "page.py"],
        cwd=tmp_path,
        check=False,
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert done.returncode == 0, done.stderr
    assert re.search(r"\d", done.stdout)


SPECS = re.findall(r"^\| `([^|]+)` \|", README, re.MULTILINE)


@pytest.mark.parametrize("spec", [s for line in SPECS for s in line.split("`, `") if s[0].islower() and "..." not in s])
def test_every_schedule_in_the_readme_can_be_parsed(spec):
    if not spec.startswith("function"):
        assert parse_schedule(spec)(0, 100) > 0


def test_the_demo_output_in_the_readme_has_the_tables_of_the_program():
    """Titles and column heads as they are printed now; the figures are those of `make demo`."""
    loss = [[[3.0, 3.1], [1.5, 1.6], [1.0, 1.1], [1.2, 1.3], [2.0, 2.1]]]
    console = Console(file=io.StringIO(), width=150)
    print_analysis(analyze_sweep(SweepResult(("cosine",), [1, 2, 4, 8, 16], (0, 1), loss), tolerance=0.3), console)
    printed = console.file.getvalue().splitlines()
    titles = [line for line in printed if line.startswith(("Excess loss", "Grid for the next"))]
    heads = [line.split() for line in printed if "best lr" in line]
    assert len(titles) == 2
    assert all(title.partition(", tolerance")[0] in README for title in titles)
    assert heads[0] in [line.split() for line in README.splitlines()]


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_in_the_pages_can_be_given_and_has_no_old_name(command, capsys):
    plugins = load_plugins()
    parser = build_parser(all_commands(plugins), plugins)
    assert parser.parse_args(shlex.split(command)[1:]).command
    assert capsys.readouterr().err == "", "an option has a new name"


@pytest.mark.parametrize("command", SCRIPTS)
def test_every_script_that_the_pages_name_exists_and_knows_its_options(command):
    script, *arguments = command.partition(")")[0].split()
    code = (ROOT / script).read_text()
    for option in [word.rstrip(",.;:") for word in arguments if word.startswith("--")]:
        assert f'"{option}"' in code, f"{script} has no {option}"


def test_the_pages_hold_code_and_commands():
    assert PYTHON
    assert len(COMMANDS) >= 8
    assert len(SCRIPTS) >= 10
