"""What the trials of a run took: the time of those with a result, the time lost, and the retries."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Self

from .._text import count_of
from ..journal import tell


@dataclass(frozen=True)
class SweepUsage:
    """What the trials of one run took; those from its journal are left out.

    Attributes:
        n_trials: trials with a result.
        seconds: what they took, summed over trials that ran at the same time.
        lost_seconds: what attempts without a result took: failed, ended with their worker, or preempted. An attempt
            whose worker was lost counts from when it was handed out.
        n_retries: attempts after the first of a trial.
        gpus_per_trial: GPUs that each trial had to itself, a fraction of one if it shared it; 0 for none.

    Example:
        >>> print(SweepUsage(n_trials=32, seconds=18_000, lost_seconds=600, n_retries=3, gpus_per_trial=1))
        32 trials took 5.0 h of GPU time; 10 min more were lost; 3 retries
    """

    n_trials: int = 0
    seconds: float = 0.0
    lost_seconds: float = 0.0
    n_retries: int = 0
    gpus_per_trial: float = 0.0

    def __str__(self) -> str:
        share, what = (self.gpus_per_trial, "GPU") if self.gpus_per_trial else (1.0, "worker")
        text = f"{count_of(self.n_trials, 'trial')} took {_time(self.seconds * share)} of {what} time"
        if self.lost_seconds >= 1:
            text += f"; {_time(self.lost_seconds * share)} more were lost"
        retries = f"{self.n_retries} retries" if self.n_retries != 1 else "1 retry"
        return f"{text}; {retries}" if self.n_retries else text

    def plus(self, *, n_trials: int = 0, seconds: float = 0.0, lost_seconds: float = 0.0, n_retries: int = 0) -> Self:
        """Return the sum of this and more."""
        return replace(
            self, n_trials=self.n_trials + n_trials, seconds=self.seconds + seconds,
            lost_seconds=self.lost_seconds + lost_seconds, n_retries=self.n_retries + n_retries,
        )  # fmt: skip

    def to_dict(self) -> dict[str, float]:
        """Return the figures by name, with GPU-seconds if the trials had GPUs.

        Example:
            >>> SweepUsage(n_trials=2, seconds=30.0, gpus_per_trial=0.5).to_dict()["gpu_seconds"]
            15.0
        """
        figures: dict[str, float] = {
            "n_trials": self.n_trials, "worker_seconds": self.seconds, "lost_worker_seconds": self.lost_seconds,
            "n_retries": self.n_retries,
        }  # fmt: skip
        if self.gpus_per_trial:
            figures["gpu_seconds"] = self.seconds * self.gpus_per_trial
            figures["lost_gpu_seconds"] = self.lost_seconds * self.gpus_per_trial
        return figures


def report_usage(usage: SweepUsage, *, show: bool | None) -> None:
    """Say what the trials of a run took, if that is worth a line; see `tell` for where."""
    if usage.seconds + usage.lost_seconds >= 1:
        tell(str(usage), show=show)


def _time(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.3g} s"
    return f"{seconds / 3600:.1f} h" if seconds >= 5400 else f"{seconds / 60:.0f} min"
