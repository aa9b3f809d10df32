"""A time limit for a trial that runs in this process; the workers of a pool are ended by the pool."""

from __future__ import annotations

import signal
import threading
from collections.abc import Mapping
from dataclasses import dataclass

from .._checks import check_number
from ..exceptions import OptionError, TrialTimedOut
from ..schedules.closed_forms import Schedule
from ..trials import TrainFunction

_SECONDS_BETWEEN_ALARMS = 1.0


def check_trial_timeout(trial_timeout: float | None) -> float | None:
    """Return a time limit in seconds; raise an OptionError if it is neither None nor a number > 0.

    Example:
        >>> check_trial_timeout(60)
        60.0
    """
    return None if trial_timeout is None else check_number("trial_timeout", trial_timeout, above=0)


def timed_out(seconds: float) -> str:
    """Return why a trial failed.

    Example:
        >>> timed_out(60)
        'timed out after 60 s'
    """
    return f"timed out after {seconds:g} s"


def time_limited(train: TrainFunction, seconds: float | None) -> TrainFunction:
    """Return a training function that raises `TrialTimedOut` after so many seconds; None changes nothing.

    The limit is an alarm signal, so it works in the main thread only, and not on Windows. The signal interrupts Python
    code, but not a single call into C that never returns.

    Raises:
        OptionError: when there are no alarms here.
    """
    if seconds is None:
        return train
    if threading.current_thread() is not threading.main_thread() or not hasattr(signal, "setitimer"):
        raise OptionError(
            "trial_timeout in this process needs the main thread and a Unix system: use ProcessPoolRunner(1, "
            "trial_timeout=...), whose worker can be ended from outside"
        )
    return _TimeLimited(train, seconds)


@dataclass(frozen=True)
class _TimeLimited:
    train: TrainFunction
    seconds: float

    def __call__(self, *, lr: float, schedule: Schedule, seed: int) -> float | Mapping[str, float]:
        def ring(number: int, frame: object) -> None:
            raise TrialTimedOut(timed_out(self.seconds))

        before = signal.signal(signal.SIGALRM, ring)
        try:
            # It rings again and again, for training code that catches everything.
            signal.setitimer(signal.ITIMER_REAL, self.seconds, _SECONDS_BETWEEN_ALARMS)
            return self.train(lr=lr, schedule=schedule, seed=seed)
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, before)
