"""Measure the noise floor: how much does the loss of one run differ from that of another with the same settings?"""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from .arguments import add_failed_as_diverged
from .plugins import Plugin
from .reading import add_file, add_reading, read_file

SUMMARY = "how much do runs with the same settings differ?"
USAGE = "FILE [options]"


def add_options(parser: argparse.ArgumentParser) -> None:
    add_file(parser)
    add_reading(parser)
    add_failed_as_diverged(parser)
    parser.add_argument(
        "--confidence-level", type=float, default=0.95, metavar="P", help="of the interval [default: %(default)s]"
    )


def main(options: argparse.Namespace, plugins: Sequence[Plugin]) -> int:
    from ..analysis import noise_floor
    from ..report.console import make_console
    from ..report.pair_words import noise_sentences
    from .output import write_json

    floors = noise_floor(read_file(options, options.file), confidence_level=options.confidence_level)
    console = make_console()
    for sentence in noise_sentences(floors):
        console.print(sentence, soft_wrap=not console.is_terminal)
    write_json(options, {"schema": 1, "noise": [floor.to_dict() for floor in floors]})
    return 0
