"""The command line as its users type it: the right exit code, one line for an error, and never a traceback."""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
from pathlib import Path

import pytest

from robust_lr.cli.main import all_commands, build_parser
from robust_lr.cli.plugins import load_plugins
from tests.cli.command_line import GOOD, WITH_METRIC, sweep_arguments, write


def test_the_version_and_the_help_are_there(robust_lr):
    assert re.fullmatch(r"\d+\.\d+\.\d+\n", robust_lr("--version").out)
    answer = robust_lr("--help")
    assert answer.code == 0
    assert all(command in answer.out for command in ("plan", "run", "analyze", "demo"))
    assert robust_lr().out.count("plan") >= 1


@pytest.mark.parametrize(
    "arguments",
    [["fly"], ["plan"], ["analyze"], ["run"], ["plan", "--schedule", "cosine", "--lr-min", "x"], ["analyze", "--zzz"]],
)
def test_wrong_usage_is_exit_code_two_and_one_line_that_names_the_help(one_line, arguments):
    assert re.search(r"; see: robust-lr( [a-z]+)? --help$", one_line(*arguments))


def test_the_console_script_sets_the_exit_code_of_the_process(tmp_path):
    (tmp_path / "good.csv").write_text(GOOD)
    (tmp_path / "edge.csv").write_text("lr,seed,loss\n1,0,1\n2,0,2\n3,0,3\n")
    script = Path(sys.executable).with_name("robust-lr")
    expected = {("analyze", "good.csv"): 0, ("analyze", "edge.csv"): 1, ("analyze", "none.csv"): 2}
    for arguments, code in expected.items():
        done = subprocess.run(
            [script, *arguments], check=False, cwd=tmp_path, capture_output=True, text=True, timeout=120
        )
        assert done.returncode == code
        assert "Traceback" not in done.stderr
        assert (done.stderr == "") == (code < 2)


def test_an_interrupt_says_that_nothing_is_lost(robust_lr, module, monkeypatch):
    def interrupted(*arguments, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr("robust_lr.sweep.run_sweep", interrupted)
    answer = robust_lr(
        "run", f"{module()}:train", "--lr-min", 0.01, "--lr-max", 1, "--schedules", "cosine", "--n-points", 3
    )
    assert answer.code == 130
    assert answer.err == "interrupted; every finished trial is in the journal, and the same command continues\n"


def test_an_error_of_the_system_that_is_not_about_writing_is_not_said_to_be(robust_lr, monkeypatch):
    def no_memory(*arguments, **options):
        raise OSError(12, "Cannot allocate memory")

    write("good.csv", GOOD)
    monkeypatch.setattr("robust_lr.analysis.analyze_sweep", no_memory)
    answer = robust_lr("analyze", "good.csv")
    assert (answer.code, answer.err) == (2, "error: [Errno 12] Cannot allocate memory\n")


def test_a_module_is_run_like_the_command(tmp_path):
    command = [sys.executable, "-m", "robust_lr", "plan", "-h"]
    done = subprocess.run(command, check=True, cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert done.stdout.startswith("usage: robust-lr plan --schedule SPEC")


COMMANDS = ("plan", "run", "search", "analyze", "doctor", "demo")
HEAVY = {"numpy", "scipy", "rich", "matplotlib", "ray", "optuna", "torch", "sklearn", "pandas", "plotly", "sqlalchemy"}


@pytest.mark.parametrize("words", [["--help"], *([name, "--help"] for name in COMMANDS)])
def test_help_loads_neither_numpy_nor_rich_nor_a_framework(tmp_path, words):
    code = f"""
import sys
from robust_lr.cli.main import main
sys.argv = ["robust-lr", *{words}]
try:
    main()
finally:
    print(*{{name.partition(".")[0] for name in sys.modules}}, file=sys.stderr)
"""
    done = subprocess.run([sys.executable, "-c", code], check=True, cwd=tmp_path, capture_output=True, text=True)
    assert done.stdout.startswith("usage: robust-lr ")
    assert not HEAVY & set(done.stderr.split())


@pytest.mark.parametrize("name", COMMANDS)
def test_the_help_fits_the_terminal_and_shows_every_option(robust_lr, monkeypatch, name):
    monkeypatch.setenv("COLUMNS", "80")
    plugins = load_plugins()
    commands = all_commands(plugins)
    answer = robust_lr(name, "--help")
    assert all(len(line) < 80 for line in answer.out.splitlines()[1:])  # the first is the usage
    parser = build_parser(commands, plugins)
    (subparsers,) = (action for action in parser._actions if action.dest == "command")
    actions = subparsers.choices[name]._actions
    shown = [option for action in actions if action.help != argparse.SUPPRESS for option in action.option_strings]
    assert set(shown) == set(re.findall(r"^  (?:-h, )?(-[a-z-]+|-h)", answer.out, re.MULTILINE)) | {"-h"}


def test_an_old_name_of_an_option_works_for_one_release_with_one_line(robust_lr, module):
    robust_lr(*sweep_arguments(f"{module(WITH_METRIC)}:train", journal="j.jsonl"))
    old, new = (robust_lr("analyze", "j.jsonl", name, "validation_loss") for name in ("--loss-column", "--metric"))
    assert (old.code, old.out) == (new.code, new.out)
    assert old.err == "warning: --loss-column is now --metric; version 0.3 removes the old name\n"
    assert new.err == ""


@pytest.mark.parametrize("arguments", [["analyze", "good.csv"], ["--version"], ["--help"]])
def test_a_reader_that_has_seen_enough_ends_it_quietly(tmp_path, arguments):
    (tmp_path / "good.csv").write_text(GOOD)
    script = Path(sys.executable).with_name("robust-lr")
    with subprocess.Popen(
        [script, *arguments], cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        process.stdout.close()
        assert process.stderr.read() == ""


def test_a_reader_that_has_seen_enough_costs_no_file_and_changes_no_exit_code(tmp_path):
    (tmp_path / "good.csv").write_text(GOOD)
    words = ["analyze", "good.csv", "--tolerance", "0.1", "--json", "a.json", "--report", "r.html"]
    script = Path(sys.executable).with_name("robust-lr")
    with subprocess.Popen([script, *words], cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == 0
    assert (tmp_path / "a.json").stat().st_size > 100 and (tmp_path / "r.html").stat().st_size > 100
