"""`run_sweep` trains once for each schedule, learning rate and seed of a grid."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack, closing

from .._checks import check_train
from .._labels import spec_text
from .._metrics import Direction, Objective
from .._text import count_of, main_line, place_of
from ..exceptions import DataError, TrialError
from ..grids import GeometricGrid
from ..journal import open_journal, report_counts
from ..runners import Runner, read_runner
from ..schedules import Schedule
from ..trials import TrainFunction, TrialResult, TrialSpec, expand_trials
from .axes import read_learning_rates, read_schedules, read_seeds
from .ledger import TrialLedger
from .progress import SweepProgress
from .results import SweepResult
from .retries import MAX_RETRIES, warn_of_failures

_FAILURES_TO_STOP = 3


def run_sweep(
    train: TrainFunction,
    grid: GeometricGrid | Iterable[float],
    schedules: Mapping[str, Schedule | str] | Iterable[Schedule | str],
    seeds: int | Iterable[int],
    *,
    metric: str = "loss",
    direction: Direction | None = None,
    runner: Runner | None = None,
    journal: str | os.PathLike[str] | None = None,
    max_retries: int = MAX_RETRIES,
    progress: bool | None = None,
    label: str | None = None,
    keep_results: bool = False,
) -> SweepResult:
    """Train once for each schedule, learning rate and seed, coarse learning rates first, and return all the losses.

    Args:
        train: called as ``train(lr=, schedule=, seed=)``; see `TrainFunction`.
        grid: a grid, or distinct positive learning rates.
        schedules: schedules or their specs, by name or with the spec as the name.
        seeds: distinct whole numbers; a number n means ``range(n)``.
        metric: what is optimized: "loss", or a key of the mapping that `train` returns, such as "val_acc".
        direction: "maximize" if a larger value is better. By default "minimize", with a note if the metric or the
            function is named like a score.
        runner: carries out the trials; by default one after the other in this process.
        journal: file for every finished trial. Its trials do not run again, so a stopped sweep continues, and a sweep
            that has grown runs only the new trials.
        max_retries: how often a failed trial is retried, at least 0.
        progress: None shows a progress bar only when stderr is a terminal; True and False force it.
        label: name of the training function in the journal; each has its own results there. By default its attribute
            `label`, or its module, name and bound arguments, and the journal then refuses any other. Needed with a
            journal if these do not identify the function, as for a lambda or a local function.
        keep_results: whether the results in the journal stay valid although the code of `train` has changed since. By
            default the journal refuses to mix them; docs/resuming.md lists which edits it sees.

    Returns:
        The sweep. A failed trial is NaN in it, listed in its `failures`, and causes a `RobustLRWarning`.

    Raises:
        GridError, ScheduleError, OptionError: when an argument is wrong, or `train` cannot be called so.
        DataError: when the trials of the journal have no such metric.
        JournalError: when the journal belongs to another training function, `train` has changed since, another process
            is writing it, or the name of `train` or the text of a schedule does not identify it.
        TrialError: when the first 3 trials all fail and none has a result, or the first returns no such metric.

    Example:
        >>> def train(*, lr, schedule, seed):
        ...     return (lr - 0.1) ** 2
        >>> run_sweep(train, GeometricGrid(0.01, 1.0, 3), ["cosine", "constant"], 2)
        SweepResult(cosine, constant; 3 learning rates 0.01..1; 2 seeds; 12 results, 0 diverged)
    """
    check_train(train)
    runner, objective = read_runner(runner), Objective(metric, direction)
    lrs, named, all_seeds = read_learning_rates(grid), read_schedules(schedules), read_seeds(seeds)
    specs = {name: spec_text(schedule) for name, schedule in named.items()}
    trials = expand_trials(named, lrs, all_seeds)
    with ExitStack() as stack:
        book = open_journal(
            journal, train, named, label=label, keep_results=keep_results, learning_rates=lrs, seeds=all_seeds
        )
        finished = stack.enter_context(book).finished if book else {}
        plan = _SweepPlan(trials, {spec: objective.judge(result) for spec, result in finished.items()})
        if lacking := [result.error for result in plan.results if not result.is_final]:
            raise DataError(f"{journal} holds {count_of(len(lacking), 'trial')} without it: {lacking[0]}")
        ledger = TrialLedger(plan, journal=book, max_retries=max_retries, label=label, objective=objective)
        n_old, n_other = len(plan.results), len(finished) - len(plan.results)
        bar = stack.enter_context(
            SweepProgress(len(trials), finished=plan.results, show=progress, direction=objective.direction)
        )
        for result in stack.enter_context(closing(ledger.run(runner, train, named))):
            bar.add(result)
        if book:
            n_new = sum(result.is_final for result in plan.results) - n_old
            report_counts(book, n_old=n_old, n_new=n_new, n_other=n_other, show=progress)
    warn_of_failures(plan.results)
    return SweepResult.from_trials(
        specs, lrs, all_seeds, plan.results, notes=objective.notes(train), direction=objective.direction or "minimize"
    )


class _SweepPlan:
    """The trials of a sweep, all at once; raises if the first of them all fail and none has a result."""

    def __init__(self, trials: Sequence[TrialSpec], finished: Mapping[TrialSpec, TrialResult]) -> None:
        self.results = [finished[trial] for trial in trials if trial in finished]
        self._first = set(trials[:_FAILURES_TO_STOP])
        self._trials = [trial for trial in trials if trial not in finished]

    def next_trials(self) -> list[TrialSpec]:
        trials, self._trials = self._trials, []
        return trials

    def add(self, result: TrialResult) -> None:
        self.results.append(result)
        if not any(r.is_final for r in self.results) and self._first <= {r.spec for r in self.results}:
            n, error = len(self._first), self.results[0].error
            which = f"each of the first {n} trials; the first" if n > 1 else "the only trial"
            raise TrialError(f"train failed on {which}: {main_line(error)}{place_of(error)}")
