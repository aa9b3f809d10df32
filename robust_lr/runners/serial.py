"""One trial after the other, in this process."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from ..exceptions import OptionError
from ..schedules import Schedule
from ..trials import TrainFunction, TrialResult
from .base import Runner, TrialSource, evaluate_trial
from .time_limit import check_trial_timeout, time_limited


@dataclass(frozen=True)
class SequentialEvaluator:
    """The `Evaluator` that calls the training function for one trial after the other.

    Example:
        >>> from robust_lr import Constant, TrialSpec
        >>> from robust_lr.runners import TrialList
        >>> evaluator = SequentialEvaluator(lambda *, lr, schedule, seed: 2 * lr, {"constant": Constant()})
        >>> trials = TrialList([TrialSpec("constant", lr, 0) for lr in (0.25, 0.5)])
        >>> [result.loss for result in evaluator.results(trials)]
        [0.5, 1.0]
    """

    train: TrainFunction
    schedules: Mapping[str, Schedule]

    def results(self, source: TrialSource) -> Iterator[TrialResult]:
        """Take one trial at a time, and yield the result of `evaluate_trial`; see `Evaluator.results`."""
        while trials := source.take(1, wait=True):
            for spec in trials:
                yield evaluate_trial(self.train, spec, self.schedules[spec.schedule])


@dataclass(frozen=True)
class SerialRunner:
    """Runs one trial after the other in this process: any callable works, and so does a debugger.

    Args:
        trial_timeout: seconds after which a trial has failed; None for no limit. It takes an alarm signal, so it needs
            the main thread and a Unix system, and cannot end a single call into C that never returns.

    Raises:
        OptionError: when `trial_timeout` is not a number > 0; by `run`, when there are no alarms here.

    Example:
        >>> from robust_lr import Constant, TrialSpec
        >>> from robust_lr.runners import TrialList
        >>> trials = TrialList([TrialSpec("constant", lr, 0) for lr in (0.1, 0.2)])
        >>> results = SerialRunner().run(lambda *, lr, schedule, seed: lr**2, trials, {"constant": Constant()})
        >>> [f"{result.loss:.2f}" for result in results]
        ['0.01', '0.04']
    """

    trial_timeout: float | None = None

    def __post_init__(self) -> None:
        check_trial_timeout(self.trial_timeout)

    @property
    def n_jobs(self) -> int:
        """One trial at a time."""
        return 1

    @property
    def runs_here(self) -> bool:
        """Whether trials run in this process, so that one that crashes it crashes the sweep."""
        return True

    def run(
        self, train: TrainFunction, source: TrialSource, schedules: Mapping[str, Schedule]
    ) -> Iterator[TrialResult]:
        """Run each trial and yield its result, in order; see `Runner.run`."""
        return SequentialEvaluator(time_limited(train, self.trial_timeout), schedules).results(source)


def read_runner(runner: Runner | None) -> Runner:
    """Return the runner, or a `SerialRunner` for None.

    Raises:
        OptionError: when it is not a runner, or is the class of one.
    """
    if runner is None:
        return SerialRunner()
    if isinstance(runner, type) or not isinstance(runner, Runner):
        raise OptionError(f"runner must be a runner, such as SerialRunner(), got {runner!r}")
    return runner
