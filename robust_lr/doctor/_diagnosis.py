"""From evidence to findings."""

from __future__ import annotations

from ._course import Course
from ._groups import attachment, left_out, overwriting
from ._horizon import horizon
from ._limits import effect, floor, swept_rate, warmup
from ._resume import resume
from ._stepping import stepping
from .evidence import Evidence
from .findings import Finding

_CHECKS = (attachment, overwriting, stepping, resume, horizon, warmup, floor, left_out, effect, swept_rate)


def diagnose(evidence: Evidence) -> tuple[Finding, ...]:
    """Return what is wrong with the schedule of a run, certain findings first.

    Example:
        >>> from robust_lr.doctor import Promise, Record
        >>> seen = [Record(step, (0.1 - 0.001 * step,), step) for step in range(50)]
        >>> line = Promise(name="linear", horizon=100)
        >>> [f.code for f in diagnose(Evidence(records=seen, n_steps=50, promise=line, position=50))]
        ['horizon-longer']
    """
    course = Course(evidence)
    found = {(finding.code, finding.message): finding for check in _CHECKS for finding in check(course)}
    return tuple(sorted(found.values(), key=lambda finding: not finding.certain))
