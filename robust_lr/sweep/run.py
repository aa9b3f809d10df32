"""`run_sweep`: the one place where grid, schedules, seeds, runner and journal come together."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack, closing

from .._text import last_line, place_of
from ..exceptions import RobustLRError, RobustLRWarning, TrialError
from ..grids import GeometricGrid
from ..journal.journal import Journal
from ..runners import Labelled, Runner, SerialRunner
from ..schedules.closed_forms import Schedule
from ..trials import TrainFunction, TrialResult, TrialSpec, expand_trials
from .axes import read_learning_rates, read_schedules, read_seeds, spec_text
from .carry_out import carry_out, check_specs, journal_label
from .progress import SweepProgress
from .results import SweepResult

_FAILURES_TO_STOP = 3


def run_sweep(
    train: TrainFunction,
    grid: GeometricGrid | Iterable[float],
    schedules: Mapping[str, Schedule | str] | Iterable[Schedule | str],
    seeds: int | Iterable[int],
    *,
    runner: Runner | None = None,
    journal: str | os.PathLike[str] | None = None,
    progress: bool | None = None,
    label: str | None = None,
) -> SweepResult:
    """Train once for each schedule, learning rate and seed, coarse learning rates first, and return all the losses.

    Args:
        train: called as ``train(lr=, schedule=, seed=)``; see `TrainFunction`.
        grid: a grid, or distinct positive learning rates.
        schedules: schedules or their specs, by name or with the spec as the name.
        seeds: distinct whole numbers; a number n means ``range(n)``.
        runner: carries out the trials; by default one after the other in this process.
        journal: file that every finished trial is written to. A sweep that was stopped, or has grown since by a finer
            or wider grid, more schedules or more seeds, runs only the trials that the file does not hold.
        progress: None shows a progress bar only when stderr is a terminal; True and False force it.
        label: name of the training function in the journal, which refuses another one. By default its attribute
            `label`, or its module, name and bound arguments; needed with a journal where these leave open what it does,
            as those of a lambda or a local function do.

    Returns:
        The sweep; a failed trial is NaN in it, with a `RobustLRWarning`, and listed in its `failures`.

    Raises:
        GridError, ScheduleError, RobustLRError: when an argument is wrong.
        JournalError: when the journal is of another sweep or another process writes it, or could not tell train or a
            schedule from another one.
        TrialError: when the first 3 trials all failed and none has a result.

    Example:
        >>> def train(*, lr, schedule, seed):
        ...     return (lr - 0.1) ** 2
        >>> run_sweep(train, GeometricGrid(0.01, 1.0, 3), ["cosine", "constant"], 2)
        SweepResult(cosine, constant; 3 learning rates 0.01..1; 2 seeds; 12 results, 0 diverged)
    """
    if not callable(train):
        raise RobustLRError(f"train must be callable as train(lr=, schedule=, seed=), got {train!r}")
    lrs, named, all_seeds = read_learning_rates(grid), read_schedules(schedules), read_seeds(seeds)
    specs = {name: spec_text(schedule) for name, schedule in named.items()}
    trials = expand_trials(named, lrs, all_seeds)
    runner = runner or SerialRunner()
    if label is not None and isinstance(runner, Labelled):
        runner = runner.labelled(label)
    with ExitStack() as stack:
        book: Journal | None = None
        if journal is not None:
            label = journal_label(train) if label is None else label
            check_specs(named)
            book = stack.enter_context(
                Journal.open(journal, learning_rates=lrs, schedules=specs, seeds=all_seeds, train=label)
            )
        finished = book.finished if book else {}
        results = [finished[trial] for trial in trials if trial in finished]
        bar = stack.enter_context(SweepProgress(len(trials), finished=results, show=progress))
        waiting = [trial for trial in trials if trial not in finished]
        for result in stack.enter_context(closing(carry_out(runner, train, waiting, named))):
            if book:
                book.append(result)
            bar.add(result)
            results.append(result)
            _stop_if_hopeless(trials, results)
    _warn_of_failures(results)
    return SweepResult.from_trials(specs, lrs, all_seeds, results)


def _stop_if_hopeless(trials: Sequence[TrialSpec], results: Sequence[TrialResult]) -> None:
    """Raise when the first trials of the sweep have failed, and not one has a result."""
    first = set(trials[:_FAILURES_TO_STOP])
    if not any(r.is_final for r in results) and first <= {r.spec for r in results}:
        which = f"each of the first {len(first)} trials; the first" if len(first) > 1 else "the only trial"
        raise TrialError(f"train failed on {which}: {last_line(results[0].error)}{place_of(results[0].error)}")


def _warn_of_failures(results: Sequence[TrialResult]) -> None:
    failed = [r for r in results if not r.is_final]
    if failed:
        warnings.warn(
            f"{len(failed)} of {len(results)} trials failed and count as missing; "
            f"the first: {last_line(failed[0].error)}",
            RobustLRWarning,
            stacklevel=3,
        )
