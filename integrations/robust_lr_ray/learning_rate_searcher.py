"""A searcher for Ray Tune that looks for a learning rate, and ends the experiment when it knows enough."""

from __future__ import annotations

import copy
import itertools
import json
import os
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

from ray.tune.search import Searcher
from robust_lr.journal.search_journal import SearchJournal

from robust_lr import (
    LearningRateSearch,
    RobustLRError,
    Schedule,
    SearchOptions,
    SearchResult,
    TrialResult,
    TrialSpec,
    parse_schedule,
)
from robust_lr.exceptions import DataError
from robust_lr.readers.runs import DEFAULT_SCHEDULE

from .cells import from_list, result_of, schedule_text, to_list
from .search_space import check_tuner

_FORMAT = 1
_MOST_GIVEN_UP = 3


class LearningRateSearcher(Searcher):
    """Hands out the learning rates that a `robust_lr.LearningRateSearch` asks for, and ends when that is done.

    For ``tune.TuneConfig(search_alg=LearningRateSearcher(...), num_samples=-1, max_concurrent_trials=...)``; by default
    Tune runs one sample. The trainable reads the learning rate, ``config["seed"]`` (0, and 1 and so on where the search
    asks for a learning rate again), and ``config["schedule"]`` where a schedule was given, a text for
    `robust_lr.parse_schedule`. `param_space` may hold further constants.

    A trial that reports NaN or infinity at its end diverged. One that Tune gave up has no result: its learning rate is
    asked for once more, and then given up. The search goes round it, and ends with the stop "failures" once it has
    given up three, or those that it has given up leave nothing to try, of `max_trials` for instance.

    To go on with a search that was stopped or killed, make a new Tuner with the same `journal`: what has finished is in
    it, and is not run again; what was in flight is. Run one trial at a time, a search that was killed makes the same
    trials as one that was not. `Tuner.restore` continues where Tune saved its own state, every ten seconds at most or
    as often as TUNE_GLOBAL_CHECKPOINT_S says, and runs again what ended after that; with a journal those results are
    known all the same, and the search goes on from them.

    Args:
        lr_min, lr_max: the range, 0 < lr_min < lr_max.
        tolerance: by how much the loss may exceed the least in the range, > 0.
        name: of the learning rate in the config.
        metric: name of the final loss in what the trainable reports.
        mode: "min", or "max" where more is better.
        schedule: the schedule that the trials train under, or its spec.
        journal: file that holds the finished trials, that of a sweep (`SweepResult.from_journal` reads it) or of
            `robust_lr.search_learning_rate`; what it holds of this schedule counts. Each trial that ends is written to
            it, by the driver; one Tuner at a time may use it. Where more is better it holds the negative.
        ratio, start, relative, extend, noise: those of `robust_lr.LearningRateSearch`.
        max_trials: the most results and learning rates given up, together, >= 1; by default no limit.

    Raises:
        RobustLRError: when an argument is wrong.
        JournalError: when the journal cannot be read, knows the schedule by another spec, or is in use.

    Example:
        >>> searcher = LearningRateSearcher(1e-3, 0.1, tolerance=0.005)
        >>> searcher.suggest("first")
        {'lr': 0.01, 'seed': 0}
        >>> searcher.on_trial_complete("first", {"loss": 0.5})
        >>> searcher.result.n_trials
        1
    """

    def __init__(
        self,
        lr_min: float,
        lr_max: float,
        *,
        tolerance: float,
        name: str = "lr",
        metric: str = "loss",
        mode: str = "min",
        schedule: str | Schedule | None = None,
        journal: str | os.PathLike[str] | None = None,
        ratio: float | None = None,
        start: float | None = None,
        max_trials: int | None = None,
        relative: bool = False,
        extend: bool = True,
        noise: float | None = None,
    ) -> None:
        for what, value in (("metric", metric), ("name", name)):
            if not isinstance(value, str) or not value:
                raise RobustLRError(f"{what} must be a name, got {value!r}")
        if mode not in ("min", "max"):
            raise RobustLRError(f"mode must be 'min' or 'max', got {mode!r}")
        super().__init__(metric=metric, mode=mode)
        self._search = LearningRateSearch(
            lr_min,
            lr_max,
            tolerance=f"{100 * tolerance}%" if relative else tolerance,
            schedule=schedule,
            options=SearchOptions(ratio=ratio, start=start, max_trials=max_trials, extend=extend, noise=noise),
        )
        self._name, self._text = name, None if schedule is None else schedule_text(parse_schedule(schedule))
        self._schedule = self._text or DEFAULT_SCHEDULE
        self._in_flight, self._told = dict[str, TrialSpec](), set[TrialSpec]()
        self._failures = Counter[float]()
        self._journal = None if journal is None else Path(journal).absolute()
        if self._journal is not None:
            with self._open(self._journal) as book:
                self._take_in(book)

    @property
    def result(self) -> SearchResult:
        """What the search knows so far."""
        result, given_up = self._search.result, self._given_up()
        if result.stop is not None or not given_up:
            return result
        if len(given_up) < _MOST_GIVEN_UP and (self._is_running() or copy.deepcopy(self._search).ask()):
            return result
        lrs = ", ".join(map("{:.4g}".format, given_up))
        return replace(result, stop="failures", reason=f"trials end without a loss at lr={lrs}")

    def set_search_properties(self, metric: str | None, mode: str | None, config: dict[str, Any], **spec: Any) -> bool:
        """Check that what `TuneConfig` and `param_space` say goes with this; called by Tune where they say anything.

        Raises:
            RobustLRError: when they name another metric or mode, or `param_space` holds more than constants.
        """
        sets = {self._name, "seed"} if self._text is None else {self._name, "seed", "schedule"}
        check_tuner(self, metric, mode, config, sets=sets)
        return True

    def suggest(self, trial_id: str) -> Any:
        """Return the config of the next trial; None while all depends on those that run, `FINISHED` at the end."""
        if len(self._given_up()) >= _MOST_GIVEN_UP:
            return self.FINISHED
        asked = self._search.ask()
        if not asked:
            return None if self._is_running() else self.FINISHED
        spec = self._in_flight[trial_id] = self._next(asked[0])
        config: dict[str, Any] = {self._name: spec.lr, "seed": spec.seed}
        return config if self._text is None else config | {"schedule": self._text}

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """Write what came of a trial to the journal, and tell the search."""
        spec = self._in_flight.pop(trial_id, None)
        if spec is None or spec in self._told:
            return
        if result and not error and self.metric in result:
            ended = result_of(spec, result, loss=self.metric, maximize=self.mode == "max")
            if ended.is_final:
                if self._journal is not None:
                    with self._open(self._journal) as book:
                        book.expect([spec])
                        book.append(ended)
                self._tell(ended)
                return
        self._failures[spec.lr] += 1
        if self._failures[spec.lr] == 1:
            self._search.forget(spec.lr)  # it may be asked for again; given up, it stays in flight for good

    def save(self, checkpoint_path: str) -> None:
        """Write the state of the search to a file, as JSON."""
        state = {
            "robust_lr.learning_rate_searcher": _FORMAT,
            "search": self._search.to_dict(),
            "told": [to_list(spec) for spec in self._told],
            "in_flight": {trial_id: to_list(spec) for trial_id, spec in self._in_flight.items()},
            "failures": list(self._failures.items()),
        }
        Path(checkpoint_path).write_text(json.dumps(state), encoding="utf-8")

    def restore(self, checkpoint_path: str) -> None:
        """Take over the state from a file that `save` wrote, and what the journal has beyond it.

        Raises:
            DataError: when the file cannot be read.
            JournalError: when the journal cannot.
        """
        try:
            state = json.loads(Path(checkpoint_path).read_text(encoding="utf-8"))
            if state["robust_lr.learning_rate_searcher"] != _FORMAT:
                raise ValueError(f"its format is not {_FORMAT}")
            search = LearningRateSearch.from_dict(state["search"])
            told = {from_list(cell) for cell in state["told"]}
            in_flight = {trial_id: from_list(cell) for trial_id, cell in state["in_flight"].items()}
            failures = Counter(dict(state["failures"]))
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise DataError(
                f"{checkpoint_path} cannot be read as the state of a LearningRateSearcher: {error}"
            ) from None
        self._search, self._told, self._in_flight, self._failures = search, told, in_flight, failures
        if self._journal is not None:
            with self._open(self._journal) as book:
                self._take_in(book)

    def _given_up(self) -> list[float]:
        """Return the learning rates that give no loss, or no further one."""
        return sorted(lr for lr, n in self._failures.items() if n > 1)

    def _is_running(self) -> bool:
        """Return whether a trial runs whose result is not known."""
        return bool(set(self._in_flight.values()) - self._told)

    def _next(self, lr: float) -> TrialSpec:
        """Return the next trial at a learning rate, of the first seed there that has no result."""
        trials = (TrialSpec(self._schedule, lr, seed) for seed in itertools.count())
        return next(spec for spec in trials if spec not in self._told)

    def _tell(self, result: TrialResult, *, external: bool = False) -> None:
        self._search.tell(
            result.spec.lr, result.loss, status="ok" if result.status == "ok" else "diverged", external=external
        )
        self._told.add(result.spec)
        self._failures.pop(result.spec.lr, None)

    def _open(self, path: Path) -> SearchJournal:
        """Open the journal for a moment; held open, it would stay locked after an interrupt."""
        return SearchJournal.begin(path, schedules={self._schedule: self._text or ""})

    def _take_in(self, book: SearchJournal) -> None:
        """Tell the search what the journal holds of its schedule: what it asks for in that order, then all else."""
        known = {spec: result for spec, result in book.finished.items() if spec.schedule == self._schedule}
        for spec in self._in_flight.values():  # Tune runs it again, without need
            if spec in known and spec not in self._told:
                self._tell(known[spec])
        while asked := self._search.ask():
            spec = self._next(asked[0])
            if spec not in known:
                self._search.forget(spec.lr)
                break
            self._tell(known[spec])
        for spec in [spec for spec in known if spec not in self._told]:
            self._tell(known[spec], external=True)
