"""Suggest the learning rates of a new sweep by what earlier ones know: one, or the few to run at once."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from .._tolerance import read_tolerance
from ..exceptions import OptionError
from .arguments import at_least
from .plugins import Plugin
from .prior_options import add_at, read_prior

SUMMARY = "suggest learning rates from earlier sweeps"
USAGE = "PRIOR.json --at NAME=VALUE,... --tolerance LOSS [options]"


def add_options(parser: argparse.ArgumentParser) -> None:
    option = parser.add_argument
    option("prior", metavar="PRIOR", help="prior that robust-lr learn wrote")
    add_at(parser)
    option("--tolerance", metavar="LOSS", help="how much worse than the best loss you accept, such as 0.005")
    option(
        "--probability", type=float, default=0.95, metavar="P",
        help="probability that one of the few is within the tolerance [default: %(default)s]",
    )  # fmt: skip
    option(
        "--max-trials", type=at_least(1), default=8, metavar="N", help="run at most N at once [default: %(default)s]"
    )


def main(options: argparse.Namespace, plugins: Sequence[Plugin]) -> int:
    from dataclasses import asdict

    from ..prior import suggest_learning_rates
    from ..report.console import make_console
    from .output import write_json

    if options.tolerance is None:
        raise OptionError("give --tolerance, how much worse than the best loss you accept, such as 0.005")
    tolerance = read_tolerance(options.tolerance)
    if tolerance.relative:
        raise OptionError("give --tolerance as a loss: before the first trial there is no best loss to take a share of")
    prior = read_prior(options.prior, options.at)
    suggestion = suggest_learning_rates(
        prior, tolerance=tolerance.value, probability=options.probability, max_trials=options.max_trials
    )
    console = make_console()
    headline, *rest = str(suggestion).splitlines()
    console.print(headline, style="bold")
    for line in rest:
        console.print(line, soft_wrap=not console.is_terminal)
    write_json(options, {"schema": 1} | asdict(suggestion))
    return 0
