"""`search_learning_rate`: the one place where search, training function, runner and journal come together."""

from __future__ import annotations

import itertools
import os
from collections.abc import Generator, Iterable, Mapping, Sequence
from contextlib import ExitStack, closing
from typing import Literal

from .._checks import check_whole
from .._text import last_line, place_of
from ..exceptions import RobustLRError, TrialError
from ..journal.search_journal import SearchJournal
from ..runners import Held, Labelled, Runner, SerialRunner
from ..schedules.closed_forms import Schedule
from ..sweep.axes import read_schedules, spec_text
from ..sweep.carry_out import carry_out, check_specs, journal_label
from ..trials import TrainFunction, TrialResult, TrialSpec
from . import LearningRateSearch, SearchOptions, SearchResult
from .progress import SearchProgress

_TRIES = 2


def search_learning_rate(
    train: TrainFunction,
    lr_min: float,
    lr_max: float,
    *,
    tolerance: float,
    schedule: str | Schedule = "cosine",
    runner: Runner | None = None,
    n_parallel: int = 1,
    seed: int = 0,
    journal: str | os.PathLike[str] | None = None,
    label: str | None = None,
    relative: bool = False,
    max_trials: int | None = None,
    start: float | None = None,
    ratio: float | None = None,
    extend: bool = True,
    noise: float | None = None,
    progress: bool | None = None,
) -> SearchResult:
    """Train at one learning rate after another until none can be better by more than the tolerance, and say so.

    The search, what it assumes and what its bound means are those of `LearningRateSearch`. It goes in rounds: it asks
    for `n_parallel` learning rates, the runner carries them out, and all are told together. So what is tried depends on
    the losses alone, not on which trial was first, and a search that was killed makes, with its journal, the same
    trials as one that was not.

    A journal is that of a sweep (`SweepResult.from_journal` reads it). A trial that it holds is not run again: first
    the search takes from it what it asks for, as long as that is there, and then it is told all else that the journal
    holds for this schedule, as results from outside. So a finished sweep, a search with another tolerance or range, and
    trials added by hand are all made use of. After such results from outside, a search with `n_parallel` above 1 that
    is killed within a round may make some other trials than it would have; no trial runs twice even then.

    A trial that failed, after the retries of the runner, runs once more after the others of its round.

    Args:
        train: called as ``train(lr=, schedule=, seed=)``; see `TrainFunction`.
        lr_min: the smallest learning rate of the range, from 1e-300 to 1e300.
        lr_max: the largest, too, and at least 1.01 times lr_min.
        tolerance: by how much the loss may exceed the least in the range, > 0; a loss, or a share of the best loss.
        schedule: the schedule that all trials train under, or its spec.
        runner: carries out the trials; by default one after the other in this process. One that is `runners.Held`
            is held from the first round to the end.
        n_parallel: learning rates in a round, >= 1; as many as the runner runs at a time.
        seed: of the first trial at a learning rate; each further one there, which the search asks for when noise is in
            its way, has the next seed that is free.
        journal: file that every finished trial is written to, and from which a search that was stopped continues.
        label: name of the training function in the journal; see `run_sweep`.
        relative: whether the tolerance is a share of the absolute value of the best loss; a share of a loss near 0
            means nothing, so give an absolute tolerance there.
        max_trials: stop after as many results, >= 1; those taken from the journal count.
        start: where to begin, in the range; `transfer_learning_rate` gives one.
        ratio: the coarse step of the search, a factor >= 1.05; by default that of the theory for the schedule.
        extend: whether to go beyond the range when the best lies on its end; see `LearningRateSearch`.
        noise: the standard deviation of the loss over seeds, >= 0; by default it is learned from repeated trials.
        progress: True writes a live table to a terminal, or one line a trial to what is none, on stderr; None does so
            only on a terminal, and False never.

    Returns:
        What was found, `stop` and `reason` saying why the search stopped.

    Raises:
        GridError, ScheduleError, DataError, RobustLRError: when an argument is wrong.
        JournalError: when the journal is of another training function or another process writes it, or could not tell
            train or the schedule from another one.
        TrialError: when a trial failed twice in a row.

    Example:
        >>> import math
        >>> def train(*, lr, schedule, seed):
        ...     return 0.3 + 0.03 * math.log(lr / 0.02) ** 2
        >>> result = search_learning_rate(train, 1e-3, 0.1, tolerance=0.005)
        >>> result.n_trials, result.stop
        (5, 'tolerance')
    """
    if not callable(train):
        raise RobustLRError(f"train must be callable as train(lr=, schedule=, seed=), got {train!r}")
    n_parallel = check_whole("n_parallel", n_parallel, at_least=1, error=RobustLRError)
    seed = check_whole("seed", seed, error=RobustLRError)
    runner = runner or SerialRunner()
    if label is not None and isinstance(runner, Labelled):
        runner = runner.labelled(label)
    named = read_schedules([schedule])
    (name,) = named
    search = LearningRateSearch(
        lr_min, lr_max, tolerance=f"{100 * tolerance}%" if relative else tolerance, schedule=named[name],
        options=SearchOptions(ratio=ratio, start=start, max_trials=max_trials, extend=extend, noise=noise),
    )  # fmt: skip
    with ExitStack() as stack:
        book = None if journal is None else stack.enter_context(_open_journal(journal, train, label, named))
        trials = _Trials(search, name, seed, book.finished.values() if book else ())
        new = trials.next_round(n_parallel)
        if new and isinstance(runner, Held):
            stack.enter_context(runner.held())
        view = stack.enter_context(SearchProgress(show=progress))
        while new:
            if book:
                book.expect(new)
            view.begin(new, search.result)
            with closing(_results(runner, train, new, named)) as results:
                for result in results:
                    if book:
                        book.append(result)
                    if result.is_final:
                        trials.tell(result)
                    view.add(result, search.result)
            new = trials.next_round(n_parallel)
    return search.result


