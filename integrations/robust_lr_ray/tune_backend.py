"""A sweep as one experiment of Ray Tune: its callbacks, loggers and dashboard, and our results as the trials end."""

from __future__ import annotations

import contextlib
import logging
import math
import os
import re
import tempfile
import threading
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import ray
from ray import cloudpickle, tune
from ray.tune.search import Searcher

from robust_lr import RobustLRError, Schedule, TrainFunction, TrialResult, TrialSpec
from robust_lr._checks import check_whole
from robust_lr.runners import evaluate_trial
from robust_lr.runners.base import failed_trial, is_out_of_memory
from robust_lr.trials import Status

from .cells import cell_config, report_of, result_of, schedule_of, spec_of

TuneFunction = Callable[[dict[str, Any]], object]

_log = logging.getLogger("robust_lr")


class TrialFailed(Exception):
    """Ends a trial of Tune that gave no result, so that Tune runs it again; its text is the error of the trial."""

    def __init__(self, error: str, status: Status = "failed", seconds: float = math.nan) -> None:
        super().__init__(error, status, seconds)
        self.error, self.status, self.seconds = error, status, seconds

    def __str__(self) -> str:
        return self.error


def run_with_tune(
    train: TrainFunction,
    trials: Sequence[TrialSpec],
    schedules: Mapping[str, Schedule],
    *,
    resources: Mapping[str, float],
    storage_path: str | None,
    name: str | None,
    max_failures: int,
    max_concurrent: int,
    callbacks: Sequence[tune.Callback] = (),
    make_trainable: Callable[[TrainFunction], TuneFunction] | None = None,
) -> Iterator[TrialResult]:
    """Run the trials by a `tune.Tuner`, and yield one result for each as it ends, in any order.

    Ray is up already. The config of a Tune trial is `cell_config`, what it reports at its end `report_of`. Tune keeps
    the processes of trials for further trials, and runs a trial that failed again in a fresh one, after those that
    wait. A trial that reports a loss that is not finite on its way has diverged, and is stopped. Closing the iterator
    stops the trials and ends their processes.

    Args:
        train: as in `Runner.run`, as are trials and schedules; any callable that cloudpickle takes.
        trials: distinct trials.
        schedules: the schedule for each name in `trials`.
        resources: of each trial, such as ``{"cpu": 1, "gpu": 0.5}``; some node must have them.
        storage_path: absolute path or URI that all nodes reach, which Tune writes into; None for a folder that is
            removed at the end.
        name: of the experiment, its folder in `storage_path`; by default Tune makes one of the date.
        max_failures: how often a trial that raised, ran out of memory, or lost its process or node, is run again, at
            least 0.
        max_concurrent: trials at a time, at least 1.
        callbacks: further callbacks of Tune.
        make_trainable: makes the function that Tune calls with the config of a trial out of `train`, in the worker;
            it reports `report_of` at its end. By default `evaluate_trial` in place.

    Raises:
        RobustLRError: when an argument is wrong; while iterating, when the experiment as a whole has failed.
        ScheduleError: when a schedule has no text that it could travel as.
    """
    check_whole("max_failures", max_failures, at_least=0, error=RobustLRError)
    check_whole("max_concurrent", max_concurrent, at_least=1, error=RobustLRError)
    cells = [cell_config(spec, schedules[spec.schedule]) for spec in trials]
    if not cells:
        return iter(())
    payload = _stored(make_trainable or in_place, train)

    def robust_lr(config: dict[str, Any]) -> None:  # Tune names the experiment and its trials after it
        _trainable_of(payload)(config)

    watch = _Watch()

    def fit(folder: str) -> None:
        tune.Tuner(
            tune.with_resources(robust_lr, dict(resources)),
            tune_config=tune.TuneConfig(
                search_alg=_Cells(cells),
                num_samples=-1,
                max_concurrent_trials=max_concurrent,
                reuse_actors=True,
                trial_dirname_creator=_folder_of,
            ),
            run_config=tune.RunConfig(
                name=name,
                storage_path=storage_path or folder,
                failure_config=tune.FailureConfig(max_failures=max_failures),
                stop=_Stop(watch),
                callbacks=[*callbacks, watch],  # when one of theirs raises, Tune runs the trial again
                verbose=0,
            ),
        ).fit()

    return _results(fit, watch)


def in_place(train: TrainFunction) -> TuneFunction:
    """Return the function that Tune calls with the config of a trial: it trains, and reports what came of it."""

    def trial(config: dict[str, Any]) -> None:
        report_result(evaluate_trial(train, spec_of(config), schedule_of(config)))

    return trial


def report_result(result: TrialResult) -> None:
    """Report the end of a trial to Tune, from within the trial.

    Raises:
        TrialFailed: when it has no result, for Tune to run it again.
    """
    if not result.is_final:
        raise TrialFailed(result.error or "no reason given", result.status, result.seconds)
    tune.report(report_of(result))


def _results(fit: Callable[[str], None], watch: _Watch) -> Iterator[TrialResult]:
    """Yield what comes while the experiment runs in a thread, where Tune leaves ^C to the caller."""

    def run() -> None:
        try:
            fit(folder)
        except BaseException as error:  # whatever it is, who waits for results must hear of it
            watch.results.put(error)
        else:
            watch.results.put(None)

    thread = threading.Thread(target=run, name="robust-lr-tune", daemon=True)
    with tempfile.TemporaryDirectory(prefix="robust-lr-", ignore_cleanup_errors=True) as folder, _silence(thread):
        thread.start()
        try:
            while (result := watch.results.get()) is not None:
                if isinstance(result, BaseException):
                    raise RobustLRError(f"the experiment of Ray Tune failed: {_last_line(result)}") from result
                yield result
        finally:
            watch.is_closing.set()
            thread.join()


