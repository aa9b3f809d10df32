"""Does the schedule end where the run ends, and reach its peak?"""

from __future__ import annotations

from collections.abc import Iterator

from ._course import SMALL, Course, percent
from ._stepping import is_stepped_per_epoch
from .evidence import Promise
from .findings import Finding
from .loops import EarlyEnd

_LOW = 0.01  # share of the peak that is as good as zero
_LONG_AT_FLOOR = 0.25  # share of a run at a floor that is no longer a choice
_SHORTFALL = 0.04  # of a horizon, such as by a last batch that is dropped
_GONE, _MOSTLY = 1e-6, 0.5  # shares of the peak and of the run
_HOPELESS = 4  # times as long as a run that stopped early; such a warm-up was sized by another run
_SHORT_RUN = 20  # steps; two of fewer are more than a rounding
_RISE = 0.05  # of the peak


def horizon(course: Course) -> Iterator[Finding]:
    """Yield what is wrong with the length of the schedule."""
    e = course.evidence
    if e.promise is None or e.position is None or not e.is_attached or course.is_handed_over or course.n_steps == 0:
        return
    if e.promise.horizon is not None and not e.promise.restarts:
        yield from _too_short(course, e.promise, e.promise.horizon)
        if course.advance > 0 and (e.is_over or (e.planned_steps is not None and course.pace >= 1)):
            yield from _too_long(course, e.promise, e.promise.horizon)
    if e.is_over and course.advance > 0:
        yield from _no_peak(course, e.promise)
        yield from _fades_out(course, e.promise)


def _too_short(course: Course, promise: Promise, horizon: int) -> Iterator[Finding]:
    e = course.evidence
    n_after = course.n_steps_from(horizon)
    if n_after <= max(2 if course.n_steps > _SHORT_RUN else 1, SMALL * course.n_steps) or (
        course.pace >= 2 and not promise.rises_after_end
    ):
        return
    after = [r.rates[course.group] for r in course.after(horizon)]
    height = course.peak or 1.0
    is_rising = promise.rises_after_end and (course.pace < 2 or max(after) - after[0] > _RISE * height)
    at_floor = max(after) > _LOW * height and not is_rising
    if at_floor and (promise.may_stay or n_after <= _LONG_AT_FLOOR * course.n_steps):
        return
    if course.pace >= 2 and not is_rising:
        return
    so_far = f", to {percent(max(after) / height)} of the peak" if e.is_over else ""
    rises = f", and the rate rises again{so_far}" if is_rising else ""
    position = round(max(e.position or 0, *(r.position or 0 for r in course.records)))
    times = (
        f"stepped {position} times: the last {n_after} optimizer steps come after its end"
        if e.is_over
        else "stepped on"
    )
    counts = "; does it count epochs?" if e.is_over and course.pace == 1 and position >= 4 * horizon else ""
    yield Finding(
        "rises-again" if is_rising else "horizon-shorter",
        f"{promise.name} ends after {horizon} steps, but is {times}{rises}{counts}; {_cure(course, promise)}",
        certain=is_rising or (not at_floor and e.position_at_start == 0),
    )


def _cure(course: Course, promise: Promise) -> str:
    n = None if course.end is None else round(course.end) - promise.begins_at
    is_known = (course.evidence.is_over or course.evidence.planned_steps) and course.pace <= 1
    given = f"{promise.argument}={n}, " if promise.argument and n is not None and n > 0 and is_known else ""
    return f"give it {given}the number of steps that the run takes"


def _too_long(course: Course, promise: Promise, horizon: int) -> Iterator[Finding]:
    end = course.end
    if end is None or is_stepped_per_epoch(course) or not course.rates:
        return
    left = course.rates[-1] / (course.peak or 1.0)
    planned = course.evidence.planned_steps
    if horizon - end < max(2, _SHORTFALL * horizon) or (planned is None and left - promise.end <= _LOW):
        return
    taken = f"the run is to take {round(end)}" if planned is not None else f"{round(end)} were taken"
    is_certain = planned is not None or course.evidence.early_end is EarlyEnd.NO
    where = f", it is still at {percent(left)} of the peak" if course.evidence.is_over else ""
    yield Finding(
        "horizon-longer",
        f"{promise.name} ends after {horizon} steps, but {taken}: the rate never gets to its end{where}; "
        f"{_cure(course, promise)}{'' if is_certain else ', unless you stopped early'}",
        certain=is_certain,
    )


def _no_peak(course: Course, promise: Promise) -> Iterator[Finding]:
    e = course.evidence
    end = course.end if course.end is not None else float(e.position or 0)
    if promise.peak_at is None or promise.peak_at <= max(end, 1) or (e.is_to_be_continued and not e.planned_steps):
        return
    if e.planned_steps is None and course.may_end_early and promise.peak_at < _HOPELESS * end:
        return
    rising = course.rates[-1] > course.rates[0]
    if not rising and e.position_at_start:
        return
    yield Finding(
        "never-reached-peak",
        f"{promise.name} reaches its peak at step {promise.peak_at}, but the run ends at step {round(end)}: it never "
        "left the warm-up; size the warm-up by the steps of this run",
        certain=e.planned_steps is not None or e.early_end is EarlyEnd.NO,
    )


def _fades_out(course: Course, promise: Promise) -> Iterator[Finding]:
    alive = [r.step for r in course.records if r.rates[course.group] > _GONE * course.peak]
    n_gone = course.n_steps - 1 - max(alive, default=0)
    is_endless = promise.horizon is None and not promise.restarts and course.peak > 0
    if is_endless and n_gone > _MOSTLY * course.n_steps:
        yield Finding(
            "horizon-shorter",
            f"{promise.name} brought the rate below a millionth of its peak {n_gone} optimizer steps before the end: "
            "does it count epochs, but is stepped once per optimizer step?",
            certain=False,
        )
