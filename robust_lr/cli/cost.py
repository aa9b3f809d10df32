"""What a sweep costs before it runs: trials, hours, GPU-hours, memory, for `robust-lr run --dry-run`."""

from __future__ import annotations

import argparse
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .._paths import is_file
from .._text import count_of
from .arguments import duration

if TYPE_CHECKING:
    from ..trials import TrialResult, TrialSpec


@dataclass(frozen=True)
class Cost:
    """The cost of the trials that a sweep still has to run.

    Attributes:
        n_trials: trials of the sweep.
        finished: those that have a result.
        seconds_per_trial: given, or else the mean of the finished ones; NaN if unknown.
        gpus_per_trial: GPUs that a trial occupies, its workers together; None if unknown.
        n_at_a_time: trials that run at a time; None if that depends on the cluster.
        n_most: trials with all further seeds that the results may ask for; 0 if there are none.
    """

    n_trials: int
    finished: Sequence[TrialResult] = ()
    seconds_per_trial: float = math.nan
    gpus_per_trial: float | None = None
    n_at_a_time: int | None = None
    n_most: int = 0

    @property
    def n_left(self) -> int:
        """The trials that have no result yet."""
        return self.n_trials - len(self.finished)

    @property
    def trial_hours(self) -> float:
        """The hours of these trials one after the other."""
        return self.n_left * self.seconds_per_trial / 3600

    def to_dict(self) -> dict[str, Any]:
        """Return the cost as JSON values; what is not known is None."""
        seconds = None if math.isnan(self.seconds_per_trial) else self.seconds_per_trial
        hours = None if seconds is None else self.trial_hours
        gpus = self.gpus_per_trial
        return {
            "n_trials": self.n_trials,
            "n_most": self.n_most or self.n_trials,
            "n_left": self.n_left,
            "seconds_per_trial": seconds,
            "hours": hours,
            "gpu_hours": None if hours is None or gpus is None else hours * gpus,
            "n_at_a_time": self.n_at_a_time,
            "memory": self._memory(),
        }

    def lines(self) -> Iterator[str]:
        """Yield the cost in words."""
        finished = f", {len(self.finished)} finished, {self.n_left} left" if self.finished else ""
        further = f", up to {self.n_most} with further seeds" if self.n_most else ""
        yield f"{count_of(self.n_trials, 'trial')}{further}{finished}"
        if math.isnan(self.seconds_per_trial):
            yield (
                "hours unknown: give --seconds-per-trial, or run some trials first (--time-budget 10m) with the same "
                "journal, whose times count then"
            )
        else:
            yield "; ".join(self._hours())
        for name, peak in self._memory().items():
            yield f"memory: {name} at most {peak:.4g} in the finished trials"

    def _hours(self) -> Iterator[str]:
        yield f"{self.trial_hours:.3g} hours of trials, {_time_text(self.seconds_per_trial)} each"
        if self.gpus_per_trial is not None:
            yield f"{self.trial_hours * self.gpus_per_trial:.3g} GPU-hours, {self.gpus_per_trial:g} GPUs a trial"
        if self.n_at_a_time is not None:
            rounds = math.ceil(self.n_left / self.n_at_a_time)
            yield f"done in {rounds * self.seconds_per_trial / 3600:.3g} hours with {self.n_at_a_time} at a time"

    def _memory(self) -> dict[str, float]:
        names = dict.fromkeys(name for each in self.finished for name in each.metrics if "memory" in name.lower())
        return {name: max(each.metrics[name] for each in self.finished if name in each.metrics) for name in names}


def add_cost_options(parser: argparse.ArgumentParser) -> None:
    """Add `--dry-run` and what it is told."""
    parser.add_argument(
        "--dry-run", action="store_true", default=None,
        help="run nothing: print the commands, if any, and what the sweep costs: trials, hours, GPU-hours, memory",
    )  # fmt: skip
    parser.add_argument(
        "--seconds-per-trial", type=duration, metavar="TIME",
        help="for --dry-run: time of a trial, such as 90, 30m or 2h [default: the mean of those in the journal]",
    )  # fmt: skip


def read_cost(trials: Sequence[TrialSpec], options: argparse.Namespace) -> Cost:
    """Return the cost of these trials under the options of `robust-lr run`.

    Raises:
        JournalError: when the journal cannot be read.
    """
    from ..analysis import AdaptiveSeeds
    from ..journal.journal import read_journal

    wanted, path = set(trials), Path(options.journal)
    results = read_journal(path).results if is_file(path) else ()
    finished = [result for result in results if result.is_final and result.spec in wanted]
    known = [result.seconds for result in results if result.is_final and math.isfinite(result.seconds)]
    seconds = options.seconds_per_trial
    if seconds is None:
        seconds = sum(known) / len(known) if known else math.nan
    gpus, on_ray = getattr(options, "gpus_per_trial", None), getattr(options, "ray", False)
    at_a_time = (getattr(options, "max_concurrent", None) if on_ray else None) or options.n_jobs
    further = AdaptiveSeeds()
    n_most = len(wanted) * len(further.seeds) // further.n_first if options.seeds == "adaptive" else 0
    return Cost(
        len(wanted),
        finished,
        seconds,
        None if gpus is None else gpus * (getattr(options, "num_workers", None) or 1),
        at_a_time or (None if on_ray else 1),
        n_most,
    )


def _time_text(seconds: float) -> str:
    unit, size = ("h", 3600.0) if seconds >= 5400 else ("min", 60.0) if seconds >= 120 else ("s", 1.0)
    return f"{seconds / size:.3g} {unit}"
