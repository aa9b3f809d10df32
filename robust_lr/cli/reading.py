"""What commands that read results share: the options that say what a file holds."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from .arguments import add_objective, add_old_name, list_of_names

if TYPE_CHECKING:
    from ..sweep import SweepResult


def add_file(parser: argparse.ArgumentParser, **options: Any) -> None:
    """Add the file."""
    parser.add_argument(
        "file", metavar="PATH", **options,
        help="journal of a sweep; table of runs (CSV, JSON, parquet); SQLite file or mlruns of MLflow; folder of "
        "TensorBoard or W&B; SQLite file of Trackio; study of Optuna; experiment of Ray; or a folder of these",
    )  # fmt: skip


def add_reading(parser: argparse.ArgumentParser) -> None:
    """Add the options that say which columns and rows of a table count."""
    option = parser.add_argument
    guessed = "[default: found by its name]"
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
        help="table or tracker: one sweep for each combination of these columns' values; what they say comes first",
    )  # fmt: skip
    for new, old in (("lr_name", "lr"), ("metric", "loss"), ("schedule_name", "schedule"), ("seed_name", "seed")):
        add_old_name(parser, f"--{old}-column", new)


def read_file(
    options: argparse.Namespace, path: str, *, where: Sequence[str] = (), group_by: Sequence[str] | None = None
) -> dict[str, SweepResult]:
    """Return the sweeps of a file by group, with failed trials as diverged if the options say so.

    Args:
        options: the parsed options.
        path: the file.
        where: further conditions.
        group_by: columns instead of those of the options.
    """
    from ..readers.read import read_sweeps

    sweeps = read_sweeps(
        path, lr_name=options.lr_name, metric=options.metric, direction=options.direction,
        schedule_name=options.schedule_name, seed_name=options.seed_name,
        group_by=list_of_names(options.group_by) if group_by is None else group_by, where=[*options.where, *where],
        repeats=options.repeats,
    )  # fmt: skip
    if options.failed_as_diverged:
        return {group: sweep.with_failed_as_diverged() for group, sweep in sweeps.items()}
    return sweeps
