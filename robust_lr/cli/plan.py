"""Plan the first grid from theory: how coarse may it be under this schedule?"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ..exceptions import OptionError
from .arguments import add_old_name, add_range, at_least
from .plugins import Plugin

if TYPE_CHECKING:
    from ..grids import GeometricGrid

SUMMARY = "plan the first grid from theory"
USAGE = "--schedule SPEC --lr-min LR --lr-max LR --max-suboptimality-increase SHARE [options]"


_SURELY_PERCENT = 10


def add_options(parser: argparse.ArgumentParser) -> None:
    option = parser.add_argument
    option("--schedule", required=True, metavar="SPEC", help='schedule, such as cosine or "warmup(0.05)+wsd(0.2)"')
    add_range(parser)
    option(
        "--max-suboptimality-increase",
        metavar="SHARE",
        help="how much more the bound on f - f* may be than that of the tuned learning rate: 0.5 or 50%%",
    )
    add_old_name(parser, "--tolerance", "max_suboptimality_increase")
    option("--total-steps", type=at_least(2), default=10_000, metavar="N", help="steps of a run [default: %(default)s]")


def main(options: argparse.Namespace, plugins: Sequence[Plugin]) -> int:
    from .._text import count_of
    from .._tolerance import read_tolerance
    from ..grids import GeometricGrid
    from ..report.console import make_console
    from ..schedules import parse_schedule
    from ..theory import grid_guarantee, resolution_for_tolerance
    from .output import write_json

    if options.max_suboptimality_increase is None:
        raise OptionError("give --max-suboptimality-increase, such as 50%")
    increase = read_tolerance(options.max_suboptimality_increase, name="max_suboptimality_increase").value
    if increase >= _SURELY_PERCENT:
        given = options.max_suboptimality_increase
        raise OptionError(
            f"an increase of {given} is {1 + increase:g} times the tuned suboptimality; do you mean {given}%?"
        )
    grids = {}
    for schedule in (parse_schedule(options.schedule), parse_schedule("constant")):
        ratio = resolution_for_tolerance(schedule, increase, total_steps=options.total_steps)
        grids[str(schedule)] = ratio, GeometricGrid.from_ratio(options.lr_min, options.lr_max, ratio)
    (name, (ratio, grid)), (constant_ratio, constant) = next(iter(grids.items())), grids["constant"]
    say = make_console().print
    say(f"{name}, bound on the suboptimality at most {1 + increase:g} times the tuned one: ratio at most {ratio:.4g}")
    say(f"grid: {', '.join(f'{lr:.6g}' for lr in grid.values)}")
    trials = count_of(len(grid), "trial")
    say(f"{trials}, ratio {grid.ratio:.4g}: an optimum lies at most {grid.max_gap:.4g} times below a grid point")
    guarantee = grid_guarantee(name, grid.ratio, total_steps=options.total_steps) if len(grid) > 1 else None
    if guarantee is not None:
        say(
            f"bound on the suboptimality at most {guarantee.worst:.4g} times the tuned one at the worst position of "
            f"the optimum, {guarantee.mean:.4g} on average"
        )
    say(f"constant needs ratio {constant_ratio:.4g}, {count_of(len(constant), 'trial')}, for the same")
    say(
        "Each factor compares two upper bounds over all convex problems, that of the grid and that of the tuned "
        "learning rate. It is no prediction, and no bound for a single problem, whose tuned learning rate may end far "
        "below its own bound. It is about f - f*, not the loss itself, and ignores stability cliffs. It plans the "
        "first grid; the measured curve (robust-lr run, robust-lr analyze) decides."
    )
    bounds = {"worst_factor": guarantee and guarantee.worst, "mean_factor": guarantee and guarantee.mean}
    of_constant = {"constant": {"largest_ratio": constant_ratio, "n_trials": len(constant)}}
    write_json(options, _figures(name, ratio, increase, grid, options.total_steps) | bounds | of_constant)
    return 0


def _figures(schedule: str, largest_ratio: float, increase: float, grid: GeometricGrid, steps: int) -> dict[str, Any]:
    return {
        "schema": 1,
        "schedule": schedule,
        "total_steps": steps,
        "max_suboptimality_increase": increase,
        "largest_ratio": largest_ratio,
        "ratio": grid.ratio,
        "learning_rates": grid.values.tolist(),
    }
