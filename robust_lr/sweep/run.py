"""`run_sweep` trains once for each schedule, learning rate and seed of a grid."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from contextlib import ExitStack, closing
from typing import Literal

from .._checks import check_train
from .._labels import spec_text
from .._metrics import Direction, Objective, without_metric
from .._text import count_of
from ..exceptions import DataError, OptionError
from ..grids import GeometricGrid
from ..journal import open_journal, report_counts
from ..runners import Runner, read_runner
from ..runners.preemption import ending_by_sigterm
from ..schedules import Schedule
from ..trials import TrainFunction
from .axes import read_learning_rates, read_schedules, read_seeds
from .ledger import TrialLedger
from .plan import FixedSeeds, SeedPlan, SweepPlan
from .progress import SweepProgress
from .results import SweepResult
from .retries import MAX_RETRIES, warn_of_failures
from .usage import report_usage


def run_sweep(
    train: TrainFunction,
    grid: GeometricGrid | Iterable[float],
    schedules: Mapping[str, Schedule | str] | Iterable[Schedule | str],
    seeds: int | Iterable[int] | SeedPlan | Literal["adaptive"],
    *,
    metric: str = "loss",
    direction: Direction | None = None,
    runner: Runner | None = None,
    journal: str | os.PathLike[str] | None = None,
    max_retries: int = MAX_RETRIES,
    progress: bool | None = None,
    label: str | None = None,
    keep_results: bool = False,
    time_budget: float | None = None,
    results_uri: str | os.PathLike[str] | None = None,
) -> SweepResult:
    """Train once for each schedule, learning rate and seed, coarse learning rates first, and return all the losses.

    Args:
        train: called as ``train(lr=, schedule=, seed=)``; see `TrainFunction`.
        grid: a grid, or distinct positive learning rates.
        schedules: schedules or their specs, by name or with the spec as the name.
        seeds: distinct whole numbers; a number n means ``range(n)``. "adaptive" trains every learning rate with two
            seeds, and then with further ones only those on which the recommendation depends, up to five; an
            `AdaptiveSeeds` (docs/how-to/adaptive-seeds.md) sets the tolerance and the limit.
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
            default the journal refuses to mix them; docs/how-to/resuming.md lists which edits it sees.
        time_budget: seconds after which no further trial begins; those that run end as usual, and the trials left are
            NaN. The same call with the same journal continues. None for no limit.
        results_uri: folder in which workers leave their results before they report them, so that no finished trial is
            lost with this process: a path, or any URI that fsspec knows, such as "s3://bucket/sweep". By default
            FILE.results beside the journal; on a cluster whose nodes do not share that folder, name one that they do.

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
    lrs, named, seed_plan = read_learning_rates(grid), read_schedules(schedules), _read_seed_plan(seeds)
    specs = {name: spec_text(schedule) for name, schedule in named.items()}
    first_seeds = seed_plan.seeds[: seed_plan.n_first]
    with ending_by_sigterm(), ExitStack() as stack:
        book = open_journal(
            journal, train, named, label=label, keep_results=keep_results, learning_rates=lrs, seeds=first_seeds,
            results_uri=results_uri,
        )  # fmt: skip
        finished = stack.enter_context(book).finished if book else {}
        known = {spec: objective.judge(result) for spec, result in finished.items()}
        plan = SweepPlan(specs, lrs, seed_plan, known, *([book.ask] if book else []))
        if lacking := [result.spec for result in plan.results if not result.is_final]:
            has = without_metric(metric, (name for spec in lacking for name in objective.values_of(finished[spec])))
            raise DataError(f"{journal} holds {count_of(len(lacking), 'trial')} with {has}")
        ledger = TrialLedger(
            plan, journal=book, max_retries=max_retries, label=label, objective=objective, time_budget=time_budget,
        )  # fmt: skip
        bar = stack.enter_context(
            SweepProgress(len(plan.trials), finished=plan.results, show=progress, direction=objective.direction)
        )
        n_new = 0
        for result in stack.enter_context(closing(ledger.run(runner, train, named))):
            bar.add(result, n_trials=len(plan.trials))
            n_new += result.is_final
        if book:
            n_old = sum(result.is_final for result in plan.results) - n_new
            report_counts(book, n_old=n_old, n_new=n_new, n_other=len(finished) - n_old - n_new, show=progress)
        report_usage(ledger.usage, show=progress)
    warn_of_failures(plan.results)
    notes = [*objective.notes(train), *ledger.notes]
    return plan.sweep(notes=notes, direction=objective.direction or "minimize", usage=ledger.usage)


def _read_seed_plan(seeds: int | Iterable[int] | SeedPlan | str) -> SeedPlan:
    if isinstance(seeds, str):
        if seeds != "adaptive":
            raise OptionError(f"seeds must be a number, whole numbers or 'adaptive', got {seeds!r}")
        from ..analysis.adaptive import AdaptiveSeeds

        return AdaptiveSeeds()
    return seeds if isinstance(seeds, SeedPlan) else FixedSeeds(read_seeds(seeds))
