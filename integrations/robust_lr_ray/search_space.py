"""The search space of a sweep, for your own Tuner."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from robust_lr import GeometricGrid, Schedule
from robust_lr.sweep.axes import read_learning_rates, read_schedules, read_seeds
from robust_lr.trials import expand_trials

from ._cells import cell_config, schedule_text

Schedules = Mapping[str, Schedule | str] | Iterable[Schedule | str]


def param_space(
    grid: GeometricGrid | Iterable[float], schedules: Schedules, seeds: int | Iterable[int]
) -> dict[str, Any]:
    """Return the `param_space` of a `tune.Tuner` that runs each learning rate with each schedule and seed once.

    The trainable reads ``config["lr"]``, ``config["schedule"]``, a text for `robust_lr.parse_schedule`,
    ``config["seed"]``, and ``config["schedule_name"]`` if schedules have other names. The trials come coarse before
    fine: the learning rates in the order of nested grids, each with all its seeds and schedules. To keep Tune to this
    order, the only grid that it sees is ``config["cell"]``, the position of a trial; the rest follows from it. You may
    add keys to the space.

    Tune runs such a space from the start each time. `GridSearcher` runs only the missing trials.

    Args:
        grid: a grid, or distinct positive learning rates.
        schedules: schedules or their specs, by name or with the spec as the name.
        seeds: distinct whole numbers; a number n means ``range(n)``.

    Raises:
        GridError: when the learning rates are wrong.
        ScheduleError: when a schedule is wrong, or has no text that every process can read.
        OptionError: when the seeds are wrong.

    Example:
        >>> space = param_space(GeometricGrid(0.01, 1.0, 3), ["cosine", "constant"], seeds=2)
        >>> space["cell"]
        {'grid_search': [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11]}
        >>> list(space)
        ['cell', 'lr', 'schedule', 'seed']
    """
    from ray import tune

    named = read_schedules(schedules)
    trials = expand_trials(named, read_learning_rates(grid), read_seeds(seeds))
    cells = [{"schedule_name": spec.schedule} | cell_config(spec, named[spec.schedule]) for spec in trials]
    has_names = any(name != schedule_text(schedule) for name, schedule in named.items())
    keys = ["lr", "schedule", "seed"] + ["schedule_name"] * has_names
    space: dict[str, Any] = {"cell": tune.grid_search(list(range(len(cells))))}
    return space | {key: tune.sample_from(_Entry(tuple(cell[key] for cell in cells))) for key in keys}


@dataclass(frozen=True)
class _Entry:
    """Looks up one value of the config in the cell that Tune has chosen; unlike a lambda, it prints and compares."""

    of_cell: tuple[Any, ...]

    def __call__(self, config: Mapping[str, Any]) -> Any:
        return self.of_cell[config["cell"]]
