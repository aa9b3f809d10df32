"""README and docs keep their word: the Python runs, the commands are known, and the output is what they print."""

import importlib.util
import re
import shlex
import sys
from pathlib import Path

import optuna
import pytest

from robust_lr import parse_schedule
from robust_lr.cli.main import all_commands, build_parser
from robust_lr.cli.plugins import load_plugins

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
_SPEC = importlib.util.spec_from_file_location("readme_output", ROOT / "benchmarks" / "readme_output.py")
readme_output = importlib.util.module_from_spec(_SPEC)
sys.modules["readme_output"] = readme_output
_SPEC.loader.exec_module(readme_output)
PYTHON = [code for code in re.findall(r"```python\n(.*?)```", README, re.DOTALL) if "print(" in code]
PAGES = "".join(path.read_text() for path in [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))])
_COMMAND = r"^ {4,}.*?(robust-lr (?:plan|run|search|collect|analyze|demo) .*)$"
COMMANDS = sorted(set(re.findall(_COMMAND, PAGES, re.MULTILINE)))
SCRIPTS = sorted(set(re.findall(r"python ((?:benchmarks|examples)/\w+\.py[^`\n]*)", PAGES)))


PRINTS = (
    r"13 learning rates 0.001..1; 4 seeds; 52 results, 0 diverged",
    r"cosine; 7 learning rates 0.001..1; 3 seeds; 21 results, 0 diverged",
    r"cosine: ratio [\d.]+, \d+ trials?, excess loss [\d.]+ \[(?s:.*)\n── Answer ─",
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


SPECS = re.findall(r"^\| `([^|]+)` \|", (ROOT / "docs" / "reference" / "schedules.md").read_text(), re.MULTILINE)


@pytest.mark.parametrize("spec", [s for line in SPECS for s in line.split("`, `") if s[0].islower() and "..." not in s])
def test_every_schedule_in_the_pages_can_be_parsed(spec):
    if not spec.startswith("function"):
        assert parse_schedule(spec)(0, 100) > 0


SHOWN = [(path, block) for path in readme_output.PAGES for block in readme_output.blocks_of(path.read_text())]
# The examples that take no second; tests/test_examples.py runs them all.
CHEAP = re.compile(r"^robust-lr |examples/(quickstart_numpy|custom_schedule).py")
QUICK = [pytest.param(path, block, id=block.command) for path, block in SHOWN if CHEAP.search(block.command)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """One folder for all commands, so that the second demo finds the journal of the first."""
    return tmp_path_factory.mktemp("readme")


@pytest.mark.parametrize(("path", "block"), QUICK)
def test_the_output_in_the_pages_has_the_words_that_the_command_prints_now(path, block, folder):
    """To bring the pages up to date: python benchmarks/readme_output.py --write."""
    for file, code in readme_output.files_of(path.read_text()).items():
        (folder / file).write_text(code)
    now = readme_output.printed(block, folder)
    assert readme_output.same_words(block.shown, now), now


def test_every_block_of_output_in_the_readme_comes_from_a_command():
    named = {block.shown for path, block in SHOWN if path == ROOT / "README.md"}
    assert named == set(re.findall(r"```text\n(?:(?!```).*\n)*```|^(?:\|.*\n)+", README, re.MULTILINE))
    assert len(named) >= 3


def test_the_readme_is_short_and_every_link_in_the_pages_leads_somewhere():
    assert len(README.splitlines()) <= 250
    for path in readme_output.PAGES:
        for target in re.findall(
            r"\]\(([^)#]+)(?:#[^)]*)?\)", re.sub(r"```.*?```", "", path.read_text(), flags=re.DOTALL)
        ):
            assert target.startswith("http") or (path.parent / target).exists(), f"{path.name}: {target}"


def test_the_gallery_shows_each_example():
    gallery = (ROOT / "docs" / "gallery.md").read_text()
    for path in (ROOT / "examples").glob("*.py"):
        assert f"(../examples/{path.name})" in gallery


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_in_the_pages_can_be_given_and_has_no_old_name(command, capsys):
    plugins = load_plugins()
    parser = build_parser(all_commands(plugins), plugins)
    assert parser.parse_args(shlex.split(command)[1:]).command
    assert capsys.readouterr().err == "", "an option has a new name"


@pytest.mark.parametrize("command", SCRIPTS)
def test_every_script_that_the_pages_name_exists_and_knows_its_options(command):
    script, *arguments = re.split(r"\)| -->", command)[0].split()
    code = (ROOT / script).read_text()
    for option in [word.rstrip(",.;:") for word in arguments if word.startswith("--")]:
        assert f'"{option}"' in code, f"{script} has no {option}"


def test_the_pages_hold_code_and_commands():
    assert PYTHON
    assert len(COMMANDS) >= 8
    assert len(SCRIPTS) >= 10
