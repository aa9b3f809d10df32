"""Learn from earlier sweeps where the best learning rate of the next one lies, and what its valley looks like. Each
combination of values in the columns of --group-by is one sweep; one seed is enough."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ..exceptions import OptionError
from .plugins import Plugin

if TYPE_CHECKING:
    from ..prior import LearningRatePrior

SUMMARY = "learn a prior from earlier sweeps"
USAGE = "FILE [FILE ...] --group-by COLUMNS --output PRIOR.json [options]"


def add_options(parser: argparse.ArgumentParser) -> None:
    option = parser.add_argument
    option("files", nargs="+", metavar="FILE", help="tables with one run per row, or journals")
    option("--group-by", default="", metavar="COLUMNS", help="columns that tell the sweeps apart: params,tokens")
    option("--cluster-by", metavar="COLUMNS", help="columns that sweeps of one cluster share [default: found]")
    option("--output", metavar="FILE", help="write the prior there")
    option("--grow", metavar="PRIOR", help="add the sweeps to those of this prior")
    option("--metric", metavar="NAME", help="column of the final loss [default: found by its name]")
    option("--lr-name", metavar="NAME", help="column of the learning rate [default: found by its name]")
    option("--schedule-name", metavar="NAME", help="column of the schedule [default: found by its name]")
    option("--seed-name", metavar="NAME", help="column of the seed [default: found by its name]")


def main(options: argparse.Namespace, plugins: Sequence[Plugin]) -> int:
    from ..collection import SweepCollection
    from ..prior import LearningRatePrior
    from ..report.console import make_console
    from .output import log_on_stderr, write_json

    if options.grow is not None and options.cluster_by is not None:
        raise OptionError("--cluster-by cannot change the clusters of --grow; learn from all files instead")
    with log_on_stderr():
        collection = SweepCollection.from_files(
            options.files, group_by=_columns(options.group_by), metric=options.metric, lr_name=options.lr_name,
            schedule_name=options.schedule_name, seed_name=options.seed_name,
        )  # fmt: skip
        if options.grow is not None:
            prior = LearningRatePrior.load(options.grow).grown_by(collection)
        else:
            prior = LearningRatePrior.fit(collection, cluster_by=_columns(options.cluster_by) or None)
    if options.output is not None:
        prior.save(options.output)
    console = make_console()
    headline, *rest = str(prior).splitlines()
    console.print(headline, style="bold")
    for line in rest:
        console.print(line, soft_wrap=not console.is_terminal)
    if options.output is not None:
        console.print(f"prior: {options.output}")
    write_json(options, figures(prior))
    return 0


def figures(prior: LearningRatePrior) -> dict[str, Any]:
    """Return the prior as JSON values, without its sweeps."""
    from ..prior._file import to_dict

    known = {key: value for key, value in to_dict(prior).items() if key != "sweeps"}
    return {"schema": 1} | known | {"n_sweeps": len(prior.sweeps)}


def _columns(text: str | None) -> list[str]:
    return [name.strip() for name in (text or "").split(",") if name.strip()]
