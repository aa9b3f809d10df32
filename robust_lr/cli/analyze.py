"""Analyze a sweep, finished or not: what does a coarser grid cost, and which one to use next?"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ..exceptions import OptionError
from .arguments import add_failed_as_diverged, add_noise, list_of_names
from .plugins import Plugin, SweepSource, naming_the_extra
from .pruning_audit import print_pruning_audit
from .reading import add_file, add_reading

if TYPE_CHECKING:
    from ..collection import SweepCollection
    from ..loss_curves import LossCurve
    from ..sweep import SweepResult

SUMMARY = "analyze results: journals, tables, runs of trackers, and what plug-ins read"
USAGE = "PATH [options]"


def add_options(parser: argparse.ArgumentParser) -> None:
    option = parser.add_argument
    add_file(parser, nargs="?")
    add_reading(parser)
    option(
        "--cluster-by", metavar="A,B",
        help="of these columns, those within which sweeps may be alike, or none [default: found by the data]",
    )  # fmt: skip
    option("--details", action="store_true", help="print the analysis of each sweep too")
    add_failed_as_diverged(parser)
    add_noise(parser)
    option(
        "--confidence-level", type=float, default=0.95, metavar="P", help="level of the bands [default: %(default)s]"
    )
    option(
        "--pruning-audit", action="store_true",
        help="instead: how often the learning rate that leads in the middle of training is not the best at its end",
    )  # fmt: skip
    option("--report", metavar="FILE", help="write an HTML report")


def main(options: argparse.Namespace, plugins: Sequence[Plugin]) -> int:
    if options.pruning_audit:
        return print_pruning_audit(options, _source(options, plugins)[1].read_curves)
    source, collection = _read(options, plugins)
    if options.failed_as_diverged:
        collection = collection.map(lambda sweep: sweep.with_failed_as_diverged())
    if len(collection) > 1:
        from .analyze_many import analyze_many

        return analyze_many(collection, options, source)
    from ..analysis import analyze_sweep
    from ..report.console import make_console, print_analysis
    from .output import figures, write_json, writing_report

    (member,) = collection
    analysis = analyze_sweep(
        member.sweep, tolerance=options.tolerance, confidence_level=options.confidence_level, noise=options.noise
    )
    console = make_console()
    print_analysis(analysis, console, title=member.label)
    content = figures(analysis)
    write_json(options, {member.label: content} if member.label else content)
    if options.report is not None:
        from ..report.html import write_report

        with writing_report(options, source) as report:
            write_report([(member.label, analysis)] if member.label else analysis, **report)
        console.print(f"report: {options.report}")
    return 0 if analysis.recommendations else 1


class _Files(Plugin):
    source_option = "PATH"

    def sweep_source(self, options: argparse.Namespace) -> SweepSource | None:
        if options.file is None:
            return None

        def read() -> dict[str, SweepResult]:
            from ..readers.read import read_sweeps

            return read_sweeps(
                options.file, lr_name=options.lr_name, metric=options.metric, direction=options.direction,
                schedule_name=options.schedule_name, seed_name=options.seed_name, where=options.where,
                group_by=list_of_names(options.group_by), repeats=options.repeats,
            )  # fmt: skip

        def read_curves() -> tuple[Sequence[LossCurve], Sequence[str]]:
            from ..readers.curves import read_curves

            return read_curves(
                options.file, lr_name=options.lr_name, metric=options.metric, direction=options.direction,
                schedule_name=options.schedule_name, seed_name=options.seed_name, where=options.where,
            )  # fmt: skip

        name = Path(options.file).name or Path(options.file).resolve().name
        return SweepSource(name=name, description=name, read=read, read_curves=read_curves)


def _read(options: argparse.Namespace, plugins: Sequence[Plugin]) -> tuple[SweepSource, SweepCollection]:
    reader, source = _source(options, plugins)
    with naming_the_extra(reader):
        return source, _collected(source.read())


def _source(options: argparse.Namespace, plugins: Sequence[Plugin]) -> tuple[Plugin, SweepSource]:
    readers = [_Files(), *plugins]
    found = [(reader, source) for reader in readers if (source := reader.sweep_source(options)) is not None]
    if len(found) != 1:
        names = ", ".join(reader.source_option for reader in readers if reader.source_option)
        raise OptionError(f"give one of {names}; see: robust-lr analyze --help")
    if options.file is None and list_of_names(options.group_by):
        raise OptionError("--group-by is for tables; --schedule-name takes any parameter of a trial")
    if options.file is None and options.where:
        raise OptionError("--where is for tables")
    return found[0]


def _collected(found: Mapping[str, SweepResult] | SweepCollection) -> SweepCollection:
    from ..collection import SweepCollection

    return found if isinstance(found, SweepCollection) else SweepCollection.from_named(found)
