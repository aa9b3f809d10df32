"""`LearningRateSearch`: ask it for learning rates, tell it the losses, and it knows when to stop."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any, Literal, Self

from .._checks import check_flag, check_number, check_whole
from ..exceptions import DataError, GridError, RobustLRError
from ..schedules.closed_forms import Schedule
from ..schedules.specs import parse_schedule
from ..theory import resolution_for_tolerance
from .observations import Tell
from .proposals import next_x
from .result import SearchResult
from .state import LARGEST, SMALLEST, Settings, Situation
from .stopping import reason_to_stop, summarise

_FORMAT = 1
_RATIO = 4.0
_MODERATE_TOLERANCE = 0.25
_TOTAL_STEPS = 10_000
_SAME = 1e-9
# Beyond these a coarse step more may be no float.
# No two learning rates nearer than half a percent are told apart.
_NARROWEST = 1.01
_FINEST_RATIO = 1.05


class LearningRateSearch:
    """Find a learning rate whose loss is within a tolerance of the best in a range, in few trials, and know when.

    The loss f is taken for one valley in ``x = log(lr)`` that is convex around its minimum. Then the secants through
    the learning rates tried so far bound what any other one can still gain (`robust_lr.search.convex_bound` derives
    it), the next trial is the one that lowers that bound most, and the search is over when that is at most the
    tolerance::

        f(best) - min f <= excess_bound <= tolerance

    A convex curve without noise never breaks this. What the search does when a curve is not like that: where the loss
    flattens out far from the valley, it uses the convex part alone, and says so; a second valley (a loss above those on
    both of its sides by more than the tolerance and the noise) is a doubt: the bound is withdrawn, the full coarse grid
    is tried, and then the valley of the best. The range is first looked at in three places (more when it is wider than
    ``ratio**9``), so a valley narrower than the distance between these can be missed.

    Everything is a function of the options and of what was told, in whatever order; there is no randomness and no I/O.

    A trial that fails has no result: `forget` it, and its learning rate may be asked for again. Where all depends on
    trials in flight, `ask` returns ``[]`` and the search is not done: a loop ``while not search.done: for lr in
    search.ask()`` then turns until one of them is told or forgotten, so let it wait for one.

    Args:
        lr_min: the smallest learning rate of the range, from 1e-300 to 1e300.
        lr_max: the largest, too, and at least 1.01 times lr_min: no two nearer than half a percent are told apart.
        tolerance: by how much the loss may exceed the least in the range, > 0; a loss, or a share of the best loss.
        schedule: the schedule that the trials train under, a `Schedule` or its spec; it gives the ratio.
        ratio: the coarse step of the search, a factor >= 1.05. Left out, it is the resolution that theory gives the
            schedule for 25 % more suboptimality over 10 000 steps, and 4 without a schedule.
        start: where to begin, in the range; there is no look at the range then, only a walk downhill from here. Left
            out, the search begins in the geometric centre.
        max_trials: stop after as many tells, >= 1.
        relative: whether the tolerance is a share of the absolute value of the best loss. A share of a loss near 0
            means nothing: give an absolute tolerance there.
        extend: whether to go beyond the range when the best lies on its end and a step of the ratio could gain more
            than the tolerance: to larger learning rates first, never past one that diverged, and on each side by the
            width of the range at most.
        noise: the standard deviation of the loss over seeds, >= 0. Left out, it is pooled from the learning rates told
            more than once, and taken for none where there is none. With noise, and in a doubt that noise may have made,
            `ask` may return a learning rate again: it wants another seed. 0 says that there is none.

    Raises:
        GridError: when the range, the ratio or the start is none.
        DataError: when another option is not what is described here.

    Example:
        >>> search = LearningRateSearch(1e-3, 0.1, tolerance=0.005)
        >>> while not search.done:
        ...     for lr in search.ask():
        ...         search.tell(lr, 0.3 + 0.03 * math.log(lr / 0.02) ** 2)
        >>> result = search.result
        >>> result.lr, round(result.loss, 3), result.n_trials
        (0.02155, 0.3, 5)
        >>> result.excess_bound < 0.005
        True
    """

    def __init__(
        self,
        lr_min: float,
        lr_max: float,
        *,
        tolerance: float,
        schedule: str | Schedule | None = None,
        ratio: float | None = None,
        start: float | None = None,
        max_trials: int | None = None,
        relative: bool = False,
        extend: bool = True,
        noise: float | None = None,
    ) -> None:
        low = _check_lr("lr_min", lr_min, error=GridError)
        high = _check_lr("lr_max", lr_max, error=GridError)
        if low >= high:
            raise GridError(f"lr_min must be below lr_max, got {low!r} and {high!r}")
        if high < _NARROWEST * low:
            raise GridError(f"lr_max must be at least {_NARROWEST} times lr_min, got {high!r} and {low!r}")
        rule = None if schedule is None else parse_schedule(schedule)
        if ratio is None:
            ratio = _RATIO if rule is None else _theoretical_ratio(str(rule), rule)
        if check_number("ratio", ratio, above=1, error=GridError) < _FINEST_RATIO:
            raise GridError(f"ratio must be at least {_FINEST_RATIO}, got {ratio!r}")
        most = None if max_trials is None else check_whole("max_trials", max_trials, at_least=1, error=DataError)
        self._schedule = None if rule is None else str(rule)
        self._settings = Settings(
            lr_min=low,
            lr_max=high,
            tolerance=check_number("tolerance", tolerance, above=0, error=DataError),
            ratio=float(ratio),
            start=None if start is None else check_number("start", start, at_least=low, at_most=high, error=GridError),
            max_trials=most,
            relative=check_flag("relative", relative, error=DataError),
            extend=check_flag("extend", extend, error=DataError),
            noise=None if noise is None else check_number("noise", noise, at_least=0, error=DataError),
        )
        self._situation = Situation(self._settings, ())
        self._asked: set[float] = set()
        self._in_flight: list[float] = []

    def ask(self, n: int = 1) -> list[float]:
        """Return the n learning rates to try next, best tried together; they are in flight until told or forgotten.

        Fewer come when fewer would help or are left of `max_trials`: none when the search is done, and none when all
        depends on what is in flight. A learning rate in flight is never returned again.

        Args:
            n: how many, >= 1.

        Raises:
            DataError: when n is not a whole number >= 1.
        """
        n = check_whole("n", n, at_least=1, error=DataError)
        asked: list[float] = []
        while len(asked) < n and not self.done:
            most = self._settings.max_trials
            if most is not None and len(self._situation.tells) + len(self._in_flight) >= most:
                break
            lr = self._next()
            if lr is None:
                break
            asked.append(lr)
            self._in_flight.append(lr)
            self._asked.add(lr)
        return asked

    def tell(self, lr: float, loss: float, *, status: Literal["ok", "diverged"] = "ok", foreign: bool = False) -> None:
        """Add the result of one trial; several at one learning rate are seeds of it.

        Args:
            lr: a learning rate that was asked for (up to a relative 1e-9), in any order, forgotten ones included. It is
                in flight no longer.
            loss: the final loss, finite; any number, NaN too, when the trial diverged.
            status: "ok", or "diverged", which counts as +inf.
            foreign: whether the learning rate was tried by hand; then it may be any from 1e-300 to 1e300, and one in
                flight stays there, since the trial that was asked for still runs.

        Raises:
            DataError: when the learning rate was never asked for, the loss of an "ok" trial is not finite, or the
                status is another one. A trial that failed has no result: `forget` it.
        """
        number = check_number("lr", lr, above=0, error=DataError)
        foreign = check_flag("foreign", foreign, error=DataError)
        if status not in ("ok", "diverged"):
            raise DataError(f"status must be 'ok' or 'diverged', got {status!r}; forget a trial that failed")
        known = self._known(number)
        if known is None and not foreign:
            raise DataError(f"lr={number!r} was never asked for; tell(..., foreign=True) adds a trial of your own")
        number = _check_lr("lr", number, error=DataError) if known is None else known
        tell = Tell(number, _finite(loss) if status == "ok" else math.inf, status, foreign)
        if not foreign and number in self._in_flight:
            self._in_flight.remove(number)
        self._situation = Situation(self._settings, (*self._situation.tells, tell))

    def forget(self, lr: float) -> None:
        """Give up waiting for a trial: its learning rate is no longer in flight, and may be asked for again.

        Raises:
            DataError: when the learning rate is not in flight.
        """
        known = self._known(check_number("lr", lr, above=0, error=DataError))
        if known not in self._in_flight:
            others = f"in flight are {self._in_flight}" if self._in_flight else "none is"
            raise DataError(f"lr={lr!r} is not in flight; {others}")
        self._in_flight.remove(known)

    @property
    def in_flight(self) -> tuple[float, ...]:
        """The learning rates that were asked for and neither told nor forgotten, in that order."""
        return tuple(self._in_flight)

    @property
    def done(self) -> bool:
        """Whether the search is over. A tell that comes later, of a trial in flight, can open it again."""
        return reason_to_stop(self._situation) is not None

    @property
    def result(self) -> SearchResult:
        """What is known so far."""
        return summarise(self._situation, self._schedule)

    def to_dict(self) -> dict[str, Any]:
        """Return the whole state as values that JSON can hold; a diverged trial has the loss None."""
        tells = [asdict(tell) | {"loss": tell.loss if tell.status == "ok" else None} for tell in self._situation.tells]
        return {
            "format": _FORMAT,
            "settings": asdict(self._settings),
            "schedule": self._schedule,
            "tells": tells,
            "in_flight": list(self._in_flight),
            "asked": sorted(self._asked),
        }

    @classmethod
    def from_dict(cls, state: Mapping[str, Any]) -> Self:
        """Return the search that `to_dict` described; it goes on as the other would have.

        Raises:
            DataError: when this is no such state.
        """
        if not isinstance(state, Mapping) or state.get("format") != _FORMAT:
            found = state.get("format") if isinstance(state, Mapping) else state
            raise DataError(f"expected the state of a LearningRateSearch in the format {_FORMAT}, got {found!r}")
        try:
            search = cls(**state["settings"])
            # Not parsed: the spec of a table cannot be read back, and that of a function may be none to import here.
            search._schedule = state["schedule"]
            if not isinstance(search._schedule, str | None):
                raise DataError(f"schedule must be a spec or None, got {search._schedule!r}")
            search._asked = {check_number("asked", lr, above=0, error=DataError) for lr in state["asked"]}
            for told in state["tells"]:
                loss = math.inf if told["loss"] is None else told["loss"]
                search.tell(told["lr"], loss, status=told["status"], foreign=told["foreign"])
            search._in_flight = [check_number("in_flight", lr, above=0, error=DataError) for lr in state["in_flight"]]
            if not search._asked.issuperset(search._in_flight):
                raise DataError(f"in_flight must be among asked, got {search._in_flight}")
        except (KeyError, TypeError, ValueError) as error:
            raise DataError(f"the state of this LearningRateSearch is damaged: {error}") from error
        return search

    def _next(self) -> float | None:
        x = next_x(self._situation, [math.log(lr) for lr in self._in_flight])
        if x is None:
            return None
        lr = self._situation.lr_at(x)
        known = self._known(lr)
        return lr if known is None else known

    def _known(self, lr: float) -> float | None:
        told = self._situation.evidence.counts
        return next((k for k in (*self._asked, *told) if abs(k - lr) <= _SAME * lr), None)


def _check_lr(name: str, value: object, *, error: type[RobustLRError]) -> float:
    lr = check_number(name, value, above=0, error=error)
    if not SMALLEST <= lr <= LARGEST:
        raise error(f"{name} must be from {SMALLEST:g} to {LARGEST:g}, got {value!r}")
    return lr


def _finite(loss: object) -> float:
    try:
        return check_number("loss", loss, error=DataError)
    except DataError as error:
        raise DataError(f"{error}; without one the status is 'diverged'") from None


def _theoretical_ratio(spec: str, rule: Schedule) -> float:
    try:
        return resolution_for_tolerance(rule, _MODERATE_TOLERANCE, total_steps=_TOTAL_STEPS)
    except RobustLRError:
        return _RATIO
