"""Many sweeps with the covariates that tell them apart: `SweepCollection`."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import Self

import numpy as np
from numpy.typing import NDArray

from .._text import count_of, listed
from ..analysis._selection import loss_block
from ..divergence import LARGEST_LOSS
from ..exceptions import DataError, InsufficientDataError
from ..readers.read import read_sweeps
from ..readers.runs import Direction, Repeats
from ..sweep.results import SweepResult
from ._covariates import Value, label_of, of_names, read_covariates

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class LossPoints:
    """One schedule of one sweep: its mean loss at each learning rate that has a result.

    Attributes:
        learning_rates: ascending, shape (L,).
        loss: mean over the seeds, shape (L,), lower is better; +inf where any seed diverged.
        n_seeds: results at each learning rate, shape (L,).
        noise: standard deviation of one trial near the best learning rate; NaN if no second seed shows it.
    """

    learning_rates: Array
    loss: Array
    n_seeds: NDArray[np.intp]
    noise: float


@dataclass(frozen=True, eq=False, repr=False)
class CollectedSweep:
    """One sweep of a collection.

    Attributes:
        label: names the sweep, such as "params = 1000000000, batch_size = 64".
        covariates: its values by name, numbers as floats and categories as texts.
        sweep: its losses over schedules x learning rates x seeds.
    """

    label: str
    covariates: Mapping[str, Value]
    sweep: SweepResult

    def points(self, schedule: str) -> LossPoints | None:
        """Return the mean losses under one schedule, or None if it has no result here."""
        sweep = self.sweep
        if schedule not in sweep.schedules:
            return None
        loss = sweep.loss[sweep.index(schedule)]
        n_seeds = np.asarray((~np.isnan(loss)).sum(axis=1))
        has, noise = n_seeds > 0, math.nan
        if not has.any():
            return None
        mean = np.where(np.abs(loss) > LARGEST_LOSS, math.inf, loss)[has]
        if loss.shape[1] == 1:
            return LossPoints(sweep.learning_rates[has], mean[:, 0], n_seeds[has], noise)
        try:
            block = loss_block(sweep, schedule)
        except InsufficientDataError:  # every learning rate diverged
            return LossPoints(sweep.learning_rates[has], np.full(int(has.sum()), math.inf), n_seeds[has], noise)
        return LossPoints(block.learning_rates, block.mean, block.n_seeds, float(block.noise[block.best]))

    def __repr__(self) -> str:
        return f"CollectedSweep({self.label!r}, {self.sweep.describe()})"


@dataclass(frozen=True, eq=False, repr=False)
class SweepCollection:
    """Many sweeps, and the covariates that tell them apart, such as the size of the model or the data.

    Iterate over it for its sweeps. It is the value from which a recommendation for the next sweep is made, and from
    which a prior for the learning rate is learned.

    Attributes:
        sweeps: S of them.
        notes: caveats on how the data were read, besides those of the single sweeps.

    Raises:
        DataError: when there is no sweep, or the sweeps have different covariates or directions.

    Example:
        >>> sweep = SweepResult(("cosine",), [0.1, 0.2, 0.4], (0,), [[[1.2], [1.0], [1.1]]])
        >>> collection = SweepCollection.from_sweeps([({"params": 1e6}, sweep), ({"params": 2e6}, sweep)])
        >>> len(collection), collection.numeric
        (2, ('params',))
    """

    sweeps: tuple[CollectedSweep, ...]
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not self.sweeps:
            raise DataError("a collection needs at least one sweep")
        if len(labels := {each.sweep.direction: each.label for each in self.sweeps}) > 1:
            raise DataError(
                f"some sweeps minimize a loss ({labels['minimize']}) and others maximize a score "
                f"({labels['maximize']}); all must have the same direction (--where study=NAME chooses one of Optuna's)"
            )

    @classmethod
    def from_sweeps(
        cls,
        sweeps: Iterable[tuple[Mapping[str, float | str], SweepResult]],
        *,
        labels: Sequence[str] | None = None,
        notes: Sequence[str] = (),
    ) -> Self:
        """Build a collection from sweeps and their covariates.

        Args:
            sweeps: (covariates, sweep) pairs; a column whose values are all numbers, or texts of numbers, is numeric.
            labels: names of the sweeps; by default their covariates.
            notes: kept as such.

        Raises:
            DataError: when the covariates disagree in their names.
        """
        pairs = list(sweeps)
        covariates = read_covariates([values for values, _ in pairs])
        names = list(labels) if labels is not None else [label_of(values) for values in covariates]
        return cls(
            tuple(
                CollectedSweep(name, MappingProxyType(values), sweep)
                for name, values, (_, sweep) in zip(names, covariates, pairs, strict=True)
            ),
            tuple(notes),
        )

    @classmethod
    def from_table(
        cls,
        path: str | Path,
        *,
        group_by: Sequence[str],
        lr_name: str | None = None,
        metric: str | None = None,
        schedule_name: str | None = None,
        seed_name: str | None = None,
        where: Sequence[str] = (),
        repeats: Repeats = "refuse",
        direction: Direction | None = None,
    ) -> Self:
        """Read a table with one run per row; each combination of values in the columns `group_by` is one sweep.

        See `robust_lr.readers.read.read_sweeps` for the other options.

        Raises:
            DataError: when the table cannot be read.
        """
        return cls.from_files(
            [path], group_by=group_by, lr_name=lr_name, metric=metric, schedule_name=schedule_name,
            seed_name=seed_name, where=where, repeats=repeats, direction=direction,
        )  # fmt: skip

    @classmethod
    def from_folder(cls, path: str | Path, *, pattern: str = "**/*.jsonl", metric: str | None = None,
                    direction: Direction | None = None) -> Self:  # fmt: skip
        """Read the journals in a folder and its subfolders, one sweep each; see `from_files` for their covariates.

        Args:
            path: the folder.
            pattern: which files count.
            metric, direction: as in `run_sweep`.

        Raises:
            DataError: when no file fits the pattern, or one cannot be read.
        """
        files = sorted(file for file in Path(path).glob(pattern) if file.is_file())
        if not files:
            raise DataError(f"{path} holds no file {pattern}; give the pattern of its journals")
        return cls.from_files(files, metric=metric, direction=direction)

    @classmethod
    def from_files(
        cls,
        paths: Iterable[str | Path],
        *,
        group_by: Sequence[str] = (),
        lr_name: str | None = None,
        metric: str | None = None,
        schedule_name: str | None = None,
        seed_name: str | None = None,
        where: Sequence[str] = (),
        repeats: Repeats = "refuse",
        direction: Direction | None = None,
    ) -> Self:
        """Read several files, journals or tables.

        The covariates of a sweep are its values of `group_by`, and what its path says in entries like ``params=1e9``,
        separated by slashes and commas. If several paths say nothing, a covariate "file" tells them apart.

        Raises:
            DataError: when a file cannot be read, or they say different things.
        """
        files = [Path(path) for path in paths]
        found = dict[str, SweepResult]()
        for file in files:
            sweeps = read_sweeps(
                file, lr_name=lr_name, metric=metric, schedule_name=schedule_name, seed_name=seed_name,
                group_by=group_by, where=where, repeats=repeats, direction=direction,
            )  # fmt: skip
            where_from = str(file) if len(files) > 1 else ""
            found |= {", ".join(filter(None, [where_from, name])): sweep for name, sweep in sweeps.items()}
        return cls.from_named(found)

    @classmethod
    def from_named(cls, sweeps: Mapping[str, SweepResult]) -> Self:
        """Build a collection from sweeps by their names, which say the covariates as in ``steps = 100, data = c4``."""
        return cls.from_sweeps(zip(of_names(list(sweeps)), sweeps.values(), strict=True), labels=list(sweeps))

    def map(self, change: Callable[[SweepResult], SweepResult]) -> Self:
        """Return the collection with each sweep changed, such as by `SweepResult.with_failed_as_diverged`."""
        return replace(self, sweeps=tuple(replace(each, sweep=change(each.sweep)) for each in self.sweeps))

    @property
    def covariates(self) -> tuple[str, ...]:
        """The names of the covariates."""
        return tuple(self.sweeps[0].covariates)

    @property
    def numeric(self) -> tuple[str, ...]:
        """The names of the covariates that are numbers."""
        first = self.sweeps[0].covariates
        return tuple(name for name in self.covariates if not isinstance(first[name], str))

    @property
    def categorical(self) -> tuple[str, ...]:
        """The names of the covariates that are texts."""
        return tuple(name for name in self.covariates if name not in self.numeric)

    @property
    def schedules(self) -> tuple[str, ...]:
        """The schedules of all sweeps, in the order in which they occur."""
        return tuple(dict.fromkeys(name for each in self.sweeps for name in each.sweep.schedules))

    @property
    def direction(self) -> Direction:
        """The direction of the metric, the same for all sweeps."""
        return self.sweeps[0].sweep.direction

    def clusters(self, columns: Sequence[str]) -> dict[tuple[Value, ...], tuple[CollectedSweep, ...]]:
        """Return the sweeps by their values in some columns; sweeps of one cluster may be alike.

        Raises:
            DataError: when there is no such covariate.
        """
        if unknown := [name for name in columns if name not in self.covariates]:
            raise DataError(
                f"the collection has no covariate {listed(map(repr, unknown))}; it has {listed(self.covariates)}"
            )
        found: dict[tuple[Value, ...], list[CollectedSweep]] = {}
        for each in self.sweeps:
            found.setdefault(tuple(each.covariates[name] for name in columns), []).append(each)
        return {values: tuple(sweeps) for values, sweeps in found.items()}

    def describe(self) -> str:
        """Return a one-line summary."""
        by = f" by {', '.join(self.covariates)}" if self.covariates else ""
        n_trials = sum(each.sweep.n_trials for each in self.sweeps)
        return f"{count_of(len(self.sweeps), 'sweep')}{by}; {count_of(n_trials, 'result')}"

    def __iter__(self) -> Iterator[CollectedSweep]:
        return iter(self.sweeps)

    def __len__(self) -> int:
        return len(self.sweeps)

    def __repr__(self) -> str:
        return f"SweepCollection({self.describe()})"
