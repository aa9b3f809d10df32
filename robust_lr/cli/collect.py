"""Write the results of a job, made by `robust-lr run --command ... --emit`, to a journal."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from .plugins import Plugin

SUMMARY = "read the results of a job array into a journal"
USAGE = "DIR [--journal FILE]"


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("folder", metavar="DIR", help="folder of the trials (--trials-dir of the job)")
    parser.add_argument("--journal", default="sweep.jsonl", metavar="FILE", help="the journal [default: %(default)s]")


def main(options: argparse.Namespace, plugins: Sequence[Plugin]) -> int:
    from dataclasses import asdict

    from ..commands.job import collect_job
    from ..report.console import make_console
    from .output import write_json

    said = collect_job(options.folder, options.journal)
    make_console().print(f"{said}; look at them with: robust-lr analyze {options.journal}", soft_wrap=True)
    write_json(options, {"schema": 1} | asdict(said))
    return 0
