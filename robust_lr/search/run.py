"""`search_learning_rate`: a search over a training function, with any runner and a journal to continue from."""

from __future__ import annotations

import hashlib
import json
import math
import os
import sys
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from .._checks import check_train, check_whole
from .._labels import is_vague, label_of
from .._metrics import Direction, Objective, without_metric
from .._text import count_of, levels_to_user
from .._tolerance import read_tolerance
from ..exceptions import DataError, OptionError, RobustLRWarning
from ..journal import Journal, open_journal, report_counts
from ..prior.valley_prior import ValleyPrior
from ..runners import Runner, read_runner
from ..runners.preemption import ending_by_sigterm
from ..schedules import Schedule
from ..sweep.axes import read_schedules
from ..sweep.ledger import TrialLedger
from ..sweep.retries import MAX_RETRIES, warn_of_failures
from ..sweep.usage import report_usage
from ..trials import TrainFunction, TrialResult
from . import LearningRateSearch, SearchOptions, SearchResult, SearchStart
from ._lengths import at_length, read_horizons
from .horizons import WIDE, BracketingSearch, Carried, ConfirmingSearch, StartAt
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
    time_budget: float | None = None,
    results_uri: str | os.PathLike[str] | None = None,
    total_steps: int | None = None,
    horizons: Sequence[float] | None = None,
    start_at: StartAt | None = None,
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

    With `horizons`, the search first brackets the best learning rate in shorter trainings, each under the full schedule
    of its length, carries it and its valley over, and tries at full length only what that leaves open; see
    docs/how-to/horizons.md. It stops with "horizons" once nothing is better by more than the tolerance with a
    probability of 0.9. `cost` of the result is in trainings of full length. The journal holds each horizon under a
    label of its own. A start in `options` is that of the shortest training, with a `start_factor` of at least 4.

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
        time_budget: seconds after which no further trial begins; those that run end as usual. The same call with the
            same journal continues. None for no limit.
        results_uri: folder in which workers leave their results; see `run_sweep`.
        total_steps: the steps of a training of full length, >= 1, for a `train` that takes `total_steps` as a
            parameter, or is a task with such a field.
        horizons: ascending shares of `total_steps` that end with 1, such as ``[0.1, 0.3, 1]``.
        start_at: returns what is known beforehand for a training of so many steps, a `SearchStart` or the prior of
            `LearningRatePrior.at`; by default nothing is.

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
    check_train(train if total_steps is None else at_length(train, check_whole("total_steps", total_steps, at_least=1)))
    if total_steps is None and not (horizons is None and start_at is None):
        raise OptionError("horizons and start_at need total_steps, the steps of a training of full length")
    runner, objective = read_runner(runner), Objective(metric, direction)
    n_jobs = check_whole("n_jobs", getattr(runner, "n_jobs", 1) if n_jobs is None else n_jobs, at_least=1)
    options = _kept_in_range_if_in_doubt(options or SearchOptions(), objective, train)
    named = read_schedules([schedule])
    (rule,) = named.values()
    job = _Job(
        train, named, objective, runner, n_jobs, check_whole("seed", seed), journal, max_retries, label, keep_results,
        progress, time_budget, results_uri,
    )  # fmt: skip
    if prior is not None and horizons is not None:
        raise OptionError("with horizons, the prior of each length comes from start_at=lambda steps: prior.at(...)")
    make = partial(_make_search, lr_min, lr_max, tolerance=tolerance, schedule=rule, prior=prior, options=options)
    if total_steps is None:
        return job.carry_out(make())
    result = _over_horizons(job, make, total_steps, [1] if horizons is None else horizons, start_at)
    if horizons is not None and len(horizons) > 1 and (options.start_factor or WIDE) < WIDE:
        note = (
            f"a start_factor of {options.start_factor:g} counts as {WIDE:g} with horizons: the shorter trainings "
            "bracket the best with steps of a factor of 2 or more"
        )
        return replace(result, notes=(*result.notes, note))
    return result


def _over_horizons(
    job: _Job, make: Callable[..., LearningRateSearch], total_steps: int, horizons: Sequence[float],
    start_at: StartAt | None,
) -> SearchResult:  # fmt: skip
    results, began = list[SearchResult](), time.monotonic()
    for steps in read_horizons(horizons, total_steps):
        search = make(shorter=results, steps=steps, is_last=steps == total_steps, start_at=start_at)
        results.append(job.at(steps, spent=time.monotonic() - began).carry_out(search, total_steps=steps))
        if results[-1].stop in (None, "failures"):  # the time is over, or the code has to be mended
            break
    last = results[-1]
    notes = list(last.notes)
    if last.total_steps != total_steps:
        notes.append("no training of full length has run yet")
    return replace(last, shorter=tuple(results[:-1]), notes=tuple(notes))


