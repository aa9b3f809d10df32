"""One trial after the other, in this process."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from .._checks import check_whole
from ..exceptions import RobustLRError
from ..schedules.closed_forms import Schedule
from ..trials import TrainFunction, TrialResult, TrialSpec
from .base import evaluate_trial


@dataclass(frozen=True, kw_only=True)
class SerialRunner:
    """Runs the trials one after the other in this process: any callable will do, and a debugger works.

    Args:
        retries: how often a failed trial is tried again, at least 0.

    Example:
        >>> from robust_lr import Constant, TrialSpec
        >>> trials = [TrialSpec("constant", lr, 0) for lr in (0.1, 0.2)]
        >>> results = SerialRunner().run(lambda *, lr, schedule, seed: lr**2, trials, {"constant": Constant()})
        >>> [f"{result.loss:.2f}" for result in results]
        ['0.01', '0.04']
    """

    retries: int = 1

    def __post_init__(self) -> None:
        check_whole("retries", self.retries, at_least=0, error=RobustLRError)

    def run(
        self, train: TrainFunction, trials: Sequence[TrialSpec], schedules: Mapping[str, Schedule]
    ) -> Iterator[TrialResult]:
        """Run each trial and yield its result, in the order given; see `Runner.run`."""
        for spec in trials:
            for _ in range(self.retries + 1):
                result = evaluate_trial(train, spec, schedules[spec.schedule])
                if result.is_final:
                    break
            yield result
