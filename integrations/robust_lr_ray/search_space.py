"""The search space of a sweep for a Tuner of one's own."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Set
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from robust_lr import GeometricGrid, RobustLRError, Schedule, TrialSpec
from robust_lr.sweep.axes import read_learning_rates, read_schedules, read_seeds
from robust_lr.trials import expand_trials

from .cells import cell_config, schedule_text

if TYPE_CHECKING:
    from ray.tune.search import Searcher

Schedules = Mapping[str, Schedule | str] | Iterable[Schedule | str]


def param_space(
    grid: GeometricGrid | Iterable[float], schedules: Schedules, seeds: int | Iterable[int]
) -> dict[str, Any]:
    """Return the `param_space` of a `tune.Tuner` that runs each learning rate with each schedule and seed, once.

    The trainable reads ``config["lr"]``, ``config["schedule"]``, a text for `robust_lr.parse_schedule`, and
    ``config["seed"]``; and ``config["schedule_name"]`` where schedules are given by other names. The trials come coarse
    before fine: the learning rates in the order of nested grids, each with all its seeds and schedules. Tune would
    vary "lr", the first of the keys in the alphabet, the fastest; so the grid that it sees is ``config["cell"]``, the
    place of a trial in that order, and the rest follows from it. Other keys may be added to the space.

    Tune runs such a space from the beginning each time. What runs only the cells that are missing is `GridSearcher`.

    Args:
        grid: a grid, or distinct positive learning rates.
        schedules: schedules or their specs, by name or with the spec as the name.
        seeds: distinct whole numbers; a number n means ``range(n)``.

    Raises:
        GridError, RobustLRError: when the learning rates or the seeds are wrong.
        ScheduleError: when a schedule is wrong, or has no text that any process could read it from.

    Example:
        >>> space = param_space(GeometricGrid(0.01, 1.0, 3), ["cosine", "constant"], seeds=2)
        >>> space["cell"]
        {'grid_search': [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11]}
        >>> list(space)
        ['cell', 'lr', 'schedule', 'seed']
    """
    from ray import tune

    axes = Axes.read(grid, schedules, seeds)
    cells = [{"schedule_name": spec.schedule} | axes.config(spec) for spec in axes.trials()]
    keys = ["lr", "schedule", "seed"] + ["schedule_name"] * any(name != text for name, text in axes.texts.items())
    space: dict[str, Any] = {"cell": tune.grid_search(list(range(len(cells))))}
    return space | {key: tune.sample_from(_Entry(tuple(cell[key] for cell in cells))) for key in keys}


@dataclass(frozen=True)
class _Entry:
    """Looks up one value of the config in the cell that Tune has chosen; unlike a lambda it prints and compares."""

    of_cell: tuple[Any, ...]

    def __call__(self, config: Mapping[str, Any]) -> Any:
        return self.of_cell[config["cell"]]


@dataclass(frozen=True)
class Axes:
    """What a sweep consists of.

    Attributes:
        learning_rates: ascending.
        schedules: by name.
        texts: the text that each schedule travels as, by name.
        seeds: distinct.
    """

    learning_rates: tuple[float, ...]
    schedules: Mapping[str, Schedule]
    texts: Mapping[str, str]
    seeds: tuple[int, ...]

    @classmethod
    def read(cls, grid: GeometricGrid | Iterable[float], schedules: Schedules, seeds: int | Iterable[int]) -> Axes:
        """Return the axes that a user means; see `param_space`."""
        named = read_schedules(schedules)
        texts = {name: schedule_text(schedule) for name, schedule in named.items()}
        return cls(tuple(read_learning_rates(grid)), named, texts, tuple(read_seeds(seeds)))

    def trials(self) -> list[TrialSpec]:
        """Return every trial, coarse before fine."""
        return expand_trials(self.schedules, self.learning_rates, self.seeds)

    def config(self, spec: TrialSpec) -> dict[str, Any]:
        """Return the config of a trial."""
        return cell_config(spec, self.schedules[spec.schedule])


def check_tuner(
    searcher: Searcher, metric: str | None, mode: str | None, config: Mapping[str, Any], *, sets: Set[str]
) -> None:
    """Check that what `TuneConfig` and `param_space` say goes with a searcher of ours.

    Args:
        searcher: the searcher.
        metric, mode: of the `TuneConfig`, None where it says nothing.
        config: the `param_space`.
        sets: the keys of the config that the searcher sets for each trial.

    Raises:
        RobustLRError: when they name another metric or mode, or `param_space` holds more than constants.
    """
    from ray.tune.search.sample import Domain

    who = type(searcher).__name__
    for name, given, own in (("metric", metric, searcher.metric), ("mode", mode, searcher.mode)):
        if given not in (None, own):
            raise RobustLRError(f"TuneConfig has {name}={given!r} and {who} {name}={own!r}: say the same in both")
    for key, value in config.items():
        if key in sets:
            raise RobustLRError(f"param_space must leave {key!r} to {who}, which sets it for each trial")
        if isinstance(value, Domain) or (isinstance(value, Mapping) and "grid_search" in value):
            raise RobustLRError(f"param_space may hold only constants beside {who}, got {key!r}: {value}")