def _open_journal(
    path: str | os.PathLike[str], train: TrainFunction, label: str | None, schedules: Mapping[str, Schedule]
) -> SearchJournal:
    label = journal_label(train) if label is None else label
    check_specs(schedules)
    specs = {name: spec_text(schedule) for name, schedule in schedules.items()}
    return SearchJournal.begin(path, schedules=specs, train=label)


def _results(
    runner: Runner, train: TrainFunction, trials: Sequence[TrialSpec], schedules: Mapping[str, Schedule]
) -> Generator[TrialResult]:
    """Yield each result as it comes; the trials that failed run once more after the others."""
    failed: list[TrialResult] = []
    for _ in range(_TRIES):
        failed = []
        with closing(carry_out(runner, train, trials, schedules)) as results:
            for result in results:
                if not result.is_final:
                    failed.append(result)
                yield result
        trials = [result.spec for result in failed]
        if not trials:
            return
    where = f"lr={trials[0].lr:.4g}, seed {trials[0].seed}"
    raise TrialError(f"train failed twice in a row at {where}: {last_line(failed[0].error)}{place_of(failed[0].error)}")


class _Trials:
    """A search whose questions and answers are trials: the next one at a learning rate has the next seed there.

    Args:
        search: the search, of which nothing was asked yet.
        schedule: name of its schedule.
        seed: the first one at a learning rate.
        known: results that are there already; those of other schedules are left aside.
    """

    def __init__(self, search: LearningRateSearch, schedule: str, seed: int, known: Iterable[TrialResult]) -> None:
        self._search, self._schedule, self._seed = search, schedule, seed
        self._known = {result.spec: result for result in known if result.spec.schedule == schedule}
        self._told: set[TrialSpec] = set()

    def next_round(self, n: int) -> list[TrialSpec]:
        """Return the next trials to run, at most n, none at the end; what is known is told and not returned."""
        while True:
            asked = [self._next(lr) for lr in self._search.ask(n)]
            new = [trial for trial in asked if trial not in self._known]
            for trial in asked:
                if trial in self._known:
                    self.tell(self._known[trial])
            others = [result for spec, result in self._known.items() if spec not in self._told]
            if others and (new or not asked):  # what is known carries the search no further by itself
                for trial in new:
                    self._search.forget(trial.lr)
                for result in others:
                    self.tell(result, external=True)
            elif new or not asked:
                return new

    def tell(self, result: TrialResult, *, external: bool = False) -> None:
        status: Literal["ok", "diverged"] = "diverged" if result.status == "diverged" else "ok"
        self._search.tell(result.spec.lr, result.loss, status=status, external=external)
        self._told.add(result.spec)

    def _next(self, lr: float) -> TrialSpec:
        trials = (TrialSpec(self._schedule, lr, seed) for seed in itertools.count(self._seed))
        return next(trial for trial in trials if trial not in self._told)
