"""Analyze a sweep, finished or not: what does a coarser grid cost, and which one to use next?"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ..exceptions import OptionError
from .arguments import add_failed_as_diverged, add_noise
from .plugins import Plugin, SweepSource, naming_the_extra
from .reading import add_file, add_reading, group_columns, read_file

if TYPE_CHECKING:
    from ..analysis import Analysis
    from ..sweep import SweepResult

SUMMARY = "analyze results: journals, tables, and what plug-ins read"
USAGE = "FILE [options]"


def add_options(parser: argparse.ArgumentParser) -> None:
    option = parser.add_argument
    add_file(parser, nargs="?")
    add_reading(parser)
    add_failed_as_diverged(parser)
    add_noise(parser)
    option(
        "--confidence-level", type=float, default=0.95, metavar="P", help="level of the bands [default: %(default)s]"
    )
    option("--report", metavar="FILE", help="write an HTML report")
    option("--json", metavar="FILE", help="write the figures as JSON")


def main(options: argparse.Namespace, plugins: Sequence[Plugin]) -> int:
    from ..analysis import analyze_sweep
    from ..report.answer import overview_box
    from ..report.console import make_console, print_analysis, print_box, print_rows
    from ..report.groups import group_rows
    from .output import figures, write_json

    source, sweeps = _read(options, plugins)
    if options.failed_as_diverged:
        sweeps = {group: sweep.with_failed_as_diverged() for group, sweep in sweeps.items()}
    grouped = bool(group_columns(options))
    wanted = {
        "tolerance": options.tolerance, "confidence_level": options.confidence_level, "noise": options.noise
    }  # fmt: skip
    analyses = {group: analyze_sweep(sweep, **wanted) for group, sweep in sweeps.items()}
    console = make_console()
    if len(analyses) > 1:
        print_box(overview_box(analyses), console)
        print_rows(console, group_rows(analyses), "Over the groups")
    for group, analysis in analyses.items():
        print_analysis(analysis, console, title=group)
    if options.json is not None:
        groups = {group: figures(analysis) for group, analysis in analyses.items()}
        write_json(Path(options.json), groups if grouped else groups[""])
    if options.report is not None:
        _write_report(analyses, grouped, source, Path(options.report))
        console.print(f"report: {options.report}")
    return 0 if any(analysis.recommendations for analysis in analyses.values()) else 1


class _Files(Plugin):
    source_option = "FILE"

    def sweep_source(self, options: argparse.Namespace) -> SweepSource | None:
        if options.file is None:
            return None

        def read() -> dict[str, SweepResult]:
            return read_file(options, options.file)

        name = Path(options.file).name
        return SweepSource(name=name, description=name, read=read)


def _read(options: argparse.Namespace, plugins: Sequence[Plugin]) -> tuple[SweepSource, Mapping[str, SweepResult]]:
    readers = [_Files(), *plugins]
    found = [(reader, source) for reader in readers if (source := reader.sweep_source(options)) is not None]
    if len(found) != 1:
        names = ", ".join(reader.source_option for reader in readers if reader.source_option)
        raise OptionError(f"give one of {names}; see: robust-lr analyze --help")
    if options.file is None and group_columns(options):
        raise OptionError("--group-by is for tables; --schedule-name takes any parameter of a trial")
    if options.file is None and options.where:
        raise OptionError("--where is for tables")
    reader, source = found[0]
    with naming_the_extra(reader):
        return source, source.read()


def _write_report(analyses: Mapping[str, Analysis], grouped: bool, source: SweepSource, path: Path) -> None:
    import shlex

    from .._text import without_passwords
    from ..report.html import write_report
    from .output import writing

    with writing(path):
        write_report(
            list(analyses.items()) if grouped else analyses[""],
            path,
            title=f"Learning-rate sweep: {source.name}",
            source=f"Read from {source.description}.",
            reproduce=[f"robust-lr {shlex.join(map(without_passwords, sys.argv[1:]))}"],
        )
