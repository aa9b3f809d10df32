"""Run a sweep. The same command continues it; with --refine, --extend-above or more --seeds it adds to it."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ..exceptions import OptionError
from .arguments import (
    add_failed_as_diverged,
    add_noise,
    add_range,
    add_training,
    at_least,
    split_specs,
)
from .command_task import add_command_options, training_options
from .cost import add_cost_options
from .plugins import Plugin, require

if TYPE_CHECKING:
    from ..grids import GeometricGrid

SUMMARY = "run a sweep, or continue one"
USAGE = "(FUNCTION | --command LINE) --lr-min LR --lr-max LR (--n-points N | --ratio R) --schedules LIST [options]"


def add_options(parser: argparse.ArgumentParser) -> None:
    option = parser.add_argument
    count: dict[str, Any] = {"type": at_least(0), "default": 0, "metavar": "N"}
    add_range(parser)
    option("--n-points", type=int, metavar="N", help="number of learning rates")
    option("--ratio", type=float, metavar="R", help="largest factor between neighbors, instead of --n-points")
    option("--schedules", required=True, metavar="LIST", help="separated by commas: constant,cosine(floor=0.1)")
    option(
        "--seeds", type=_seeds, default=2, metavar="N",
        help="number of seeds; or adaptive: two everywhere, up to five where the recommendation needs them "
        "[default: %(default)s]",
    )  # fmt: skip
    option("--refine", help="add the geometric means of all neighbors to the grid, N times [default: 0]", **count)
    option("--extend-below", help="add N learning rates below --lr-min, at the same ratio [default: 0]", **count)
    option("--extend-above", help="add N learning rates above --lr-max, at the same ratio [default: 0]", **count)
    option("--packed", action="store_true", help="train many replicas of a small model together, in each process")
    add_noise(parser)
    add_failed_as_diverged(parser)
    add_training(parser, journal="sweep.jsonl", n_jobs=None)
    add_command_options(parser, emit=True)
    add_cost_options(parser)


def main(options: argparse.Namespace, plugins: Sequence[Plugin]) -> int:
    from .._tolerance import read_tolerance
    from ..analysis import analyze_sweep
    from ..report.console import make_console, print_analysis
    from ..schedules import parse_schedule
    from ..sweep import run_sweep
    from .output import figures, log_on_stderr, write_json

    require(options, "dry_run", ["seconds_per_trial"])
    if options.tolerance is not None:
        read_tolerance(options.tolerance)
    grid = _grid(options)
    with log_on_stderr():
        sweep = run_sweep(
            grid=grid,
            schedules=[parse_schedule(spec) for spec in split_specs(options.schedules)],
            seeds=_seed_plan(options),
            progress=True,
            **training_options(options, plugins),
        )
    usage = sweep.usage
    if options.failed_as_diverged:
        sweep = sweep.with_failed_as_diverged()
    console, journal = make_console(), options.journal
    analysis = analyze_sweep(sweep, tolerance=options.tolerance, noise=options.noise)
    print_analysis(analysis, console, every_detail=False)
    again = f"robust-lr analyze {journal}" + (f" --metric {options.metric}" if options.metric != "loss" else "")
    again += f" --direction {options.direction}" if options.direction else ""
    console.print(f"{journal}: {sweep.n_trials} results; look again with: {again}")
    write_json(options, figures(analysis) | {"usage": usage.to_dict() if usage else None})
    return 0 if analysis.recommendations else 1


def _seeds(text: str) -> float | str:
    try:
        return text if text == "adaptive" else at_least(1)(text)
    except argparse.ArgumentTypeError:
        raise argparse.ArgumentTypeError(f"expected a whole number of at least 1, or adaptive, got {text!r}") from None


def _seed_plan(options: argparse.Namespace) -> Any:
    if options.seeds != "adaptive":
        return options.seeds
    from ..analysis import AdaptiveSeeds

    return AdaptiveSeeds(tolerance=options.tolerance, noise=options.noise)


def _grid(options: argparse.Namespace) -> GeometricGrid:
    from ..grids import GeometricGrid

    if (options.n_points is None) == (options.ratio is None):
        raise OptionError("give one of --n-points and --ratio; see: robust-lr run --help")
    grid = (
        GeometricGrid(options.lr_min, options.lr_max, options.n_points)
        if options.n_points is not None
        else GeometricGrid.from_ratio(options.lr_min, options.lr_max, options.ratio)
    )
    # Extended first: refining what was extended keeps every point, but not the other way round.
    grid = grid.extend(below=options.extend_below, above=options.extend_above)
    for _ in range(options.refine):
        grid = grid.refine()
    return grid
