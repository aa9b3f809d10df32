"""Compare two sides: is this change better than that one, at the best learning rate of each and at equal ones?"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from .._text import listed
from ..exceptions import OptionError
from .arguments import add_failed_as_diverged, list_of_names
from .plugins import Plugin
from .reading import add_reading, read_file

if TYPE_CHECKING:
    from ..sweep import SweepResult

    Sides = list[tuple[str, Mapping[str, SweepResult]]]

SUMMARY = "is this change better than that one? two files, or two values of a column"
USAGE = "(A B | FILE --by COLUMN) [options]"


def add_options(parser: argparse.ArgumentParser) -> None:
    option = parser.add_argument
    option("files", nargs="+", metavar="FILE", help="journals or tables, one for each side; or one file with --by")
    option("--by", metavar="COLUMN", help="compare two values of this column, or two schedules with --by schedule")
    option("--values", metavar="A,B", help="which two values of that column [default: the only two]")
    add_reading(parser)
    add_failed_as_diverged(parser)
    option("--tolerance", metavar="LOSS", help="the difference that matters to you: 0.003, or 1%% of the best loss")
    option("--noise", type=float, metavar="SD", help="standard deviation of the loss between seeds, if you know it")
    option("--confidence-level", type=float, default=0.95, metavar="P", help="of the verdict [default: %(default)s]")


def main(options: argparse.Namespace, plugins: Sequence[Plugin]) -> int:
    from ..analysis import compare_sweeps
    from ..report.console import make_console, print_blocks
    from ..report.pair_words import pair_blocks
    from .output import write_json

    (name_a, a), (name_b, b) = _sides(options)
    comparisons = compare_sweeps(
        a, b, names=(name_a, name_b), tolerance=options.tolerance, confidence_level=options.confidence_level,
        noise=options.noise, schedules=(name_a, name_b) if options.by == "schedule" else None,
    )  # fmt: skip
    console = make_console()
    for comparison in comparisons:
        print_blocks(pair_blocks(comparison), console)
    write_json(options, {"schema": 1, "comparisons": [each.to_dict() for each in comparisons]})
    return 0 if any(comparison.verdict for comparison in comparisons) else 1


def _sides(options: argparse.Namespace) -> Sides:
    if options.by is None:
        if len(options.files) != 2 or options.values is not None:
            raise OptionError("give two files, or one with --by COLUMN; see: robust-lr compare --help")
        return list(zip(_names(options.files), (read_file(options, file) for file in options.files), strict=True))
    if len(options.files) != 1:
        raise OptionError("--by compares two values of a column of one file")
    return _of_schedules(options) if options.by == "schedule" else _of_column(options)


def _of_schedules(options: argparse.Namespace) -> Sides:
    sweeps = read_file(options, options.files[0])
    names = list(dict.fromkeys(name for sweep in sweeps.values() for name in sweep.schedules))
    return [(name, sweeps) for name in _two(options, names)]


def _of_column(options: argparse.Namespace) -> Sides:
    from ..readers.table import read_table

    file, groups = options.files[0], list_of_names(options.group_by)
    table = read_table(
        file, lr_name=options.lr_name, metric=options.metric, schedule_name=options.schedule_name,
        seed_name=options.seed_name, group_by=[options.by], where=options.where, direction=options.direction,
    )  # fmt: skip
    values = list(dict.fromkeys(run.group[0] for run in table.runs if not run.excluded))
    return [
        (value, read_file(options, file, where=[f"{table.group_by[0]}={value}"], group_by=groups))
        for value in _two(options, values)
    ]


def _two(options: argparse.Namespace, known: Sequence[str]) -> list[str]:
    wanted = list(known) if options.values is None else [value.strip() for value in options.values.split(",")]
    if missing := [value for value in wanted if value not in known]:
        raise OptionError(f"{options.by} has no {missing[0]!r}; it has {listed(known, at_most=8)}")
    if len(wanted) != 2:
        number = "two" if options.values is not None else f"two of {listed(known, at_most=8)}"
        raise OptionError(f"{options.by} has {len(known)} values: choose {number} with --values A,B")
    return wanted


def _names(files: Sequence[str]) -> list[str]:
    stems = [Path(file).stem for file in files]
    return stems if stems[0] != stems[1] else [str(file) for file in files] if files[0] != files[1] else ["A", "B"]
