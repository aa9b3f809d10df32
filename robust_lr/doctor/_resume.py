"""Does a resumed run go on where the saved one ended?"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

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
    if scale <= 0 or e.promise.checks_state:
        return
    if e.position_at_start > 1 and _differ(applied, e.written_at_start, scale):
        yield Finding(
            "jump-on-resume",
            f"the scheduler was resumed at its step {e.position_at_start}, where it had set "
            f"{e.written_at_start[0]:.4g}, but the first step was taken at {applied[0]:.4g}: load the optimizer's "
            "state too",
            certain=True,
        )
    elif e.saved_rates is None and e.saved_steps and _differ(applied, e.written_at_start, scale):
        yield Finding(
            "jump-on-resume",
            f"the optimizer had taken {e.saved_steps} steps and was at a learning rate of {applied[0]:.4g}, but the "
            f"scheduler begins at its first step, at {e.written_at_start[0]:.4g}: load the scheduler's state too",
            certain=True,
        )
    elif e.saved_rates is not None and e.position_at_start <= 1:
        jumps = [r.rates for r in course.records[:3] if _differ(r.rates, e.saved_rates, scale)]
        if not jumps and not _differ(e.saved_rates, e.saved_peaks, max(scale, *e.saved_peaks)):
            return
        where = f"the rate jumped to {jumps[0][0]:.4g}" if jumps else "took that rate for its peak"
        yield Finding(
            "jump-on-resume",
            f"the optimizer was resumed at a learning rate of {e.saved_rates[0]:.4g}, but the scheduler began again "
            f"at its first step, and {where}: load the scheduler's state too",
            certain=e.saved_steps > 0,
        )
    elif e.saved_rates is not None and _differ(applied, e.saved_rates, scale):
        yield Finding(
            "jump-on-resume",
            f"the optimizer was resumed at a learning rate of {e.saved_rates[0]:.4g}, but the next step was taken at "
            f"{applied[0]:.4g}: the scheduler was resumed at another step (its {e.position_at_start}), or has another "
            "length",
            certain=False,
        )
    elif e.saved_rates is not None and _differ(e.built_peaks, e.saved_peaks, max(scale, *e.saved_peaks)):
        yield Finding(
            "rate-never-applied",
            f"the optimizer was built with a learning rate of {e.built_peaks[0]:.4g}, but the state that was loaded "
            f"brought back {e.saved_peaks[0]:.4g}; set lr and initial_lr of each group again after load_state_dict",
            certain=False,
        )


def _differ(a: Sequence[float], b: Sequence[float], scale: float) -> bool:
    return len(a) == len(b) and any(abs(x - y) > _JUMP * scale for x, y in zip(a, b, strict=True))


def _other_horizon(course: Course) -> Iterator[Finding]:
    e = course.evidence
    horizon = e.promise.horizon if e.promise else None
    if e.promise is None or horizon is None:
        return
    if e.horizon_at_start is not None and e.horizon_at_start != horizon and e.position_at_start > 0:
        yield Finding(
            "horizon-of-another-run",
            f"{e.promise.name} was built for {e.horizon_at_start} steps, but the state that was loaded brought back "
            f"{horizon}, the number of the run that saved it; set it again after load_state_dict",
            certain=True,
        )
    elif e.position_at_start > horizon and not e.promise.restarts:
        yield Finding(
            "horizon-of-another-run",
            f"{e.promise.name} begins at its step {e.position_at_start}, beyond its end at {horizon}: the state or "
            "the number of steps is that of another run",
            certain=True,
        )
