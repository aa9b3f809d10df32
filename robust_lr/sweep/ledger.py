"""The ledger: which trials wait, are in flight or have an outcome, which are retried, and the journal."""

from __future__ import annotations

import logging
import math
import time
from collections import deque
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Protocol, get_args

from .._checks import check_number
from .._metrics import LOSS, Objective
from .._text import count_of, main_line, place_of
from ..exceptions import RobustLRError, TrialError
from ..journal.outbox import Outbox
from ..runners import Runner, failed_trial
from ..schedules import Schedule
from ..trials import Status, TrainFunction, TrialResult, TrialSpec
from .retries import MAX_RETRIES, Retries
from .usage import SweepUsage

_log = logging.getLogger("robust_lr")


class TrialPlan(Protocol):
    """A plan of trials: the list of a sweep, or a search that asks for them in rounds."""

    def next_trials(self) -> list[TrialSpec]:
        """Return further trials to run, or an empty list if there are none now."""

    def add(self, result: TrialResult) -> None:
        """Take the outcome of a trial: a result, or the failure with which it was given up."""


class OutcomeLog(Protocol):
    """A log of outcomes: a `robust_lr.journal.Journal`, or an object that opens one."""

    def append(self, result: TrialResult) -> None:
        """Write one outcome; once this returns, it is safe."""


