"""Search for the best learning rate until no other can be better by more than the tolerance. The same command continues
the search."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import TYPE_CHECKING

from .arguments import add_range, add_tolerance, add_training, at_least
from .command_task import add_command_options, training_options
from .plugins import Plugin

if TYPE_CHECKING:
    from ..search import SearchResult

SUMMARY = "search for the best learning rate, or continue a search"
USAGE = "(FUNCTION | --command LINE) --lr-min LR --lr-max LR [options]"


def add_options(parser: argparse.ArgumentParser) -> None:
    option = parser.add_argument
    add_range(parser)
    add_tolerance(
        parser,
        "how much worse than the best loss you accept: 0.005, or 1%% of the best (near a loss of 0, give a number)",
    )
    option(
        "--schedule",
        default="cosine",
        metavar="SPEC",
        help='schedule of all trials, such as "warmup(0.05)+wsd(0.2)" [default: %(default)s]',
    )
    option(
        "--seed", type=int, default=0, metavar="N",
        help="seed of the first trial at a learning rate; repeats take the next seeds [default: %(default)s]",
    )  # fmt: skip
    option("--max-trials", type=at_least(1), metavar="N", help="stop after N trials, those in the journal included")
    option("--start", type=float, metavar="LR", help="first learning rate [default: the center of the range]")
    option(
        "--ratio",
        type=float,
        metavar="R",
        help="coarse step of the search [default: what theory gives for the schedule]",
    )
    option("--no-extend", action="store_true", help="stay in the range even when the best lies on its edge")
    option(
        "--noise", type=float, metavar="LOSS",
        help="standard deviation of the loss over seeds [default: learned from repeated trials]",
    )  # fmt: skip
    add_training(parser, journal="search.jsonl", n_jobs=1)
    add_command_options(parser)


def main(options: argparse.Namespace, plugins: Sequence[Plugin]) -> int:
    from ..report.console import make_console
    from .output import log_on_stderr

    with log_on_stderr():
        result = _search(options, plugins)
    console = make_console()
    headline, *sentences = str(result).splitlines()
    console.print(headline, style="bold")
    for sentence in sentences:
        console.print(sentence, soft_wrap=not console.is_terminal)
    more = {
        "max_trials": "a larger --max-trials",
        "failures": "the same command",
        "noise-limited": "--noise and a larger --tolerance",
    }
    how = more.get(result.stop or "", "a smaller --tolerance")
    console.print(f"{options.journal} holds the trials; continue with {how}", soft_wrap=True)
    within = result.excess_bound is not None and result.excess_bound <= result.tolerance
    return 0 if within or result.stop == "noise-limited" else 1


def _search(options: argparse.Namespace, plugins: Sequence[Plugin]) -> SearchResult:
    from ..search import SearchOptions
    from ..search.run import search_learning_rate

    return search_learning_rate(
        lr_min=options.lr_min,
        lr_max=options.lr_max,
        tolerance=options.tolerance,
        schedule=options.schedule,
        options=SearchOptions(
            ratio=options.ratio, start=options.start, max_trials=options.max_trials, extend=not options.no_extend,
            noise=options.noise,
        ),
        n_jobs=options.n_jobs,
        seed=options.seed,
        progress=True,
        **training_options(options, plugins),
    )  # fmt: skip
