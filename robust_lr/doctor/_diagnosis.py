"""From evidence to findings."""

from __future__ import annotations

from ._course import Course
from ._groups import attachment, left_out, overwriting
from ._horizon import horizon
from ._limits import effect, factor, floor, swept_rate, warmup
from ._resume import resume
from ._shapes import shapes
from ._stepping import stepping
from .evidence import Evidence
from .findings import Finding

# What follows from a fault is not said beside it.
_EXPLAINS = {
    "stepped-per-epoch": ("horizon-longer", "never-reached-peak"),
    "jump-on-resume": ("horizon-longer", "never-reached-peak"),
    "rate-never-applied": ("lr-without-effect",),
}

_CHECKS = (
    attachment,
    overwriting,
    stepping,
    resume,
    horizon,
    warmup,
    floor,
    factor,
    left_out,
    effect,
    swept_rate,
    shapes,
)


def diagnose(evidence: Evidence) -> tuple[Finding, ...]:
    """Return what is wrong with the schedule of a run, certain findings first.

    Example:
        >>> from robust_lr.doctor import Promise, Record
        >>> seen = [Record(step, (0.1 - 0.001 * step,), step) for step in range(50)]
        >>> line = Promise(name="linear", horizon=100)
        >>> [f.code for f in diagnose(Evidence(records=seen, n_steps=50, promise=line, position=50))]
        ['horizon-longer']
    """
    if evidence.n_steps and not evidence.records:
        return ()
    course = Course(evidence)
    found = [finding for check in _CHECKS for finding in check(course)]
    explained = {code for finding in found for code in _EXPLAINS.get(finding.code, ())}
    return tuple(sorted((f for f in found if f.code not in explained), key=lambda finding: not finding.certain))
