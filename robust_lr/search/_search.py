"""`LearningRateSearch`: ask it for learning rates, tell it the losses, and it knows when to stop."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, replace
from typing import Any, Self

from .._checks import check_flag, check_number, check_whole
from .._tolerance import Tolerance, read_tolerance
from ..divergence import LARGEST_LOSS
from ..exceptions import DataError, GridError, RobustLRError
from ..prior.valley_prior import ValleyPrior, check_prior
from ..schedules.closed_forms import Schedule
from ..schedules.specs import parse_schedule
from ..theory import resolution_for_tolerance
from ._observations import Observation, Status
from ._options import SearchOptions
from ._result import SearchResult
from ._start import UNKNOWN_FACTOR
from ._state import LARGEST, SMALLEST, SearchState, Settings
from ._step import Ask, End, step
from ._summary import summarize

_FORMAT = 1
_RATIO = 4.0
_MODERATE_TOLERANCE = 0.25
_TOTAL_STEPS = 10_000
_SAME = 1e-9
# Learning rates closer than half a percent count as one, and the range must hold two.
_NARROWEST = 1.01


class LearningRateSearch:
    """Finds, in few trials, a learning rate whose loss is within a tolerance of the best in a range.

    The search assumes that the loss f, over ``x = log(lr)``, is one valley that is convex around its minimum. Secants
    through the learning rates tried so far then bound how much any other one could gain. The search tries the learning
    rate that lowers this bound most, and stops when the bound is at most the tolerance::

        f(best) - min f <= excess_bound <= tolerance

    Before it claims a bound, the search repeats the best learning rate: with another seed if the caller has seeds. If
    the losses differ, it goes on to measure the noise, and the bound and the intervals account for it (95%). If they
    are equal to the last bit, there is nothing more to repeat. ``SearchOptions(noise=...)`` saves the repeats. Without
    measured noise the bound is never below the tolerance, and holds while that is at least 2.5 times the noise of a
    run. Metrics that move in steps, such as accuracy, get no bound; see `SearchOptions.stepwise`.

    Without noise, the inequality holds for every convex curve. Where the loss flattens out far from the valley, the
    search uses the convex part alone and says so. If the data contradict one valley (a loss above those on both of its
    sides, by more than the tolerance and the noise), the search says so and gives no bound; it then tries the full
    coarse grid and searches the valley of the best. The first look at the range takes three places, more if the range
    is wider than ``ratio**9``, so a valley narrower than the distance between them can be missed.

    The search depends only on its options and on the observations, in any order; it uses no randomness and no I/O.

    While the next step depends on trials in flight, `ask` returns ``[]`` although the search is not done. A loop such
    as ``while not search.done: for lr in search.ask()`` must then wait until one of them is told or forgotten.

    Args:
        lr_min: the smallest learning rate of the range, from 1e-300 to 1e300.
        lr_max: the largest, at least 1.01 times `lr_min`.
        tolerance: how much worse than the best loss you accept, > 0; a number in units of the loss, or a share of the
            best loss such as "1%". Near a loss of 0 a share means little, so it refers to at least a thousandth of how
            far the losses rise beside the best.
        schedule: the schedule of the trials, a `Schedule` or its spec; theory derives the coarse step from it.
        prior: what earlier sweeps expect, from `LearningRatePrior.at`. The search tries what helps most by them, and
            may end before the bound does, when they make it probable enough that the best is within the tolerance;
            `claim` of the result says so. Losses that contradict the prior switch it off.
        options: a `SearchOptions`.

    Raises:
        GridError: when the range, or the start in it, is impossible.
        OptionError: when the tolerance or the prior is invalid.
        ScheduleError: when the schedule cannot be read.

    Example:
        >>> search = LearningRateSearch(1e-3, 0.1, tolerance=0.005)
        >>> while not search.done:
        ...     for lr in search.ask():
        ...         search.tell(lr, 0.3 + 0.03 * math.log(lr / 0.02) ** 2)
        >>> result = search.result
        >>> result.lr, round(result.loss, 3), result.n_trials
        (0.02155, 0.3, 6)
        >>> result.excess_bound
        0.005
    """

    def __init__(
        self,
        lr_min: float,
        lr_max: float,
        *,
        tolerance: float | str | Tolerance,
        schedule: str | Schedule | None = None,
        prior: ValleyPrior | None = None,
        options: SearchOptions = SearchOptions(),
    ) -> None:
        low = _check_lr("lr_min", lr_min, error=GridError)
        high = _check_lr("lr_max", lr_max, error=GridError)
        if low >= high:
            raise GridError(f"lr_min must be below lr_max, got {low!r} and {high!r}")
        if high < _NARROWEST * low:
            raise GridError(f"lr_max must be at least {_NARROWEST} times lr_min, got {high!r} and {low!r}")
        if options.start is not None:
            check_number("start", options.start, at_least=low, at_most=high, error=GridError)
            if options.ratio is None and options.start_factor is None:
                options = replace(options, start_factor=UNKNOWN_FACTOR)
        rule = None if schedule is None else parse_schedule(schedule)
        self._schedule = None if rule is None else str(rule)
        ratio = options.ratio or (_RATIO if rule is None else _theoretical_ratio(rule))
        settings = Settings(
            lr_min=low, lr_max=high, tolerance=read_tolerance(tolerance), ratio=ratio, options=options,
            prior=check_prior(prior),
        )  # fmt: skip
        self._asked: set[float] = set()
        self._in_flight: list[float] = []
        self._enter(SearchState(settings, ()))

    def ask(self, n: int = 1) -> list[float]:
        """Return up to n learning rates to try next, best tried together; they are in flight until told or forgotten.

        Returns fewer if fewer would help or `max_trials` leaves fewer: none once the search is done, and none while the
        next step depends on trials in flight. A learning rate in flight or given up is never returned again.

        Raises:
            OptionError: when n is not a whole number >= 1.
        """
        asked: list[float] = []
        for _ in range(check_whole("n", n, at_least=1)):
            move = self._next_step()
            if isinstance(move, End) or move.lr is None:
                break
            asked.append(move.lr)
            self._in_flight.append(move.lr)
            self._asked.add(move.lr)
        return asked

    def tell(self, lr: float, loss: float = math.nan, *, status: Status = "ok", external: bool = False) -> None:
        """Add the outcome of a trial; several results at one learning rate count as seeds.

        Args:
            lr: a learning rate that `ask` returned (up to a relative 1e-9), in any order, also one that was forgotten.
                It is then no longer in flight.
            loss: the final loss, finite if the status is "ok", and ignored otherwise; above 1e70 it has diverged.
            status: "ok"; "diverged", which counts as +inf; or "failed" to give this learning rate up. The search then
                goes around it until it gets a result for it, and ends after three such learning rates.
            external: whether the trial came from elsewhere. Then any learning rate from 1e-300 to 1e300 is accepted,
                and one in flight stays in flight, since the search's own trial still runs.

        Raises:
            DataError: when `ask` never returned the learning rate, the loss of an "ok" trial is not finite, or the
                status is not one of these.
        """
        number = check_number("lr", lr, above=0, error=DataError)
        external = check_flag("external", external, error=DataError)
        if status not in ("ok", "diverged", "failed"):
            raise DataError(f"status must be 'ok', 'diverged' or 'failed', got {status!r}")
        known = self._known(number)
        if known is None and not external:
            raise DataError(f"lr={number!r} was never asked for; tell(..., external=True) adds a trial of your own")
        number = _check_lr("lr", number, error=DataError) if known is None else known
        value = _finite(loss) if status == "ok" else math.inf if status == "diverged" else math.nan
        if status == "ok" and value > LARGEST_LOSS:
            value, status = math.inf, "diverged"
        if not external and number in self._in_flight:
            self._in_flight.remove(number)
        others = [each for each in self._state.observations if each.status != "failed" or each.lr != number]
        new = Observation(number, value, status, external)
        self._enter(replace(self._state, observations=(*others, new)))

    def forget(self, lr: float) -> None:
        """Stop waiting for a trial: its learning rate is no longer in flight, and `ask` may return it again.

        Raises:
            DataError: when the learning rate is not in flight.
        """
        known = self._known(check_number("lr", lr, above=0, error=DataError))
        if known not in self._in_flight:
            others = f"in flight are {self._in_flight}" if self._in_flight else "nothing is"
            raise DataError(f"lr={lr!r} is not in flight; {others}")
        self._in_flight.remove(known)

    @property
    def in_flight(self) -> tuple[float, ...]:
        """The learning rates that `ask` returned and that were neither told nor forgotten, in order."""
        return tuple(self._in_flight)

    @property
    def prior(self) -> ValleyPrior | None:
        """What earlier sweeps expect, if given."""
        return self._state.settings.prior

    @property
    def done(self) -> bool:
        """Whether the search is over. The result of a trial still in flight can reopen it."""
        return isinstance(self._next_step(), End)

    @property
    def result(self) -> SearchResult:
        """The result so far."""
        return summarize(self._state, self._next_step(), self._schedule)

    def to_dict(self) -> dict[str, Any]:
        """Return the whole state as JSON values; a trial without a finite loss has the loss None."""
        settings = self._state.settings
        changed = {"lr_min": settings.lr_min, "lr_max": settings.lr_max, "ratio": settings.ratio}
        tolerance = {"tolerance": settings.tolerance.value, "relative": settings.tolerance.relative}
        told = [
            asdict(each) | {"loss": each.loss if each.status == "ok" else None} for each in self._state.observations
        ]
        return {
            "format": _FORMAT,
            "settings": asdict(settings.options) | changed | tolerance,
            "schedule": self._schedule,
            **({} if settings.prior is None else {"prior": settings.prior.to_dict()}),
            # The keys of version 0.1.0, because studies and files contain them.
            "tells": [{"foreign" if key == "external" else key: value for key, value in each.items()} for each in told],
            "in_flight": list(self._in_flight),
            "asked": sorted(self._asked),
        }

    @classmethod
    def from_dict(cls, state: Mapping[str, Any]) -> Self:
        """Return the search that `to_dict` saved, in this version or in 0.1.0; it continues as the original would.

        Raises:
            DataError: when the state is not one of `to_dict`.
        """
        if not isinstance(state, Mapping) or state.get("format") != _FORMAT:
            found = state.get("format") if isinstance(state, Mapping) else state
            raise DataError(f"expected the state of a LearningRateSearch in format {_FORMAT}, got {found!r}")
        try:
            settings = dict(state["settings"])
            lr_min, lr_max = settings.pop("lr_min"), settings.pop("lr_max")
            relative = check_flag("relative", settings.pop("relative"))
            tolerance = replace(read_tolerance(settings.pop("tolerance")), relative=relative)
            prior = None if state.get("prior") is None else ValleyPrior.from_dict(state["prior"])
            search = cls(lr_min, lr_max, tolerance=tolerance, prior=prior, options=SearchOptions(**settings))
            # Not parsed: the spec of a table cannot be read back, and a function may not be importable here.
            search._schedule = state["schedule"]
            if not isinstance(search._schedule, str | None):
                raise DataError(f"schedule must be a spec or None, got {search._schedule!r}")
            search._asked = {check_number("asked", lr, above=0) for lr in state["asked"]}
            for told in state["tells"]:
                loss = math.nan if told["loss"] is None else told["loss"]
                search.tell(told["lr"], loss, status=told["status"], external=told["foreign"])
            search._in_flight = [check_number("in_flight", lr, above=0) for lr in state["in_flight"]]
            if not search._asked.issuperset(search._in_flight):
                raise DataError(f"in_flight must be among asked, got {search._in_flight}")
        except (KeyError, TypeError, ValueError) as error:
            raise DataError(f"the state of this LearningRateSearch is damaged: {error}") from error
        return search

    def _enter(self, state: SearchState) -> None:
        self._state = state
        self._steps: dict[tuple[float, ...], Ask | End] = {}

    def _next_step(self) -> Ask | End:
        in_flight = tuple(self._in_flight)
        if in_flight not in self._steps:
            self._steps[in_flight] = step(self._state, in_flight)
        return self._steps[in_flight]

    def _known(self, lr: float) -> float | None:
        told = (each.lr for each in self._state.observations)
        return next((known for known in (*self._asked, *told) if abs(known - lr) <= _SAME * lr), None)


def _check_lr(name: str, value: object, *, error: type[RobustLRError]) -> float:
    lr = check_number(name, value, above=0, error=error)
    if not SMALLEST <= lr <= LARGEST:
        raise error(f"{name} must be from {SMALLEST:g} to {LARGEST:g}, got {value!r}")
    return lr


def _finite(loss: object) -> float:
    try:
        value = check_number("loss", loss, error=DataError)
    except DataError as error:
        raise DataError(f"{error}; tell a trial without one as status='diverged' or 'failed'") from None
    if value < -LARGEST_LOSS:
        raise DataError(f"loss must be at least {-LARGEST_LOSS:g}, got {value!r}")
    return value


def _theoretical_ratio(rule: Schedule) -> float:
    try:
        return resolution_for_tolerance(rule, _MODERATE_TOLERANCE, total_steps=_TOTAL_STEPS)
    except RobustLRError:
        return _RATIO
