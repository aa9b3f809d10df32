"""Find faults of a learning-rate schedule: in a log, or while a training script runs, without an edit."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..exceptions import OptionError
from .arguments import at_least
from .plugins import Plugin

if TYPE_CHECKING:
    from ..doctor import Finding

SUMMARY = "find faults of a learning-rate schedule"
USAGE = "FILE | --command COMMAND [options]"

_SCRIPTS = (".py", ".sh")
_NOTHING_SEEN = (
    "no optimizer of torch took a step in a Python process of this command, so there is nothing to say; the doctor "
    "sees Python with torch and robust-lr only (not python -I or -E, nor a process that was killed). For other "
    "programs, log the learning rate of each step and give the file"
)


def add_options(parser: argparse.ArgumentParser) -> None:
    option = parser.add_argument
    option("file", nargs="?", metavar="FILE", help="learning rate of each step: a table, or the files of a tracker")
    option("--command", dest="command_line", metavar="COMMAND", help="training script to run, as in a shell")
    option("--total-steps", type=at_least(1), metavar="N", help="optimizer steps that the run is meant to take")
    option("--lr-name", metavar="COLUMN", help="column of the learning rate [default: found by its name]")


def main(options: argparse.Namespace, plugins: Sequence[Plugin]) -> int:
    from ..doctor import findings_text
    from ..report.console import make_console
    from .output import write_json

    if (options.file is None) == (options.command_line is None):
        raise OptionError("give one of FILE and --command; see: robust-lr doctor --help")
    if str(options.file).endswith(_SCRIPTS):
        start = "bash" if options.file.endswith(".sh") else "python"
        raise OptionError(f'{options.file} is no log; to watch a script: --command "{start} {options.file}"')
    code, found = _examine_log(options) if options.command_line is None else _examine_command(options)
    say = make_console().print
    for watched, findings in found.items():
        say(findings_text(findings, watched=watched), soft_wrap=True)
    write_json(options, _figures(found))
    return 1 if code or any(found.values()) else 0


def _examine_log(options: argparse.Namespace) -> tuple[int, dict[str, tuple[Finding, ...]]]:
    from .._text import count_of
    from ..doctor.logs import examine_log

    if options.total_steps is not None:
        raise OptionError("--total-steps is for --command")
    runs = examine_log(options.file, lr_name=options.lr_name)
    name = Path(options.file).name
    return 0, {
        f"{name}{f', {run}' if run else ''}, {count_of(n, 'logged step')}": findings
        for run, (n, findings) in runs.items()
    }


def _examine_command(options: argparse.Namespace) -> tuple[int, dict[str, tuple[Finding, ...]]]:
    from ..doctor.command import examine_command

    if options.lr_name is not None:
        raise OptionError("--lr-name is for FILE")
    code, reports = examine_command(options.command_line, total_steps=options.total_steps)
    if code:
        print(f"the command ended with exit code {code}", file=sys.stderr)
    if not reports:
        print(_NOTHING_SEEN, file=sys.stderr)
    return code or int(not reports), {
        watched if len(reports) == 1 else f"optimizer {number}: {watched}": findings
        for number, (watched, findings) in enumerate(reports, 1)
    }


def _figures(found: Mapping[str, tuple[Finding, ...]]) -> dict[str, Any]:
    runs = [{"watched": watched, "findings": [asdict(f) for f in findings]} for watched, findings in found.items()]
    return {"schema": 1, "runs": runs}
