"""Do the rates that the scheduler sets reach the optimizer, in every group?"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

from .._text import listed
from ._course import Course
from .findings import Finding

_FEWEST = 3


def attachment(course: Course) -> Iterator[Finding]:
    """Yield a scheduler whose rates are never applied."""
    e = course.evidence
    if e.promise is None and course.n_steps == 0:
        return
    if e.promise is not None and not e.is_attached:
        yield Finding(
            "rate-never-applied",
            f"{e.promise.name} sets the rates of another optimizer than the one that is stepped; build it with the "
            "optimizer that trains, after any wrapping or rebuilding",
            certain=True,
        )
    elif e.promise is not None and course.n_steps == 0 and course.advance >= _FEWEST and not e.is_stepped_unseen:
        yield Finding(
            "rate-never-applied",
            f"{e.promise.name} was stepped {course.advance} times, but its optimizer never; step the optimizer that "
            "the scheduler was built with",
            certain=False,
        )
    elif e.is_over and course.rates and course.n_steps >= _FEWEST and max(map(max, (r.rates for r in e.records))) == 0:
        yield Finding(
            "rate-never-applied",
            f"the learning rate was 0 in all of {course.n_steps} optimizer steps, so nothing was trained",
            certain=True,
        )


def overwriting(course: Course) -> Iterator[Finding]:
    """Yield rates that two schedulers set, or that code sets beside a scheduler."""
    e = course.evidence
    if e.promise is None or not e.is_attached:
        return
    known = [r for r in course.records if r.position is not None]
    advanced = [b for a, b in pairwise(known) if b.position != a.position]
    lost = [r for r in advanced if r.is_overwritten]
    others = [other.name for other in e.others]
    undone = [a for a, b in pairwise(known) if a.is_overwritten and not b.is_overwritten and a.position != b.position]
    if e.has_plateau and e.promise.is_closed_form and undone:
        others = ["ReduceLROnPlateau"]
    if others and any(p.is_closed_form for p in (e.promise, *e.others)):
        yield Finding(
            "set-twice",
            f"{listed([e.promise.name, *others])} set the rates of the same optimizer, and one overwrites the other; "
            "use a SequentialLR, or one schedule with a warm-up",
            certain=True,
        )
    elif not others and len(lost) >= _FEWEST and 2 * len(lost) > len(advanced) and lost[-1] == advanced[-1]:
        is_constant = not any(course.varying)
        code = "rate-never-applied" if is_constant else "set-twice"
        yield Finding(
            code,
            f"the rates that {e.promise.name} sets are overwritten before the optimizer "
            f"steps{f', by a constant {course.rates[-1]:.4g}' if is_constant else ''}: another scheduler, a callback "
            "or the loop sets lr too; let one of them do it",
            certain=True,
        )


def left_out(course: Course) -> Iterator[Finding]:
    """Yield groups whose rate stays constant while that of others varies."""
    e = course.evidence
    if not e.is_over or e.is_per_group or not any(course.varying) or len(course.records) < _FEWEST:
        return
    first = e.records[0].rates
    start = {rate for rate, varies in zip(first, course.varying, strict=True) if varies}
    peaks = {course.peak, *start}
    idle = [
        i
        for i, varies in enumerate(course.varying)
        if not varies and first[i] > 0 and any(abs(first[i] - p) <= 1e-6 * p for p in peaks)
    ]
    if not idle:
        return
    which = f"group {idle[0]}" if len(idle) == 1 else f"groups {listed(map(str, idle))}"
    yield Finding(
        "group-left-out",
        f"the rate of parameter {which} stayed at {first[idle[0]]:.4g} while that of the others followed the "
        "schedule; set the rate of every group, as in: for group in optimizer.param_groups",
        certain=True,
    )