class TrialLedger:
    """The `TrialSource` of sweeps and searches: runners take their trials from it, and every result ends here.

    A failed trial is handed out again, before all others, up to `max_retries` times; then it is given up, and the
    failure is its outcome. So a training function that always fails shows after a few trials, not after all. Each
    outcome is written to the journal before the plan gets it.

    Args:
        plan: the trials.
        journal: journal for the outcomes, or None.
        max_retries: how often a failed trial is retried, at least 0.
        label: name of the training function.
        objective: what is optimized; the plan gets it as the loss. The journal keeps what the training function
            returned, so it does not depend on the objective.
        time_budget: seconds after which no further trial is handed out; None for no limit.

    Attributes:
        usage: what the trials have taken so far.

    Raises:
        OptionError: when `max_retries` is not a whole number of at least 0, or `time_budget` not a number > 0.
    """

    def __init__(
        self,
        plan: TrialPlan,
        *,
        journal: OutcomeLog | None = None,
        max_retries: int = MAX_RETRIES,
        label: str | None = None,
        objective: Objective = LOSS,
        time_budget: float | None = None,
    ) -> None:
        self.label = label
        self._objective, self._has_result = objective, False
        # What a training function returns as its loss: a score, if that is maximized.
        self.direction = (objective.direction if objective.metric == "loss" else None) or "minimize"
        self._plan, self._journal = plan, journal
        self._retries = Retries(max_retries, failures=getattr(journal, "crashes", {}))
        self._time_budget = None if time_budget is None else check_number("time_budget", time_budget, above=0)
        self._deadline = 0.0 if self._time_budget is None else time.monotonic() + self._time_budget
        self._waiting, self._in_flight = (
            deque[TrialSpec](),
            dict[TrialSpec, float](),
        )  # with the time of the handing out
        self._note_begun: Callable[[TrialSpec], None] | None = None
        self.usage = SweepUsage()

    @property
    def waiting(self) -> Sequence[TrialSpec]:
        """The trials that `take` would hand out now; none once the time budget is used up."""
        return () if self._is_over else self._next()

    @property
    def _is_over(self) -> bool:
        return self._time_budget is not None and time.monotonic() > self._deadline

    def _next(self) -> Sequence[TrialSpec]:
        if not self._waiting:  # those that have ended this process before come last
            self._waiting.extend(sorted(self._plan.next_trials(), key=self._retries.n_failures))
        return self._waiting

    @property
    def notes(self) -> list[str]:
        """A note if the time budget ended the run before all trials had their outcome."""
        if not (self._is_over and (left := self._next())):
            return []
        later = "" if self._journal is None else "; the same command or call continues from the journal"
        return [
            f"the time budget of {self._time_budget:g} s is used up with {count_of(len(left), 'trial')} left{later}"
        ]

    @property
    def in_flight(self) -> tuple[TrialSpec, ...]:
        """The trials handed out or claimed that have no result yet."""
        return tuple(self._in_flight)

    def take(self, n: int = 1, *, wait: bool = False) -> list[TrialSpec]:
        """Hand out the next trials, at most n; never blocks. See `TrialSource.take`."""
        taken = [self._waiting.popleft() for _ in range(min(n, len(self.waiting)))]
        self._in_flight |= dict.fromkeys(taken, time.monotonic())
        if self._note_begun is not None:
            for spec in taken:
                self._note_begun(spec)
        return taken

    def use_outbox(self) -> Outbox | None:
        """Return where workers leave their results, if there is a journal; see `Journal.use_outbox`."""
        use = getattr(self._journal, "use_outbox", None)
        outbox: Outbox | None = None if use is None else use()
        return outbox

    def claim(self, spec: TrialSpec) -> None:
        """Note that a trial is in flight although nobody took it here, such as one that a study already runs."""
        if spec in self._waiting:
            self._waiting.remove(spec)
        self._in_flight[spec] = time.monotonic()

    def give_back(self, trials: Sequence[TrialSpec]) -> None:
        """Take back trials that did not run, without counting a failure; they are handed out next."""
        for spec in reversed([spec for spec in trials if spec in self._in_flight]):
            self.usage = self.usage.plus(lost_seconds=time.monotonic() - self._in_flight.pop(spec))
            self._waiting.appendleft(spec)

    def record(self, result: TrialResult) -> bool:
        """Take the result of an attempt; return whether it is the trial's outcome, and not a failure to be retried.

        Raises:
            RobustLRError: when the trial is not in flight.
            TrialError: when no trial has a result yet, and this one returned what no further attempt can turn into one.
            JournalError: when the outcome cannot be written.
        """
        return self._record(result) is not None

    def _record(self, result: TrialResult) -> TrialResult | None:
        spec = result.spec
        if spec not in self._in_flight:
            raise RobustLRError(f"a trial got two results, or was never handed out: {spec}")
        elapsed = time.monotonic() - self._in_flight.pop(spec)
        judged = self._objective.judge(result)
        self._count(judged, elapsed if math.isnan(judged.seconds) else judged.seconds)
        if self._retries.grants(judged):
            self.usage = self.usage.plus(n_retries=1)
            self._waiting.appendleft(spec)
            return None
        if self._journal is not None:
            self._journal.append(result)
        self._has_result |= judged.is_final
        if not (self._has_result or judged.is_worth_retrying):
            raise TrialError(f"{main_line(judged.error)}{place_of(judged.error)}")
        self._plan.add(judged)
        return judged

    def _given_up(self) -> Iterator[TrialResult]:
        """Give up the trials that have ended this process too often, before they do it again."""
        for spec in [spec for spec in self.waiting if self._retries.are_used_up(spec)]:
            self._waiting.remove(spec)
            self._in_flight[spec] = time.monotonic()
            n = self._retries.n_failures(spec)
            if outcome := self._record(failed_trial(spec, f"it ended the process {n} times", seconds=0.0)):
                yield outcome

    def _warn_of_crashes(self) -> None:
        for spec in self.waiting:
            if n := self._retries.n_failures(spec):
                _log.warning(
                    "%s, lr %.4g, seed %d ended the process of an earlier run (%s), so it now comes last; worker "
                    "processes (ProcessPoolRunner, --n-jobs 2) confine such an end to the trial",
                    spec.schedule, spec.lr, spec.seed, "once" if n == 1 else f"{n} times",
                )  # fmt: skip

    def _count(self, result: TrialResult, seconds: float) -> None:
        n_trials, lost = (1, 0.0) if result.is_final else (0, seconds)
        self.usage = self.usage.plus(n_trials=n_trials, seconds=seconds - lost, lost_seconds=lost)

    def run(self, runner: Runner, train: TrainFunction, schedules: Mapping[str, Schedule]) -> Generator[TrialResult]:
        """Have a runner carry out all trials, and yield each outcome, judged by the objective.

        Closing the generator stops the running trials.

        Raises:
            RobustLRError: when the runner returns no result for a trial, two, one for a trial it was not given, or one
                that says "ok" without a finite loss.
        """
        yield from self._given_up()
        if not self.waiting:
            return
        self._warn_of_crashes()
        if getattr(runner, "runs_here", False):  # a crash of this process would be that of the trial
            self._note_begun = getattr(self._journal, "note_begun", None)
        results = runner.run(train, self, schedules)
        try:
            for result in results:
                self.usage = replace(self.usage, gpus_per_trial=getattr(runner, "gpus_per_trial", 0.0))
                if result.spec not in self._in_flight:
                    raise RobustLRError(f"{runner} returned a trial twice, or one it was not given: {result.spec}")
                has_loss = math.isfinite(result.loss) or (math.isnan(result.loss) and result.metrics)
                if result.status not in get_args(Status) or (result.status == "ok" and not has_loss):
                    raise RobustLRError(f"{runner} returned status {result.status!r} with loss {result.loss}")
                if outcome := self._record(result):
                    yield outcome
        finally:
            if hasattr(results, "close"):
                results.close()
        missing = [*self._in_flight, *self.waiting]
        if missing:
            raise RobustLRError(f"{runner} returned no result for {len(missing)} trials, such as {missing[0]}")
