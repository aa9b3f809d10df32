"""Search for the best learning rate until no other can be better by more than the tolerance. The journal lets the same
command continue a search that was stopped."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import TYPE_CHECKING

from ..exceptions import OptionError
from .arguments import add_range, add_tolerance, add_training, at_least
from .command_task import add_command_options, training_options
from .plugins import Plugin
from .prior_options import add_prior, read_prior_at_lengths, read_prior_option

if TYPE_CHECKING:
    from pathlib import Path

    from ..search import SearchResult

SUMMARY = "search for the best learning rate, or continue a search"
EXIT_CODES = (
    "Exit codes: 0 the best is within --tolerance, by the bound, a prior or --horizons, or the metric moves in steps "
    "and has no bound; 1 the search ended short of that, as after --max-trials, limited by noise or with all diverged; "
    "2 wrong usage."
)
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
    option(
        "--start",
        type=float,
        metavar="LR",
        help="first learning rate, of the shortest training with --horizons [default: the center of the range]",
    )
    add_prior(parser)
    option(
        "--start-factor", type=float, metavar="F",
        help="how far off the start may be: within F in two of three cases; with --horizons at least 4 "
        "[default: 4, or --ratio]",
    )  # fmt: skip
    option(
        "--ratio",
        type=float,
        metavar="R",
        help="coarse step of the search [default: what theory gives for the schedule]",
    )
    option(
        "--horizons", metavar="SHARES",
        help="search in shorter trainings first: ascending shares of --total-steps that end with 1, such as 0.1,0.3,1",
    )  # fmt: skip
    _add_noise_and_end(parser)
    option("--report", metavar="FILE", help="write an HTML report")
    add_training(parser, journal="search.jsonl", n_jobs=1)
    add_command_options(parser)


def _add_noise_and_end(parser: argparse.ArgumentParser) -> None:
    option = parser.add_argument
    option("--no-extend", action="store_true", help="stay in the range even when the best lies on its edge")
    option(
        "--noise", type=float, metavar="LOSS",
        help="standard deviation of the loss over seeds [default: learned from repeated trials]",
    )  # fmt: skip
    option(
        "--noise-trials", type=at_least(0), default=6, metavar="N",
        help="stop as limited by noise if more than N further trials would be needed [default: %(default)s]",
    )  # fmt: skip
    option(
        "--stepwise", choices=("yes", "no"),
        help="whether the metric moves in steps, as accuracy does: no bound [default: seen from the results]",
    )  # fmt: skip


def main(options: argparse.Namespace, plugins: Sequence[Plugin]) -> int:
    from pathlib import Path

    from ..report.console import make_console
    from ..search._result import result_lines, what_next
    from .output import log_on_stderr, write_json

    with log_on_stderr():
        result = _search(options, plugins)
    console, report = make_console(), options.report
    headline, *rest = result_lines(result, _flag)
    console.print(headline, style="bold")
    for line in rest:
        console.print(line, soft_wrap=not console.is_terminal)
    console.print(f"{options.journal} holds the trials", soft_wrap=True)
    if report is not None:
        _write_report(result, Path(report))
        console.print(f"report: {report}")
    write_json(options, result.to_dict() | {"next": what_next(result, _flag) if result.stop else ""})
    within = result.excess_bound is not None and result.excess_bound <= result.tolerance
    return 0 if result.stop and (within or result.stop in ("steps", "horizons")) else 1


def _flag(option: str) -> str:
    return f"--{option.replace('_', '-')}"


def _write_report(result: SearchResult, path: Path) -> None:
    import shlex
    import sys

    from ..report.search_report import write_search_report
    from .output import writing

    with writing(path):
        write_search_report(result, path, reproduce=[f"robust-lr {shlex.join(sys.argv[1:])}"], option=_flag)


def _total_steps(options: argparse.Namespace) -> int | None:
    """The steps of a training, which name its length in the journal; None if only the command itself may have them."""
    if options.horizons is None and "{total_steps}" not in (options.command_line or "{total_steps}"):
        return None
    if options.horizons is not None and options.total_steps is None:
        raise OptionError("--horizons are shares of --total-steps: give it too")
    steps: int | None = options.total_steps
    return steps


def _shares(text: str) -> list[float]:
    try:
        return [float(share) for share in text.split(",")]
    except ValueError:
        raise OptionError(f"--horizons must be numbers such as 0.1,0.3,1, got {text!r}") from None


def _search(options: argparse.Namespace, plugins: Sequence[Plugin]) -> SearchResult:
    from ..search import SearchOptions
    from ..search.run import search_learning_rate

    stepwise = None if options.stepwise is None else options.stepwise == "yes"
    total_steps = _total_steps(options)
    at_lengths = None if options.horizons is None else read_prior_at_lengths(options)
    return search_learning_rate(
        lr_min=options.lr_min,
        lr_max=options.lr_max,
        tolerance=options.tolerance,
        schedule=options.schedule,
        prior=None if at_lengths else read_prior_option(options),
        options=SearchOptions(
            ratio=options.ratio, start=options.start, start_factor=options.start_factor,
            max_trials=options.max_trials, extend=not options.no_extend,
            noise=options.noise, noise_trials=options.noise_trials, stepwise=stepwise,
        ),
        n_jobs=options.n_jobs,
        seed=options.seed,
        progress=True,
        total_steps=total_steps,
        horizons=None if options.horizons is None else _shares(options.horizons),
        start_at=at_lengths,
        **training_options(options, plugins),
    )  # fmt: skip
