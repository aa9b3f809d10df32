"""The results of a sweep: one loss for each schedule, learning rate and seed."""

from __future__ import annotations

import csv
import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .._checks import check_whole
from .._metrics import LOSS, Direction, Objective, direction_of, quantity, without_metric
from .._page import Block, Line, Table, to_html, to_text
from .._text import count_of, formula_as_text, loss_text
from ..exceptions import DataError
from ..journal.journal import read_journal
from ..readers._to_sweep import arrange
from ..readers.runs import DEFAULT_SCHEDULE, Repeats, Run
from ..readers.table import read_table
from ..trials import Status, TrialResult, TrialSpec
from .unused_axes import UnusedAxes, find_unused_axes
from .usage import SweepUsage

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False, init=False, repr=False)
class SweepResult:
    """Final losses over schedules x learning rates x seeds; every analysis starts from this value.

    Attributes:
        schedules: names of the schedules, S of them.
        learning_rates: ascending, shape (L,), float64; any positive spacing.
        seeds: K whole numbers; one seed is one draw shared by all schedules and learning rates.
        loss: shape (S, L, K), float64, lower is better: +inf if the run diverged, NaN if there is no result.
        seconds: shape (S, L, K), wall-clock seconds of each trial, NaN if unknown.
        metrics: further metrics by name, each of shape (S, L, K), NaN where absent.
        specs: the spec of each schedule by its name, if known.
        failures: the trials that failed or ran out of memory, with their error text.
        notes: caveats on how the data were read.
        direction: "maximize" if the loss is the negative of a score, which tables and plots then show.
        n_left: trials that the sweep still has to run; 0 for one that is finished, or that nobody planned.
        usage: what its trials took, if they ran just now.

    Raises:
        DataError: when the shapes disagree, a learning rate is not positive, a seed is not a whole number, or a loss is
            -inf.

    Example:
        >>> sweep = SweepResult(("cosine",), [0.1, 1.0], (0, 1), [[[0.5, 0.6], [0.4, float("inf")]]])
        >>> sweep.diverged.sum()
        np.int64(1)
    """

    schedules: tuple[str, ...]
    learning_rates: Array
    seeds: tuple[int, ...]
    loss: Array
    seconds: Array
    metrics: Mapping[str, Array]
    specs: Mapping[str, str]
    failures: tuple[TrialResult, ...]
    notes: tuple[str, ...]
    direction: Direction
    n_left: int
    usage: SweepUsage | None

    def __init__(
        self,
        schedules: Sequence[str],
        learning_rates: ArrayLike,
        seeds: Sequence[int],
        loss: ArrayLike,
        *,
        seconds: ArrayLike = math.nan,
        metrics: Mapping[str, ArrayLike] = MappingProxyType({}),
        specs: Mapping[str, str] = MappingProxyType({}),
        failures: Sequence[TrialResult] = (),
        notes: Sequence[str] = (),
        direction: Direction = "minimize",
        n_left: int = 0,
        usage: SweepUsage | None = None,
    ) -> None:
        lrs = _frozen(learning_rates)
        shape = (len(schedules), lrs.size, len(seeds))
        if lrs.ndim != 1 or 0 in shape:
            raise DataError(f"a sweep needs at least one schedule, learning rate and seed, got {shape}")
        if not (np.all(np.isfinite(lrs) & (lrs > 0)) and np.all(np.diff(lrs) > 0)):
            raise DataError("learning_rates must be positive, finite, distinct and ascending")
        whole_seeds = tuple(check_whole("a seed", seed, error=DataError) for seed in seeds)
        for name, values in (("schedules", schedules), ("seeds", whole_seeds)):
            if len(set(values)) != len(values):
                raise DataError(f"{name} must be distinct, got {list(values)}")
        losses, each = _shaped("loss", loss, shape), _frozen(seconds)
        if np.any(np.isneginf(losses)):
            raise DataError("a loss must not be -inf: a diverged run is +inf, a missing one NaN")
        self.__dict__.update({  # the class is frozen
            "schedules": tuple(str(s) for s in schedules),
            "learning_rates": lrs,
            "seeds": whole_seeds,
            "loss": losses,
            "seconds": _shaped("seconds", np.full(shape, each) if each.ndim == 0 else each, shape),
            "metrics": MappingProxyType({k: _shaped(f"metric {k!r}", v, shape) for k, v in metrics.items()}),
            "specs": MappingProxyType(dict(specs)),
            "failures": tuple(failures),
            "notes": tuple(notes),
            "direction": direction,
            "n_left": n_left,
            "usage": usage,
        })  # fmt: skip

    @classmethod
    def from_trials(
        cls,
        schedules: Mapping[str, str],
        learning_rates: Collection[float],
        seeds: Sequence[int],
        results: Iterable[TrialResult],
        *,
        notes: Sequence[str] = (),
        direction: Direction = "minimize",
        n_left: int = 0,
        usage: SweepUsage | None = None,
    ) -> Self:
        """Build a sweep from trial results; a later result of a trial replaces an earlier one.

        Args:
            schedules: spec of each schedule by its name.
            learning_rates: all learning rates of the sweep, in any order.
            seeds: all seeds of the sweep.
            results: results of its trials, in any order; trials without one are NaN.
            notes, direction, n_left, usage: kept as such.

        Raises:
            DataError: when a result does not belong to the sweep.
        """
        lrs = sorted(float(lr) for lr in learning_rates)
        place = [{key: i for i, key in enumerate(axis)} for axis in (list(schedules), lrs, list(seeds))]
        shape = (len(schedules), len(lrs), len(seeds))
        loss, seconds = np.full(shape, math.nan), np.full(shape, math.nan)
        metrics: dict[str, Array] = {}
        latest = {result.spec: result for result in results}
        for spec, result in latest.items():
            try:
                cell = tuple(p[key] for p, key in zip(place, (spec.schedule, spec.lr, spec.seed), strict=True))
            except KeyError:
                raise DataError(f"{spec} is not a trial of this sweep") from None
            loss[cell] = {"ok": result.loss, "diverged": math.inf}.get(result.status, math.nan)
            seconds[cell] = result.seconds
            for name, value in result.metrics.items():
                metrics.setdefault(name, np.full(shape, math.nan))[cell] = value
        return cls(
            list(schedules), lrs, list(seeds), loss,
            seconds=seconds, metrics=metrics, specs=schedules, notes=notes, direction=direction, n_left=n_left,
            usage=usage,
            failures=[r for r in latest.values() if not r.is_final],
        )  # fmt: skip

    def describe(self) -> str:
        """Return a one-line summary."""
        lrs = self.learning_rates
        span = f"{lrs[0]:g}..{lrs[-1]:g}" if lrs.size > 1 else f"{lrs[0]:g}"
        unnamed = self.schedules == (DEFAULT_SCHEDULE,)
        schedules = "" if unnamed else f"{', '.join(self.schedules)}; "
        return (
            f"{schedules}{count_of(lrs.size, 'learning rate')} {span}; "
            f"{count_of(len(self.seeds), 'seed')}; {count_of(self.n_trials, 'result')}, "
            f"{int(self.diverged.sum())} diverged" + (f", {len(self.failures)} failed" if self.failures else "")
        )

    def __repr__(self) -> str:
        return f"SweepResult({self.describe()})"

    def __str__(self) -> str:
        """The one-line summary, and the mean loss at each learning rate."""
        return to_text(self._blocks())

    def _repr_html_(self) -> str:
        return to_html(self._blocks())

    def _blocks(self) -> list[Block]:
        rows = [
            [f"{lr:g}", *(_mean_text(self.shown(self.loss[s, i])) for s in range(len(self.schedules)))]
            for i, lr in enumerate(self.learning_rates)
        ]
        table = Table(f"Mean {quantity(self.direction)} over the seeds", ["learning rate", *self.schedules], rows)
        return [Line(f"{self.describe()}."), *(Line(f"Note: {note}.") for note in self.caveats), table]

    @classmethod
    def from_runs(
        cls,
        runs: Iterable[Run],
        *,
        repeats: Repeats = "refuse",
        direction: Direction | None = None,
        source: str = "the data",
        notes: Sequence[str] = (),
    ) -> Self:
        """Build a sweep from the runs of any tool; its notes say what was assumed and left out.

        Runs without seeds that share a learning rate are replicates, paired in their order, unless all of a schedule's
        repeats are identical: then they are duplicates. Seeds that were drawn anew for each learning rate are ignored.

        Args:
            runs: in the order in which they ran.
            repeats: treatment of runs with the same learning rate, schedule and seed, but different losses: "first" and
                "last" count the first or last complete run; "refuse" counts the latest if all say when they started
                and have the same hyperparameters, and else raises.
            direction: "maximize" if a larger value is better; the loss is then its negative.
            source: name of the data in errors.
            notes: notes to put first.

        Raises:
            DataError: when no run has a result, or repeats contradict each other.

        Example:
            >>> from robust_lr.readers.runs import Run
            >>> sweep = SweepResult.from_runs([Run(lr=0.1, loss=0.5), Run(lr=0.1, loss=0.4)])
            >>> sweep.seeds, sweep.notes[0]
            ((0, 1), 'no seeds were given: trials that share a learning rate are replicates, paired in their order')
        """
        found = arrange(runs, repeats=repeats, direction=direction, source=source, notes=notes)
        specs = [result.spec for result in found.results]
        seeds = sorted({spec.seed for spec in specs})
        return cls.from_trials(
            found.specs, {spec.lr for spec in specs}, seeds, found.results,
            notes=found.notes, direction=direction or "minimize",
        )  # fmt: skip

    @classmethod
    def from_csv(
        cls,
        path: str | Path,
        *,
        lr_name: str | None = None,
        metric: str | None = None,
        schedule_name: str | None = None,
        seed_name: str | None = None,
        where: Sequence[str] = (),
        repeats: Repeats = "refuse",
        direction: Direction | None = None,
    ) -> Self:
        """Read a sweep from a table, CSV or another format, with one run per row; see `read_table` and `from_runs`."""
        table = read_table(
            path, lr_name=lr_name, metric=metric, schedule_name=schedule_name, seed_name=seed_name, where=where,
            direction=direction,
        )  # fmt: skip
        notes = [*table.notes, *direction_of(direction, table.metric)[1]]
        return cls.from_runs(table.runs, repeats=repeats, direction=direction, source=str(path), notes=notes)

    @classmethod
    def from_journal(cls, path: str | Path, *, metric: str | None = None, direction: Direction | None = None) -> Self:
        """Read the journal of `run_sweep`, finished or not; raise `JournalError` for any other file.

        Args:
            path: the file.
            metric, direction: as in `run_sweep`; the journal holds all that the training function returned. By default
                the loss, or the only metric of trials that have no loss.
        """
        contents = read_journal(path)
        known = dict.fromkeys(name for r in contents.results for name in LOSS.values_of(r) if r.status == "ok")
        if metric is None:
            metric = next(iter(known)) if len(known) == 1 else "loss"
        objective = Objective(metric, direction)
        header, results = contents.header, [objective.judge(r) for r in contents.results]
        notes = [*contents.notes, *objective.notes()]
        without = {
            r.spec for r, judged in zip(contents.results, results, strict=True) if r.is_final and not judged.is_final
        }
        if without:
            if metric not in known:
                raise DataError(f"the sweep has {without_metric(metric, known)}")
            notes.append(f"{count_of(len(without), 'trial')} left out: no {metric!r}")
        return cls.from_trials(
            header.schedules, header.learning_rates, header.seeds, [r for r in results if r.spec not in without],
            notes=notes, direction=objective.direction or "minimize", n_left=contents.n_left,
        )  # fmt: skip

    def to_csv(self, path: str | Path) -> None:
        """Write one row per trial: schedule, lr, seed, loss (inf if it diverged), seconds, and the metrics.

        A metric with the name of one of these columns gets a prefix, as in ``metric_lr``. A metric that a diverged run
        did not report is nan, so that `from_csv` recognizes the divergence by that column too. A name that a
        spreadsheet would run as a formula, such as ``=1+1``, gets an apostrophe before it, which `from_csv` removes.
        """
        columns = ["schedule", "lr", "seed", "loss", "seconds"]
        names = list(self.metrics)
        with Path(path).open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            writer.writerow(
                [*columns, *(f"metric_{name}" if name in columns else formula_as_text(name) for name in names)]
            )
            for trial in self.trials():
                if trial.is_final:
                    s = trial.spec
                    missing = math.nan if trial.status == "diverged" else ""
                    values = [trial.metrics.get(name, missing) for name in names]
                    writer.writerow([formula_as_text(s.schedule), s.lr, s.seed, trial.loss, trial.seconds, *values])

    def with_loss(self, metric: str, *, direction: Direction | None = None) -> Self:
        """Return the same sweep judged by one of its metrics; a note says so.

        A diverged run stays diverged, and a run with an infinite metric counts as diverged too. A run whose metric is
        NaN has no result.

        Args:
            metric: name of a metric, or "loss" if no metric has that name.
            direction: "maximize" if a larger value is better; the loss is then its negative. By default "minimize",
                with a note if the metric looks like a score.

        Raises:
            DataError: when the sweep has no such metric.

        Example:
            >>> inf, nan = float("inf"), float("nan")
            >>> metrics = {"validation_loss": [[[0.7], [nan]]]}
            >>> sweep = SweepResult(("cosine",), [0.1, 1.0], (0,), [[[0.5], [inf]]], metrics=metrics)
            >>> sweep.with_loss("validation_loss").loss.tolist()
            [[[0.7], [inf]]]
        """
        objective, known = Objective(metric, direction), {"loss": self.shown(self.loss), **self.metrics}
        if metric not in known:
            raise DataError(f"the sweep has no metric {metric!r}; it has {', '.join(self.metrics) or 'none'}")
        sign, _ = direction_of(direction)
        values = np.where(np.isinf(known[metric]), math.inf, sign * known[metric])
        loss = np.where(np.isfinite(self.loss), values, self.loss)
        notes = [*self.notes, *objective.notes()]
        missing = int(np.sum(np.isnan(loss) & ~np.isnan(self.loss)))
        if missing:
            notes.append(f"{count_of(missing, 'trial')} left out: no {metric!r}")
        return replace(self, loss=loss, notes=tuple(notes), direction=direction or "minimize")

    def without_repeated_seeds(self) -> Self:
        """Return the sweep without the seeds whose losses equal those of another one to the last bit."""
        repeated = self.unused_axes.repeated_seeds
        keep = np.array([seed not in repeated for seed in self.seeds])
        if keep.all():
            return self
        return replace(
            self,
            seeds=tuple(seed for seed, kept in zip(self.seeds, keep, strict=True) if kept),
            loss=self.loss[..., keep],
            seconds=self.seconds[..., keep],
            metrics={name: values[..., keep] for name, values in self.metrics.items()},
        )

    def with_failed_as_diverged(self) -> Self:
        """Return the same sweep with its failed trials as diverged ones, for training that raises when it diverges.

        Trials that ran out of memory stay failures. A note says how many were counted so.
        """
        failed = [failure for failure in self.failures if failure.status == "failed"]
        loss, lrs = self.loss.copy(), self.learning_rates.tolist()
        for spec in (failure.spec for failure in failed):
            at = (
                self.schedules.index(spec.schedule),
                lrs.index(spec.lr),
                self.seeds.index(spec.seed),
            )
            loss[at] = math.inf
        notes = [*self.notes, f"{count_of(len(failed), 'failed trial')} counted as diverged"] if failed else self.notes
        others = tuple(failure for failure in self.failures if failure.status != "failed")
        return replace(self, loss=loss, failures=others, notes=tuple(notes))

    def shown(self, loss: Array) -> Array:
        """Return losses as people read them: scores, if a larger value is better; a diverged run stays +inf."""
        return np.where(np.isfinite(loss), -loss, loss) if self.direction == "maximize" else loss

    @property
    def diverged(self) -> NDArray[np.bool_]:
        """Whether each run diverged, shape (S, L, K)."""
        return np.isposinf(self.loss)

    @property
    def unused_axes(self) -> UnusedAxes:
        """The schedules, seeds and learning rates that have no effect: their losses are equal to the last bit."""
        return find_unused_axes(self.schedules, self.seeds, self.loss)

    @property
    def caveats(self) -> tuple[str, ...]:
        """The `notes`, and those on axes without effect."""
        return (*self.notes, *self.unused_axes.notes)

    @property
    def n_trials(self) -> int:
        """Number of trials that have a result, diverged ones included."""
        return int(np.sum(~np.isnan(self.loss)))

    def index(self, schedule: str) -> int:
        """Return the position of a schedule on the first axis; raise `DataError` if there is no such schedule."""
        if schedule not in self.schedules:
            raise DataError(f"the sweep has no schedule {schedule!r}; it has {', '.join(self.schedules)}")
        return self.schedules.index(schedule)

    def trials(self) -> list[TrialResult]:
        """Return every trial that has a result, and the failed ones, as `TrialResult` values."""
        found = []
        for s, i, k in np.argwhere(~np.isnan(self.loss)):
            cell = (int(s), int(i), int(k))
            spec = TrialSpec(self.schedules[s], float(self.learning_rates[i]), self.seeds[k])
            metrics = {n: float(v[cell]) for n, v in self.metrics.items() if not np.isnan(v[cell])}
            status: Status = "diverged" if self.diverged[cell] else "ok"
            found.append(TrialResult(spec, float(self.loss[cell]), status, float(self.seconds[cell]), metrics))
        return found + list(self.failures)


def _mean_text(losses: Array) -> str:
    known = losses[~np.isnan(losses)]
    if not known.size:
        return "-"
    text = loss_text(float((known / known.size).sum())) if np.isfinite(known).all() else "diverged"
    return text if known.size == losses.size else f"{text} ({known.size} of {losses.size})"


def _frozen(values: ArrayLike) -> Array:
    try:
        array = np.array(values, dtype=np.float64)
    except (TypeError, ValueError):
        raise DataError(f"expected an array of numbers, got {' '.join(repr(values).split())[:80]}") from None
    array.setflags(write=False)
    return array


def _shaped(name: str, values: ArrayLike, shape: tuple[int, ...]) -> Array:
    array = _frozen(values)
    if array.shape != shape:
        raise DataError(f"{name} must have the shape (schedules, learning rates, seeds) = {shape}, got {array.shape}")
    return array
