"""`search_learning_rate`: a search over a training function, with any runner and a journal to continue from."""

from __future__ import annotations

import os
import warnings
from contextlib import ExitStack, closing
from dataclasses import replace

from .._checks import check_train, check_whole
from .._metrics import Direction, Objective
from .._text import count_of, levels_to_user
from ..exceptions import DataError, RobustLRWarning
from ..journal import Journal, open_journal, report_counts
from ..prior.valley_prior import ValleyPrior
from ..runners import Runner, read_runner
from ..schedules import Schedule
from ..sweep.axes import read_schedules
from ..sweep.ledger import TrialLedger
from ..sweep.retries import MAX_RETRIES, warn_of_failures
from ..trials import TrainFunction, TrialResult
from . import LearningRateSearch, SearchOptions, SearchResult
from .plan import SearchPlan
from .progress import SearchProgress


def search_learning_rate(
    train: TrainFunction,
    lr_min: float,
    lr_max: float,
    *,
    tolerance: float | str,
    schedule: str | Schedule = "cosine",
    prior: ValleyPrior | None = None,
    metric: str = "loss",
    direction: Direction | None = None,
    options: SearchOptions | None = None,
    runner: Runner | None = None,
    n_jobs: int | None = None,
    seed: int = 0,
    journal: str | os.PathLike[str] | None = None,
    max_retries: int = MAX_RETRIES,
    label: str | None = None,
    keep_results: bool = False,
    progress: bool | None = None,
) -> SearchResult:
    """Search for the best learning rate until no other can be better by more than the tolerance.

    `LearningRateSearch` describes the search, its assumption and its bound. It works in rounds of `n_jobs` learning
    rates, and asks for the next round once the last one is complete. So the trials depend on the losses alone, not on
    which trial ends first, and a killed search that continues from its journal makes the same trials as an
    uninterrupted one.

    The journal has the format of a sweep's (`SweepResult.from_journal` reads it). Its trials do not run again: first
    they answer what the search asks for, as long as they can; then the search is told the others of this schedule, as
    external results. So it can use a finished sweep, a search with another tolerance or range, and trials added by
    hand. With external results, a search that is killed within a round of several may try some other learning rates
    than without the kill; even then no trial runs twice.

    A learning rate whose trial fails `max_retries` + 1 times is given up: the search goes around it, and ends with the
    stop "failures" once three are given up, or nothing else is left to try. A new call with the same journal
    retries it.

    Args:
        train: called as ``train(lr=, schedule=, seed=)``; see `TrainFunction`.
        lr_min: the smallest learning rate of the range, from 1e-300 to 1e300.
        lr_max: the largest, at least 1.01 times lr_min.
        tolerance: how much worse than the best loss you accept: a number > 0 in units of the loss, or a share such as
            "1%".
        schedule: the schedule of all trials, or its spec.
        prior: what earlier sweeps expect, from `LearningRatePrior.at`; see `LearningRateSearch`.
        metric: what is optimized: "loss", or a key of the mapping that `train` returns, such as "val_acc".
        direction: "maximize" if a larger value is better. By default "minimize"; if the metric or the function is
            named like a score, a warning says so, and the search stays in its range.
        options: everything else about the search; see `SearchOptions`.
        runner: carries out the trials; by default one after the other in this process.
        n_jobs: learning rates in a round, >= 1; by default as many as the runner runs at a time.
        seed: seed of the first trial at a learning rate; each repeat, by which the search measures the noise, has the
            next free seed.
        journal: file for every finished trial, from which a stopped search continues.
        max_retries: how often a failed trial is retried, at least 0.
        label: name of the training function in the journal; see `run_sweep`.
        keep_results: whether the results in the journal stay valid although the code has changed; see `run_sweep`.
        progress: True writes a live table to a terminal, or one line per trial to anything else, on stderr; None does
            so only on a terminal, and False never.

    Returns:
        The result; its `stop` and `reason` say why the search stopped. Failed trials cause a `RobustLRWarning`.

    Raises:
        GridError, ScheduleError, OptionError: when an argument is wrong, or `train` cannot be called so.
        DataError: when the trials of the journal have no such metric.
        TrialError: when the first trial returns no such metric.
        JournalError: when the journal belongs to another training function, `train` has changed since, another process
            is writing it, or the name of `train` or the text of the schedule does not identify it.

    Example:
        >>> import math
        >>> def train(*, lr, schedule, seed):
        ...     return 0.3 + 0.03 * math.log(lr / 0.02) ** 2
        >>> result = search_learning_rate(train, 1e-3, 0.1, tolerance=0.005)
        >>> result.n_trials, result.stop
        (6, 'tolerance')
    """
    check_train(train)
    runner, objective = read_runner(runner), Objective(metric, direction)
    n_jobs = check_whole("n_jobs", getattr(runner, "n_jobs", 1) if n_jobs is None else n_jobs, at_least=1)
    seed = check_whole("seed", seed)
    named = read_schedules([schedule])
    (name,) = named
    options = _kept_in_range_if_in_doubt(options or SearchOptions(), objective, train)
    search = LearningRateSearch(lr_min, lr_max, tolerance=tolerance, schedule=named[name], prior=prior, options=options)

    with ExitStack() as stack:
        book = open_journal(journal, train, named, label=label, keep_results=keep_results)
        known = _known(stack.enter_context(book), objective, journal) if book else []
        plan = SearchPlan(search, name, seed=seed, known=known, n_jobs=n_jobs)

        def found() -> SearchResult:
            known, best = search.result, objective.direction or "minimize"
            return replace(known, direction=best, seeds=plan.seeds, notes=(*known.notes, *objective.notes(train)))

        ledger = TrialLedger(plan, journal=book, max_retries=max_retries, label=label, objective=objective)
        view = stack.enter_context(SearchProgress(show=progress))
        view.begin(ledger.waiting, found())
        outcomes = []
        for result in stack.enter_context(closing(ledger.run(runner, train, named))):
            outcomes.append(result)
            view.add(result, found())
            view.begin([*ledger.in_flight, *ledger.waiting], found())
        if book:
            n_new = sum(result.is_final for result in outcomes)
            report_counts(book, n_old=search.result.n_trials - n_new, n_new=n_new, show=progress)
        warn_of_failures(outcomes)
        return found()


def _kept_in_range_if_in_doubt(options: SearchOptions, objective: Objective, train: TrainFunction) -> SearchOptions:
    """Beyond the range a search in the wrong direction would go on and on."""
    if doubts := objective.doubts(train):
        warnings.warn(doubts[0], RobustLRWarning, levels_to_user())
        return replace(options, extend=False)
    return options


def _known(book: Journal, objective: Objective, name: object) -> list[TrialResult]:
    """The trials of a journal, by their metric."""
    known = [objective.judge(result) for result in (*book.finished.values(), *book.given_up.values())]
    if lacking := [result.error for result in known if not (result.is_final or result.is_worth_retrying)]:
        raise DataError(f"{name} holds {count_of(len(lacking), 'trial')} without it: {lacking[0]}")
    return known
