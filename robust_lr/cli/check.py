"""Check that a learning rate in use is still good enough, in the tests of a training: fails if it is worse than
allowed, or if the results do not tell."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from .arguments import add_failed_as_diverged, add_noise
from .plugins import Plugin
from .reading import add_file, add_reading, read_file

SUMMARY = "is a learning rate still as good as the best?"
USAGE = "PATH --expect-lr LR --tolerance LOSS [options]"
EXIT_CODES = "Exit codes: 0 within the tolerance; 1 worse, or the results do not tell; 2 wrong usage."


def add_options(parser: argparse.ArgumentParser) -> None:
    add_file(parser)
    parser.add_argument("--expect-lr", type=float, required=True, metavar="LR", help="the learning rate in use")
    add_reading(parser)
    add_failed_as_diverged(parser)
    add_noise(parser)
    parser.add_argument(
        "--confidence-level", type=float, default=0.95, metavar="P", help="of the interval [default: %(default)s]"
    )


def main(options: argparse.Namespace, plugins: Sequence[Plugin]) -> int:
    from ..analysis import check_learning_rate
    from ..report.console import make_console
    from .output import write_json

    console, found = make_console(), []
    for group, sweep in read_file(options, options.file).items():
        for checked in check_learning_rate(
            sweep, options.expect_lr, tolerance=options.tolerance,
            confidence_level=options.confidence_level, noise=options.noise,
        ):  # fmt: skip
            console.print(f"{group}: {checked}" if group else str(checked), soft_wrap=not console.is_terminal)
            found.append({"sweep": group} | checked.to_dict())
    write_json(options, {"schema": 1, "checks": found})
    return 0 if all(each["verdict"] == "within" for each in found) else 1
