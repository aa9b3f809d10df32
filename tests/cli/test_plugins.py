"""Plug-ins of the command line: options, runners, sources and commands of other packages."""

from __future__ import annotations

import sys
import types
from importlib.metadata import EntryPoint

import pytest

from robust_lr import SerialRunner, SweepResult
from robust_lr.cli.plugins import Plugin, SweepSource, require
from tests.cli.command_line import sweep_arguments


class CountingRunner(SerialRunner):
    n_runs = 0

    def run(self, *arguments, **options):
        type(self).n_runs += 1
        return super().run(*arguments, **options)


def _hello(options, plugins):
    print("hello", options.name)
    return 0


HELLO = types.SimpleNamespace(
    __doc__="Say hello.",
    SUMMARY="say hello",
    USAGE="NAME",
    add_options=lambda parser: parser.add_argument("name"),
    main=_hello,
)


class CloudOptions(Plugin):
    install = "pip install cloud"
    source_option = "--cloud"

    def __init__(self):
        self.commands = {"hello": HELLO}

    def add_options(self, command, parser):
        if command == "run":
            parser.add_argument("--cloud", action="store_true")
            parser.add_argument("--cloud-zone")
        if command == "analyze":
            parser.add_argument("--cloud")

    def make_runner(self, options):
        require(options, "cloud", ["cloud_zone"])
        return CountingRunner() if getattr(options, "cloud", False) else None

    def sweep_source(self, options):
        if options.cloud is None:
            return None
        if options.cloud == "none":
            return SweepSource(name="c", description="the cloud", read=lambda: __import__("cloud_that_is_missing"))
        sweep = SweepResult(("cosine",), [0.1, 0.2, 0.4], (0, 1), [[[3.0, 3.1], [1.0, 1.1], [2.0, 2.1]]])
        return SweepSource(name="c", description="the cloud", read=lambda: {"": sweep})


class Broken:
    def __init__(self):
        raise RuntimeError("not today")


@pytest.fixture(autouse=True)
def cloud(monkeypatch):
    """One plug-in that is installed."""
    install(monkeypatch, cloud="CloudOptions")


def install(monkeypatch, **classes):
    monkeypatch.setitem(sys.modules, "a_plug_in_of_the_command_line", sys.modules[__name__])
    entries = [EntryPoint(n, f"a_plug_in_of_the_command_line:{c}", "robust_lr.cli") for n, c in classes.items()]
    monkeypatch.setattr("importlib.metadata.entry_points", lambda **of: entries)


def test_a_plugin_adds_options_and_brings_a_runner(robust_lr, module):
    function = f"{module()}:train"
    assert robust_lr(*sweep_arguments(function, journal="a.jsonl")).code == 0
    assert CountingRunner.n_runs == 0
    assert robust_lr(*sweep_arguments(function, journal="b.jsonl"), "--cloud", "--cloud-zone", "eu").code == 0
    assert CountingRunner.n_runs == 1


def test_an_option_without_the_one_it_needs_is_one_line(one_line, module):
    line = one_line(*sweep_arguments(f"{module()}:train"), "--cloud-zone", "eu")
    assert line == "error: --cloud-zone is for --cloud"


def test_a_plugin_brings_a_source_of_sweeps(robust_lr, one_line):
    answer = robust_lr("analyze", "--cloud", "here", "--report", "r.html")
    assert answer.err == ""
    assert "3 learning rates 0.1..0.4; 2 seeds" in answer.out
    assert "give one of PATH, --cloud; see: robust-lr analyze --help" in one_line("analyze")
    assert "give one of PATH, --cloud" in one_line("analyze", "runs.csv", "--cloud", "here")


def test_a_plugin_brings_commands(robust_lr):
    assert robust_lr("hello", "world").out == "hello world\n"
    assert "say hello" in robust_lr("--help").out


def test_a_missing_framework_is_one_line_on_use_that_says_what_to_install(one_line, robust_lr):
    assert "--cloud" in robust_lr("analyze", "--help").out
    assert one_line("analyze", "--cloud", "none").startswith("error: this needs an extra: pip install cloud (")


def test_a_plugin_that_cannot_be_loaded_is_named_and_left_out(robust_lr, monkeypatch):
    install(monkeypatch, broken="Broken", cloud="CloudOptions")
    answer = robust_lr("hello", "world")
    assert (answer.code, answer.out) == (0, "hello world\n")
    assert answer.err == "warning: cannot load the plug-in broken: not today\n"
