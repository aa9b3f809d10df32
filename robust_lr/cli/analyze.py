"""Analyze a sweep, finished or not: what does a coarser grid cost, and which one to use next?"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ..exceptions import OptionError
from .arguments import add_failed_as_diverged, add_noise, add_objective, add_old_name
from .plugins import Plugin, SweepSource, naming_the_extra

if TYPE_CHECKING:
    from ..analysis import Analysis
    from ..sweep import SweepResult

SUMMARY = "analyze results: journals, tables, runs of trackers, and what plug-ins read"
USAGE = "PATH [options]"


def add_options(parser: argparse.ArgumentParser) -> None:
    option = parser.add_argument
    guessed = "[default: found by its name]"
    option(
        "file", nargs="?", metavar="PATH",
        help="journal of a sweep; table of runs (CSV, JSON, parquet); SQLite file or mlruns of MLflow; folder of "
        "TensorBoard or W&B; SQLite file of Trackio; study of Optuna; experiment of Ray; or a folder of these",
    )  # fmt: skip
    option("--lr-name", metavar="NAME", help=f"name of the learning rate {guessed}")
    add_objective(parser, "name of the final loss; nan or inf is a diverged run", default=None)
    option("--schedule-name", metavar="NAME", help=f"name of the schedule, if there is one {guessed}")
    option("--seed-name", metavar="NAME", help=f"name of the seed, if there is one {guessed}")
    option(
        "--where", action="append", default=[], metavar="A=B",
        help="table or tracker: only rows in which column A is B, or is not with A!=B; may be repeated",
    )  # fmt: skip
    option(
        "--repeats", choices=("refuse", "first", "last"), default="refuse", metavar="WHICH",
        help="table or tracker: first or last of runs with the same learning rate, schedule and seed [default: refuse, "
        "or the latest if there are times]",
    )  # fmt: skip
    option(
        "--group-by", default="", metavar="A,B",
        help="table or tracker: one sweep for each combination of values in these columns",
    )  # fmt: skip
    add_failed_as_diverged(parser)
    add_noise(parser)
    option(
        "--confidence-level", type=float, default=0.95, metavar="P", help="level of the bands [default: %(default)s]"
    )
    option("--report", metavar="FILE", help="write an HTML report")
    option("--json", metavar="FILE", help="write the figures as JSON")
    for new, old in (("lr_name", "lr"), ("metric", "loss"), ("schedule_name", "schedule"), ("seed_name", "seed")):
        add_old_name(parser, f"--{old}-column", new)


def main(options: argparse.Namespace, plugins: Sequence[Plugin]) -> int:
    from ..analysis import analyze_sweep
    from ..report.answer import overview_box
    from ..report.console import make_console, print_analysis, print_box, print_rows
    from ..report.groups import group_rows
    from .output import figures, write_json

    source, sweeps = _read(options, plugins)
    if options.failed_as_diverged:
        sweeps = {group: sweep.with_failed_as_diverged() for group, sweep in sweeps.items()}
    grouped = list(sweeps) != [""]
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


def _columns(options: argparse.Namespace) -> list[str]:
    return [name.strip() for name in options.group_by.split(",") if name.strip()]


class _Files(Plugin):
    source_option = "PATH"

    def sweep_source(self, options: argparse.Namespace) -> SweepSource | None:
        if options.file is None:
            return None

        def read() -> dict[str, SweepResult]:
            from ..readers.read import read_sweeps

            return read_sweeps(
                options.file, lr_name=options.lr_name, metric=options.metric, direction=options.direction,
                schedule_name=options.schedule_name, seed_name=options.seed_name, group_by=_columns(options),
                where=options.where, repeats=options.repeats,
            )  # fmt: skip

        name = Path(options.file).name or Path(options.file).resolve().name
        return SweepSource(name=name, description=name, read=read)


def _read(options: argparse.Namespace, plugins: Sequence[Plugin]) -> tuple[SweepSource, Mapping[str, SweepResult]]:
    readers = [_Files(), *plugins]
    found = [(reader, source) for reader in readers if (source := reader.sweep_source(options)) is not None]
    if len(found) != 1:
        names = ", ".join(reader.source_option for reader in readers if reader.source_option)
        raise OptionError(f"give one of {names}; see: robust-lr analyze --help")
    if options.file is None and _columns(options):
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
