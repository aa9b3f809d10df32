"""Find out how coarse a learning-rate grid may be under each schedule, and tune with the fewest trials."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from contextlib import redirect_stdout
from importlib import import_module
from typing import Any

from .._text import printable
from .._version import __version__
from ..exceptions import InsufficientDataError, RobustLRError, TrialError
from .arguments import Parser, add_json
from .plugins import Command, Plugin, load_plugins

COMMANDS = (
    "plan", "run", "search", "collect", "analyze", "check", "compare", "noise", "learn", "suggest", "doctor", "demo",
)  # fmt: skip
EXIT_CODES = "Exit codes: 0 success; 1 no recommendation, or training failed; 2 wrong usage."


def main() -> None:
    """Run the command line and exit; an expected error is one line on stderr, never a traceback."""
    try:
        with redirect_stdout(_AsLongAsRead(sys.stdout)):
            try:
                code = run_command(sys.argv[1:])
            finally:  # also after --help, which exits
                sys.stdout.flush()
    except KeyboardInterrupt:
        print("interrupted; every finished trial is in the journal, and the same command continues", file=sys.stderr)
        code = 130
    except (RobustLRError, OSError) as error:
        print(printable(f"error: {error}"), file=sys.stderr)
        code = 1 if isinstance(error, (InsufficientDataError, TrialError)) else 2
    sys.exit(code)


class _AsLongAsRead:
    """Standard output whose reader may leave, as `head -1` does: the command still writes its files and its code."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        try:
            self._stream.write(text)
        except BrokenPipeError:
            self._discard()
        return len(text)

    def flush(self) -> None:
        try:
            self._stream.flush()
        except BrokenPipeError:
            self._discard()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def _discard(self) -> None:
        os.dup2(os.open(os.devnull, os.O_WRONLY), self._stream.fileno())


def run_command(words: Sequence[str]) -> int:
    """Run one command and return its exit code."""
    plugins = load_plugins()
    commands = all_commands(plugins)
    parser = build_parser(commands, plugins)
    options = parser.parse_args(words)
    if options.command is None:
        parser.print_help()
        return 2
    from .output import check_outputs, words_on_stderr

    check_outputs(options)
    if options.json != "-":
        return int(commands[options.command].main(options, plugins))
    with words_on_stderr(options):
        return int(commands[options.command].main(options, plugins))


def all_commands(plugins: Sequence[Plugin]) -> dict[str, Command]:
    """Return all commands by name, those of plug-ins included."""
    found: dict[str, Command] = {name: import_module(f"{__package__}.{name}") for name in COMMANDS}
    for plugin in plugins:
        found |= plugin.commands
    return found


def build_parser(commands: dict[str, Command], plugins: Sequence[Plugin]) -> Parser:
    """Return the parser for all commands and options."""
    parser = Parser(prog="robust-lr", description=__doc__, epilog=EXIT_CODES, usage="robust-lr COMMAND [options]")
    parser.add_argument("--version", action="version", version=__version__, help="print the version and exit")
    subparsers = parser.add_subparsers(title="commands", metavar="COMMAND", dest="command")
    for name, command in commands.items():
        prog = f"robust-lr {name}"
        sub = subparsers.add_parser(
            name, help=command.SUMMARY, description=command.__doc__, prog=prog, usage=f"{prog} {command.USAGE}",
            epilog=getattr(command, "EXIT_CODES", None),
        )  # fmt: skip
        command.add_options(sub)
        add_json(sub)
        for plugin in plugins:
            plugin.add_options(name, sub)
    return parser
