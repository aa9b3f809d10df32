"""`run_sweep`: the one place where grid, schedules, seeds, runner and journal come together."""

from __future__ import annotations

import functools
import math
import numbers
import os
import warnings
from collections.abc import Generator, Iterable, Mapping, Sequence
from contextlib import ExitStack, closing
from typing import Any

from .exceptions import GridError, RobustLRError, RobustLRWarning, ScheduleError, TrialError
from .grids import GeometricGrid
from .journal import Journal
from .progress import SweepProgress
from .results import SweepResult
from .runners import Runner, SerialRunner
from .schedule_specs import parse_schedule
from .schedules import Schedule
from .trials import TrainFunction, TrialResult, TrialSpec, expand_trials

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
        label: name of the training function in the journal, by default its module and name. A journal of another one
            is refused.

    Returns:
        The sweep; a failed trial is NaN in it, with a `RobustLRWarning`, and listed in its `failures`.

    Raises:
        GridError, ScheduleError, RobustLRError: when an argument is wrong.
        JournalError: when the journal is of another sweep or another process writes it.
        TrialError: when the first 3 trials all failed and none has a result.

    Example:
        >>> def train(*, lr, schedule, seed):
        ...     return (lr - 0.1) ** 2
        >>> run_sweep(train, GeometricGrid(0.01, 1.0, 3), ["cosine", "constant"], 2)
        SweepResult(cosine, constant; 3 learning rates 0.01..1; 2 seeds; 12 results, 0 diverged)
    """
    if not callable(train):
        raise RobustLRError(f"train must be callable as train(lr=, schedule=, seed=), got {train!r}")
    lrs, named, all_seeds = _learning_rates(grid), _named_schedules(schedules), _seeds(seeds)
    specs = {name: _spec_text(schedule) for name, schedule in named.items()}
    trials = expand_trials(named, lrs, all_seeds)
    with ExitStack() as stack:
        book: Journal | None = None
        if journal is not None:
            label = _label(train) if label is None else label
            book = stack.enter_context(
                Journal.open(journal, learning_rates=lrs, schedules=specs, seeds=all_seeds, train=label)
            )
        finished = book.finished if book else {}
        results = [finished[trial] for trial in trials if trial in finished]
        bar = stack.enter_context(SweepProgress(len(trials), finished=results, show=progress))
        waiting = [trial for trial in trials if trial not in finished]
        for result in stack.enter_context(closing(_run(runner or SerialRunner(), train, waiting, named))):
            if book:
                book.append(result)
            bar.add(result)
            results.append(result)
            _stop_if_hopeless(trials, results)
    _warn_of_failures(results)
    return SweepResult.from_trials(specs, lrs, all_seeds, results)


def _run(
    runner: Runner, train: TrainFunction, trials: Sequence[TrialSpec], schedules: Mapping[str, Schedule]
) -> Generator[TrialResult]:
    """Yield what the runner yields, and check that it is one result for each trial; closing it closes the runner's."""
    waiting = set(trials)
    results = runner.run(train, trials, schedules) if trials else iter(())
    try:
        for result in results:
            if result.spec not in waiting:
                raise RobustLRError(f"{runner} returned a trial twice, or one it was not given: {result.spec}")
            waiting.remove(result.spec)
            yield result
    finally:
        if hasattr(results, "close"):
            results.close()
    if waiting:
        raise RobustLRError(f"{runner} returned no result for {len(waiting)} trials, such as {next(iter(waiting))}")


def _stop_if_hopeless(trials: Sequence[TrialSpec], results: Sequence[TrialResult]) -> None:
    """Raise when the first trials of the sweep have failed, and not one has a result."""
    first = set(trials[:_FAILURES_TO_STOP])
    if all(r.status == "failed" for r in results) and first <= {r.spec for r in results}:
        which = f"each of the first {len(first)} trials; the first" if len(first) > 1 else "the only trial"
        raise TrialError(f"train failed on {which}: {_last_line(results[0])}")


def _warn_of_failures(results: Sequence[TrialResult]) -> None:
    failed = [r for r in results if r.status == "failed"]
    if failed:
        warnings.warn(
            f"{len(failed)} of {len(results)} trials failed and count as missing; the first: {_last_line(failed[0])}",
            RobustLRWarning,
            stacklevel=3,
        )


def _last_line(result: TrialResult) -> str:
    lines = (result.error or "").strip().splitlines()
    return lines[-1] if lines else "no reason given"


def _learning_rates(grid: GeometricGrid | Iterable[float]) -> list[float]:
    values = list(grid.values) if isinstance(grid, GeometricGrid) else _as_list("grid", grid, GridError)
    for value in values:
        if isinstance(value, bool) or not isinstance(value, numbers.Real) or not 0 < float(value) < math.inf:
            raise GridError(f"learning rates must be positive finite numbers, got {value!r}")
    lrs = sorted(float(value) for value in values)
    if not lrs or len(set(lrs)) < len(lrs):
        raise GridError(f"the learning rates must be distinct, and at least one, got {lrs}")
    return lrs


def _named_schedules(schedules: Mapping[str, Schedule | str] | Iterable[Schedule | str]) -> dict[str, Schedule]:
    if isinstance(schedules, Mapping):
        named = {str(name): parse_schedule(schedule) for name, schedule in schedules.items()}
        n_given = len(schedules)
    else:
        parsed = [parse_schedule(schedule) for schedule in _as_list("schedules", schedules, ScheduleError)]
        named = {_spec_text(schedule): schedule for schedule in parsed}
        n_given = len(parsed)
    if not named or len(named) < n_given:
        raise ScheduleError(f"the schedules must be distinct, and at least one, got {', '.join(named) or 'none'}")
    return named


def _seeds(seeds: int | Iterable[int]) -> list[int]:
    if isinstance(seeds, numbers.Integral) and not isinstance(seeds, bool):
        if seeds < 1:
            raise RobustLRError(f"a number of seeds must be at least 1, got {seeds}")
        return list(range(int(seeds)))
    values = _as_list("seeds", seeds, RobustLRError)
    if any(isinstance(s, bool) or not isinstance(s, numbers.Integral) for s in values):
        raise RobustLRError(f"seeds must be whole numbers, got {values}")
    if not values or len(set(values)) < len(values):
        raise RobustLRError(f"the seeds must be distinct, and at least one, got {values}")
    return [int(s) for s in values]


def _as_list(name: str, values: object, error: type[RobustLRError]) -> list[Any]:
    if isinstance(values, (str, bytes)) or not isinstance(values, Iterable):
        raise error(f"{name} must be a sequence, got {values!r}")
    return list(values)


def _spec_text(schedule: Schedule) -> str:
    kind = type(schedule)
    if kind.__str__ is object.__str__ and kind.__repr__ is object.__repr__:
        return f"{kind.__module__}:{kind.__qualname__}"  # the default text is an address, another in every run
    return str(schedule)


def _label(train: object) -> str:
    if isinstance(train, functools.partial):
        return _label(train.func)
    named = train if hasattr(train, "__qualname__") else type(train)
    return f"{named.__module__}:{named.__qualname__}"
