"""The protocols of runners, and `evaluate_trial`, which turns one training into a `TrialResult`."""

from __future__ import annotations

import math
import os
import time
import traceback
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Protocol, runtime_checkable

from .._metrics import missing_metric
from .._text import first_line, text_of
from ..exceptions import RobustLRError, TrialDiverged, TrialPreempted
from ..schedules.closed_forms import Schedule
from ..trials import Status, TrainFunction, TrialResult, TrialSpec
from .preemption import is_ending, trial_begins


class TrialSource(Protocol):
    """The source from which a runner, or an `Evaluator` in a worker, takes its trials.

    Attributes:
        label: name of the training function, or None; a runner may keep data such as checkpoints under it.
    """

    label: str | None

    @property
    def waiting(self) -> Sequence[TrialSpec]:
        """The trials that `take` would hand out now."""

    def take(self, n: int = 1, *, wait: bool = False) -> list[TrialSpec]:
        """Hand out the next trials, at most n.

        An empty list means that no trial is waiting now. The next result may bring more: a failed trial is handed out
        again, and a search continues. With nothing in flight, an empty list is the end.

        In a worker, trials come from another process. There, `wait` blocks until a trial arrives or no more will, and
        the call itself requests them: an evaluator with room for more calls it between its steps.
        """

    def give_back(self, trials: Sequence[TrialSpec]) -> None:
        """Take back trials that did not run, without counting a failure; they are handed out before all others."""


@runtime_checkable
class Runner(Protocol):
    """Carries out trials: in this process, in others, on a cluster. A runner is transport and nothing else.

    The source decides what is tried, what is retried and when to stop. A runner may have further attributes: `n_jobs`,
    the number of trials that it runs at a time, which a search then asks for together; `gpus_per_trial`, for the
    account of what a sweep took; `runs_here`, true if a trial that crashes its process crashes this one.

    `robust_lr.testing.RunnerContract` holds the tests that every runner passes; inherit it to check your own.
    """

    def run(
        self, train: TrainFunction, source: TrialSource, schedules: Mapping[str, Schedule]
    ) -> Iterator[TrialResult]:
        """Take trials from the source as there is room, and yield one result for each as it finishes, in any order.

        The source knows each result before the iterator continues. Closing the iterator stops everything it started.

        Args:
            train: the training function; `evaluate_trial` calls it.
            source: hands out distinct trials. A trial that failed may come again.
            schedules: the schedule for each name in the trials.
        """


class Evaluator(Protocol):
    """Carries out trials in one process, one after the other or many at a time. It must pickle."""

    def results(self, source: TrialSource) -> Iterator[TrialResult]:
        """Take trials from the source until there are none left, and yield one result for each, in any order.

        A trial that goes wrong is a result; see `evaluate_trial`. An exception applies to all trials that were taken
        and have no result: they run again, fewer at a time.
        """


def evaluate_trial(train: TrainFunction, spec: TrialSpec, schedule: Schedule) -> TrialResult:
    """Train once and return the result; the time is wall-clock, in seconds.

    A finite loss is "ok". NaN, an infinity, or a raised `TrialDiverged` is "diverged", with a loss of +inf. An
    exception that reports a lack of memory is "out_of_memory". Any other exception is "failed", with the traceback in
    `error`; so is a return value that holds no number. A mapping without "loss" is "ok" with a loss of NaN: its metrics
    may hold what is optimized. Only KeyboardInterrupt passes through, and `TrialPreempted`, which is one.

    Example:
        >>> from robust_lr import Constant, TrialSpec
        >>> evaluate_trial(lambda *, lr, schedule, seed: 2 * lr, TrialSpec("constant", 0.25, 0), Constant()).loss
        0.5
    """
    start, process = time.perf_counter(), os.getpid()
    try:
        with trial_begins():
            returned = train(lr=spec.lr, schedule=schedule, seed=spec.seed)
        loss, metrics = _read_return(returned)
    except TrialDiverged as error:
        return TrialResult(spec, math.inf, "diverged", time.perf_counter() - start, {}, first_line(error))
    except WrongReturnError as error:
        seconds = time.perf_counter() - start
        return replace(failed_trial(spec, str(error), seconds), is_worth_retrying=False)
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # SystemExit, and whatever training code derives from BaseException
        if is_ending():
            raise TrialPreempted from error
        return failed_trial(spec, traceback.format_exc(), time.perf_counter() - start, status=failure_status(error))
    finally:
        if os.getpid() != process:  # training code that forks must not let the copy go on with the sweep
            os._exit(1)
    seconds = time.perf_counter() - start
    if loss is None or math.isfinite(loss):
        return TrialResult(spec, math.nan if loss is None else loss, "ok", seconds, metrics)
    return TrialResult(spec, math.inf, "diverged", seconds, metrics)


def failed_trial(spec: TrialSpec, error: str, seconds: float = math.nan, *, status: Status = "failed") -> TrialResult:
    """Return the result of a trial that failed, with the reason."""
    return TrialResult(spec, math.nan, status, seconds, {}, error)


def failure_status(error: BaseException) -> Status:
    """Return the status of a trial that ended with this exception."""
    return "out_of_memory" if is_out_of_memory(error) else "failed"


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether an exception reports a lack of memory, on the GPU or on the CPU.

    Frameworks have their own classes for this, which are recognized by name.

    Example:
        >>> is_out_of_memory(MemoryError())
        True
    """
    names = {kind.__name__ for kind in type(error).__mro__}
    return not names.isdisjoint(("MemoryError", "OutOfMemoryError")) or any(
        words in text_of(error).lower() for words in ("allocate memory", "out of memory")
    )


class WrongReturnError(RobustLRError):
    """The training function returned something that is not a loss; another attempt would do the same."""


def _read_return(returned: object) -> tuple[float | None, dict[str, float]]:
    if not isinstance(returned, Mapping):
        return _as_number("its loss", returned), {}
    if not returned:
        raise WrongReturnError(missing_metric("loss", returned))
    metrics = {str(key): _as_number(f"the metric {key!r}", value) for key, value in returned.items() if key != "loss"}
    return _as_number("its loss", returned["loss"]) if "loss" in returned else None, metrics


def _as_number(what: str, value: object) -> float:
    if hasattr(value, "item"):  # numpy and torch scalars, and arrays of one element
        try:
            value = value.item()
        except (TypeError, ValueError, RuntimeError) as error:
            raise WrongReturnError(
                f"train must return {what} as a number, got {type(value).__name__}: {error}"
            ) from None
    if isinstance(value, bool) or not hasattr(value, "__float__"):
        text = " ".join(repr(value).split())[:60]
        got = "None" if value is None else f"an object of type {type(value).__name__}: {text}"
        raise WrongReturnError(f"train must return {what} as a number, got {got}")
    return float(value)
