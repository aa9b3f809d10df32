"""A searcher for Ray Tune that searches for the learning rate and ends the experiment when it is found."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from robust_lr import Schedule, parse_schedule
from robust_lr.journal import Journal
from robust_lr.prior import ValleyPrior
from robust_lr.readers.runs import DEFAULT_SCHEDULE, Direction
from robust_lr.search import LearningRateSearch, SearchOptions, SearchResult
from robust_lr.search.plan import SearchPlan
from robust_lr.sweep.retries import MAX_RETRIES
from robust_lr.trials import TrialResult, TrialSpec

from ._cells import from_list, schedule_text, to_list
from ._searcher import LedgerSearcher


class LearningRateSearcher(LedgerSearcher):
    """Hands out the learning rates of a `robust_lr.LearningRateSearch`, and ends when that is done.

    For ``tune.TuneConfig(search_alg=LearningRateSearcher(...), num_samples=-1, max_concurrent_trials=...)``; by default
    Tune runs one sample. The trainable reads the learning rate, ``config["seed"]`` (0, then 1 and so on if the search
    asks for a learning rate again), and ``config["schedule"]`` if a schedule was given, a text for
    `robust_lr.parse_schedule`. `param_space` may hold further constants.

    A final report of NaN or infinity means divergence. A trial that Tune gave up, as its `FailureConfig` says, is
    retried up to `max_retries` times. Then its learning rate is given up as in `robust_lr.search_learning_rate`: the
    search goes around it, and ends with the stop "failures" once three are given up, or nothing else is left to try.

    To continue a search that was stopped or killed, make a new Tuner with the same `journal`: finished trials do not
    run again; trials in flight do. With one trial at a time, a killed search makes the same trials as an uninterrupted
    one. `Tuner.restore` continues from Tune's own state, which is up to ten seconds old (TUNE_GLOBAL_CHECKPOINT_S), and
    reruns trials that finished after that; with a journal, the search knows those results.

    Args:
        lr_min, lr_max: the range, 0 < lr_min < lr_max.
        tolerance: how much worse than the best loss you accept, > 0; in units of the metric, or a share such as "1%".
        schedule: the schedule of all trials, or its spec.
        prior: what earlier sweeps expect, from `robust_lr.search.LearningRatePrior.at`.
        options: everything else about the search; see `robust_lr.SearchOptions`.
        lr_name: name of the learning rate in the config.
        metric: name of the final loss in the trainable's reports.
        direction: "minimize", or "maximize" if more is better; the loss is then the negative.
        journal: file for the finished trials. It may be the journal of a sweep or of a search elsewhere: its results
            for this schedule count. The driver writes it; one Tuner at a time may use it.
        max_retries: how often a trial that Tune gave up is retried, at least 0.

    Raises:
        GridError, ScheduleError, OptionError: when an argument is wrong.
        JournalError: when the journal cannot be read, has the schedule's name with another spec, or is in use.

    Example:
        >>> searcher = LearningRateSearcher(1e-3, 0.1, tolerance=0.005)
        >>> searcher.suggest("first")
        {'lr': 0.01, 'seed': 0}
        >>> searcher.on_trial_complete("first", {"loss": 0.5})
        >>> searcher.result.n_trials
        1
    """

    _key = "robust_lr.learning_rate_searcher"
    _plan: _TunePlan

    def __init__(
        self,
        lr_min: float,
        lr_max: float,
        *,
        tolerance: float | str,
        schedule: str | Schedule | None = None,
        prior: ValleyPrior | None = None,
        options: SearchOptions | None = None,
        lr_name: str = "lr",
        metric: str = "loss",
        direction: Direction = "minimize",
        journal: str | os.PathLike[str] | None = None,
        max_retries: int = MAX_RETRIES,
    ) -> None:
        self._text = None if schedule is None else schedule_text(parse_schedule(schedule))
        super().__init__(metric, direction, journal, lr_name, ["seed"] if self._text is None else ["seed", "schedule"])
        self._schedule, self._max_retries = self._text or DEFAULT_SCHEDULE, max_retries
        self._begin(
            LearningRateSearch(
                lr_min, lr_max, tolerance=tolerance, schedule=schedule, prior=prior, options=options or SearchOptions()
            )
        )

    @property
    def result(self) -> SearchResult:
        """The result so far."""
        return replace(self._plan.search.result, direction="maximize" if self.mode == "max" else "minimize")

    def _state(self) -> dict[str, Any]:
        return {"search": self._plan.search.to_dict(), "told": [to_list(spec) for spec in self._plan.finished]}

    def _take(self, state: Mapping[str, Any], in_flight: dict[str, TrialSpec]) -> None:
        search = LearningRateSearch.from_dict(state["search"])
        told = [from_list(cell) for cell in state["told"]]
        given_up = [float(lr) for lr, n in state.get("failures", ()) if n > 1]  # so version 0.1.0 wrote them
        for lr in given_up:
            search.tell(lr, status="failed")
        self._in_flight = in_flight
        self._begin(search, told)

    def _begin(self, search: LearningRateSearch, told: Iterable[TrialSpec] = ()) -> None:
        known = list[TrialResult]()
        if self._path is not None:
            with self._open(self._path) as journal:
                known = [*journal.finished.values(), *journal.given_up.values()]
        self._plan = _TunePlan(search, self._schedule, known=known, n_jobs=None)
        self._plan.finished.update(told)
        self._follow(self._plan, max_retries=self._max_retries)
        running = self._ledger.in_flight
        self._plan.running.update(running)
        for lr in set(search.in_flight) - {spec.lr for spec in running}:
            search.forget(lr)  # handed out, but Tune runs no such trial
        for result in known:
            if result.is_final and result.spec in running:  # after the state was saved
                self._ledger.record(result)
        self._plan.tell_known()

    def _config(self, spec: TrialSpec) -> dict[str, Any]:
        config: dict[str, Any] = {self._lr_name: spec.lr, "seed": spec.seed}
        return config if self._text is None else config | {"schedule": self._text}

    def _more_may_come(self) -> bool:
        return bool(self._ledger.in_flight) and self.result.stop != "failures"

    def _open(self, path: Path) -> Journal:
        return Journal.open(path, schedules={self._schedule: self._text or ""})


class _TunePlan(SearchPlan):
    @property
    def finished(self) -> set[TrialSpec]:
        return self._told

    @property
    def running(self) -> set[TrialSpec]:
        return self._running

    def tell_known(self) -> None:
        for spec in self.next_trials():  # which tells what is known first
            self._running.remove(spec)
            self.search.forget(spec.lr)
