"""Warm-ups that are too short, floors that do not scale, and a learning rate that has no effect."""

from __future__ import annotations

from collections.abc import Iterator
from statistics import median

from ._course import Course, percent
from .findings import Finding

_FEWEST_STEPS = 10  # of a run that deserves a warm-up
_FEWEST_MOVES = 3
_FLOOR = 0.01  # share of the peak at which a floor changes the schedule
_FAR_APART = 30
_CLOSE = 1e-3
_RATE_AT_MOST = 0.05  # above it, a function may well return that number as its factor
_NO_FACTOR = 0.02  # largest value of a function that is too low for a factor


def warmup(course: Course) -> Iterator[Finding]:
    """Yield a warm-up that is over before it has begun."""
    e = course.evidence
    if e.position_at_start > 0 or e.saved_rates is not None or course.n_steps < _FEWEST_STEPS:
        return
    if e.wants_warmup and course.rates[0] == course.peak > course.rates[-1] and not (e.promise and e.promise.warmup):
        yield Finding(
            "warmup-too-short",
            "the code computes a warm-up as a share of the run, but the first step trained at the peak: the share is "
            "less than one step; give it a number of steps, or leave it out",
            certain=False,
        )
        return
    if e.promise is None or e.promise.warmup is None:
        return
    asked = e.promise.wanted_warmup
    n = sum(r.position is not None and r.position < e.promise.warmup for r in course.records)
    if n > 1 or e.promise.warmup > 1:
        return
    share = f" ({percent(asked)} of the run)" if asked else ""
    yield Finding(
        "warmup-too-short",
        f"the warm-up of {e.promise.name} takes {e.promise.warmup} steps{share}, so the second step trains at the "
        "peak; give it a number of steps, or leave it out",
        certain=True,
    )


def floor(course: Course) -> Iterator[Finding]:
    """Yield a floor that does not scale with the learning rate."""
    e = course.evidence
    peak = max((max(r.rates) for r in course.records), default=0.0)
    if peak <= 0 or e.is_floor_relative:
        return
    lowest = e.promise.floor if e.promise else 0.0
    ends = [course.rates[-1]] if e.promise is None else [peak * e.promise.end]
    lowest = lowest or next((v for v in e.literal_floors if any(abs(v - end) <= _CLOSE * v for end in ends)), 0.0)
    share = lowest / peak
    if share < _FLOOR or (e.promise is None and share > 1 - _FLOOR):
        return
    first = course.rates[0]
    is_above = lowest > first * (1 + _CLOSE) and course.peak == course.rates[-1]
    name = e.promise.name if e.promise else "the schedule"
    what = "above the learning rate, so the rate rises" if is_above else f"{percent(share)} of the peak"
    yield Finding(
        "absolute-floor",
        f"the lowest rate of {name}, {lowest:g}, does not depend on the learning rate: here it is {what}, "
        "and another rate would get a schedule of another shape; compute it from the rate, as in 0.01 * lr",
        certain=is_above,
    )


def factor(course: Course) -> Iterator[Finding]:
    """Yield a function that returns the learning rate, where the scheduler multiplies it by the learning rate."""
    promise = course.evidence.promise
    if promise is None or promise.factor is None or not 0 < promise.base <= _RATE_AT_MOST:
        return
    is_the_rate = abs(promise.factor - promise.base) <= _CLOSE * promise.base
    if is_the_rate or promise.factor <= _NO_FACTOR:
        yield Finding(
            "rate-never-applied",
            f"the functions of {promise.name} return at most {promise.factor:.4g}, and it multiplies that by the "
            f"learning rate of {promise.base:.4g}: the peak is {promise.factor * promise.base:.4g}; return a factor, "
            "1 at the peak",
            certain=is_the_rate,
        )


def effect(course: Course) -> Iterator[Finding]:
    """Yield a learning rate that does not move the parameters, or does not matter to how they move."""
    e = course.evidence
    if not e.is_over:
        return
    if e.has_untrained:
        yield Finding(
            "lr-without-effect",
            "the parameters of the optimizer never had a gradient, while others have: it holds another model's; "
            "build it after the model has got its final parameters",
            certain=True,
        )
        return
    if e.has_lost_gradients:
        yield Finding(
            "lr-without-effect",
            "backward() gave gradients, but none was left at optimizer.step(), so nothing is trained; call zero_grad() "
            "after step() or before backward(), not between them",
            certain=True,
        )
        return
    moves = [m for m in e.moves if m.has_gradient]
    at_work = [m for m in moves if m.rate > 0]
    if len(at_work) >= _FEWEST_MOVES and not any(m.distance > 0 for m in at_work):
        yield Finding(
            "lr-without-effect",
            f"no parameter moved in {len(at_work)} sampled steps, though they had gradients: the rate is too small for "
            "their precision, or the steps are undone",
            certain=True,
        )
    elif any(m.distance > 0 for m in moves if m.rate == 0):
        yield Finding(
            "lr-without-effect",
            "parameters moved at a learning rate of 0: the optimizer does not read lr of its parameter groups",
            certain=True,
        )
    elif _is_indifferent(course):
        yield Finding(
            "lr-without-effect",
            f"the steps were as long at the lowest learning rates as at the highest, {_FAR_APART} times as high: the "
            "optimizer does not read lr of its parameter groups",
            certain=False,
        )


def _is_indifferent(course: Course) -> bool:
    moves = [m for m in course.evidence.moves if m.has_gradient and m.rate > 0 and m.group == course.group]
    highest = max((m.rate for m in moves), default=0.0)
    high = [m.distance for m in moves if m.rate >= highest / 2]
    low = [m.distance for m in moves if m.rate <= highest / _FAR_APART]
    if min(len(high), len(low)) < _FEWEST_MOVES:
        return False
    return median(low) > 0.5 * median(high) and min(low) > 0


def swept_rate(course: Course) -> Iterator[Finding]:
    """Yield a learning rate that a sweep gave to this run, and that was never applied."""
    e = course.evidence
    rates = [rate for r in course.records for rate in r.rates]
    if e.swept_rate is None or not rates or not e.is_over or e.position_at_start > 0:
        return
    if any(abs(rate - e.swept_rate) <= 0.05 * e.swept_rate for rate in rates):
        return
    yield Finding(
        "rate-never-applied",
        f"this trial is to train with a learning rate of {e.swept_rate:g}, but the highest rate applied was "
        f"{max(rates):.4g}: the schedule has a peak of its own (max_lr), or never reached it",
        certain=False,
    )
