"""The protocols of runners, and `evaluate_trial`, which turns one training into a `TrialResult`."""

from __future__ import annotations

import math
import reprlib
import time
import traceback
from collections.abc import Iterator, Mapping, Sequence
from typing import Protocol, runtime_checkable

from ..exceptions import TrialDiverged, TrialError
from ..schedules.closed_forms import Schedule
from ..trials import Status, TrainFunction, TrialResult, TrialSpec


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

    The source decides what is tried, what is retried and when to stop. A runner may have an attribute `n_jobs`, the
    number of trials that it runs at a time; a search then asks for that many together.

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
    `error`. Only KeyboardInterrupt and SystemExit pass through.

    Raises:
        TrialError: when `train` returned no loss, or a metric that is no number. That is an error in the program, which
            each further trial would repeat.

    Example:
        >>> from robust_lr import Constant, TrialSpec
        >>> evaluate_trial(lambda *, lr, schedule, seed: 2 * lr, TrialSpec("constant", 0.25, 0), Constant()).loss
        0.5
    """
    start = time.perf_counter()
    try:
        returned = train(lr=spec.lr, schedule=schedule, seed=spec.seed)
    except TrialDiverged as error:
        return TrialResult(spec, math.inf, "diverged", time.perf_counter() - start, {}, str(error) or "TrialDiverged")
    except Exception as error:
        return failed_trial(spec, traceback.format_exc(), time.perf_counter() - start, status=failure_status(error))
    seconds = time.perf_counter() - start
    loss, metrics = _read_return(returned)
    if math.isfinite(loss):
        return TrialResult(spec, loss, "ok", seconds, metrics)
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
    return not names.isdisjoint(("MemoryError", "OutOfMemoryError")) or "allocate memory" in str(error)


def _read_return(returned: object) -> tuple[float, dict[str, float]]:
    if returned is None:
        raise TrialError("train must return its loss as a number, got None; perhaps its return statement is missing")
    if not isinstance(returned, Mapping):
        return _as_number("its loss", returned), {}
    if "loss" not in returned:
        keys = ", ".join(map(repr, returned)) or "an empty mapping"
        raise TrialError(f"train must return its loss, or a mapping with the key 'loss'; it returned {keys}")
    metrics = {str(key): _as_number(f"the metric {key!r}", value) for key, value in returned.items() if key != "loss"}
    return _as_number("its loss", returned["loss"]), metrics


def _as_number(what: str, value: object) -> float:
    try:
        number = value.item() if hasattr(value, "item") else value  # numpy and torch scalars, arrays of one element
        if not isinstance(number, bool) and hasattr(number, "__float__"):
            return float(number)
    except (TypeError, ValueError, RuntimeError, OverflowError) as error:
        raise TrialError(f"train must return {what} as a number, got {type(value).__name__}: {error}") from None
    got = "None" if number is None else f"an object of type {type(number).__name__}: {reprlib.repr(number)}"
    raise TrialError(f"train must return {what} as a number, got {got}")
