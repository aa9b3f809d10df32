"""`SearchOptions`: the options of a learning-rate search besides its range and tolerance."""

from __future__ import annotations

from dataclasses import dataclass

from .._checks import check_flag, check_number, check_whole
from ..exceptions import GridError, OptionError

_FINEST_RATIO = 1.05


@dataclass(frozen=True, kw_only=True)
class SearchOptions:
    """The options of a search, the same in Python, Optuna, Ray and scikit-learn.

    Attributes:
        ratio: the coarse step of the search, a factor >= 1.05. By default theory gives it: the resolution at which the
            schedule's suboptimality bound rises by 25% over 10,000 steps; 4 without a schedule.
        start: the learning rate to begin at, in the range. The search then walks downhill from it instead of looking at
            the whole range first. By default it begins at the geometric center.
        start_factor: how far off the start may be, a factor > 1: the best learning rate lies within it of `start` in
            about two of three cases. The first step is its square root, at least 1.2; by default 4, or `ratio`
            as the first step if that is given. With horizons, at least 4.
        max_trials: stop after this many results and failed learning rates together, >= 1; by default no limit.
        extend: whether to leave the range if the best lies on its end and one more coarse step could gain more than the
            tolerance. Larger learning rates come first, never past one that diverged. Each side grows by at most the
            width of the range.
        noise: the standard deviation of the loss of single runs, >= 0. By default the search measures it: it repeats
            learning rates near the best, and pools the differences. Above 0.4 tolerances it repeats runs, or ends as
            "noise-limited". 0 means that a repeat gives the same loss, so it never repeats any; the bound then holds
            for noise of up to 0.4 tolerances between learning rates.
        noise_trials: end as "noise-limited" once more than this many further trials would be needed to bring the bound
            within the tolerance, >= 0.
        stepwise: whether the metric moves in steps, as accuracy and F1 do. Such a metric is not convex at the scale of
            its steps, so the search gives no bound. By default it is one if two learning rates near the best have
            equal losses to the last bit, or all losses are ratios of whole numbers with steps that the tolerance does
            not dwarf.

    Raises:
        GridError: when `ratio`, `start` or `start_factor` is out of range.
        OptionError: when another option is, or `start_factor` has no start.

    Example:
        >>> SearchOptions(start=0.02, start_factor=1.4).start
        0.02
    """

    ratio: float | None = None
    start: float | None = None
    max_trials: int | None = None
    extend: bool = True
    noise: float | None = None
    noise_trials: int = 6
    stepwise: bool | None = None
    start_factor: float | None = None

    def __post_init__(self) -> None:
        checked: dict[str, object] = {"extend": check_flag("extend", self.extend)}
        if self.ratio is not None:
            checked["ratio"] = check_number("ratio", self.ratio, at_least=_FINEST_RATIO, error=GridError)
        if self.start is not None:
            checked["start"] = check_number("start", self.start, above=0, error=GridError)
        if self.start_factor is not None:
            checked["start_factor"] = check_number("start_factor", self.start_factor, above=1, error=GridError)
            if self.start is None:
                raise OptionError("start_factor is the spread of a start: give start too")
        if self.max_trials is not None:
            checked["max_trials"] = check_whole("max_trials", self.max_trials, at_least=1)
        if self.noise is not None:
            checked["noise"] = check_number("noise", self.noise, at_least=0)
        checked["noise_trials"] = check_whole("noise_trials", self.noise_trials, at_least=0)
        if self.stepwise is not None:
            checked["stepwise"] = check_flag("stepwise", self.stepwise)
        for name, value in checked.items():
            object.__setattr__(self, name, value)
