"""What the applied rates alone say: of a log, or of a loop that sets its rates by hand."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise

from ._course import Course, percent
from .findings import Finding

_FEWEST = 8  # records
_LOW, _HIGH = 0.02, 0.1  # shares of the peak: as good as zero, and well above it
_STRAIGHT = 0.02  # share of the height by which a line may sag
_TAIL = 0.05  # share of the records that are no end but a pause


def shapes(course: Course) -> Iterator[Finding]:
    """Yield what the shape of a course without a scheduler shows."""
    e = course.evidence
    if e.promise is not None or not e.is_over or len(course.records) < _FEWEST or course.peak <= 0:
        return
    yield from _log_goes_back(course)
    shares = [rate / course.peak for rate in course.rates]
    yield from _short_warmup(course, shares)
    if course.may_end_early or e.is_to_be_continued:
        return
    for check in (_still_falling, _still_rising, _rises_again, _ends_at_zero, _hardly_falls):
        yield from check(shares)


def _log_goes_back(course: Course) -> Iterator[Finding]:
    first: dict[int, float] = {}
    for a, b in pairwise(course.records):
        first.setdefault(a.step, a.rates[course.group])
        before, now = first.get(b.step), b.rates[course.group]
        if b.step <= a.step and before is not None and abs(now - before) > _HIGH * course.peak:
            yield Finding(
                "jump-on-resume",
                f"step {b.step} was logged twice, at a learning rate of {before:.4g} and at {now:.4g}: the run was "
                "resumed without the state of its schedule; load the scheduler's and the optimizer's",
                certain=False,
            )
            return


def _short_warmup(course: Course, shares: Sequence[float]) -> Iterator[Finding]:
    a, b = course.records[:2]
    if b.step == a.step + 1 and shares[0] < 0.5 and shares[1] > 0.999 and shares[2] > 0.8:
        yield Finding(
            "warmup-too-short",
            f"step {a.step} has {percent(shares[0])} of the peak and the next one all of it: a warm-up of one step; "
            "give it a number of steps, or leave it out",
            certain=False,
        )


def _still_falling(shares: Sequence[float]) -> Iterator[Finding]:
    start = len(shares) - 1 - shares[::-1].index(max(shares))
    fall, left = shares[start:], shares[-1]
    if len(fall) < _FEWEST or left <= _TAIL or left > 1 - _LOW or not _is_smooth(fall):
        return
    lately = fall[-1 - max(1, len(fall) // 5)] - fall[-1]
    if lately > 0.12 * (1 - left) and _is_straight_or_bent_down(fall):
        yield Finding(
            "horizon-longer",
            f"the rate was still at {percent(left)} of its peak, and falling, at the end: the schedule is longer than "
            "the run; give it the number of steps of the run, unless you stopped early",
            certain=False,
        )


def _still_rising(shares: Sequence[float]) -> Iterator[Finding]:
    rise = shares[::-1]
    if shares[-1] == max(shares) and shares[0] < 0.9 and shares[-2] < shares[-1] and _is_smooth(rise):
        middle = rise[len(rise) // 2]
        if abs(middle - (rise[0] + rise[-1]) / 2) <= _STRAIGHT:
            yield Finding(
                "never-reached-peak",
                "the rate rose by the same amount from step to step until the end: the run never left its warm-up; "
                "size the warm-up by the steps of this run",
                certain=False,
            )


def _rises_again(shares: Sequence[float]) -> Iterator[Finding]:
    peak = shares.index(max(shares))
    low = next((i for i in range(peak + 1, len(shares) - 1) if shares[i] <= _LOW and shares[i + 1] > shares[i]), None)
    if low is None:
        return
    fall, rise = shares[peak : low + 1], shares[low : low + 1 + low - peak]
    top = max(rise)
    if top < _HIGH or not (_is_smooth(fall) and all(b - a <= _HIGH for a, b in pairwise(rise))):
        return
    mean_slope = (1 - shares[low]) / (low - peak)
    if shares[low + 1] - shares[low] < 0.5 * mean_slope:  # a wave is round at its trough, a sawtooth is not
        yield Finding(
            "rises-again",
            f"the rate fell to {percent(shares[low])} of its peak after {percent(low / len(shares))} of the run, and "
            f"rose to {percent(top)} again: a cosine that is stepped beyond its end; give it the number of steps of "
            "the run",
            certain=False,
        )


def _ends_at_zero(shares: Sequence[float]) -> Iterator[Finding]:
    n_idle = next((i for i, share in enumerate(reversed(shares)) if share > 1e-9), 0)
    if n_idle > max(2, _TAIL * len(shares)):
        yield Finding(
            "horizon-shorter",
            f"the rate was 0 for the last {percent(n_idle / len(shares))} of the run: the schedule is shorter than "
            "the run, or stepped too often; give it the number of optimizer steps of the run",
            certain=False,
        )


def _hardly_falls(shares: Sequence[float]) -> Iterator[Finding]:
    levels = [shares[0], *(b for a, b in pairwise(shares) if a != b)]
    drops = [a - b for a, b in pairwise(levels)]
    is_staircase = 3 <= len(drops) <= len(shares) / 4
    if is_staircase and shares[0] == 1 and shares[-1] > 0.9 and all(0 < a < b for a, b in pairwise(drops)):
        yield Finding(
            "stepped-per-epoch",
            f"the rate moved {len(drops)} times only, and by {percent(1 - shares[-1])} in all, as a cosine does at "
            "its very beginning: it is stepped once per epoch, with a horizon in steps; step it after each optimizer "
            "step",
            certain=False,
        )


def _is_smooth(fall: Sequence[float]) -> bool:
    height = fall[0] - fall[-1]
    return all(b <= a + 1e-12 and a - b <= 0.25 * height for a, b in pairwise(fall))


def _is_straight_or_bent_down(fall: Sequence[float]) -> bool:
    height = fall[0] - fall[-1]
    return fall[len(fall) // 2] >= (fall[0] + fall[-1]) / 2 - _STRAIGHT * height