class _Watch(tune.Callback):
    """Sees each trial end, and ends those that run when the sweep is given up.

    Attributes:
        results: of the trials that have ended; None, or what Tune raised, when the experiment has.
        is_closing: set by who wants no more results.
        has_closed: whether the trials that ran then have been killed.
    """

    def __init__(self) -> None:
        self.results: SimpleQueue[TrialResult | BaseException | None] = SimpleQueue()
        self.is_closing, self.has_closed = threading.Event(), False

    def __reduce__(self) -> tuple[type[_Watch], tuple[()]]:
        return _Watch, ()  # Tune pickles it beside its results, for a restore that never comes

    def on_step_begin(self, iteration: int, trials: list[Any], **info: Any) -> None:
        if self.is_closing.is_set() and not self.has_closed:
            for trial in trials:  # Tune would wait 10 s for a trial that does not report
                if trial.temporary_state.ray_actor is not None:
                    ray.kill(trial.temporary_state.ray_actor)
            self.has_closed = True

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        spec = spec_of(trial.config)
        try:
            result = result_of(spec, trial.last_result)
        except KeyError as missing:
            result = failed_trial(spec, f"the trial reported no {missing}, but {', '.join(trial.last_result)}")
        self.results.put(result)

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        self.results.put(_failure(spec_of(trial.config), trial))


class _Stop(tune.Stopper):
    """Stops a trial whose loss is not finite before its end, and everything when the sweep is given up."""

    def __init__(self, watch: _Watch) -> None:
        self._watch = watch

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        return "status" not in result and not math.isfinite(result.get("loss", 0.0))

    def stop_all(self) -> bool:
        return self._watch.has_closed


class _Cells(Searcher):
    """Hands out configs in their order. Where `tune.grid_search` would nest them, the trials see them as they are."""

    def __init__(self, cells: Sequence[dict[str, Any]]) -> None:
        super().__init__()
        self._waiting = deque(cells)

    def suggest(self, trial_id: str) -> Any:
        return self._waiting.popleft() if self._waiting else self.FINISHED

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        pass

    def save(self, checkpoint_path: str) -> None:
        pass  # who continues a sweep makes an experiment of what is missing


def _failure(spec: TrialSpec, trial: Any) -> TrialResult:
    """Return the result of a trial that Tune has given up, from what it keeps of the last error."""
    if trial.pickled_error_file is None:
        return failed_trial(spec, Path(trial.error_file).read_text(encoding="utf-8"))
    error = cloudpickle.loads(Path(trial.pickled_error_file).read_bytes())
    cause = getattr(error, "cause", None)
    if isinstance(cause, TrialFailed):
        return failed_trial(spec, cause.error, cause.seconds, status=cause.status)
    is_full = is_out_of_memory(cause or error) or "running low on memory" in str(error)
    return failed_trial(spec, str(error), status="out_of_memory" if is_full else "failed")


def _stored(make_trainable: Callable[[TrainFunction], TuneFunction], train: TrainFunction) -> ray.ObjectRef[bytes]:
    """Put what the workers run into the object store, once for all of them. It stays there as long as Ray runs."""
    try:
        payload: bytes = cloudpickle.dumps((make_trainable, train))  # type: ignore[no-untyped-call]
    except Exception as error:
        raise RobustLRError(f"train must pickle to get to the workers of Ray; cloudpickle says: {error}") from None
    return ray.put(payload)  # as bytes: Ray makes arrays read-only otherwise


@lru_cache(maxsize=1)
def _trainable_of(payload: ray.ObjectRef[bytes]) -> TuneFunction:
    """Return the function of a trial; made once in each process, which runs many trials."""
    make_trainable, train = cloudpickle.loads(ray.get(payload))
    trainable: TuneFunction = make_trainable(train)
    return trainable


def _folder_of(trial: Any) -> str:
    spec = spec_of(trial.config)
    name = f"{spec.schedule}_lr={spec.lr:g}_seed={spec.seed}"
    return f"{re.sub(r'[^a-zA-Z0-9.=_-]+', '-', name)[:80]}_{trial.trial_id}"


@contextlib.contextmanager
def _silence(thread: threading.Thread) -> Iterator[None]:
    """Keep Tune's own output off the screen: its table, and what it logs, which goes to our log at level DEBUG."""

    def is_of_another(record: logging.LogRecord) -> bool:
        if record.thread != thread.ident:
            return True
        _log.debug("Ray Tune: %s", record.getMessage())
        return False

    handlers, table = logging.getLogger("ray").handlers[:], os.environ.get("RAY_AIR_NEW_OUTPUT")
    os.environ["RAY_AIR_NEW_OUTPUT"] = "0"  # with the new one, even verbose=0 prints a banner
    for handler in handlers:
        handler.addFilter(is_of_another)
    try:
        yield
    finally:
        for handler in handlers:
            handler.removeFilter(is_of_another)
        if table is None:
            del os.environ["RAY_AIR_NEW_OUTPUT"]
        else:
            os.environ["RAY_AIR_NEW_OUTPUT"] = table


def _last_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return lines[-1] if lines else type(error).__name__
