"""Does a resumed run go on where the saved one ended?"""

from __future__ import annotations

from collections.abc import Iterator

from ._course import Course
from .findings import Finding

_JUMP = 0.1  # of the peak


def resume(course: Course) -> Iterator[Finding]:
    """Yield a learning rate that jumps where a run is resumed, and a horizon that came with the saved state."""
    e = course.evidence
    if e.promise is None or e.position is None or not course.records:
        return
    yield from _other_horizon(course)
    applied = course.records[0].rates
    scale = max(*applied, *(e.saved_rates or ()), *e.written_at_start, course.peak)
    if scale <= 0:
        return
    if e.position_at_start > 1 and _differ(applied, e.written_at_start, scale):
        yield Finding(
            "jump-on-resume",
            f"the scheduler was resumed at its step {e.position_at_start}, where it had set {e.written_at_start[0]:.4g}, but "
            f"the first step was taken at {applied[0]:.4g}: load the optimizer's state too",
            certain=True,
        )
    elif e.saved_rates is not None and e.position_at_start <= 1 and _starts_again(course, scale):
        nearby = next((r.rates for r in course.records[:3] if _differ(r.rates, e.saved_rates, scale)), applied)
        yield Finding(
            "jump-on-resume",
            f"the optimizer was resumed at a learning rate of {e.saved_rates[0]:.4g}, but the scheduler began again at its "
            f"first step, and the rate jumped to {nearby[0]:.4g}: load the scheduler's state too",
            certain=e.saved_steps > 0,
        )


def _starts_again(course: Course, scale: float) -> bool:
    e = course.evidence
    return any(_differ(record.rates, e.saved_rates or (), scale) for record in course.records[:3])


def _differ(a: tuple[float, ...], b: object, scale: float) -> bool:
    rates = tuple(b) if isinstance(b, (tuple, list)) else ()
    return len(a) == len(rates) and any(abs(x - y) > _JUMP * scale for x, y in zip(a, rates, strict=True))


def _other_horizon(course: Course) -> Iterator[Finding]:
    e = course.evidence
    horizon = e.promise.horizon if e.promise else None
    if e.promise is None or horizon is None:
        return
    if e.horizon_at_start is not None and e.horizon_at_start != horizon and e.position_at_start > 0:
        yield Finding(
            "horizon-of-another-run",
            f"{e.promise.name} was built for {e.horizon_at_start} steps, but the state that was loaded brought back {horizon}, "
            "the number of the run that saved it; set it again after load_state_dict",
            certain=True,
        )
    elif e.position_at_start > horizon and not e.promise.restarts:
        yield Finding(
            "horizon-of-another-run",
            f"{e.promise.name} begins at its step {e.position_at_start}, beyond its end at {horizon}: the state or the number "
            "of steps is that of another run",
            certain=True,
        )
