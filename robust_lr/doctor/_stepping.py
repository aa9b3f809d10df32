"""Is the scheduler stepped once for each step of the optimizer?"""

from __future__ import annotations

from collections.abc import Iterator

from ._course import SMALL, Course
from .findings import Finding

_CLOSE = 0.05  # a horizon that differs by less from the number of steps was meant to be that number
_FEW = 8  # steps of the optimizer that say nothing yet


def stepping(course: Course) -> Iterator[Finding]:
    """Yield what is wrong with how often the scheduler is stepped."""
    e = course.evidence
    if e.promise is None or e.position is None or not e.is_attached or course.is_handed_over:
        return
    if course.advance == 0 and e.is_over and course.n_steps >= _FEW and not _is_past(course):
        if e.promise.is_lazy:
            return
        rate = course.rates[-1] if course.rates else 0.0
        yield Finding(
            "never-stepped",
            f"{e.promise.name} was not stepped in {course.n_steps} optimizer steps, so the rate stayed at {rate:.4g}; "
            "call scheduler.step() after each optimizer.step()",
            certain=e.promise.horizon is not None,
        )
    elif is_stepped_per_epoch(course):
        yield Finding(
            "stepped-per-epoch",
            f"{e.promise.name} ends after {e.promise.horizon} of its steps, as many as the optimizer takes, but it "
            f"took {course.advance} in {course.n_steps} optimizer steps: it is stepped once per epoch, and the rate "
            "hardly moves; step it after each optimizer.step() (Lightning: interval 'step')",
            certain=True,
        )
    elif course.pace >= 2:
        yield from _too_often(course)


def is_stepped_per_epoch(course: Course) -> bool:
    """Return whether the scheduler takes a step now and then, with a horizon that counts the optimizer's steps."""
    e = course.evidence
    if not (e.is_over and e.promise and e.promise.horizon and e.position is not None and course.advance >= 1):
        return False
    horizon = e.promise.horizon
    rare = course.n_steps >= 2 * course.advance and course.pace < 1 and 2 * e.position <= horizon
    meant = e.planned_steps or course.n_steps
    if e.planned_steps is None and course.may_end_early and course.n_steps < 4 * course.advance:
        return False
    since = next((course.n_steps - r.step for r in reversed(course.records) if r.position != e.position), 0)
    if since > 3 * course.n_steps / course.advance:
        return False  # it is stepped no more
    return rare and abs(horizon - meant) <= max(2, _CLOSE * meant)


def _is_past(course: Course) -> bool:
    horizon = course.evidence.promise.horizon if course.evidence.promise else None
    return horizon is not None and course.evidence.position_at_start >= horizon


def _too_often(course: Course) -> Iterator[Finding]:
    e, pace = course.evidence, round(course.pace)
    if e.promise is None or e.promise.restarts:
        return
    horizon = e.promise.horizon
    if horizon is None:
        if not e.is_over:
            return
        effect, is_certain = "its schedule runs that many times too fast", False
    else:
        n_idle = course.n_steps_from(horizon)
        if n_idle <= max(2, SMALL * course.n_steps):
            return  # a horizon that counts them, as Accelerate's schedulers do
        effect = f"it reached its end, {horizon} of its steps, {n_idle} optimizer steps before the run's"
        is_certain = True
    code, cause = _cause(pace, course.n_backward, e.n_processes)
    said = f"{e.promise.name} takes {pace} steps for each step of the optimizer, {cause}: {effect}"
    yield Finding(code, said, certain=is_certain)


def _cause(pace: int, n_backward: int, n_processes: int) -> tuple[str, str]:
    by_processes = (
        "stepped-by-processes",
        f"one for each of {n_processes} processes; leave it out of accelerator.prepare(), or give it "
        f"{n_processes} times the steps",
    )
    by_batches = (
        "stepped-per-micro-batch",
        "one for each micro-batch of an accumulated gradient; step it only after optimizer.step()",
    )
    if n_processes > 1 and pace % n_processes == 0 and pace != n_backward:
        return by_processes
    if n_backward > 1 and pace == n_backward:
        return by_batches
    code = "stepped-per-micro-batch" if n_backward != 1 else "stepped-too-often"
    return code, "one for each micro-batch or process, or in two places; step it once, after optimizer.step()"