@dataclass(frozen=True)
class _Job:
    """What carries out the trials of a search."""

    train: TrainFunction
    schedules: Mapping[str, Schedule]
    objective: Objective
    runner: Runner
    n_jobs: int
    seed: int
    journal: str | os.PathLike[str] | None
    max_retries: int
    label: str | None
    keep_results: bool
    progress: bool | None
    time_budget: float | None
    results_uri: str | os.PathLike[str] | None

    def at(self, steps: int, *, spent: float) -> _Job:
        """The same job with trainings of another length, which have a label of their own in the journal."""
        label = label_of(self.train) if self.label is None else self.label
        own = None if is_vague(label) else f"{label}(total_steps={steps})"
        left = None if self.time_budget is None else max(self.time_budget - spent, sys.float_info.min)
        return replace(self, train=at_length(self.train, steps), label=own, time_budget=left)

    def carry_out(self, search: LearningRateSearch, *, total_steps: int | None = None) -> SearchResult:
        train, objective, (name,) = self.train, self.objective, self.schedules
        with ending_by_sigterm(), ExitStack() as stack:
            book = open_journal(
                self.journal, train, self.schedules, label=self.label, keep_results=self.keep_results,
                prior=_digest(search.prior), results_uri=self.results_uri,
            )  # fmt: skip
            known = _known(stack.enter_context(book), objective, self.journal) if book else []
            plan = SearchPlan(search, name, seed=self.seed, known=known, n_jobs=self.n_jobs)

            def found() -> SearchResult:
                so_far, best = search.result, objective.direction or "minimize"
                notes = (*so_far.notes, *objective.notes(train))
                return replace(so_far, direction=best, seeds=plan.seeds, notes=notes, total_steps=total_steps)

            ledger = TrialLedger(
                plan, journal=book, max_retries=self.max_retries, label=self.label, objective=objective,
                time_budget=self.time_budget,
            )  # fmt: skip
            view = stack.enter_context(SearchProgress(show=self.progress))
            view.begin(ledger.waiting, found())
            outcomes = []
            for result in stack.enter_context(closing(ledger.run(self.runner, train, self.schedules))):
                outcomes.append(result)
                view.add(result, found())
                view.begin([*ledger.in_flight, *ledger.waiting], found())
            if book:
                n_new = sum(result.is_final for result in outcomes)
                report_counts(book, n_old=search.result.n_trials - n_new, n_new=n_new, show=self.progress)
            report_usage(ledger.usage, show=self.progress)
            warn_of_failures(outcomes)
            last = found()
            return replace(last, notes=(*last.notes, *ledger.notes))


def _make_search(
    lr_min: float,
    lr_max: float,
    *,
    options: SearchOptions,
    shorter: Sequence[SearchResult] = (),
    steps: int = 0,
    is_last: bool = True,
    start_at: StartAt | None = None,
    prior: ValleyPrior | None = None,
    **given: Any,
) -> LearningRateSearch:
    """The search at one length, with what the shorter ones and `start_at` say about it."""
    known = [result for result in shorter if result.lr > 0]
    expected = None if start_at is None else start_at(steps)
    carried = Carried.over(known, steps, start_at) if known else None
    if carried is None and isinstance(expected, ValleyPrior):
        tolerance = read_tolerance(given["tolerance"])
        if not is_last:
            return BracketingSearch(lr_min, lr_max, options=options, prior=expected, **given)
        if tolerance.relative or expected.required == 1:  # without a loss, or too little known, it only guides
            return LearningRateSearch(lr_min, lr_max, options=options, prior=expected, **given)
        carried = Carried.by_prior(expected, tolerance.value)
    if carried is not None:
        start = _inside(math.exp(carried.center), lr_min, lr_max)
        options = replace(options, start=start, start_factor=math.exp(carried.std))
    elif isinstance(expected, SearchStart) and options.start is None:
        options = replace(options, start=_inside(expected.lr, lr_min, lr_max), start_factor=expected.factor)
    if is_last:
        if carried is None:
            return LearningRateSearch(lr_min, lr_max, options=options, prior=prior, **given)
        return ConfirmingSearch(lr_min, lr_max, options=options, carried=carried, **given)
    if options.start is not None:  # the parabola through the bracket needs arms that noise does not bend
        options = replace(options, start_factor=max(options.start_factor or WIDE, WIDE))
    return BracketingSearch(lr_min, lr_max, options=options, **given)


def _digest(prior: ValleyPrior | None) -> str:
    return "" if prior is None else hashlib.sha256(json.dumps(prior.to_dict()).encode()).hexdigest()[:16]


def _inside(lr: float, lr_min: float, lr_max: float) -> float:
    return min(max(lr, float(lr_min)), float(lr_max))


def _kept_in_range_if_in_doubt(options: SearchOptions, objective: Objective, train: TrainFunction) -> SearchOptions:
    """Beyond the range a search in the wrong direction would go on and on."""
    if doubts := objective.doubts(train):
        warnings.warn(doubts[0], RobustLRWarning, levels_to_user())
        return replace(options, extend=False)
    return options


def _known(book: Journal, objective: Objective, name: object) -> list[TrialResult]:
    """The trials of a journal, by their metric."""
    results = [*book.finished.values(), *book.given_up.values()]
    known = [objective.judge(result) for result in results]
    lacking = [r for r, judged in zip(results, known, strict=True) if not (judged.is_final or judged.is_worth_retrying)]
    if lacking:
        has = without_metric(objective.metric, (each for result in lacking for each in objective.values_of(result)))
        raise DataError(f"{name} holds {count_of(len(lacking), 'trial')} with {has}")
    return known
