"""One existing training run; every reader of a table or another tool produces `Run` values."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from numbers import Real
from typing import Literal

from .._metrics import Direction as Direction
from ..exceptions import DataError
from ..grids import SIGNIFICANT_DIGITS
from ..trials import Status

DEFAULT_SCHEDULE = "sweep"

Repeats = Literal["refuse", "first", "last"]


def called(schedule: str) -> str:
    """Return the name of a schedule for people; runs whose schedule nobody named have none."""
    return "all runs" if schedule == DEFAULT_SCHEDULE else schedule


@dataclass(frozen=True, kw_only=True)
class Run:
    """One existing training run, whichever tool ran it.

    Attributes:
        lr: learning rate, 1e-100 to 1e100; rounded to 12 significant digits, so that 0.3 and 0.30000000000000004 agree.
        loss: final loss; NaN if there is none, infinite (kept as +inf) if the run diverged.
        schedule: name of the schedule, or of whatever else the sweep compares.
        spec: text of the schedule that `parse_schedule` reads, "" if unknown.
        seed: a whole number or any text, kept as text; None if the source has no seeds.
        status: with "ok", the loss decides the status; any other status decides the loss.
        group: values that put the run into one of several sweeps.
        metrics: further final numbers by name.
        params: hyperparameters besides learning rate, schedule and seed; None if unknown.
        seconds: how long it ran, NaN if unknown.
        started: when it began, in seconds since any moment, NaN if unknown; of two with the same learning rate,
            schedule and seed, the later one is the rerun.
        error: why it failed, or how it diverged.
        complete: False for a run that ended early with a result, such as one pruned because it diverged. A complete run
            with the same learning rate, schedule and seed takes precedence.
        excluded: why the run does not count, such as "not finished"; "" if it counts. Excluded runs are not checked.
        remark: a note on this run and others like it, such as "stored only the last report".
        where: names the run in errors, such as "line 3" or "trial 7".

    Raises:
        DataError: when the learning rate is not a positive number.

    Example:
        >>> run = Run(lr=0.30000000000000004, loss=float("-inf"), seed=3.0)
        >>> run.lr, run.schedule, run.seed, run.loss, run.status
        (0.3, 'sweep', '3', inf, 'diverged')
    """

    lr: float
    loss: float = math.nan
    schedule: str = DEFAULT_SCHEDULE
    spec: str = ""
    seed: str | float | None = None
    status: Status = "ok"
    group: tuple[str, ...] = ()
    metrics: Mapping[str, float] = field(default_factory=dict)
    params: Mapping[str, object] | None = None
    seconds: float = math.nan
    started: float = math.nan
    error: str | None = None
    complete: bool = True
    excluded: str = ""
    remark: str = ""
    where: str = "a run"

    def __post_init__(self) -> None:
        if self.excluded:
            return
        status, loss = self.status, self.loss
        if status == "ok":
            status = "failed" if math.isnan(loss) else "diverged" if math.isinf(loss) else "ok"
        loss = {"ok": loss, "diverged": math.inf}.get(status, math.nan)
        seed = None if self.seed is None else label_text(self.seed)
        changes = {"lr": read_lr(self.lr, self.where), "schedule": label_text(self.schedule), "seed": seed}
        for name, value in (changes | {"status": status, "loss": loss}).items():
            object.__setattr__(self, name, value)

    @property
    def has_result(self) -> bool:
        """Whether the run has a loss or diverged."""
        return not self.excluded and not math.isnan(self.loss)


def read_lr(value: object, where: str) -> float:
    """Return a learning rate with 12 significant digits; raise `DataError`, naming the run, if it is not positive."""
    if not isinstance(value, Real) or isinstance(value, bool):
        raise DataError(f"{where}: lr must be a number, got {value!r}")
    lr = float(value)
    if not 1e-100 <= lr <= 1e100:
        raise DataError(f"{where}: lr must be positive (1e-100 to 1e100), got {lr!r}")
    return float(f"{lr:.{SIGNIFICANT_DIGITS}g}")


def label_text(value: object) -> str:
    """Return the text of a schedule or seed, the same however a whole number is written: "3" for 3.0."""
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


def mixed_params(params: Sequence[Mapping[str, object]]) -> list[str]:
    """Return the names of the hyperparameters that differ between these runs."""
    names = sorted({name for each in params for name in each})
    return [name for name in names if len({_shown(each.get(name)) for each in params}) > 1]


def _shown(value: object) -> str:
    text = repr(value)
    return type(value).__name__ if " at 0x" in text else text
