"""`search_learning_rate`: a search over a training function, by any runner, with a journal that it continues from."""

from __future__ import annotations

import os
from contextlib import ExitStack, closing

from .._checks import check_whole
from ..exceptions import OptionError
from ..journal import open_journal
from ..runners import Runner, read_runner
from ..schedules import Schedule
from ..sweep.axes import read_schedules
from ..sweep.ledger import TrialLedger
from ..sweep.retries import MAX_RETRIES, warn_of_failures
from ..trials import TrainFunction
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
    options: SearchOptions | None = None,
    runner: Runner | None = None,
    n_jobs: int | None = None,
    seed: int = 0,
    journal: str | os.PathLike[str] | None = None,
    max_retries: int = MAX_RETRIES,
    label: str | None = None,
    progress: bool | None = None,
) -> SearchResult:
    """Train at one learning rate after another until none can be better by more than the tolerance, and say so.

    The search, what it assumes and what its bound means are those of `LearningRateSearch`. It goes in rounds of
    `n_jobs` learning rates, and asks for the next round when the last one is complete. So what is tried depends on the
    losses alone, not on which trial ended first, and a search that was killed makes, with its journal, the same trials
    as one that was not.

    A journal is that of a sweep (`SweepResult.from_journal` reads it). A trial that it holds is not run again: first
    the search takes from it what it asks for, as long as that is there, and then it is told all else that the journal
    holds for this schedule, as results from outside. So a finished sweep, a search with another tolerance or range, and
    trials added by hand are all made use of. After such results from outside, a search in rounds of several that is
    killed within a round may make some other trials than it would have; no trial runs twice even then.

    A learning rate at which a trial failed, tries included, is given up: the search goes around it, and ends with
    the stop "failures" where three are given up, or nothing else is left to try. The same command on its journal tries
    it again.

    Args:
        train: called as ``train(lr=, schedule=, seed=)``; see `TrainFunction`.
        lr_min: the smallest learning rate of the range, from 1e-300 to 1e300.
        lr_max: the largest, too, and at least 1.01 times lr_min.
        tolerance: how much worse than the least loss in the range you accept: a loss, > 0, or a share such as "1%".
        schedule: the schedule that all trials train under, or its spec.
        options: everything else about the search; see `SearchOptions`.
        runner: carries out the trials; by default one after the other in this process.
        n_jobs: learning rates in a round, >= 1; by default as many as the runner runs at a time.
        seed: of the first trial at a learning rate; each further one there, which the search asks for when noise is in
            its way, has the next seed that is free.
        journal: file that every finished trial is written to, and from which a search that was stopped continues.
        max_retries: how often a trial that failed is tried again, at least 0.
        label: name of the training function in the journal; see `run_sweep`.
        progress: True writes a live table to a terminal, or one line a trial to anything else, on stderr; None does so
            only on a terminal, and False never.

    Returns:
        What was found; `stop` and `reason` say why the search stopped. Failed trials are a `RobustLRWarning`.

    Raises:
        GridError, ScheduleError, OptionError: when an argument is wrong.
        JournalError: when the journal is of another training function or another process writes it, or could not tell
            train or the schedule from another one.

    Example:
        >>> import math
        >>> def train(*, lr, schedule, seed):
        ...     return 0.3 + 0.03 * math.log(lr / 0.02) ** 2
        >>> result = search_learning_rate(train, 1e-3, 0.1, tolerance=0.005)
        >>> result.n_trials, result.stop
        (5, 'tolerance')
    """
    if not callable(train):
        raise OptionError(f"train must be callable as train(lr=, schedule=, seed=), got {train!r}")
    runner = read_runner(runner)
    n_jobs = check_whole("n_jobs", getattr(runner, "n_jobs", 1) if n_jobs is None else n_jobs, at_least=1)
    seed = check_whole("seed", seed)
    named = read_schedules([schedule])
    (name,) = named
    search = LearningRateSearch(
        lr_min, lr_max, tolerance=tolerance, schedule=named[name], options=options or SearchOptions()
    )
    with ExitStack() as stack:
        book = open_journal(journal, train, named, label=label)
        known = [*stack.enter_context(book).finished.values(), *book.given_up.values()] if book else []
        plan = SearchPlan(search, name, seed=seed, known=known, n_jobs=n_jobs)
        ledger = TrialLedger(plan, journal=book, max_retries=max_retries, label=label)
        view = stack.enter_context(SearchProgress(show=progress))
        view.begin(ledger.waiting, search.result)
        outcomes = []
        for result in stack.enter_context(closing(ledger.run(runner, train, named))):
            outcomes.append(result)
            view.add(result, search.result)
            view.begin([*ledger.in_flight, *ledger.waiting], search.result)
    warn_of_failures(outcomes)
    return search.result
